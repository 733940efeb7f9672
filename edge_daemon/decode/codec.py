"""What a codec is to the rest of the product.

A codec is the ``[codec]`` section of a profile together with the code that reads captures as the
section says. Codecs of one format share one class; `edge_daemon.decode.codecs` lists them.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from edge_daemon.decode.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.decode.limits import Limits
    from edge_daemon.decode.table import RawTable

MAX_GENERIC_CHANNELS = 256


@dataclass(frozen=True, slots=True)
class Identified:
    """What a capture says of itself before any event is read.

    Attributes
    ----------
    format
        Format and version for people, e.g. ``FCS3.1`` or ``ASTM E1394``.
    keywords
        Upper-case keys; what ``[match]`` conditions are held against.
    description
        The capture in one phrase, so that a person recognises it.
    """

    format: str
    keywords: Mapping[str, str]
    description: str


class Codec(Section):
    """Base of the ``[codec]`` sections."""

    name: str
    max_channels: int | None = Field(default=None, ge=1, le=MAX_GENERIC_CHANNELS)

    @property
    def leniencies(self) -> tuple[str, ...]:
        """Names of the leniencies that the section allows."""
        return ()

    @property
    def recognises_as(self) -> str:
        """Equal for codecs that identify every capture alike, so that each is asked once."""
        return self.model_dump_json()

    @abstractmethod
    def identify(self, data: bytes) -> Identified | None:
        """Read what identifies a capture; None where it is of another format.

        Raises
        ------
        Quarantine
            It is of this format, and too broken or too large to be identified.
        """

    @abstractmethod
    def read(self, data: bytes, *, dataset: int, limits: Limits) -> RawTable:
        """Read one data set as recorded.

        Parameters
        ----------
        data
            The whole capture.
        dataset
            Which data set, from 1.
        limits
            Caps, checked before anything is allocated.

        Raises
        ------
        Quarantine
            ``not_recognised``, ``malformed``, ``truncated``, ``too_large`` or ``unsupported``.
        """

    def is_whole(self, data: bytes) -> bool:
        """Tell whether a settled file of this format reaches its end; False is "not yet"."""
        del data
        return True

"""What the store answers to those who write through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from edge_daemon.records import CaptureState


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Answer to a capture that was handed in.

    Attributes
    ----------
    capture_id
        Its sequence number.
    new
        False when this instrument has sent the same bytes before.
    sighted
        True when known bytes came under a name or from a source not seen with them before.
    """

    capture_id: int
    new: bool
    sighted: bool = False


@dataclass(frozen=True, slots=True)
class ReportReceipt:
    """Answer to a report that was recorded; `new` is False where it was kept already."""

    report_id: int
    new: bool


@dataclass(frozen=True, slots=True)
class PendingCapture:
    """A capture whose analysis has not ended.

    `path` is its archived file, named by `sha256`. Where people have corrected the species it
    waits to be called for another: `species` is that, `profile` and `notes` are those it was
    decoded with before.
    """

    capture_id: int
    instrument: str
    source: str
    name: str
    sha256: str
    size: int
    state: CaptureState
    path: Path
    species: str | None = None
    profile: str | None = None
    notes: tuple[str, ...] = ()

"""``[codec] name = "pulses"``: digitised pulses, from which height, area and width are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pydantic import Field, model_validator

from edge_daemon.decode.codec import Codec, Identified
from edge_daemon.decode.codecs.binary import (
    ByteOrder,
    Check,
    Frame,
    Header,
    Trailer,
    Word,
    consistent,
    whole,
)
from edge_daemon.decode.codecs.pulse_features import (
    FEATURES,
    MIN_SAMPLES,
    pulse_features,
    subtract_baseline,
)
from edge_daemon.decode.section import Section
from edge_daemon.decode.table import RawColumn, RawTable
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_daemon.decode.limits import Limits

_SATURABLE: Final = ("H", "A", "W")
_LARGEST: Final = 16_384


class PulseEvent(Section):
    """``[codec.event]``: one event, detector by detector its samples as 16-bit whole numbers.

    `offset` is where the samples begin in the event; before them the time may stand, unsigned and
    of 32 bits.
    """

    count_keyword: Word
    detectors: tuple[Word, ...] = Field(min_length=1, max_length=12)
    samples: int = Field(ge=MIN_SAMPLES, le=1024)
    offset: int = Field(default=0, ge=0, le=256)
    time_offset: int | None = Field(default=None, ge=0, le=252)
    bits: int = Field(ge=2, le=16)
    interval_us: float = Field(gt=0)
    baseline_samples: int = Field(ge=1)

    @model_validator(mode="after")
    def _fits(self) -> PulseEvent:
        if self.time_offset is not None and self.time_offset + 4 > self.offset:
            raise ValueError("the time's four bytes must lie before offset")
        if self.baseline_samples >= self.samples:
            raise ValueError("baseline_samples must be fewer than samples")
        if len(set(self.detectors)) < len(self.detectors):
            raise ValueError("two detectors have the same name")
        if self.size > _LARGEST:
            raise ValueError(f"an event has {self.size} bytes, the limit is {_LARGEST}")
        return self

    @property
    def size(self) -> int:
        """Bytes of one event."""
        return self.offset + 2 * len(self.detectors) * self.samples


class PulsesCodec(Codec):
    """Digitised pulses; docs/codecs.md describes every key."""

    name: Literal["pulses"]
    byte_order: ByteOrder = "little"
    header: Header
    event: PulseEvent
    trailer: Trailer | None = None
    crc: Check | None = None

    @model_validator(mode="after")
    def _consistent(self) -> PulsesCodec:
        consistent(self.frame)
        if self.event.count_keyword.upper() not in {
            one.keyword.upper() for one in self.header.field
        }:
            raise ValueError(f"event.count_keyword: no such field: {self.event.count_keyword}")
        return self

    @property
    def frame(self) -> Frame:
        """What stands around the events."""
        return Frame(self.byte_order, self.header, self.trailer, self.crc)

    def identify(self, data: bytes) -> Identified | None:
        """Read the header; None unless the capture begins with the magic bytes."""
        if not self.frame.begins(data):
            return None
        keywords = self.frame.keywords(data)
        told = keywords[self.event.count_keyword.upper()][:12]
        return Identified("digitised pulses", keywords, f"digitised pulses of {told} events")

    def read(self, data: bytes, *, dataset: int, limits: Limits) -> RawTable:
        """Read and measure every pulse; values are in counts, counts × µs and µs."""
        keywords = self.frame.open(data, dataset)
        events = whole(keywords, self.event.count_keyword, limits.max_events)
        self._check_size(events, len(data), limits)
        payload = self.frame.payload(data, events * self.event.size, limits)
        raw = np.frombuffer(payload, np.uint8).reshape(events, self.event.size)
        counts = self._samples(raw)
        pulses = subtract_baseline(counts, self.event.baseline_samples)
        features = pulse_features(pulses, self.event.interval_us)
        at_limit = (counts == (1 << self.event.bits) - 1).any(axis=2) | (counts == 0).any(axis=2)
        values, saturated = self._table(raw, features, at_limit)
        return RawTable(
            format="digitised pulses",
            columns=tuple(_columns(self.event)),
            recorded=values,
            keywords=keywords,
            saturated=saturated,
            pulses=pulses,
        )

    def is_whole(self, data: bytes) -> bool:
        """Tell whether as many events are there as the header says."""
        if not self.frame.begins(data):
            return not bytes.fromhex(self.header.magic).startswith(data)
        try:
            events = whole(self.frame.keywords(data), self.event.count_keyword, len(data) + 1)
        except Quarantine as error:
            return error.code == "malformed"
        return len(data) >= self.frame.overhead + events * self.event.size

    def _check_size(self, events: int, held: int, limits: Limits) -> None:
        columns = len(FEATURES) * len(self.event.detectors) + 1
        # Values are float64, pulses float32; both stay until the cells have been classified.
        size = events * (9 * columns + 4 * len(self.event.detectors) * self.event.samples)
        if columns > max(limits.max_channels, self.max_channels or 0):
            raise Quarantine(
                "too_large",
                f"{columns} columns, the limit is {limits.max_channels}",
                action="Name fewer detectors under [codec.event].",
            )
        limits.check_expansion(f"{events} events", size, held)

    def _samples(self, raw: NDArray[np.uint8]) -> NDArray[np.uint16]:
        mark = "<" if self.byte_order == "little" else ">"
        # A copy, because a view of other type needs bytes without gaps.
        words = np.ascontiguousarray(raw[:, self.event.offset :]).view(f"{mark}u2")
        shape = (len(raw), len(self.event.detectors), self.event.samples)
        counts: NDArray[np.uint16] = words.reshape(shape).astype(np.uint16)
        counts &= np.uint16((1 << self.event.bits) - 1)
        return counts

    def _table(
        self, raw: NDArray[np.uint8], features: NDArray[np.float32], at_limit: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Lay features out as columns, the time last."""
        measured = features.reshape(len(raw), -1)
        timed = self.event.time_offset is not None
        values = np.empty((len(raw), measured.shape[1] + timed))
        values[:, : measured.shape[1]] = measured
        if self.event.time_offset is not None:
            at = self.event.time_offset
            mark = "<" if self.byte_order == "little" else ">"
            values[:, -1] = np.ascontiguousarray(raw[:, at : at + 4]).view(f"{mark}u4")[:, 0]
        saturated = np.zeros(values.shape, np.bool_)
        for j in range(len(self.event.detectors)):
            for k, feature in enumerate(FEATURES):
                if feature in _SATURABLE:
                    saturated[:, j * len(FEATURES) + k] = at_limit[:, j]
        values.flags.writeable = False
        return values, saturated


def _columns(event: PulseEvent) -> list[RawColumn]:
    named = [
        RawColumn(f"{detector}.{feature}", None, 32, None)
        for detector in event.detectors
        for feature in FEATURES
    ]
    if event.time_offset is not None:
        named.append(RawColumn("TIME", None, 32, None))
    return named

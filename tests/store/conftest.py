"""A store in a temporary directory, and captures, decodings and results to put into it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_daemon.clock import Stamp
from edge_daemon.records import (
    CELL_CLASSES,
    Classified,
    Decoded,
    Flag,
    Measurement,
    RawCapture,
    SampleInfo,
)
from edge_daemon.store.writer import Store


class StepClock:
    """A clock that moves by one second a look; `wall` can be set back."""

    def __init__(self) -> None:
        self._ticks = itertools.count(1)
        self.wall = "2026-11-22T10:00:00.000000Z"

    def monotonic(self) -> float:
        return float(next(self._ticks))

    def stamp(self) -> Stamp:
        return Stamp(self.wall, "unsynchronised", "boot-1", self.monotonic())


def capture(content: bytes | int = 0, **changes: Any) -> RawCapture:
    data = content if isinstance(content, bytes) else b"events of capture %d" % content
    fields: dict[str, Any] = {
        "instrument": "advia-1",
        "source": "export",
        "name": f"{data.decode('latin-1')[-20:]}.fcs",
        "sha256": hashlib.sha256(data).hexdigest(),
        "data": data,
    }
    return RawCapture(**fields | changes)


def decoded(profile: str = "acme_one/1.0", **sample: Any) -> Decoded:
    return Decoded(
        profile=profile,
        profile_sha256="a" * 64,
        events=1000,
        channels=("LA.H", "HA.H"),
        sample=SampleInfo(**{"sample_id": "S-1", "species": "dog"} | sample),
        notes=("TEXT padded with blanks",),
    )


def classified(*flags: Flag, model: str = "canine@1.0.0", **changes: Any) -> Classified:
    fields: dict[str, Any] = {
        "model": model,
        "model_sha256": "b" * 64,
        "counts": dict(zip(CELL_CLASSES, (800, 20, 5, 150, 25), strict=True)),
        "measurements": (
            Measurement("RBC", 6.6251, "10*6/uL", 6.4, 6.85, "counted"),
            Measurement("RETIC%", None, "%", None, None, "counted", ("no_fluorescence",)),
            Measurement("HGB", 15.1, "g/dL", None, None, "calculated"),
        ),
        "flags": flags,
        "elapsed_s": 0.25,
    }
    return Classified(**fields | changes)


@pytest.fixture
def make() -> SimpleNamespace:
    """Factories of the records that a store is given."""
    return SimpleNamespace(capture=capture, decoded=decoded, classified=classified, flag=Flag)


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(data_dir: Path, clock: StepClock):
    with Store.open(data_dir, clock) as opened:
        yield opened


@pytest.fixture
def analyse(store: Store) -> Callable[..., int]:
    """Take one capture through every step; gives the run's id."""

    def take(content: bytes | int, *flags: Flag, instrument: str = "advia-1", **sample: Any) -> int:
        capture_id = store.accept(capture(content, instrument=instrument)).capture_id
        step = decoded(**sample)
        store.record_decoded(capture_id, step)
        return store.record_run(capture_id, step, classified(*flags))

    return take

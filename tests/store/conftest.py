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
    AnalyzerReport,
    Classified,
    Decoded,
    Flag,
    Measurement,
    RawCapture,
    Reported,
    ReportedHistogram,
    ReportedValue,
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


UNITS = {"RBC": "10*6/uL", "PLT": "10*3/uL", "RETIC%": "%", "HGB": "g/dL"}


def reported(
    values: dict[str, float | None] | None = None, *, profile: str = "acme_lis/1.0", **changes: Any
) -> Reported:
    """A report of these values by code; of the changes, those of `SampleInfo` go there."""
    fields = {
        name: changes.pop(name)
        for name in ("kind", "messages", "message_id", "amends", "histograms")
        if name in changes
    }
    lines = [
        ReportedValue(code, code, value, UNITS[code], "----" if value is None else f"{value:g}")
        for code, value in ({"RBC": 6.5, "PLT": 240.0} if values is None else values).items()
    ]
    report = AnalyzerReport(
        SampleInfo(**{"sample_id": "S-1", "species": "dog"} | changes),
        **{
            "kind": "sample",
            "values": (*lines, ReportedValue("WBC", None, 8.1, "10*9/L", "8.1", flags=("H",))),
            "histograms": (ReportedHistogram("RBC", "fL", 0.0, 250.0, (0.0, 3.0, 1.0)),),
            "messages": ("PLT Clumps?",),
            "message_id": "M-1",
        }
        | fields,
    )
    return Reported(profile, "c" * 64, report, ("OBX-8 cut",))


@pytest.fixture
def make() -> SimpleNamespace:
    """Factories of the records that a store is given."""
    return SimpleNamespace(
        capture=capture, decoded=decoded, classified=classified, flag=Flag, reported=reported
    )


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


@pytest.fixture
def tell(store: Store) -> Callable[..., int]:
    """Take a capture with nothing but a report through every step; gives the report's id."""

    def take(content: bytes | int, *args: Any, instrument: str = "advia-1", **changes: Any) -> int:
        capture_id = store.accept(capture(content, instrument=instrument)).capture_id
        receipt = store.record_report(capture_id, reported(*args, **changes))
        store.finish_decoded(capture_id)
        return receipt.report_id

    return take

"""What an analyzer reported, from the bytes of its message to the store, through real workers."""

from __future__ import annotations

import hashlib
import io
import json
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_daemon.clock import SystemClock
from edge_daemon.dispatcher import Pipeline
from edge_daemon.log import EventLog
from edge_daemon.pipeline import default_plan, process_files
from edge_daemon.records import RawCapture
from edge_daemon.store import queries, reports
from edge_daemon.store.writer import Store
from edge_daemon.tasks import WorkerLimits

# One message with cells of one sample and a report of it, one with two reports, one with none.
ANALYSIS = """
from edge_daemon.errors import Quarantine
from edge_daemon.records import (
    AnalyzerReport, Classified, Decoded, Reported, ReportedValue, SampleInfo,
)

COUNTS = dict.fromkeys(("pure_rbc", "reticulocyte", "clumped_rbc", "platelet", "other"), 1)


def reported(sample_id):
    value = ReportedValue("RBC", "RBC", 6.5, "10*6/uL", "6.5")
    report = AnalyzerReport(SampleInfo(sample_id=sample_id), "sample", (value,))
    return Reported("lis/1", "0" * 64, report)


def open_analysis(plan):
    return run


def run(task):
    if "report" in task.name:
        yield reported("A")
    if "two" in task.name:
        yield reported("B")
    if "cells" in task.name:
        yield Decoded("p/1", "1" * 64, 5, ("LA.H",), SampleInfo(sample_id="A"))
        yield Classified("m@1", "2" * 64, COUNTS, (), ())
    if "broken" in task.name:
        raise Quarantine("malformed", "the list mode ends at byte 12")
"""


class Bench:
    def __init__(self, folder: Path, wait) -> None:
        self.data = folder / "data"
        self.stream = io.StringIO()
        self.store = Store.open(self.data, SystemClock())
        self.wait = wait
        self.pipeline: Pipeline | None = None

    def take(self, *names: str, entry: str | None = None, content: bytes | None = None) -> None:
        entries = {} if entry is None else {"entry": entry}
        log, clock = EventLog("debug", self.stream), SystemClock()
        self.pipeline = Pipeline(
            self.store, default_plan(), guard=lambda: None, limits=WorkerLimits(), count=1,
            log=log, clock=clock, **entries,
        )  # fmt: skip
        for name in names:
            data = name.encode() if content is None else content
            digest = hashlib.sha256(data).hexdigest()
            self.pipeline.accept(RawCapture("an1", "lis", name, digest, data))
        self.pipeline.start()
        self.wait(lambda: not self.store.pending())

    def events(self, name: str) -> list[dict]:
        lines = map(json.loads, self.stream.getvalue().splitlines())
        return [line for line in lines if line["event"] == name]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch, wait_until) -> Iterator[Bench]:
    (tmp_path / "reporting_bench.py").write_text(textwrap.dedent(ANALYSIS))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = Bench(tmp_path, wait_until)
    yield made
    if made.pipeline is not None:
        made.pipeline.stop(0.0)
    made.store.close()


@pytest.fixture
def db(bench):
    with closing(queries.connect(bench.data)) as reader:
        yield reader


def test_every_mixture_of_cells_and_reports_ends(bench, db):
    names = ["report", "report cells", "report two", "report broken", "cells", "nothing"]
    bench.take(*names, entry="reporting_bench:open_analysis")
    found = {row["name"]: row for row in queries.captures(db)}
    told = {name: (row["state"], row["finished"], row["report_ids"]) for name, row in found.items()}
    assert told == {
        "report": ("decoded", True, [1]),
        "report cells": ("classified", True, [2]),
        "report two": ("decoded", True, [3, 4]),
        "report broken": ("quarantined", True, [5]),
        "cells": ("classified", True, []),
        "nothing": ("quarantined", True, []),
    }
    assert found["nothing"]["reason_message"].startswith("nothing: it holds neither cells")
    assert [e["report_id"] for e in bench.events("capture_reported")] == [1, 2, 3, 4, 5]
    assert {e["values"] for e in bench.events("capture_reported")} == {1}
    assert reports.report(db, 2)["run_id"] == found["report cells"]["run_id"]


def test_a_real_message_becomes_a_report_once(bench, db, repository):
    message = (repository / "firmware_profiles/urit_5160/hl7-2.3.1.sample.hl7").read_bytes()
    bench.take("urit.hl7", content=message)
    [report] = reports.listing(db)
    assert report["profile"].startswith("urit_5160/")
    assert {line["code"] for line in report["values"]} >= {"RBC", "HGB", "MCV", "PLT"}
    assert reports.report(db, report["id"])["intact"]
    assert len(bench.events("capture_reported")) == 1
    assert db.execute("SELECT type FROM outbox").fetchone()[0].startswith("report.")


def test_process_says_which_reports_a_file_holds_and_reads_it_once(tmp_path, repository):
    samples = sorted((repository / "firmware_profiles").glob("*/hl7-*.sample.hl7"))
    first = list(process_files(samples, data_dir=tmp_path / "data"))
    assert [r["status"] for r in first] == ["decoded"] * len(samples)
    assert [len(r["report_ids"]) for r in first] == [1] * len(samples)
    again = list(process_files(samples, data_dir=tmp_path / "data"))
    assert [r["report_ids"] for r in again] == [r["report_ids"] for r in first]
    assert all(r["duplicate_of"] for r in again)
    with closing(queries.connect(tmp_path / "data")) as db:
        assert len(reports.listing(db)) == len(samples)

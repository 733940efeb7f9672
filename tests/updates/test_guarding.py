"""A candidate beside the model in use, on real captures; and what takes a version back."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from edge_daemon.cli import cli
from edge_daemon.config import load_config
from edge_daemon.errors import Quarantine
from edge_daemon.flow import Analysis
from edge_daemon.log import EventLog
from edge_daemon.pipeline import process_files
from edge_daemon.records import RawCapture
from edge_daemon.simulator.cohort import simulate
from edge_daemon.store.writer import Store
from edge_daemon.updates.describing import describe
from edge_daemon.updates.fetching import FolderFetcher
from edge_daemon.updates.guarding import FAILURES, Guard, count_start
from edge_daemon.updates.state import SHADOW_SAMPLES
from tests.updates.conftest import BUNDLE, TestClock, make_bundle

MODEL = f"model/{BUNDLE}"
FIRST = 2
QUIET = Analysis(waiting=0, still_s=0.0, losses=0, start_failure="", rejected=())


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """Captures, and a box that has analysed all of them."""
    captures = tmp_path_factory.mktemp("captures")
    simulate(captures, samples=FIRST + SHADOW_SAMPLES, events=800, seed=7, firmware="1.0")
    box = tmp_path_factory.mktemp("analysed") / "box"
    results = list(process_files(sorted(captures.glob("*.fcs")), data_dir=box, workers=1))
    assert {r["status"] for r in results} == {"classified"}
    return box


@pytest.fixture
def box(tmp_path, analysed):
    """A box that knows the captures; what it compares begins after the first two."""
    place = tmp_path / "box"
    shutil.copytree(analysed, place)
    return place


@pytest.fixture
def log():
    return io.StringIO()


@pytest.fixture
def told():
    """What the analysis is said to do now; a test changes it."""
    return {"analysis": QUIET}


@pytest.fixture
def guard(tmp_path, box, log, told):
    config = tmp_path / "config.toml"
    config.write_text(
        f'[box]\ndata_dir = "{box}"\n[[source]]\nname = "a"\npath = "{tmp_path / "export"}"\n'
    )
    made = Guard(load_config(config), TestClock(), EventLog("info", log), lambda: told["analysis"])
    yield made
    made.end()


@pytest.fixture
def offered(box, desk, signed, tmp_path, proved_here):
    """Offer a bundle to the box; it waits to be compared."""

    def offer(version: str = "0.9.0", **changes: str):
        bundle = make_bundle(tmp_path, version)
        manifest = bundle / "manifest.toml"
        text = manifest.read_text()
        for key, value in changes.items():
            text, number = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text, count=1)
            assert number == 1
        manifest.write_text(text)
        signed.add_model(bundle)
        place = signed.publish()
        if desk.trust.root is None:
            desk.trust.begin(signed.root)
        found = desk.look(FolderFetcher(place))
        assert "held against" in found.taken[f"{MODEL}@{version}"]
        slot = desk.folder.read().slot(MODEL)
        # Runs after the second are the ones that come next.
        desk.change(MODEL, lambda s: s.proved(s.candidate, shadow_from=FIRST))
        assert slot.active is None
        return slot.candidate

    return offer


def turns(guard, desk, most: int = 40):
    for _ in range(most):
        guard.turn()
        if desk.folder.read().slot(MODEL).shadow is None:
            return
    raise AssertionError("it was never decided")


def test_a_model_that_agrees_is_used_after_twenty_samples(guard, desk, offered, box, log):
    before = (box / "edge.sqlite3").read_bytes()
    held = offered()
    assert describe(box)["items"][0]["stage"] == "shadow"
    guard.turn()
    slot = desk.folder.read().slot(MODEL)
    assert 0 < len(slot.shadow.samples) < SHADOW_SAMPLES
    assert slot.active is None
    assert f"{len(slot.shadow.samples)} of {SHADOW_SAMPLES}" in str(describe(box))
    turns(guard, desk)
    slot = desk.folder.read().slot(MODEL)
    assert slot.active == held
    assert slot.watch is not None
    assert '"outcome": "agrees"' in log.getvalue()
    assert (box / "edge.sqlite3").read_bytes() == before  # nothing of it is reported


def test_a_model_that_counts_otherwise_is_refused(guard, desk, offered, box, log):
    held = offered(window_ul="0.0005")
    turns(guard, desk)
    slot = desk.folder.read().slot(MODEL)
    assert slot.active is None
    assert slot.candidate is None
    assert "does not agree" in slot.blocked[held.sha256]
    assert "RBC" in slot.blocked[held.sha256]
    assert '"outcome": "disagrees"' in log.getvalue()


def test_a_model_that_does_not_classify_is_refused_early(guard, desk, offered):
    """It takes every run for one of another instrument."""
    held = offered(limit="0.000001")
    turns(guard, desk, 3)
    assert "gave no result" in desk.folder.read().slot(MODEL).blocked[held.sha256]


def test_while_captures_wait_nothing_is_compared(guard, desk, offered, told):
    offered()
    told["analysis"] = Analysis(3, 0.0, 0, "", ())
    for _ in range(3):
        guard.turn()
    assert desk.folder.read().slot(MODEL).shadow.samples == ()


def test_a_person_need_not_wait(guard, desk, offered, box):
    held = offered()
    guard.turn()

    def status() -> str:
        return CliRunner().invoke(cli, ["status", "--data-dir", str(box)]).output

    assert f"{MODEL} 0.9.0 waits" in status()
    assert desk.activate(MODEL) == held
    assert f"{MODEL} 0.9.0\n" in status()
    guard.turn()
    assert desk.folder.read().slot(MODEL).active == held


def set_aside(box, number: int, code: str = "not_classified") -> None:
    """Let captures come that nothing can be done with."""
    with Store.open(box, TestClock()) as store:
        start = len(store.transact(lambda db: db.execute("SELECT 1 FROM captures").fetchall()))
        for index in range(start, start + number):
            data = f"capture {index}".encode()
            sha256 = hashlib.sha256(data).hexdigest()
            capture = RawCapture("a", "a", f"{index}.fcs", sha256, data)
            store.accept(capture, reason=Quarantine(code, "no"))


def test_captures_that_fail_take_a_version_back(guard, desk, offered, box, log):
    held = offered()
    desk.activate(MODEL)
    set_aside(box, FAILURES - 1)
    guard.turn()
    assert desk.folder.read().slot(MODEL).active == held
    set_aside(box, 1)
    guard.turn()
    slot = desk.folder.read().slot(MODEL)
    assert slot.active is None
    assert "3 of 3 captures failed" in slot.blocked[held.sha256]
    assert '"outcome": "rolled_back"' in log.getvalue()


def test_bad_files_are_no_reason(guard, desk, offered, box):
    """What speaks against the file does not speak against the model."""
    held = offered()
    desk.activate(MODEL)
    set_aside(box, 5, "truncated")
    guard.turn()
    assert desk.folder.read().slot(MODEL).active == held


def test_a_box_that_failed_before_is_held_against_itself(guard, desk, offered, box):
    set_aside(box, 40)
    held = offered()
    desk.activate(MODEL)
    set_aside(box, 4, "truncated")
    set_aside(box, 4)
    guard.turn()
    assert desk.folder.read().slot(MODEL).active == held


def test_a_hundred_good_captures_end_the_watch(guard, desk, offered, box):
    held = offered()
    desk.activate(MODEL)
    set_aside(box, 100, "truncated")
    guard.turn()
    slot = desk.folder.read().slot(MODEL)
    assert slot.active == held
    assert slot.watch is None


def test_golden_vectors_that_fail_later_take_it_back_too(guard, desk, offered, told):
    held = offered()
    desk.activate(MODEL)
    desk.change(MODEL, lambda slot: slot.settled())
    told["analysis"] = Analysis(0, 0.0, 0, "", ((f"{BUNDLE}-0.9.0", "int8 outputs differ"),))
    guard.turn()
    slot = desk.folder.read().slot(MODEL)
    assert slot.active is None
    assert "int8 outputs differ" in slot.blocked[held.sha256]


def test_workers_that_are_lost_take_it_back(guard, desk, offered, told):
    offered()
    told["analysis"] = Analysis(0, 0.0, 2, "", ())
    desk.activate(MODEL)
    guard.turn()
    told["analysis"] = Analysis(0, 0.0, 4, "", ())
    guard.turn()
    assert desk.folder.read().slot(MODEL).active is not None
    told["analysis"] = Analysis(0, 0.0, 5, "", ())
    guard.turn()
    assert desk.folder.read().slot(MODEL).active is None


def test_starts_that_do_not_last_take_it_back(guard, desk, offered, box):
    offered()
    desk.activate(MODEL)
    for _ in range(3):
        count_start(box, guard._log)
        assert desk.folder.read().slot(MODEL).active is not None
    guard.lasted()
    for _ in range(3):
        count_start(box, guard._log)
    assert desk.folder.read().slot(MODEL).active is not None
    count_start(box, guard._log)
    assert desk.folder.read().slot(MODEL).active is None


def test_the_service_carries_no_library_of_updates():
    """They are loaded in the process that looks, four times a day."""
    code = (
        "import json, sys; import edge_daemon.service; "
        "print(json.dumps([m for m in ('tuf', 'securesystemslib') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert json.loads(done.stdout) == []

"""The closed list of conditions, and the states the box goes through."""

from __future__ import annotations

import pytest

from edge_daemon import findings
from edge_daemon.clock import Stamp
from edge_daemon.conditions import CONDITIONS, RECOVERED_S, Board, Finding, worst
from edge_daemon.disk import Disk
from edge_daemon.flow import LOSSES_S, Analysis, Flow
from edge_daemon.health import Loop
from edge_daemon.resources import docs_dir

BLIND = Finding("folder_blind", "an1", {"reason": "/srv/an1 cannot be read"})
FILLING = Finding("disk_filling", values={"free_mb": 300, "needed_mb": 200})
NOTICE = Finding("clock_unsynchronised")


class ByHand:
    """A clock that the test moves."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


def codes(found):
    return [finding.code for finding in found]


def test_every_condition_is_documented_as_it_is():
    text = (docs_dir() / "health.md").read_text(encoding="utf-8")
    table = text.split("## Conditions")[1]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    documented = {row[0].strip("`"): (row[1], row[4]) for row in rows}
    assert documented == {code: (c.severity, c.action) for code, c in CONDITIONS.items()}
    assert all(len(row) == 5 and all(row) for row in rows)


@pytest.mark.parametrize("code", CONDITIONS)
def test_every_condition_says_what_is_wrong_and_what_to_do(code):
    condition = CONDITIONS[code]
    values = dict.fromkeys(condition.fields, "7")
    said = Finding(code, "an1", values).describe()
    assert "{" not in said["message"]
    assert len(said["message"]) > 15
    assert said["action"].endswith(".")


def test_a_finding_without_the_values_of_its_words_is_a_defect():
    with pytest.raises(ValueError, match="disk_low needs"):
        Finding("disk_low", values={"free_mb": 1})
    with pytest.raises(KeyError):
        Finding("surprise")


def test_states_from_ok_to_failing_and_back():
    board = Board()
    looks = [
        ([], "ok"),
        ([NOTICE], "ok"),
        ([NOTICE, FILLING], "degraded"),
        ([FILLING, BLIND], "failing"),
        ([FILLING], "degraded"),
        ([], "recovered"),
        ([NOTICE], "recovered"),
        ([BLIND], "failing"),
        ([], "recovered"),
    ]
    for number, (found, state) in enumerate(looks):
        assert board.update(found, f"t{number}", float(number)).state == state
    assert board.update([], "later", 8 + RECOVERED_S).state == "recovered"
    assert board.update([], "later", 9 + RECOVERED_S).state == "ok"
    assert board.describe() == {"state": "ok", "since": "later", "conditions": [], "ended": []}


def test_a_condition_keeps_its_beginning_while_its_values_change():
    board = Board()
    assert board.update([FILLING], "t0", 0.0).began == ("disk_filling",)
    emptier = Finding("disk_filling", values={"free_mb": 250, "needed_mb": 200})
    assert board.update([emptier, BLIND], "t1", 1.0).began == ("folder_blind:an1",)
    said = board.describe()
    assert [c["code"] for c in said["conditions"]] == ["folder_blind", "disk_filling"]
    assert (said["state"], said["since"]) == ("failing", "t1")
    assert said["conditions"][1]["since"] == "t0"
    assert "250 MB" in said["conditions"][1]["message"]
    assert board.update([emptier], "t2", 2.0).ended == ("folder_blind:an1",)
    (past,) = board.describe()["ended"]
    assert (past["code"], past["since"], past["until"]) == ("folder_blind", "t1", "t2")


def test_what_ended_is_remembered_within_bounds():
    board = Board()
    for number in range(100):
        board.update([BLIND], f"b{number}", float(number))
        board.update([], f"e{number}", number + 0.5)
    ended = board.describe()["ended"]
    assert len(ended) == 20
    assert ended[0]["until"] == "e99"


def test_notices_make_nothing_of_the_box():
    assert worst([NOTICE]) is None
    assert worst([NOTICE, FILLING]) == "degraded"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"kind": "folder", "state": "watching"}, []),
        ({"kind": "folder", "state": "degraded"}, ["folder_blind"]),
        ({"kind": "serial", "state": "degraded"}, ["port_blind"]),
        ({"kind": "tcp", "state": "degraded"}, ["network_blind"]),
        ({"kind": "tcp", "state": "paused"}, ["source_paused"]),
        ({"kind": "serial", "state": "listening", "garbled": "noise"}, ["source_garbled"]),
        ({"kind": "serial", "state": "listening", "warning": "may change"}, ["port_fleeting"]),
        ({"kind": "folder", "state": "watching", "heard_at": 0.0}, ["source_silent"]),
        ({"kind": "folder", "state": "watching", "heard_at": 1.0}, []),
        ({"kind": "folder", "state": "watching", "heard_at": None}, []),
    ],
)
def test_sources(source, expected):
    told = {"name": "an1", "reason": "why", **source}
    found = findings.of_sources([told], {"an1": 2.0}, since=1.0, now=7200.0)
    assert codes(found) == expected
    assert all(finding.subject == "an1" for finding in found)


def test_a_source_that_was_never_heard_is_asked_about_from_the_start_on():
    told = {"name": "an1", "kind": "folder", "state": "watching", "reason": "", "heard_at": None}
    (found,) = findings.of_sources([told], {"an1": 2.0}, since=0.0, now=7200.0)
    assert found.describe()["message"] == "nothing has come from an1 for 2 h"


@pytest.mark.parametrize(
    ("analysis", "expected"),
    [
        (Analysis(), []),
        (Analysis(waiting=100, still_s=600.0), []),
        (Analysis(waiting=1, still_s=601.0), ["analysis_standing"]),
        (Analysis(waiting=101), ["queue_growing"]),
        (Analysis(losses=2), []),
        (Analysis(losses=3), ["worker_failing"]),
        (Analysis(start_failure="no memory"), ["no_worker"]),
        (Analysis(rejected=(("m", "expected a digest"),)), ["model_rejected"]),
    ],
)
def test_analysis(analysis, expected):
    assert codes(findings.of_analysis(analysis, wall_s=60.0)) == expected


def test_an_analysis_may_take_as_long_as_configured():
    slow = Analysis(waiting=1, still_s=2000.0)
    assert findings.of_analysis(slow, wall_s=900.0) == []


@pytest.mark.parametrize(
    ("disk", "expected"),
    [
        (Disk(400), []),
        (Disk(399), ["disk_filling"]),
        (Disk(199), ["disk_low"]),
        (Disk(5000, read_only=True), ["disk_read_only"]),
        (Disk(reason="Input/output error"), ["disk_unreadable"]),
    ],
)
def test_disk(disk, expected):
    assert codes(findings.of_disk(disk, needed_mb=200)) == expected


def test_a_used_reserve_and_workers_that_are_not_confined():
    found = findings.of_disk(Disk(400), needed_mb=200, reserve_used=True)
    assert codes(found) == ["reserve_used"]
    assert findings.of_sandbox(()) == []
    (found,) = findings.of_sandbox(("landlock", "filter"))
    assert "landlock, filter" in found.describe()["message"]


def test_clock():
    def stamp(state, wall="2026-03-01T10:00:30.000000Z"):
        return Stamp(wall, state, "boot", 1.0)

    assert findings.of_clock(stamp("synchronised"), "2027-01-01T00:00:00.000000Z") == []
    newest = "2026-03-01T10:00:59.000000Z"  # the same minute
    for reference in (None, newest):
        (found,) = findings.of_clock(stamp("unsynchronised"), reference)
        assert found.code == "clock_unsynchronised"
    (found,) = findings.of_clock(stamp("unknown"), "2026-03-02T09:00:00.000000Z")
    assert found.code == "clock_wrong"
    assert "shows 2026-03-01" in found.describe()["message"]


def test_loops_store_quarantine_and_profiles():
    loops = [Loop("dispatcher", 0.0, 60.0), Loop("share", 40.0, 60.0, vital=False)]
    assert [f.key for f in findings.of_loops(loops, 61.0)] == ["loop_standing:dispatcher"]
    assert codes(findings.of_store("full")) == ["store_busy"]
    assert findings.of_store("") == []
    assert findings.of_quarantine(0) == []
    assert codes(findings.of_quarantine(3)) == ["quarantine_waiting"]
    assert findings.of_profiles([]) == []
    (found,) = findings.of_profiles(["acme/1.toml", "acme/2.toml"])
    assert (found.subject, found.values["problems"]) == ("acme/1.toml", 2)


def test_flow_knows_what_waits_and_how_long_nothing_moved():
    clock = ByHand()
    flow = Flow(clock)
    assert flow.analysis("", ()) == Analysis()
    clock.now += 500
    flow.came("an1", new=True)
    flow.came("an1", new=False)
    assert flow.heard_at("an1") == 1500.0
    assert flow.heard_at("an2") is None
    clock.now += 10
    assert flow.analysis("", ()) == Analysis(waiting=1, still_s=10.0)
    flow.waits(40)
    flow.ended()
    assert flow.analysis("", ()) == Analysis(waiting=39, still_s=0.0)
    clock.now += 5
    flow.waits(0)
    assert flow.analysis("", ()) == Analysis()


def test_losses_are_forgotten():
    clock = ByHand()
    flow = Flow(clock)
    for _ in range(3):
        flow.lost()
    clock.now += LOSSES_S
    assert flow.analysis("", ()).losses == 3
    clock.now += 1
    assert flow.analysis("", ()).losses == 0

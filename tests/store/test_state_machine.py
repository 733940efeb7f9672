"""Random orders of every operation, against a model of twenty lines."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from edge_daemon.errors import EdgeError, Quarantine
from edge_daemon.store import queries
from edge_daemon.store.writer import Store

FINISHED = {"classified", "quarantined", "finished"}


class Machine(RuleBasedStateMachine):
    """`states` holds what each capture's state must be, `runs` how many runs it must have.

    Each analysis of a capture, counted by `analyses`, finds the same report in it: once kept,
    `reports` holds it.
    """

    make = None
    clock = None

    def __init__(self):
        super().__init__()
        self.data_dir = Path(tempfile.mkdtemp())
        self.store = Store.open(self.data_dir, self.clock)
        self.db = queries.connect(self.data_dir)
        self.states = {}
        self.runs = {}
        self.analyses = {}
        self.reports = set()
        self.contents = {}

    def teardown(self):
        self.db.close()
        self.store.close()
        shutil.rmtree(self.data_dir)

    @rule(content=st.integers(0, 4))
    def accept(self, content):
        taken = self.store.accept(self.make.capture(content))
        assert taken.new == (content not in self.contents)
        assert taken.capture_id == self.contents.setdefault(content, len(self.contents) + 1)
        self.states.setdefault(taken.capture_id, "received")
        self.runs.setdefault(taken.capture_id, 0)
        self.analyses.setdefault(taken.capture_id, 1)

    @precondition(lambda self: self.states)
    @rule(
        data=st.data(),
        step=st.sampled_from(["decoded", "report", "run", "finish", "quarantine", "requeue"]),
    )
    def move(self, data, step):
        key = data.draw(st.sampled_from(sorted(self.states)))
        state = self.states[key]
        allowed = {
            "decoded": state not in FINISHED,
            "report": state not in FINISHED,
            "run": state == "decoded",
            "finish": state == "decoded",
            "quarantine": state not in FINISHED,
            "requeue": True,
        }[step]
        try:
            self._take(step, key)
        except EdgeError:
            assert not allowed, (step, state)
        else:
            assert allowed, (step, state)
            self.states[key] = {
                "decoded": "decoded",
                "report": "decoded",
                "run": "classified",
                "finish": "finished",
                "quarantine": "quarantined",
                "requeue": "received",
            }[step]
            self.runs[key] += step == "run"
            self.analyses[key] += step == "requeue"
            if step == "report":
                self.reports.add((key, self.analyses[key]))

    def _take(self, step, key):
        decoded = self.make.decoded(simulated=key % 2 == 0)
        if step == "decoded":
            self.store.record_decoded(key, decoded)
        elif step == "report":
            self.store.record_report(key, self.make.reported(simulated=key % 2 == 0))
        elif step == "run":
            self.store.record_run(key, decoded, self.make.classified())
        elif step == "finish":
            self.store.finish_decoded(key)
        elif step == "quarantine":
            self.store.quarantine(key, Quarantine("malformed", "broken"))
        else:
            self.store.requeue(key)

    @rule()
    def restart(self):
        self.store.close()
        self.store = Store.open(self.data_dir, self.clock)

    @invariant()
    def captures_are_as_the_model_says(self):
        stored = {row["id"]: row for row in queries.captures(self.db)}
        assert stored.keys() == self.states.keys()
        for key, state in self.states.items():
            assert stored[key]["finished"] == (state in FINISHED)
            assert stored[key]["state"] == ("decoded" if state == "finished" else state)
            assert (stored[key]["reason_code"] is not None) == (state == "quarantined")
        waiting = [row.capture_id for row in self.store.pending()]
        assert waiting == [key for key in sorted(self.states) if self.states[key] not in FINISHED]

    @invariant()
    def results_and_outbox_agree_one_to_one(self):
        runs = queries.results(self.db, all_runs=True, limit=1000)
        told = self.db.execute("SELECT * FROM reports ORDER BY id DESC").fetchall()
        sent = self.db.execute("SELECT * FROM outbox ORDER BY seq DESC").fetchall()
        assert [row["seq"] for row in sent] == list(range(len(sent), 0, -1))
        for kind, made in (("run", runs), ("report", told)):
            items = [row for row in sent if row[f"{kind}_id"] is not None]
            assert [row[f"{kind}_id"] for row in items] == [row["id"] for row in made]
            for row, item in zip(made, items, strict=True):
                assert item["type"] == f"{kind}.{'simulated' if row['simulated'] else 'clinical'}"
        assert len(sent) == len(runs) + len(told)
        numbers = sorted((row["capture_id"], row["number"]) for row in runs)
        assert numbers == [
            (key, number) for key in sorted(self.runs) for number in range(1, self.runs[key] + 1)
        ]
        assert {(row["capture_id"], row["number"]) for row in told} == self.reports


def test_any_order_of_operations(make, clock):
    Machine.make = make
    Machine.clock = clock
    run_state_machine_as_test(
        Machine,
        settings=settings(
            deadline=None,
            max_examples=15,
            stateful_step_count=25,
            suppress_health_check=list(HealthCheck),
        ),
    )

"""What is left after a fault, against what was acknowledged before it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_daemon.errors import EdgeError
from edge_daemon.store import layout, queries
from tests.faults.captures import digest


@dataclass
class Acks:
    """Digests of captures, and runs with their captures, that were acknowledged."""

    captures: set[str] = field(default_factory=set)
    runs: dict[int, int] = field(default_factory=dict)

    def note(self, event: dict[str, Any]) -> bool:
        """Whether an event of the service acknowledges something."""
        if event.get("event") in {"capture_accepted", "capture_seen_again"}:
            self.captures.add(event["sha256"])
        elif event.get("event") == "capture_classified":
            self.runs[event["run_id"]] = event["capture_id"]
        else:
            return False
        return True

    def __len__(self) -> int:
        return len(self.captures) + len(self.runs)


@dataclass
class Verdict:
    """Lists of what is wrong, in words."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.lost or self.duplicated or self.problems)


def audit(data: Path, acks: Acks) -> Verdict:
    """Compare a data folder, at rest or in use, with what was acknowledged."""
    verdict = Verdict()
    try:
        db = queries.connect(data)
    except EdgeError as error:
        if acks:
            verdict.lost = [f"capture {key[:12]} with the whole database" for key in acks.captures]
            verdict.lost += [f"run {key} with the whole database" for key in acks.runs]
            verdict.problems.append(error.message)
        return verdict
    with closing(db):
        try:
            _compare(db, data, acks, verdict)
        except sqlite3.DatabaseError as error:
            verdict.problems.append(f"the database cannot be read: {error}")
    return verdict


def _compare(db: sqlite3.Connection, data: Path, acks: Acks, verdict: Verdict) -> None:
    checked = db.execute("PRAGMA integrity_check").fetchone()[0]
    if checked != "ok":
        verdict.problems.append(f"integrity_check: {checked}")
    if broken := db.execute("PRAGMA foreign_key_check").fetchall():
        verdict.problems.append(f"foreign_key_check: {len(broken)} rows")
    rows = [tuple(row) for row in db.execute("SELECT id, instrument, sha256 FROM captures")]
    runs = dict(map(tuple, db.execute("SELECT id, capture_id FROM runs")))
    sent = Counter(row[0] for row in db.execute("SELECT run_id FROM outbox"))
    kept = {sha256 for _, _, sha256 in rows}
    for sha256 in sorted(acks.captures):
        if sha256 not in kept:
            verdict.lost.append(f"capture {sha256[:12]} was acknowledged and is not recorded")
        elif not whole(data, sha256):
            verdict.lost.append(f"capture {sha256[:12]} was acknowledged, its bytes are not whole")
    verdict.lost += [
        f"run {run} of capture {owner} was acknowledged and is not recorded"
        for run, owner in acks.runs.items()
        if runs.get(run) != owner
    ]
    seen = Counter((instrument, sha256) for _, instrument, sha256 in rows)
    verdict.duplicated += [f"capture {k[1][:12]} {n} times" for k, n in seen.items() if n > 1]
    results = Counter(runs.values())
    verdict.duplicated += [f"capture {k} has {n} runs" for k, n in results.items() if n > 1]
    verdict.problems += [
        f"run {run} is in the outbox {sent[run]} times" for run in runs if sent[run] != 1
    ]
    for name, ids in (("captures", [row[0] for row in rows]), ("runs", list(runs))):
        if sorted(ids) != list(range(1, len(ids) + 1)):
            verdict.problems.append(f"{name}: the sequence has holes")


def whole(data: Path, sha256: str) -> bool:
    """Whether the archived bytes of a capture are there and right."""
    try:
        return (
            digest((data / layout.ARCHIVE_NAME / sha256[:2] / f"{sha256}.raw").read_bytes())
            == sha256
        )
    except OSError:
        return False


def unfinished(data: Path, keys: Iterable[str]) -> set[str]:
    """Those of these digests that have no result yet."""
    try:
        with closing(queries.connect(data)) as db:
            done = {
                row[0]
                for row in db.execute("SELECT sha256 FROM captures WHERE state = 'classified'")
            }
    except (EdgeError, sqlite3.Error):
        return set(keys)
    return set(keys) - done

"""A database that is damaged, cut short or gone while the service is down."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

from edge_daemon.errors import EdgeError
from edge_daemon.store import layout
from edge_daemon.store.backup import back_up
from edge_daemon.store.reader import connect
from edge_daemon.store.verify import verify_results
from tests.faults.audit import Acks, audit
from tests.faults.bench import Box, FaultError, Record, Trial


def halve(database: Path, rng: random.Random) -> None:
    os.truncate(database, database.stat().st_size // 2)


def overwrite_pages(database: Path, rng: random.Random) -> None:
    with database.open("r+b") as file:
        for page in rng.sample(range(1, database.stat().st_size // 4096), 4):
            file.seek(page * 4096)
            file.write(rng.randbytes(4096))


def zero_header(database: Path, rng: random.Random) -> None:
    with database.open("r+b") as file:
        file.write(bytes(100))


def empty(database: Path, rng: random.Random) -> None:
    os.truncate(database, 0)


def delete(database: Path, rng: random.Random) -> None:
    database.unlink()


def delete_log(database: Path, rng: random.Random) -> None:
    _log(database).unlink()


def halve_log(database: Path, rng: random.Random) -> None:
    halve(_log(database), rng)


def flip_in_log(database: Path, rng: random.Random) -> None:
    _flip(_log(database), rng, 8)


def _log(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


def _flip(file: Path, rng: random.Random, bits: int) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(bits):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


KILLED = (delete_log, halve_log, flip_in_log)
"""Damage to a log that only a killed service leaves behind."""
KINDS = (halve, delete_log, delete, flip_in_log, overwrite_pages, halve_log, zero_header, empty)


def damaged_database(trial: Trial) -> Record:
    """With and without a backup, closed cleanly and killed; the results are derived again."""
    record = trial.record("damaged-database")
    for number in range(trial.size(4, 24)):
        damage = KINDS[number % len(KINDS)]
        with trial.box(f"box{number}") as box:
            acks, digests = _filled(trial, box, backup=number // len(KINDS) % 2 == 0)
            _end(box, killed=damage in KILLED)
            damage(layout.database_path(box.data), trial.rng)
            box.start()
            record.recovered(box.serves_again(trial.numbers))
            box.finish()
            box.stop()
            record.add(audit(box.data, acks))
            if gone := digests - _digests(box.data):
                record.problems.append(f"{damage.__name__}: {len(gone)} results are not the same")
            record.trials += 1
    names = ", ".join(kind.__name__.replace("_", " ") for kind in KINDS)
    record.measure = f"{names}; the same results again"
    return record


def flipped_bit(trial: Trial) -> Record:
    """One flipped bit anywhere: found by SQLite, found by a digest, or in no value."""
    record = trial.record("flipped-bit")
    mended = found = harmless = 0
    with trial.box("whole") as box:
        _, digests = _filled(trial, box, backup=False)
        box.stop()
        whole = layout.database_path(box.data).read_bytes()
        for number in range(trial.size(6, 200)):
            database = layout.database_path(box.data)
            database.write_bytes(whole)
            _flip(database, trial.rng, 1)
            if (trouble := _trouble(box.data)) is None:
                record.add(audit(box.data, Acks(set(box.fed), {})))
                harmless += 1
                if _digests(box.data) != digests:
                    record.problems.append(f"flip {number}: a changed result was not found")
            elif trouble == "digest":
                found += 1
            else:
                mended += 1
            record.trials += 1
        database.write_bytes(whole)
        box.conclude(record, trial.numbers)
    record.measure = (
        f"{mended} found by SQLite's check, {found} by a digest, {harmless} changed no value"
    )
    return record


def _trouble(data: Path) -> str | None:
    """What the checks that the service makes say of a database."""
    try:
        with closing(connect(data)) as db:
            if db.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                return "structure"
            return "digest" if verify_results(db, 0).damaged else None
    except (EdgeError, sqlite3.Error):
        return "structure"


def _filled(trial: Trial, box: Box, *, backup: bool) -> tuple[Acks, set[str]]:
    """A running box with results, half of them in a backup; what it acknowledged and sends."""
    box.start()
    box.feed_many(trial.numbers, 3)
    box.finish()
    if backup:
        back_up(box.data)
    box.feed_many(trial.numbers, 3)
    box.finish()
    # Results get new numbers when they are derived again; their captures must not.
    return Acks(set(box.acks.captures), {}), _digests(box.data)


def _end(box: Box, *, killed: bool) -> None:
    if not killed:
        box.stop()
        return
    box.kill()
    if not _log(layout.database_path(box.data)).exists():
        raise FaultError("a killed service left no log to damage")


def _digests(data: Path) -> set[str]:
    with closing(connect(data)) as db:
        return {row[0] for row in db.execute("SELECT digest FROM outbox")}

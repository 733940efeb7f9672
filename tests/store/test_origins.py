from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from edge_daemon.errors import Quarantine, Retryable
from edge_daemon.store import layout
from edge_daemon.store.origins import Origins, last_origin, read_origins
from edge_daemon.store.writer import Store


def lines(data_dir):
    return list(read_origins(data_dir / layout.ORIGINS_NAME))


def test_every_accepted_capture_has_its_line_when_it_is_answered(store, make, data_dir):
    store.accept(make.capture(1, name="Bella\n.fcs", instrument="advia-1"))
    store.accept(make.capture(1, instrument="advia-2"))
    store.accept(make.capture(1, instrument="advia-2"))  # known: no second line
    reason = Quarantine("truncated", "cut", action="send it again", candidates=("a/1",))
    store.accept(make.capture(2), reason=reason)
    first, second, third = lines(data_dir)
    assert (first.id, first.name, first.instrument) == (1, "Bella\n.fcs", "advia-1")
    assert (second.id, second.instrument, second.reason_code) == (2, "advia-2", None)
    assert (third.reason_code, third.reason_action) == ("truncated", "send it again")
    with closing(sqlite3.connect(layout.database_path(data_dir))) as db:
        for line in (first, second, third):
            row = db.execute(
                "SELECT sha256, size, received_wall, received_monotonic_s FROM captures"
                " WHERE id = ?",
                (line.id,),
            ).fetchone()
            assert row == (line.sha256, line.size, line.received_wall, line.received_monotonic_s)


def test_a_log_that_is_gone_is_made_from_the_database(store, make, data_dir, clock):
    for number in range(3):
        store.accept(make.capture(number))
    store.close()
    before = lines(data_dir)
    (data_dir / layout.ORIGINS_NAME).unlink()
    Store.open(data_dir, clock).close()
    assert lines(data_dir) == before


def test_damaged_lines_are_left_out_and_the_last_whole_one_is_found(store, make, data_dir, clock):
    for number in range(4):
        store.accept(make.capture(number))
    store.close()
    path = data_dir / layout.ORIGINS_NAME
    text = path.read_bytes().splitlines(keepends=True)
    text[1] = text[1].replace(b"advia-1", b"advia-9")
    path.write_bytes(b"".join(text)[:-5])
    assert [line.id for line in lines(data_dir)] == [1, 3]
    assert last_origin(path).id == 3
    with Store.open(data_dir, clock) as again:
        assert again.recovery is None
        again.accept(make.capture(9))
    assert [line.id for line in lines(data_dir)] == [1, 3, 4, 5]


def test_what_cannot_be_written_down_is_not_answered_and_is_written_with_the_next(
    store, make, data_dir, monkeypatch
):
    import os

    real = os.fdatasync

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(Retryable, match="No space"):
        store.accept(make.capture(1))
    monkeypatch.setattr(os, "fdatasync", real)
    assert store.accept(make.capture(1)).new is False
    store.accept(make.capture(2))
    assert sorted({line.id for line in lines(data_dir)}) == [1, 2]


def test_a_line_cut_short_does_not_spoil_the_next(tmp_path, store, make, data_dir):
    store.accept(make.capture(1))
    path = tmp_path / "log"
    path.write_bytes(b"0badcafe {half a li")
    log = Origins(path)
    with closing(sqlite3.connect(layout.database_path(data_dir))) as db:
        log.catch_up(db)
        log.catch_up(db)
    log.close()
    assert [line.id for line in read_origins(path)] == [1]

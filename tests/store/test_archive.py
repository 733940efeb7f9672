from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.errors import EdgeError, Quarantine, Retryable
from edge_daemon.records import RawCapture
from edge_daemon.store.archive import Archive
from edge_daemon.store.writer import Store

DATA = b"raw events" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path / "captures")


def test_puts_bytes_under_their_digest(archive):
    path = archive.put(DATA, SHA256)
    assert path == archive.root / SHA256[:2] / f"{SHA256}.raw"
    assert archive.get(SHA256) == DATA
    assert list((archive.root / "incoming").iterdir()) == []


def test_a_name_that_a_kill_left_unsynced_is_synced_before_the_answer(archive, monkeypatch):
    path = archive.put(DATA, SHA256)
    synced = []

    def fsync(handle):
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())

    monkeypatch.setattr(os, "fsync", fsync)
    archive.put(DATA, SHA256)
    assert synced == [path.parent]


def test_keeps_a_whole_file(archive):
    inode = archive.put(DATA, SHA256).stat().st_ino
    assert archive.put(DATA, SHA256).stat().st_ino == inode


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "remove", "link"])
def test_finds_and_repairs_damage(archive, tmp_path, damage):
    path = archive.put(DATA, SHA256)
    if damage == "flip":
        path.write_bytes(DATA[:500] + b"R" + DATA[501:])
    elif damage == "cut":
        path.write_bytes(DATA[:-1])
    elif damage == "grow":
        path.write_bytes(DATA + b"\0")
    else:
        path.unlink()
    if damage == "link":
        (tmp_path / "elsewhere").write_bytes(DATA)
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Quarantine, match=SHA256) as caught:
        archive.get(SHA256)
    assert caught.value.action
    archive.put(DATA, SHA256)
    assert archive.get(SHA256) == DATA
    assert not path.is_symlink()


def test_refuses_bytes_that_are_not_what_was_announced(archive):
    with pytest.raises(EdgeError, match="announced"):
        archive.put(b"other", SHA256)


@settings(deadline=None, max_examples=50)
@given(name=st.text() | st.sampled_from(["../../etc/passwd", "a" * 64 + "\n", "A" * 64, ""]))
def test_no_name_leads_outside(tmp_path_factory, name):
    archive = Archive(tmp_path_factory.mktemp("archive") / "captures")
    with pytest.raises(EdgeError):
        archive.path(name)


def test_sweeps_what_a_crash_left(archive):
    (archive.root / "incoming" / "tmpabc").write_bytes(b"half")
    Archive(archive.root)
    assert list((archive.root / "incoming").iterdir()) == []


def test_an_unwritable_place_is_to_be_tried_later(tmp_path):
    (tmp_path / "captures").write_text("a file, not a folder")
    with pytest.raises(Retryable, match="captures"):
        Archive(tmp_path / "captures")


def test_a_failed_write_leaves_nothing(archive, monkeypatch):
    def full(handle):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Retryable, match="No space left"):
        archive.put(DATA, SHA256)
    assert [path for path in archive.root.rglob("*") if path.is_file()] == []


def test_a_digest_made_from_the_bytes_is_not_made_again():
    made = RawCapture.of("an1", "export", "a.fcs", DATA)
    assert made.sha256 == SHA256
    assert made.digested
    given = RawCapture("an1", "export", "a.fcs", SHA256, DATA)
    assert given == made
    assert not given.digested


def test_a_record_with_other_bytes_is_checked(tmp_path, clock):
    other = dataclasses.replace(RawCapture.of("an1", "export", "a.fcs", DATA), data=b"other bytes")
    assert not other.digested
    with Store.open(tmp_path / "data", clock) as store, pytest.raises(EdgeError, match="announced"):
        store.accept(other)

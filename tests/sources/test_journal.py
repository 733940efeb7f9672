"""The journal on a real disk: what it keeps, forgets and refuses."""

from __future__ import annotations

import resource
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.errors import Retryable
from edge_daemon.sources import journal as module
from edge_daemon.sources.journal import Journal, journal_path, leftovers


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "journal" / "an1"


@pytest.fixture
def journal(folder):
    made = Journal(journal_path(folder, 0))
    yield made
    made.close()


def content(journal: Journal) -> bytes:
    return b"".join(journal.parts())


def test_bytes_stand_behind_each_other_until_they_are_forgotten(journal):
    journal.append(b"abc")
    journal.append(b"def")
    assert content(journal) == b"abcdef"
    journal.drop(2)
    assert (content(journal), journal.size) == (b"cdef", 4)
    journal.append(b"g")
    assert content(journal) == b"cdefg"
    journal.reset()
    assert (content(journal), journal.size) == (b"", 0)
    journal.append(b"h")
    assert content(journal) == b"h"


def test_nobody_else_may_read_it(journal, folder):
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(journal_path(folder, 0).stat().st_mode) == 0o600


def test_what_a_process_leaves_the_next_one_finds(journal, folder):
    journal.append(b"half a frame")
    journal.close()
    (path,) = leftovers(folder)
    again = Journal(path)
    assert content(again) == b"half a frame"
    again.remove()
    assert leftovers(folder) == []


def test_there_is_nothing_before_the_first_line(folder):
    assert leftovers(folder) == []


def test_a_sync_reaches_the_disk_once_and_only_when_needed(journal, monkeypatch):
    synced = []
    real = module.os.fdatasync
    monkeypatch.setattr(module.os, "fdatasync", lambda fd: synced.append(real(fd)))
    journal.sync()
    journal.append(b"x")
    journal.sync()
    journal.sync()
    assert len(synced) == 1


def test_a_disk_that_takes_no_more_leaves_what_was_there(journal):
    journal.append(b"x" * 100)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, before[1]))
    try:
        with pytest.raises(Retryable, match="journal cannot be written"):
            journal.append(b"y" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert content(journal) == b"x" * 100
    journal.append(b"y" * 100)
    assert content(journal) == b"x" * 100 + b"y" * 100


def test_a_file_in_the_way_is_no_journal(tmp_path):
    (tmp_path / "journal").touch()
    with pytest.raises(Retryable):
        Journal(journal_path(tmp_path / "journal" / "an1", 0))


def test_a_link_is_not_followed(folder, tmp_path):
    folder.mkdir(parents=True)
    journal_path(folder, 0).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Retryable):
        Journal(journal_path(folder, 0))
    assert not (tmp_path / "elsewhere").exists()


steps = st.lists(
    st.one_of(
        st.binary(max_size=50),
        st.just("reset"),
        st.floats(0, 1),
        st.just("reopen"),
    ),
    max_size=20,
)


@settings(deadline=None, max_examples=60)
@given(steps=steps)
def test_any_sequence_gives_what_a_byte_string_would(tmp_path_factory, steps):
    path = journal_path(tmp_path_factory.mktemp("journal"), 3)
    journal, model = Journal(path), b""
    for step in steps:
        if isinstance(step, bytes):
            journal.append(step)
            model += step
        elif step == "reset":
            journal.reset()
            model = b""
        elif step == "reopen":
            journal.close()
            journal = Journal(path)
        else:
            count = int(step * len(model))
            journal.drop(count)
            model = model[count:]
        assert (content(journal), journal.size) == (model, len(model))
    journal.close()

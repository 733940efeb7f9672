"""A real folder, with everything writers, people and mounts do to it."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.errors import Fatal, Quarantine, Retryable
from edge_daemon.sources.directory import ChangedError, Root, label, observation, wanted


def test_a_settled_file_is_handed_over_once_and_left_in_place(bench):
    source = bench.source()
    (bench.folder / "run.fcs").write_bytes(b"cells")
    bench.pass_time(source, 1.9)
    assert bench.accepted == []
    bench.pass_time(source, 0.2)
    (capture,) = bench.accepted
    assert capture.data == b"cells"
    assert capture.sha256 == hashlib.sha256(b"cells").hexdigest()
    assert (capture.source, capture.instrument, capture.name) == ("an1", "hema", "run.fcs")
    bench.pass_time(source, 300.0)
    assert len(bench.accepted) == 1
    assert (bench.folder / "run.fcs").read_bytes() == b"cells"


def test_a_slow_writer_is_waited_for(bench):
    source = bench.source()
    path = bench.folder / "slow.fcs"
    for part in range(20):
        with path.open("ab") as file:
            file.write(b"x" * 100)
        source.hint("slow.fcs")
        bench.pass_time(source, 1.5)
        assert bench.accepted == [], f"taken after part {part}"
    bench.pass_time(source, 2.0)
    assert [len(c.data) for c in bench.accepted] == [2000]


def test_a_pausing_writer_is_waited_for_until_the_format_is_whole(bench):
    source = bench.source()
    bench.whole = lambda data: data.endswith(b"END")
    path = bench.folder / "pause.fcs"
    path.write_bytes(b"begin")
    bench.pass_time(source, 600.0)
    assert bench.accepted == []
    path.write_bytes(b"begin and END")
    bench.pass_time(source, 20.0)
    assert [c.data for c in bench.accepted] == [b"begin and END"]
    assert bench.refused == []


def test_an_incomplete_file_stalls_with_its_bytes_and_is_taken_if_it_goes_on(bench):
    source = bench.source()
    bench.whole = lambda data: data.endswith(b"END")
    path = bench.folder / "dead.fcs"
    path.write_bytes(b"begin")
    bench.pass_time(source, 3000.0)
    ((name, error, capture),) = bench.refused
    assert (name, error.code, capture.data) == ("dead.fcs", "stalled", b"begin")
    assert error.action
    path.write_bytes(b"begin END")
    bench.pass_time(source, 20.0)
    assert [c.data for c in bench.accepted] == [b"begin END"]


def test_renamed_into_place_is_found_by_the_rescan_alone(bench, tmp_path):
    source = bench.source()
    bench.pass_time(source, 60.0)
    (tmp_path / "elsewhere").write_bytes(b"cells")
    (tmp_path / "elsewhere").rename(bench.folder / "moved.fcs")
    bench.pass_time(source, 13.0)  # poll: looked through every 10 s
    assert bench.names() == ["moved.fcs"]


def test_known_bytes_under_another_name_are_handed_over_again(bench):
    source = bench.source()
    (bench.folder / "a.fcs").write_bytes(b"same")
    bench.pass_time(source, 20.0)
    shutil.copyfile(bench.folder / "a.fcs", bench.folder / "b.fcs")
    bench.pass_time(source, 20.0)
    (bench.folder / "b.fcs").rename(bench.folder / "c.fcs")
    bench.pass_time(source, 20.0)
    assert bench.names() == ["a.fcs", "b.fcs", "c.fcs"]
    assert len({c.sha256 for c in bench.accepted}) == 1


def test_oldest_first(bench):
    for age, name in enumerate(["z.fcs", "y.fcs", "x.fcs"]):
        (bench.folder / name).write_bytes(name.encode())
        os.utime(bench.folder / name, (1000 + age, 1000 + age))
    bench.pass_time(bench.source(), 10.0)
    assert bench.names() == ["z.fcs", "y.fcs", "x.fcs"]


def test_deleted_while_waiting_and_while_reading(bench):
    source = bench.source()
    (bench.folder / "a.fcs").write_bytes(b"a")
    bench.pass_time(source, 1.0)
    (bench.folder / "a.fcs").unlink()
    bench.pass_time(source, 60.0)
    assert (bench.accepted, bench.refused) == ([], [])


def test_changed_while_read_is_waited_for_again(bench):
    source = bench.source()
    path = bench.folder / "a.fcs"
    path.write_bytes(b"one")
    bench.pass_time(source, 1.0)
    status = path.stat()
    with Root(bench.folder) as root:
        path.write_bytes(b"three")
        with pytest.raises(ChangedError):
            root.read("a.fcs", observation(status), 100)
    bench.pass_time(source, 60.0)
    assert [c.data for c in bench.accepted] == [b"three"]


def test_links_and_special_files_are_refused_once_and_never_opened(bench, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (bench.folder / "link.fcs").symlink_to(secret)
    (bench.folder / "dangling.fcs").symlink_to(tmp_path / "nothing")
    os.mkfifo(bench.folder / "fifo.fcs")
    with socket.socket(socket.AF_UNIX) as server:
        previous = Path.cwd()
        os.chdir(bench.folder)  # socket paths are short
        server.bind("sock.fcs")
        os.chdir(previous)
        bench.pass_time(bench.source(), 120.0)
    assert sorted(name for name, _, _ in bench.refused) == [
        "dangling.fcs",
        "fifo.fcs",
        "link.fcs",
        "sock.fcs",
    ]
    assert {error.code for _, error, _ in bench.refused} == {"refused"}
    assert bench.accepted == []


@pytest.mark.parametrize(
    "name", ["../secret.fcs", "sub/../../secret.fcs", "/etc/x.fcs", "link/a.fcs"]
)
def test_a_name_that_leads_elsewhere_is_never_read(bench, tmp_path, name):
    (tmp_path / "secret.fcs").write_bytes(b"secret")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.fcs").write_bytes(b"secret")
    (bench.folder / "sub").mkdir()
    (bench.folder / "link").symlink_to(tmp_path / "other")
    with Root(bench.folder) as root:
        seen = observation((tmp_path / "secret.fcs").stat())
        with pytest.raises((Quarantine, FileNotFoundError)) as caught:
            root.read(name, seen, 100)
    assert getattr(caught.value, "code", "refused") == "refused"
    source = bench.source()
    source.hint(name)
    bench.pass_time(source, 60.0)
    assert bench.accepted == []


def test_a_file_exchanged_for_a_fifo_after_the_look_does_not_block(bench):
    path = bench.folder / "a.fcs"
    path.write_bytes(b"a")
    seen = observation(path.stat())
    path.unlink()
    os.mkfifo(path)
    with Root(bench.folder) as root, pytest.raises(Quarantine, match="not a regular file"):
        root.read("a.fcs", seen, 100)


def test_hidden_and_temporary_names_are_not_looked_at(bench):
    for name in (".a.fcs", "a.fcs~", "a.fcs.part", "a.fcs.tmp", "a.txt", "A.FCS"):
        (bench.folder / name).write_bytes(b"x")
    bench.pass_time(bench.source(), 60.0)
    assert bench.names() == ["A.FCS"]
    assert bench.refused == []


def test_odd_names_survive_as_printable_labels(bench):
    raw = os.fsencode(bench.folder) + b"/run\xff\n\x1b[2J.fcs"
    with open(raw, "wb") as file:  # noqa: PTH123 - a name that is no text
        file.write(b"x")
    bench.pass_time(bench.source(), 10.0)
    assert bench.names() == [r"run\xff\n\x1b[2J.fcs"]


def test_too_large_is_refused_unread_once(bench):
    (bench.folder / "big.fcs").write_bytes(b"x" * 101)
    bench.on_read = lambda: pytest.fail("was read")
    bench.pass_time(bench.source(max_bytes=100), 120.0)
    ((name, error, capture),) = bench.refused
    assert (name, error.code, capture) == ("big.fcs", "too_large", None)
    assert "101 bytes" in error.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused_in_the_end(bench):
    (bench.folder / "locked.fcs").write_bytes(b"x")
    (bench.folder / "locked.fcs").chmod(0)
    bench.pass_time(bench.source(), 1200.0)
    ((_, error, _),) = bench.refused
    assert error.code == "refused"
    assert "Permission denied" in error.message


def test_a_refused_file_is_taken_once_somebody_gives_the_right_to_read_it(bench, monkeypatch):
    """As the refusal asks for; without a restart it had never been looked at again."""
    source = bench.source()
    path = bench.folder / "locked.fcs"
    path.write_bytes(b"cells")
    path.chmod(0)
    read = Root.read

    def guarded(root, name, *more):
        if not path.stat().st_mode & 0o400:
            raise PermissionError(13, "Permission denied")
        return read(root, name, *more)

    monkeypatch.setattr(Root, "read", guarded)
    bench.pass_time(source, 1200.0)
    ((_, error, _),) = bench.refused
    assert "Permission denied" in error.message
    path.chmod(0o644)
    bench.pass_time(source, 60.0)
    assert [c.data for c in bench.accepted] == [b"cells"]
    assert len(bench.refused) == 1


def test_a_missing_folder_is_degraded_not_deleted_and_resumes(bench):
    source = bench.source()
    (bench.folder / "a.fcs").write_bytes(b"a")
    bench.pass_time(source, 10.0)
    away = bench.folder.with_name("away")
    bench.folder.rename(away)
    bench.pass_time(source, 30.0)
    assert source.state == "degraded"
    away.rename(bench.folder)
    (bench.folder / "b.fcs").write_bytes(b"b")
    bench.pass_time(source, 30.0)
    assert source.state == "scanning"
    assert bench.names() == ["a.fcs", "b.fcs"], "the same folder: nothing is read twice"
    assert [state for state, _ in bench.states] == ["scanning", "degraded", "scanning"]


def test_a_folder_mounted_over_is_another_folder(bench):
    source = bench.source()
    (bench.folder / "a.fcs").write_bytes(b"a")
    bench.pass_time(source, 10.0)
    bench.folder.rename(bench.folder.with_name("old"))
    bench.folder.mkdir()
    (bench.folder / "a.fcs").write_bytes(b"other")
    bench.pass_time(source, 30.0)
    assert [c.data for c in bench.accepted] == [b"a", b"other"]


def test_a_folder_that_is_a_file_is_degraded(bench):
    bench.folder.rmdir()
    bench.folder.write_bytes(b"")
    source = bench.source()
    bench.pass_time(source, 30.0)
    assert bench.states == [("degraded", "RootLostError")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_the_empty_folder_below_a_share_that_went_away_is_no_place_for_results(bench):
    mount = ["mount", "-t", "tmpfs", "none", str(bench.folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounts are not allowed here")
    source = bench.source()
    try:
        bench.pass_time(source, 30.0)
    finally:
        subprocess.run(["umount", str(bench.folder)], check=True)
    (bench.folder / "a.fcs").write_bytes(b"a")
    bench.pass_time(source, 30.0)
    assert (source.state, bench.names()) == ("degraded", [])
    assert "was mounted there is gone" in source.reason
    subprocess.run(mount, check=True)
    try:
        (bench.folder / "b.fcs").write_bytes(b"b")
        bench.pass_time(source, 30.0)
    finally:
        subprocess.run(["umount", str(bench.folder)], check=True)
    assert bench.names() == ["b.fcs"]
    bench.pass_time(bench.source(), 30.0)  # a service that starts on the folder as it is
    assert bench.names() == ["b.fcs", "a.fcs"]


def test_a_new_file_does_not_wait_behind_those_that_lay_there_at_the_start(bench):
    for index in range(300):
        (bench.folder / f"{index:03}.fcs").write_bytes(b"%d" % index)
        os.utime(bench.folder / f"{index:03}.fcs", (1000 + index, 1000 + index))
    bench.taken = {(f"{index:03}.fcs", len(str(index))) for index in range(295)}
    source = bench.source()
    source.step()
    (bench.folder / "new.fcs").write_bytes(b"new")
    bench.clock.now += 1.0
    source.hint("new.fcs")
    source.step()
    bench.clock.now += 2.5
    source.step()
    assert len(bench.accepted) == 64
    assert bench.names()[:7] == ["new.fcs", *(f"{n}.fcs" for n in range(295, 300)), "000.fcs"]
    bench.pass_time(source, 60.0)
    assert sorted(bench.names()) == sorted([*(f"{n:03}.fcs" for n in range(300)), "new.fcs"])


def test_a_turn_that_takes_long_shows_that_it_moves(bench):
    source = bench.source(settle_s=0.0)
    for index in range(3):
        (bench.folder / f"{index}.fcs").write_bytes(b"%d" % index)
    seen = []

    def slow() -> None:
        seen.append(source.progressed_at)
        bench.clock.now += 20.0

    bench.on_read = slow
    bench.pass_time(source, 100.0)
    assert [later - former for former, later in itertools.pairwise(seen)] == [20.0, 20.0]


def test_intake_pauses_and_resumes_by_itself(bench):
    source = bench.source()
    bench.trouble = Retryable("disk full")
    for index in range(5):
        (bench.folder / f"{index}.fcs").write_bytes(b"%d" % index)
    bench.pass_time(source, 100.0)
    assert (source.state, bench.accepted) == ("paused", [])
    bench.trouble = None
    bench.pass_time(source, 13.0)
    assert sorted(bench.names()) == [f"{index}.fcs" for index in range(5)]
    assert source.state == "scanning"


def test_sub_folders_only_when_asked(bench):
    (bench.folder / "2026" / "11").mkdir(parents=True)
    (bench.folder / "2026" / "11" / "deep.fcs").write_bytes(b"x")
    bench.pass_time(bench.source(), 30.0)
    assert bench.accepted == []
    bench.pass_time(bench.source(recursive=True), 30.0)
    assert bench.names() == ["2026/11/deep.fcs"]


def test_more_files_than_fit_one_turn(bench):
    for index in range(300):
        (bench.folder / f"{index:03}.fcs").write_bytes(b"%d" % index)
    bench.pass_time(bench.source(), 10.0)
    assert len(bench.accepted) == 300


def test_events_make_it_fast_and_a_dead_watcher_does_not_stop_it(bench, wait_until):
    source = bench.source(poll=False, settle_s=0.05, rescan_s=3600.0)
    source.start()
    wait_until(lambda: source.state == "watching")
    (bench.folder / "a.fcs").write_bytes(b"a")
    wait_until(lambda: bench.names() == ["a.fcs"])  # the rescan is an hour away

    source._watch.stop()
    (bench.folder / "b.fcs").write_bytes(b"b")
    source.hint(None)  # stands for the rescan falling due
    wait_until(lambda: bench.names() == ["a.fcs", "b.fcs"])


def test_a_dead_watcher_is_replaced_at_the_next_rescan(bench, wait_until):
    source = bench.source(poll=False, settle_s=0.05, rescan_s=0.2)
    source.start()
    wait_until(lambda: source._watch.alive)
    before = source._watch._observer
    for emitter in list(before.emitters):
        emitter.stop()  # what an unmount does: the observer itself stays alive
    wait_until(lambda: source._watch.alive and source._watch._observer is not before)


def test_the_watch_follows_a_replaced_folder(bench, wait_until):
    source = bench.source(poll=False, settle_s=0.05, rescan_s=0.2)
    source.start()
    wait_until(lambda: source.state == "watching")
    bench.folder.rename(bench.folder.with_name("old"))
    bench.folder.mkdir()
    identity = (bench.folder.stat().st_dev, bench.folder.stat().st_ino)
    wait_until(lambda: source._watch.alive and source._watch._identity == identity)


def test_a_fatal_error_ends_the_thread_and_is_kept(bench, wait_until):
    bench.trouble = Fatal("newer schema")
    (bench.folder / "a.fcs").write_bytes(b"a")
    source = bench.source(poll=False, settle_s=0.0, rescan_s=0.1)
    source.start()
    wait_until(lambda: source.failure is not None)
    with pytest.raises(Fatal, match="newer schema"):
        source.check()


def test_a_flood_of_hints_becomes_one_look_at_everything(bench):
    source = bench.source()
    bench.pass_time(source, 1.0)
    (bench.folder / "real.fcs").write_bytes(b"x")
    for index in range(5000):
        source.hint(f"gone-{index}.fcs")
    bench.pass_time(source, 3.0)
    assert bench.names() == ["real.fcs"]


file_names = st.text(
    st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60
).filter(lambda name: name not in {".", ".."} and len(name.encode()) < 250)


@settings(deadline=None, max_examples=100)
@given(name=file_names)
def test_every_name_a_folder_can_hold_is_read_and_printable(name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(b"x")
        with Root(Path(folder)) as root:
            status = root.status(name)
            assert root.read(name, observation(status), 10) == b"x"
            listed = {found for found, _ in root.scan(("*",), recursive=False)}
        assert listed == ({name} if wanted(name, ("*",)) else set())
    assert label(name).isprintable()

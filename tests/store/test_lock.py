from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from edge_daemon.errors import EXIT_RETRY_LATER, Fatal, Retryable
from edge_daemon.store.lock import DirectoryLock
from edge_daemon.store.writer import Store

HOLDER = """
    import sys
    from pathlib import Path
    from edge_daemon.clock import SystemClock
    from edge_daemon.store.writer import Store
    store = Store.open(Path(sys.argv[1]), SystemClock())
"""


def start(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def kill(process):
    process.kill()
    process.communicate()


def test_the_second_is_told_who_the_first_is(data_dir, clock):
    first = start(HOLDER + "    print('open', flush=True); sys.stdin.read()", data_dir)
    assert first.stdout.readline() == "open\n"
    try:
        with pytest.raises(Fatal, match=rf"process {first.pid}\b") as caught:
            Store.open(data_dir, clock)
    finally:
        kill(first)
    assert caught.value.exit_code == EXIT_RETRY_LATER
    Store.open(data_dir, clock).close()  # a killed owner leaves no stale lock


def test_two_stores_in_one_process_exclude_each_other(store, data_dir, clock):
    with pytest.raises(Fatal, match=rf"process {os.getpid()}\b"):
        Store.open(data_dir, clock)


def test_of_many_started_at_once_exactly_one_gets_it(data_dir):
    script = """
        import sys
        from pathlib import Path
        from edge_daemon.errors import Fatal
        from edge_daemon.store.lock import DirectoryLock
        sys.stdin.readline()
        try:
            lock = DirectoryLock(Path(sys.argv[1]))
        except Fatal:
            print("refused", flush=True)
        else:
            print("holds", flush=True)
            sys.stdin.read()
    """
    data_dir.mkdir()
    processes = [start(script, data_dir / "lock") for _ in range(8)]
    try:
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.stdout.readline().strip() for process in processes]
    finally:
        for process in processes:
            kill(process)
    assert sorted(answers) == ["holds"] + ["refused"] * 7


def test_a_forked_worker_that_survives_its_service_does_not_hold_the_lock(data_dir, clock):
    fork = r"""
    import os, signal
    os.write(1, b"%d\n" % (os.fork() or os.getpid()))  # one write, so that lines stay whole
    signal.pause()
    """
    service = start(HOLDER + fork, data_dir)
    workers = {int(service.stdout.readline()) for _ in range(2)} - {service.pid}
    try:
        os.kill(service.pid, signal.SIGKILL)
        service.wait()
        Store.open(data_dir, clock).close()
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        service.communicate()


def test_release_lets_the_next_one_in(tmp_path):
    DirectoryLock(tmp_path / "lock").release()
    DirectoryLock(tmp_path / "lock").release()


def test_a_folder_that_cannot_hold_a_lock(tmp_path):
    with pytest.raises(Retryable, match="absent"):
        DirectoryLock(tmp_path / "absent" / "lock")


def test_a_data_directory_that_cannot_be_made(tmp_path, clock):
    (tmp_path / "file").write_text("")
    with pytest.raises(Retryable, match="file"):
        Store.open(tmp_path / "file" / "data", clock)

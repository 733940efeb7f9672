"""A disk that another program fills, for real: a tmpfs in a mount namespace of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import hashlib, os, sys
    from pathlib import Path
    from edge_daemon.ballast import BALLAST_MB, Ballast
    from edge_daemon.clock import SystemClock
    from edge_daemon.errors import Retryable
    from edge_daemon.health import DiskGuard
    from edge_daemon.log import EventLog
    from edge_daemon.records import CELL_CLASSES, Classified, Decoded, RawCapture, SampleInfo
    from edge_daemon.store.writer import Store

    disk = Path(sys.argv[1])
    step = Decoded("p/1", "a" * 64, 5, ("LA.H",), SampleInfo("s"))
    result = Classified("m", "b" * 64, dict.fromkeys(CELL_CLASSES, 1), (), ())

    def capture(number):
        data = os.urandom(300_000)
        return RawCapture("a", "s", str(number), hashlib.sha256(data).hexdigest(), data)

    def refused(call, *words):
        try:
            call()
        except Retryable as error:
            assert all(word in error.message for word in words), error.message
            return True
        return False

    with Store.open(disk / "data", SystemClock()) as store:
        ballast = Ballast(disk / "data")
        guard = DiskGuard(disk / "data", 20, EventLog("error"), ballast)
        assert ballast.make()
        guard.check()
        keys = [store.accept(capture(number)).capture_id for number in range(10)]
        with (disk / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(1 << 16))
            except OSError:
                pass
        assert refused(lambda: store.record_decoded(1, step), "full")
        assert refused(lambda: store.accept(capture(10)), "space")
        assert refused(guard.check, "52 MB are needed"), "the ballast's room went to intake"
        assert not ballast.held
        for key in keys:
            store.record_decoded(key, step)
            store.record_run(key, step, result)
        assert refused(guard.check, "52 MB are needed")
        assert not ballast.make() or guard.free_mb() < 20
        (disk / "filler").unlink()
        guard.check()
        assert ballast.make()
        guard.check()
        assert store.accept(capture(11)).capture_id == 11
        assert store.pending()[0].capture_id == 11
    print("all of it")
"""


def test_a_full_disk_pauses_intake_finishes_what_was_taken_and_goes_on(tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("system: unshare is not installed")
    alone = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets no user make a mount namespace")
    mount = f'mount -t tmpfs -o size=120m none {tmp_path} && exec "$@"'
    command = [*alone, "sh", "-c", mount, "sh"]
    command += [sys.executable, "-c", textwrap.dedent(SCRIPT), tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "all of it", done.stderr

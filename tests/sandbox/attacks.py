# ruff: noqa: PTH101, PTH102, PTH104, PTH208, PTH211
"""What somebody would try who has taken a decoding process over; run in a process of its own.

The system calls themselves are what is tried, so they are made as plainly as Python can. Also a
worker's entry (``attacks:take_over``): what came of each attempt goes back as notes.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)


def raw(number, *arguments):
    """Call the kernel past Python and the C library."""
    if LIBC.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def change_database(target):
    with sqlite3.connect(target) as db:
        db.execute("CREATE TABLE mine (x)")


def append(target):
    os.write(os.open(target, os.O_WRONLY | os.O_APPEND), b"x")


def overwrite(target):
    os.pwrite(os.open(target, os.O_RDWR), b"x" * 4096, 0)


def empty(target):
    os.close(os.open(target, os.O_RDONLY | os.O_TRUNC))


def spawn(_):
    subprocess.run(["/bin/true"], check=True)


def fork(_):
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def connect_unix(_):
    with socket.socket(socket.AF_UNIX) as made:
        made.connect("\0nobody")


WRITING = {
    "change the database": change_database,
    "append": append,
    "overwrite": overwrite,
    "empty": empty,
    "truncate": lambda t: os.truncate(t, 0),
    "unlink": os.unlink,
    "rename": lambda t: os.rename(t, f"{t}.gone"),
    "link": lambda t: os.link(t, f"{t}.link"),
    "symlink": lambda t: os.symlink("/etc/passwd", f"{t}.symlink"),
    "create": lambda t: Path(f"{t}.new").touch(),
    "create folder": lambda t: os.mkdir(f"{t}.folder"),
    "create pipe": lambda t: os.mkfifo(f"{t}.pipe"),
    "change mode": lambda t: os.chmod(t, 0o777),
    "change owner": lambda t: os.chown(t, 1, 1),
    "change time": lambda t: os.utime(t, (0, 0)),
    "change attribute": lambda t: os.setxattr(t, "user.x", b"y"),
}
READING = {
    "read": lambda t: Path(t).read_bytes(),
    "list": lambda t: os.listdir(Path(t).parent),
    "read of the service": lambda _: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
}
REACHING = {
    "internet": lambda _: socket.create_connection(("127.0.0.1", 9)),
    "socket 4": lambda _: socket.socket(socket.AF_INET),
    "socket 6": lambda _: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
    "socket of packets": lambda _: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "socket unix": connect_unix,
    "pair": lambda _: socket.socketpair(),
    "exec": lambda _: os.execv("/bin/true", ["true"]),
    "spawn": spawn,
    "fork": fork,
    "signal to the service": lambda _: os.kill(os.getppid(), 0),
    "limits of the service": lambda _: resource.prlimit(os.getppid(), resource.RLIMIT_CORE),
    "io_uring": lambda _: raw(425, 1, None),
    "openat2": lambda t: raw(437, -100, t.encode(), (ctypes.c_uint64 * 3)(2), 24),
    "namespace": lambda _: raw(272 if os.uname().machine == "x86_64" else 97, 0x10000000),
    "outlive the service": lambda _: LIBC.prctl(1, 0, 0, 0, 0) and raw(10**6),
}


def still_works(readable):
    """Use what decoding needs."""
    import numpy as np
    import onnxruntime  # noqa: F401

    for path in Path(readable).iterdir():
        path.read_bytes()
    thread = threading.Thread(target=np.linalg.svd, args=(np.ones((50, 50)),))
    thread.start()
    thread.join()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGUSR1)
    return bytearray(1 << 24)


def attempt(attack, target):
    """Try, and say "done" or why not."""
    try:
        attack(target)
    except (OSError, sqlite3.Error, RuntimeError) as error:
        return type(error).__name__
    return "done"


def outcomes(target):
    """Try everything on one file."""
    return {
        name: attempt(attack, target)
        for group in (WRITING, READING, REACHING)
        for name, attack in group.items()
    }


def take_over(plan):
    """Serve as a worker's entry."""
    from edge_daemon.records import Decoded, SampleInfo

    def run(task):
        tried = outcomes(task.name)
        own = {f"archive: {n}": attempt(a, task.path) for n, a in WRITING.items()}
        notes = tuple(f"{name}={what}" for name, what in (tried | own).items())
        yield Decoded("p/1", "0" * 64, 0, ("LA.H",), SampleInfo(), notes)

    return run


def main():
    from edge_daemon import sandbox

    readable, target, *changes = sys.argv[1:]
    for change in changes:
        exec(change, {"sandbox": sandbox, "REACHING": REACHING})
    sandbox.confine([Path(readable)])
    still_works(readable)
    sys.stdout.write(json.dumps(outcomes(target)))


if __name__ == "__main__":
    main()

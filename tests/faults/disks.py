"""Disks that can be cut off, filled and broken: loop-mounted ext4, tmpfs, FUSE. All need root."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.bench import run

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, also FS_IOC_SHUTDOWN: _IOR('X', 125, __u32)
_NO_LOG_FLUSH = 2


class Ext4:
    """A file system of its own; what it never flushed is gone after `cut`."""

    def __init__(self, folder: Path, megabytes: int = 48) -> None:
        self.point = folder / "disk"
        self.point.mkdir(parents=True)
        self.image = folder / "0.img"
        self._mounts = 0
        with self.image.open("wb") as file:
            file.truncate(megabytes << 20)
        run("mkfs.ext4", "-q", "-F", "-m", "0", self.image)
        self.mount()

    def mount(self, options: str = "errors=remount-ro") -> None:
        run("mount", "-o", f"loop,{options}", self.image, self.point)
        self._mounts += 1

    def cut(self) -> None:
        """Cut the power: nothing that is not on the disk by now gets there, the journal neither."""
        handle = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(handle)

    def unmount(self) -> None:
        unmount(self.point)

    def replug(self, *, repair: bool = False) -> None:
        """Take the disk away and mount it again, which replays its journal.

        What is mounted is a copy: somebody else's mount namespace may still hold the dead one.
        """
        self.unmount()
        left = self.image
        self.image = left.with_name(f"{self._mounts}.img")
        run("cp", "--sparse=always", left, self.image)
        left.unlink()
        if repair:
            run("e2fsck", "-p", self.image, check=False)
        self.mount()

    def break_down(self) -> None:
        """Let the file system find itself damaged: it becomes read-only at once."""
        source = run("findmnt", "-no", "SOURCE", self.point).stdout.strip()
        Path(f"/sys/fs/ext4/{Path(source).name}/trigger_fs_error").write_text("1")

    def close(self) -> None:
        self.unmount()
        self.image.unlink()


@contextlib.contextmanager
def ext4(folder: Path, megabytes: int = 48) -> Iterator[Ext4]:
    disk = Ext4(folder, megabytes)
    try:
        yield disk
    finally:
        disk.close()


@contextlib.contextmanager
def tmpfs(point: Path, megabytes: int) -> Iterator[Path]:
    point.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", point)
    try:
        yield point
    finally:
        unmount(point)


def unmount(point: Path) -> None:
    """Unmount; workers of a killed service may hold it for a moment.

    Whoever holds it longer keeps what is not there any more: a disk is mounted again as a copy.
    """
    deadline = time.monotonic() + 20.0
    while (done := run("umount", point, check=False)).returncode:
        if "not mounted" in done.stderr or "no mount point" in done.stderr:
            return
        if time.monotonic() > deadline:
            run("umount", "-l", point)
            return
        time.sleep(0.02)


def missing(*needs: str) -> str | None:
    """Say why a row cannot be run here; None if it can.

    ``root`` stands for mounts and loop devices, which no package brings; anything else is a
    program or a library, and the reason begins so that `.ci/run` takes it for a failure.
    """
    for need in needs:
        if need == "root":
            if not _may_mount():
                return "mounts and loop devices are not allowed here; needs root on a machine"
        elif shutil.which(need) is None and library(need) is None:
            return f"system: {need} is not installed"
    return None


@functools.cache
def _may_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            Ext4(Path(folder), 8).close()
        except (OSError, subprocess.CalledProcessError):
            return False
    return True


def library(name: str) -> Path | None:
    """Find a library that is loaded before a program, wherever the distribution keeps it."""
    for pattern in (f"lib*/{name}.so*", f"lib*/*/{name}.so*", f"lib*/*/*/{name}.so*"):
        for found in sorted(Path("/usr").glob(pattern)):
            return found
    return None

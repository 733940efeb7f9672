"""From facts about the box itself to what is well and what to do; pure functions.

A check returns None where its facts do not exist on this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from edge_daemon.resources import systemd_dir
from edge_daemon.store.sqlite_version import has_wal_reset_bug

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_daemon.doctor.facts import (
        Backup,
        Config,
        Database,
        Folder,
        Memory,
        Mount,
        Power,
        Space,
        Time,
        Wear,
    )

Verdict = Literal["ok", "doubt", "bad"]

_OTHERS: Final = 0o007
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs"}
)
_VOLATILE: Final = frozenset({"tmpfs", "ramfs", "overlay"})
_WEAK: Final = frozenset({"vfat", "exfat", "ntfs", "ntfs3", "fuseblk", "msdos"})
_UNSAFE: Final = frozenset({"data=writeback", "nobarrier", "barrier=0"})
_BACKUP_H: Final = 48.0
_WORN: Final = 8
_FEW_FILES: Final = 10_000
_HOT: Final = 80.0
_JOURNAL_MB: Final = 500
SERVICE_MB: Final = 160
WORKER_MB: Final = 160
"""What one process is counted with, MB; measured, with a margin (docs/security.md)."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `doctor`.

    Attributes
    ----------
    name
        What was looked at.
    verdict
        ``ok``; ``doubt``: works, and should be mended; ``bad``: does not work, or loses data.
    text
        What was found.
    fix
        What to do; empty for ``ok``.
    """

    name: str
    verdict: Verdict
    text: str
    fix: str = ""


def ok(name: str, text: str) -> Check:
    """Say that all is well."""
    return Check(name, "ok", text)


def doubt(name: str, text: str, fix: str) -> Check:
    """Say that it works, and should be mended."""
    return Check(name, "doubt", text, fix)


def bad(name: str, text: str, fix: str) -> Check:
    """Say that it does not work, or may lose data."""
    return Check(name, "bad", text, fix)


def config(facts: Config) -> Check:
    """Check that there is a configuration and that it holds."""
    name = "configuration"
    if facts.problems is None:
        fix = f"write one with `edge-daemon config init {facts.path}`"
        return doubt(name, f"{facts.path}: there is none", fix)
    if facts.problems:
        more = f" (and {len(facts.problems) - 1} more)" if len(facts.problems) > 1 else ""
        fix = f"correct the file; `edge-daemon config check {facts.path}` lists everything"
        return bad(name, f"{facts.problems[0]}{more}", fix)
    return ok(name, facts.path)


def data_folder(facts: Folder) -> Check:
    """Check owner and permissions of the data folder: it holds patients' names."""
    name = "data folder"
    if not facts.exists:
        fix = "start the service once: it makes the folder; or correct `box.data_dir`"
        return doubt(name, f"{facts.path} does not exist", fix)
    if not facts.usable:
        fix = f"`sudo chown -R {facts.user}: {facts.path}`"
        text = f"{facts.path} belongs to {facts.owner}, and {facts.user} may not write in it"
        return bad(name, text, fix)
    if facts.mode & _OTHERS:
        text = f"{facts.path} can be read by every user of this machine ({facts.mode:04o})"
        return doubt(name, text, f"`sudo chmod o-rwx {facts.path}`")
    return ok(name, f"{facts.path}, of {facts.owner}, {facts.mode:04o}")


def space(facts: Space | None) -> Check | None:
    """Check the room on the disk."""
    if facts is None:
        return None
    name, fix = "disk space", "free disk space, or fit a larger disk"
    if facts.free_mb < facts.needed_mb:
        text = f"{facts.free_mb} MB free; below {facts.needed_mb} MB nothing is taken in"
        return bad(name, text, fix)
    if facts.free_files is not None and facts.free_files < _FEW_FILES:
        text = f"the file system has room for only {facts.free_files} more files"
        return doubt(name, text, "remove files, or make the file system again with more inodes")
    if facts.free_mb < 2 * facts.needed_mb:
        text = f"{facts.free_mb} MB free; at {facts.needed_mb} MB nothing more is taken in"
        return doubt(name, text, fix)
    return ok(name, f"{facts.free_mb} MB free")


def mount(facts: Mount | None) -> Check | None:
    """Check that the file system keeps what was written, in the order it was written."""
    if facts is None:
        return None
    name, place = "file system", f"{facts.kind} on {facts.point}"
    unsafe = ", ".join(sorted(facts.options & _UNSAFE))
    rules: tuple[tuple[object, Callable[[str, str, str], Check], str, str], ...] = (
        ("ro" in facts.options, bad, "is read-only", "check the card with `dmesg`; replace it"),
        (facts.kind in _NETWORK, bad, "is a network share, where a database gets damaged",
         "put `box.data_dir` on a disk of this box"),
        (facts.kind in _VOLATILE, bad, "may lose in a power cut whatever is written",
         "put `box.data_dir` on a disk, or switch the overlay off"),
        (unsafe, bad, f"is mounted with {unsafe}: a power cut damages files",
         "remove the option from /etc/fstab or the kernel command line"),
        (facts.kind in _WEAK, doubt, "has no journal and no permissions",
         "put `box.data_dir` on an ext4 file system"),
    )  # fmt: skip
    for applies, verdict, words, fix in rules:
        if applies:
            return verdict(name, f"{place} {words}", fix)
    return ok(name, place)


def sqlite_version(version: str) -> Check:
    """Check for upstream's WAL-reset bug: 3.7.0 to 3.51.2, mended in 3.44.6 and 3.50.7 as well."""
    name = "SQLite"
    major, minor, patch = map(int, version.split(".")[:3])
    if not has_wal_reset_bug((major, minor, patch)):
        return ok(name, version)
    text = (
        f"{version} can damage a database that two programs write at the same instant "
        "(WAL-reset bug); the service writes alone"
    )
    return doubt(name, text, "never open the database for writing with another program")


def database(facts: Database) -> Check:
    """Check that the database can be read and is whole."""
    name = "database"
    if facts.trouble:
        fix = "see the message; if the disk is sound, restore a backup (docs/storage.md)"
        return bad(name, facts.trouble, fix)
    if not facts.exists:
        return doubt(name, "there is none yet", "start the service once: it makes it")
    if facts.damage:
        fix = "stop the service, copy the data folder away, then restore a backup (docs/storage.md)"
        return bad(name, f"damaged: {facts.damage[0]}", fix)
    return ok(name, "quick_check found nothing")


def backups(facts: Sequence[Backup], has_database: bool) -> Check | None:  # noqa: FBT001
    """Check that there is a fresh backup that can be restored."""
    if not has_database:
        return None
    name, fix = "backups", "run `edge-daemon backup`; the service makes one every day"
    if not facts:
        return doubt(name, "there is none", fix)
    broken = [backup for backup in facts if backup.trouble]
    if broken:
        text = f"{broken[0].name} cannot be restored: {broken[0].trouble}"
        return bad(name, text, f"remove {broken[0].name}, and check the card or disk")
    newest = min(facts, key=lambda backup: backup.age_h)
    if newest.behind and newest.age_h > _BACKUP_H:
        text = f"the newest, {newest.name}, is {newest.age_h:.0f} h old and lacks results"
        return doubt(name, text, fix)
    return ok(name, f"{len(facts)}, the newest {newest.age_h:.0f} h old, all can be restored")


def wear(facts: Wear) -> Check:
    """Check how much of its life a card has left."""
    name = "card wear"
    if not facts.used_tenths and facts.reserve in ("unknown", "normal"):
        return ok(name, f"{facts.device} does not tell; keep a backup elsewhere (storage.md)")
    used = f"{facts.device}: {facts.used_tenths * 10} % of its life used"
    if facts.reserve == "urgent" or facts.used_tenths > 10:
        return bad(name, f"{used}, reserve blocks run out", "replace the card now")
    if facts.reserve == "warning" or facts.used_tenths >= _WORN:
        return doubt(name, used, "order a new card, and copy the data folder to it")
    return ok(name, used)


def journal(size_mb: int | None) -> Check | None:
    """Check that the system's journal leaves the disk to the results."""
    if size_mb is None:
        return None
    name, text = "journal", f"{size_mb} MB of the disk"
    if size_mb > _JOURNAL_MB:
        advice = systemd_dir() / "journald.conf.d/edge-daemon.conf"
        fix = f"copy {advice} to /etc/systemd/journald.conf.d, restart systemd-journald"
        return doubt(name, text, fix)
    return ok(name, text)


def power(facts: Power) -> Check | None:
    """Check the supply of a Raspberry Pi: bits 0-3 are of now, 16-19 since the start."""
    if facts.throttled is None:
        return None
    name = "power supply"
    supply = "use the supply made for this board, and a short cable"
    if facts.throttled & 0x1:
        return bad(name, "the voltage is too low now", supply)
    if facts.throttled & 0x10000:
        return doubt(name, "the voltage was too low since the start", supply)
    if facts.throttled & 0xE000E:
        return doubt(name, "the processor was slowed down", "let more air to the board")
    return ok(name, "steady since the start")


def temperature(facts: Power) -> Check | None:
    """Check how warm the processor is."""
    if facts.celsius is None:
        return None
    name, text = "temperature", f"{facts.celsius:.0f} °C"
    if facts.celsius >= _HOT:
        return doubt(name, text, "let more air to the box, away from the analyzer's warm side")
    return ok(name, text)


def clock(facts: Time) -> Check:
    """Check who sets the clock."""
    name = "clock"
    if facts.state == "synchronised":
        return ok(name, "set by a time server")
    if facts.battery_clock:
        fix = "connect the box to a time server (`timedatectl set-ntp true`)"
        return doubt(name, "a battery keeps it, and no time server sets it", fix)
    fix = "connect the box to a time server, or fit a battery-backed clock"
    text = "no time server sets it and no battery keeps it: wrong after a power cut"
    return doubt(name, text, fix)


def memory(facts: Memory | None) -> Check | None:
    """Check that the workers fit."""
    if facts is None:
        return None
    name = "memory"
    needed = SERVICE_MB + facts.workers * WORKER_MB
    if facts.total_mb < needed:
        text = f"{facts.total_mb} MB; {facts.workers} workers need about {needed} MB"
        return doubt(name, text, "set `workers.count` lower")
    return ok(name, f"{facts.total_mb} MB, {facts.available_mb} MB of it free")

"""Read what the machine says of itself: disk, card, board, clock, memory.

Every function takes the root of the tree it reads, so that tests can plant one.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_daemon.clock import clock_state
from edge_daemon.disk import read_disk
from edge_daemon.doctor.facts import Memory, Mount, Power, Space, Time, Wear

if TYPE_CHECKING:
    from typing import Literal

ROOT: Final = Path("/")
UNIT: Final = "edge-daemon.service"
_TIMEOUT_S: Final = 10.0
_RESERVES: Final[dict[int, Literal["normal", "warning", "urgent"]]] = {
    1: "normal",
    2: "warning",
    3: "urgent",
}


def run(*command: str) -> str | None:
    """Output of a program; None where it is missing, fails or hangs."""
    try:
        done = subprocess.run(  # noqa: S603 - our own words only
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def text(path: Path) -> str | None:
    """Content of a small file, stripped; None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return None


def space(folder: Path, needed_mb: int) -> Space | None:
    """Look at the room on the disk of a folder."""
    disk = read_disk(folder)
    if disk.reason:
        return None
    status = os.statvfs(folder)
    # File systems that make inodes as they go report none at all.
    return Space(disk.free_mb, needed_mb, status.f_favail if status.f_files else None)


def mount(folder: Path, root: Path = ROOT) -> Mount | None:
    """Find the file system of a folder in the kernel's list of mounts."""
    table = text(root / "proc/self/mountinfo")
    return None if table is None else mount_of(os.path.realpath(folder), table)


def mount_of(path: str, table: str) -> Mount | None:
    """Find the mount that holds `path` in the text of ``/proc/self/mountinfo``.

    The longest mount point that leads to the path; of equal ones the last covers the others.
    """
    best: Mount | None = None
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        fields, tail = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(tail) < 3:
            continue
        point = _unescaped(fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and (best is None or len(point) >= len(best.point)):
            options = frozenset(fields[5].split(",")) | frozenset(tail[2].split(","))
            best = Mount(tail[0], options, point)
    return best


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def wear(root: Path = ROOT) -> tuple[Wear, ...]:
    """Ask every eMMC and SD card for its wear (JEDEC life time estimates)."""
    found = []
    for device in sorted((root / "sys/block").glob("mmcblk[0-9]")):
        life = text(device / "device/life_time") or ""
        # 0x01 means "0 to 10 % used"; 0, and most SD cards, say nothing.
        tenths = max((int(word, 16) for word in re.findall("0x[0-9a-fA-F]+", life)), default=0)
        reserve = int(text(device / "device/pre_eol_info") or "0", 16)
        found.append(Wear(device.name, tenths, _RESERVES.get(reserve, "unknown")))
    return tuple(found)


def journal_mb(root: Path = ROOT) -> int | None:
    """Sum up what the system's journal takes of the disk; None where it keeps none there."""
    folder = root / "var/log/journal"
    try:
        files = [file.stat() for file in folder.rglob("*.journal*")]
    except OSError:
        return None
    return sum(status.st_blocks * 512 for status in files) >> 20 if folder.is_dir() else None


def power(root: Path = ROOT) -> Power:
    """Ask a Raspberry Pi's firmware about its supply, and the first sensor for the temperature."""
    model = text(root / "proc/device-tree/model") or ""
    throttled = None
    if "Raspberry Pi" in model:
        said = text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
        said = said or (run("vcgencmd", "get_throttled") or "").strip().removeprefix("throttled=")
        try:
            throttled = int(said, 16)
        except ValueError:
            throttled = None
    millis = text(root / "sys/class/thermal/thermal_zone0/temp") or ""
    celsius = int(millis) / 1000 if millis.lstrip("-").isdigit() else None
    return Power(throttled, celsius)


def time(root: Path = ROOT) -> Time:
    """Ask the kernel about its clock, and look for a battery-backed one."""
    fitted = any((root / "sys/class/rtc").glob("rtc*"))
    return Time(clock_state(), fitted)


def memory(workers: int, root: Path = ROOT) -> Memory | None:
    """Read the size of the memory."""
    said = dict(re.findall(r"^(\w+):\s+(\d+) kB$", text(root / "proc/meminfo") or "", re.MULTILINE))
    if "MemTotal" not in said:
        return None
    return Memory(int(said["MemTotal"]) >> 10, int(said.get("MemAvailable", "0")) >> 10, workers)

"""The rows of the fault matrix, and what each of them needs of the machine."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults import rows_box as box
from tests.faults import rows_damage as damage
from tests.faults import rows_disk as disk
from tests.faults import rows_folder as folders
from tests.faults import rows_kill as kill
from tests.faults import rows_line as line
from tests.faults import rows_power as power
from tests.faults.bench import Record, Trial
from tests.faults.disks import missing
from tests.faults.zygote import Zygote


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes
    ----------
    name
        On the command line and in test ids.
    fault
        What happens, for the table.
    run
        Brings it about.
    needs
        What the machine must have, see `disks.missing`.
    mark_s
        Longest recovery that the full campaign lets pass.
    """

    name: str
    fault: str
    run: Callable[[Trial], Record]
    needs: tuple[str, ...] = ()
    mark_s: float = 30.0

    def missing(self) -> str | None:
        return missing(*self.needs)


ROWS = (
    Row("kill", "SIGKILL at any moment", kill.kill_at_any_moment),
    Row("kill-mid-write", "SIGKILL mid-write", kill.kill_mid_write, ("strace",)),
    Row("power-cut", "Power cut", power.power_cut, ("root",)),
    Row("power-cut-lines", "Power cut, on lines", power.power_cut_on_lines, ("root",)),
    Row("crash-image", "Power cut, writes torn", power.crash_image, ("strace",)),
    Row("lying-disk", "Power cut, disk lies (control)", power.lying_disk, ("root", "libeatmydata")),
    Row("failing-sync", "EIO, then a power cut", disk.failing_sync, ("root", "strace")),
    Row("failing-write", "Writes report ENOSPC, EIO, EROFS", disk.failing_write, ("strace",)),
    Row("disk-full", "Disk full", disk.disk_full, ("root",)),
    Row("read-only", "File system turns read-only", disk.read_only, ("root",)),
    Row("read-only-start", "Started on a read-only mount", disk.read_only_at_start, ("root",)),
    Row("damaged-database", "Database damaged or deleted", damage.damaged_database),
    Row("flipped-bit", "One bit of the database flips", damage.flipped_bit),
    Row("unfinished-files", "Half-written, growing, stalled files", folders.unfinished_files),
    Row("duplicates", "Copied, renamed, moved in, exported again", folders.duplicates),
    Row("hostile-names", "Links, FIFOs, devices, odd names", folders.hostile_names, ("root",)),
    Row("event-overflow", "Queue of change events overflows", folders.overflow),
    Row("burst", "Burst of files, then a restart", folders.burst, mark_s=10.0),
    Row("folder-lost", "Folder unmounted, replaced", folders.folder_lost, ("root",)),
    Row("blocked-share", "Share that blocks, errs", folders.blocked_share, ("root", "bindfs")),
    Row("serial-faults", "Cable, frame and speed faults", line.serial_faults, mark_s=10.0),
    Row("clock-jumps", "Clock jumps ten years", box.clock_jumps, ("libfaketimeMT",)),
    Row("poison", "Poison captures: memory, CPU, hang, crash", box.poison, mark_s=35.0),
    Row("twenty-at-once", "Twenty services on one data folder", kill.one_of_twenty),
    Row("upgrade", "Upgrade killed at each statement; downgrade", box.interrupted_upgrade),
    Row("hung-loop", "A loop that hangs", box.hung_loop, mark_s=100.0),
)  # fmt: skip


def run_row(
    row: Row,
    folder: Path,
    seed: int,
    *,
    full: bool,
    zygotes: dict[str, Zygote],
    say: Callable[[str], object] = lambda _: None,
) -> Record:
    """Run a row, whatever it does; its record says what went wrong.

    `zygotes` are those of earlier rows, and get those that this one starts.
    """
    try:
        record = row.run(Trial(folder, seed, full, zygotes, say))
    except Exception as error:  # noqa: BLE001 - the campaign goes on with the next row
        record = Record(row.name, seed=seed)
        record.problems.append(f"{type(error).__name__}: {error}")
        record.problems += traceback.format_exc().splitlines()[-12:]
    if full and record.recovered_s > row.mark_s:
        record.problems.append(f"recovered in {record.recovered_s:.1f} s; {row.mark_s:g} s allowed")
    return record

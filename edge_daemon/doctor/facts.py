"""What `doctor` reads of the box. Plain data; nothing here decides anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration file; `problems` are its mistakes, None where there is no file."""

    path: str
    problems: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Folder:
    """The data folder.

    Attributes
    ----------
    exists
        Whether it is there and a folder.
    owner, mode
        Name of the owner, permission bits.
    user
        Who was asked whether it can be used: the service's own user where it exists, else
        whoever runs `doctor`.
    usable
        Whether that user may read and write in it.
    """

    path: str
    exists: bool = False
    owner: str = ""
    mode: int = 0
    user: str = ""
    usable: bool = False


@dataclass(frozen=True, slots=True)
class Space:
    """Room on the disk; `needed_mb` is the least with which captures are taken."""

    free_mb: int
    needed_mb: int
    free_files: int | None


@dataclass(frozen=True, slots=True)
class Mount:
    """File system of the data folder: type, options, and where it is mounted."""

    kind: str
    options: frozenset[str]
    point: str


@dataclass(frozen=True, slots=True)
class Database:
    """The database; `trouble` is why it cannot be opened, `damage` what `quick_check` found."""

    exists: bool
    trouble: str = ""
    damage: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup.

    Attributes
    ----------
    trouble
        Why it cannot be restored; empty for a good one.
    behind
        Whether the database has captures or results that it has not.
    """

    name: str
    age_h: float
    trouble: str = ""
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Wear:
    """A card: tenths of its life used (0: it does not tell), and whether its reserve is low."""

    device: str
    used_tenths: int
    reserve: Literal["unknown", "normal", "warning", "urgent"]


@dataclass(frozen=True, slots=True)
class Power:
    """A board that reports its supply: the firmware's bits, and the temperature in °C."""

    throttled: int | None
    celsius: float | None


@dataclass(frozen=True, slots=True)
class Time:
    """The clock: the kernel's word on it, and whether a battery-backed clock is fitted."""

    state: Literal["synchronised", "unsynchronised", "unknown"]
    battery_clock: bool


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Export folder of an analyzer."""

    name: str
    path: str
    exists: bool
    user: str
    readable: bool


@dataclass(frozen=True, slots=True)
class SerialSource:
    """Serial port of an analyzer; `lasting` is the name that stays, where it is another one."""

    name: str
    port: str
    user: str
    exists: bool = False
    is_port: bool = False
    lasting: str | None = None
    usable: bool = False
    group: str = ""


@dataclass(frozen=True, slots=True)
class NetworkSource:
    """Network address of an analyzer; `trouble` is why it cannot be used."""

    name: str
    address: str
    listening: bool
    trouble: str


Source = FolderSource | SerialSource | NetworkSource


@dataclass(frozen=True, slots=True)
class Probe:
    """What a process of its own found with profiles and models.

    Attributes
    ----------
    ended
        How the process ended, where not well: "by SIGILL", "with exit status 1", "after 120 s".
    profiles
        Profiles that load.
    broken_profiles
        Why the others do not.
    bundles
        Bundles that proved right on this processor.
    broken_bundles
        Why the others did not.
    runtime, locked
        Version of onnxruntime, and the one that the golden vectors were made with.
    telemetry_off
        Whether the runtime's telemetry is switched off.
    """

    ended: str = ""
    profiles: int = 0
    broken_profiles: tuple[str, ...] = ()
    bundles: tuple[str, ...] = ()
    broken_bundles: tuple[str, ...] = ()
    runtime: str = ""
    locked: str = ""
    telemetry_off: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the box, MB, and how many workers are configured."""

    total_mb: int
    available_mb: int
    workers: int


@dataclass(frozen=True, slots=True)
class Service:
    """The running service.

    Attributes
    ----------
    pid
        Process that holds the data folder, or None.
    conditions
        Warnings and errors it reports now: in words, and what to do.
    systemd
        Whether systemd manages this machine.
    loaded
        Whether the unit is installed.
    active, result
        systemd's words, e.g. ``active``, ``failed`` and ``exit-code``.
    restarts
        How often systemd had to start it again.
    enabled
        Whether it starts with the box.
    private_network, private_devices, private_tmp
        Whether the unit keeps these from it.
    """

    pid: int | None = None
    conditions: tuple[tuple[str, str], ...] = ()
    systemd: bool = False
    loaded: bool = False
    active: str = ""
    result: str = ""
    restarts: int = 0
    enabled: bool = False
    private_network: bool = False
    private_devices: bool = False
    private_tmp: bool = False


@dataclass(frozen=True, slots=True)
class Server:
    """The central server of an enrolled box.

    Attributes
    ----------
    address
        As it was enrolled.
    trouble
        Why it cannot be reached, or is not to be trusted; empty if it answered.
    valid_days
        Days until the box's certificate ends, by the box's clock.
    """

    address: str
    trouble: str
    valid_days: float


@dataclass(frozen=True, slots=True)
class Page:
    """The technician's page: where it is to be, and why it is not served; empty where it is."""

    address: str
    trouble: str


@dataclass(frozen=True, slots=True)
class Updates:
    """Signed updates of a box that trusts somebody.

    Attributes
    ----------
    in_use
        Number of updates in use.
    trouble, action
        Why none can be taken, and what to do; empty while they can.
    days
        Days until what is offered runs out, by the box's clock; None before the first look.
    """

    in_use: int
    trouble: str
    action: str
    days: float | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything; None where this machine has no such thing, or it cannot be read."""

    config: Config
    folder: Folder
    space: Space | None
    mount: Mount | None
    sqlite_version: str
    database: Database
    backups: tuple[Backup, ...]
    wear: tuple[Wear, ...]
    power: Power
    time: Time
    sources: tuple[Source, ...]
    probe: Probe
    unconfined: tuple[str, ...]
    memory: Memory | None
    service: Service
    server: Server | None
    page: Page | None
    journal_mb: int | None
    updates: Updates | None = None

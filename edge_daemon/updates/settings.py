"""Settings that a fleet may set: a closed list, signed as every update, and read as the file is.

Nothing here can hold a secret, name a place or a server, open the box to anybody, let more leave
the clinic, or delete anything sooner.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import ValidationError

from edge_daemon.config import Settings
from edge_daemon.errors import EdgeError
from edge_daemon.updates.folder import active_folders

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE: Final = "settings.toml"
ALLOWED: Final = (
    "limits.max_file_mb",
    "limits.min_free_mb",
    "log.level",
    "sync.raw_kbit_s",
    "sync.raw_quiet",
    "updates.every_h",
    "workers.count",
    "workers.cpu_s",
    "workers.memory_mb",
    "workers.tasks_per_worker",
    "workers.wall_s",
)
"""Every key that a fleet may set; docs/updates.md lists them too."""

_MAX_BYTES: Final = 64 << 10

Origin = Literal["default", "file", "fleet"]


@dataclass(frozen=True, slots=True)
class Effective:
    """What the service works with, and where it comes from.

    Attributes
    ----------
    settings
        The file's, with what the fleet sets over it.
    fleet
        Keys that the fleet has set.
    kept
        Keys that the fleet sets and this site keeps to itself (`updates.keep`).
    problem
        Why nothing of the fleet's is used although there is something; empty otherwise.
    """

    settings: Settings
    fleet: Mapping[str, Any] = field(default_factory=dict)
    kept: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    def origin(self, key: str) -> Origin:
        """Where the value of a key comes from: ``section.key``."""
        if key in self.fleet:
            return "fleet"
        section, _, name = key.partition(".")
        return "file" if name in getattr(self.settings, section).model_fields_set else "default"


def read_fleet_settings(path: Path) -> dict[str, Any]:
    """Read a file of settings for a fleet.

    Returns
    -------
    dict
        ``section.key`` → value.

    Raises
    ------
    EdgeError
        It cannot be read, holds a key that a fleet may not set, or a value that the box's own
        file could not hold; all are listed.
    """
    try:
        raw = path.read_bytes()
        document = tomllib.loads(raw.decode("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise EdgeError(f"{path.name}: is no TOML: {error}") from error
    if len(raw) > _MAX_BYTES:
        raise EdgeError(f"{path.name}: more than {_MAX_BYTES} bytes")
    told = {
        f"{section}.{key}": value
        for section, table in document.items()
        for key, value in (table.items() if isinstance(table, dict) else [("", table)])
    }
    strange = sorted(set(told) - set(ALLOWED))
    if strange:
        raise EdgeError(
            f"{path.name}: a fleet may not set {', '.join(strange)}",
            action=f"It may set {', '.join(ALLOWED)}.",
        )
    if not told:
        raise EdgeError(f"{path.name}: sets nothing")
    _with(_example(), told, path.name)
    return told


def effective(settings: Settings, data_dir: Path) -> Effective:
    """Put what the fleet sets over a box's own settings; wrong ones of the fleet's are left out.

    Parameters
    ----------
    settings
        As the box's file says.
    data_dir
        Of the box.
    """
    folders = active_folders(data_dir, "settings")
    if not folders:
        return Effective(settings)
    try:
        told = read_fleet_settings(folders[-1] / FILE)
        kept = {key: value for key, value in told.items() if _keeps(settings, key)}
        fleet = {key: value for key, value in told.items() if key not in kept}
        return Effective(_with(settings, fleet, FILE), fleet, kept)
    except EdgeError as error:
        return Effective(settings, problem=error.message)


def _keeps(settings: Settings, key: str) -> bool:
    return any(key == own or key.startswith(f"{own}.") for own in settings.updates.keep)


def _with(settings: Settings, told: Mapping[str, Any], name: str) -> Settings:
    """Change single keys, each checked as in the file."""
    sections: dict[str, Any] = {}
    problems = []
    for key, value in told.items():
        section, _, field_name = key.partition(".")
        before = sections.get(section) or getattr(settings, section)
        document = {**before.model_dump(exclude_unset=True), field_name: value}
        try:
            sections[section] = type(before).model_validate(document)
        except ValidationError as error:
            problems += [f"{key}: {found['msg']}" for found in error.errors()]
    if problems:
        raise EdgeError(f"{name}: {'; '.join(problems)}")
    return settings.model_copy(update=sections)


def _example() -> Settings:
    source = {"name": "any", "kind": "folder", "path": "/"}
    return Settings.model_validate({"source": [source]})

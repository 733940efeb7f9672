"""The last configuration that worked: kept in the data folder, used while the present one is wrong.

A box that nobody looks after must not stop taking runs in because somebody mistyped a key. The
copy is a whole configuration with absolute paths, so it can be read, checked and put back as it
is.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import tomlkit

from edge_daemon import wording
from edge_daemon.clock import format_wall
from edge_daemon.conditions import Finding
from edge_daemon.config import SYSTEM_DATA_DIR, ConfigError, Problem, load_config, must_exist
from edge_daemon.errors import EdgeError, Fatal
from edge_daemon.store.archive import sync_directory

if TYPE_CHECKING:
    from edge_daemon.config import Settings

NAME: Final = "last-good.toml"
_HEAD: Final = "# The last configuration with which the service started, of {file}.\n"
_DATA_DIR: Final = re.compile(r"""(?m)^\s*data_dir\s*=\s*(["'])(.+?)\1""")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the service works with.

    Attributes
    ----------
    settings
        Checked.
    file
        Where they were read from; programs that the page starts read it too.
    doubt
        What is to be said everywhere while they are not the present ones.
    """

    settings: Settings
    file: Path
    doubt: Finding | None = None


def choose(file: Path, data_dir: Path | None = None, *, strict: bool = False) -> Chosen:
    """Read the configuration, or the last good one where that cannot be used.

    Parameters
    ----------
    file
        The configuration file.
    data_dir
        Data folder instead of the configured one.
    strict
        Never go on with the last good one.

    Raises
    ------
    Fatal
        The file cannot be used, and there is nothing to go on with; exit code 78.
    """
    try:
        return Chosen(_moved(_usable(file), data_dir), file)
    except Fatal as error:
        if strict:
            raise
        former = next((place / NAME for place in _places(file, data_dir) if _kept(place)), None)
        if former is None:
            error.action = f"{error.action.rstrip('.')}; there is no last good one to go on with"
            raise
        doubt = Finding("config_last_good", values={"reason": _why(error), "since": _since(former)})
        return Chosen(_moved(load_config(former), data_dir), former, doubt)


def keep(settings: Settings, file: Path) -> None:
    """Keep a configuration with which the service has started; write only what is new.

    Parameters
    ----------
    settings
        That work.
    file
        Where they were read from.
    """
    document = settings.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    # Whatever the folder was given by, it is here.
    document["box"] = {**document.get("box", {}), "data_dir": str(settings.box.data_dir)}
    text = (_HEAD.format(file=file) + tomlkit.dumps(document)).encode()
    target = settings.box.data_dir / NAME
    with contextlib.suppress(OSError, EdgeError):  # a disk that cannot take 1 kB says so elsewhere
        if not target.exists() or target.read_bytes() != text:
            _replace(target, text)


def _replace(target: Path, text: bytes) -> None:
    """Put a file in place, whole or not at all."""
    partial = target.with_name(f"{target.name}.new")
    with partial.open("wb") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(target)
    sync_directory(target.parent)


def _usable(file: Path) -> Settings:
    """Check what can be known before anything is opened.

    Raises
    ------
    Fatal
        The file is missing or wrong, or a line's framing or profile cannot be used.
    """
    must_exist(file)
    settings = load_config(file)
    if any(source.kind != "folder" for source in settings.source):
        # Only lines need what profiles say, and reading them all takes 0.1 s.
        from edge_daemon.decode.registry import Registry  # noqa: PLC0415
        from edge_daemon.lines import unusable  # noqa: PLC0415
        from edge_daemon.resources import profiles_dir  # noqa: PLC0415

        registry = Registry.load([profiles_dir(), *settings.profiles.extra_dirs])
        if problems := unusable(settings, registry):
            raise ConfigError(file, problems)
    return settings


def _moved(settings: Settings, data_dir: Path | None) -> Settings:
    if data_dir is None:
        return settings
    box = settings.box.model_copy(update={"data_dir": data_dir.expanduser().absolute()})
    return settings.model_copy(update={"box": box})


def _places(file: Path, data_dir: Path | None) -> list[Path]:
    """Where a last good one may lie; a file that is no TOML still names its folder."""
    if data_dir is not None:
        return [data_dir.expanduser().absolute()]
    places = [SYSTEM_DATA_DIR]
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if named := _DATA_DIR.search(file.read_text(encoding="utf-8")):
            places.insert(0, file.absolute().parent / Path(named[2]).expanduser())
    return places


def _kept(place: Path) -> bool:
    """Tell whether a folder holds a last good one that this version can use."""
    with contextlib.suppress(ConfigError):
        return bool(load_config(place / NAME))
    return False


def _why(error: Fatal) -> str:
    if not isinstance(error, ConfigError):
        return "there is no such file"
    first: Problem = error.problems[0]
    if not first.key:
        return first.message[:120]
    return f"{len(error.problems)} problem(s), first {first.key[:80]}"


def _since(former: Path) -> str:
    written = datetime.fromtimestamp(former.stat().st_mtime, UTC)
    return wording.local_time(format_wall(written))

"""Options that several commands share, resolved without importing the configuration model."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_daemon.config import Settings

DEFAULT_CONFIG: Final = Path("/etc/edge-daemon/config.toml")
SYSTEM_DATA_DIR: Final = Path("/var/lib/edge-daemon")
LAST_GOOD: Final = "last-good.toml"
DATA_VARIABLE: Final = "EDGE_DAEMON_DATA"
CONFIG_VARIABLE: Final = "EDGE_DAEMON_CONFIG"


def config_path() -> Path:
    """Return where this box's configuration lies; the file need not exist."""
    return Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)


def box_settings() -> Settings | None:
    """Return the checked settings of this box, or None where it has no configuration.

    Raises
    ------
    ConfigError
        There is one, and it is wrong (exit code 78).
    """
    path = config_path()
    if not path.is_file():
        return None
    from edge_daemon.config import load_config

    return load_config(path)


def configured_data_dir() -> Path:
    """Return the data folder a command without ``--data-dir`` works on.

    The box's configuration decides, then the service's folder where it exists, then one in the
    user's home. Only one key is read here: `edge_daemon.config` checks the whole file, but its
    model costs more than a query itself.

    Raises
    ------
    Fatal
        The configuration file exists but is not readable TOML (exit code 78).
    """
    configured = _setting("box", "data_dir")
    if isinstance(configured, str) and configured:
        return _beside_config(configured)
    if SYSTEM_DATA_DIR.is_dir():
        return SYSTEM_DATA_DIR
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser().absolute() / "edge-daemon"


def reference_places() -> tuple[Path, ...]:
    """Return where intervals and rules over the shipped ones lie: updates, then the site's own.

    Raises
    ------
    Fatal
        The configuration file exists but is not readable TOML (exit code 78).
    """
    from edge_daemon.updates.folder import reference_places as places

    configured = _setting("reference", "extra_dirs")
    own = configured if isinstance(configured, list) else []
    beside = [_beside_config(place) for place in own if isinstance(place, str) and place]
    return places(present_data_dir(), beside)


def sends_simulated() -> bool:
    """Return whether this box sends simulated results too.

    Raises
    ------
    Fatal
        The configuration file exists but is not readable TOML (exit code 78).
    """
    return _setting("sync", "simulated") is True


def present_data_dir() -> Path:
    """Return the data folder of the command that runs now, whether or not it has the option."""
    context = click.get_current_context(silent=True)
    given = None if context is None else context.params.get("data_dir")
    if isinstance(given, Path):
        return given
    from_env = os.environ.get(DATA_VARIABLE)
    return Path(from_env).expanduser().absolute() if from_env else configured_data_dir()


def _beside_config(place: str) -> Path:
    return (Path.cwd() / config_path()).parent / Path(place).expanduser()


def _setting(section: str, key: str) -> Any:
    """Read one key of the box's configuration; None where there is none."""
    path = config_path()
    if not path.is_file():
        return None
    import tomllib

    unreadable = (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except unreadable as error:
        try:  # what the service goes on with
            document = tomllib.loads((SYSTEM_DATA_DIR / LAST_GOOD).read_text(encoding="utf-8"))
        except unreadable:
            raise errors.Fatal(
                f"{path}: the configuration cannot be read: {error}",
                action=f"Run `edge-daemon config check {path}`, or give --data-dir.",
                exit_code=errors.EXIT_BAD_CONFIG,
            ) from error
    table = document.get(section, {})
    return table.get(key) if isinstance(table, dict) else None


def _resolve(_ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> Path:
    return value.expanduser().absolute() if value else configured_data_dir()


def data_dir_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--data-dir``; the command receives an absolute path that need not exist."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        envvar=DATA_VARIABLE,
        callback=_resolve,
        metavar="DIR",
        help=f"Folder of the database (environment {DATA_VARIABLE}; default: the configured one).",
    )(command)


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``-c``/``--config``; the command receives `config_file`, which need not exist."""
    return click.option(
        "-c",
        "--config",
        "config_file",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar=CONFIG_VARIABLE,
        default=DEFAULT_CONFIG,
        show_default=True,
        show_envvar=True,
        help="Configuration file.",
    )(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON.")(command)


def csv_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--csv``."""
    return click.option("--csv", "as_csv", is_flag=True, help="Write CSV.")(command)


class Moment(click.ParamType[str]):
    """A local date, date and time, or an age such as ``30m``, ``12h`` or ``7d``.

    Converts to UTC, ISO 8601 with microseconds and ``Z``, as stored rows carry it.
    """

    name = "when"
    _UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read one moment."""
        text = value.strip()
        try:
            if text[-1:] in self._UNITS and text[:-1].isdecimal():
                age = timedelta(**{self._UNITS[text[-1]]: int(text[:-1])})
                moment = datetime.now(UTC) - age
            elif text in ("today", "yesterday"):
                midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0)
                moment = midnight.replace(microsecond=0) - timedelta(days=text == "yesterday")
            else:
                moment = datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is not a time; write 2026-11-22, 2026-11-22T14:30, today, yesterday, "
                "or an age such as 30m, 12h, 7d.",
                param,
                ctx,
            )
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def existing(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the paths, or say which of them do not exist (exit code 4)."""
    missing = [str(path) for path in paths if not os.path.lexists(path)]
    if missing:
        raise errors.Fatal(
            f"no such file or folder: {', '.join(missing)}",
            action="Check the spelling; nothing was processed.",
            exit_code=errors.EXIT_NOT_FOUND,
        )
    return paths

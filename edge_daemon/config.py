"""Settings of a box: TOML in, frozen and completely checked values out.

An unknown key is an error, never ignored, and every problem of a file is reported at once, so
that an installer on the telephone corrects a file in one go. Relative paths count from the
folder of the file they stand in.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from edge_daemon.errors import EXIT_BAD_CONFIG, Fatal
from edge_daemon.source_settings import KINDS, ConfiguredPath, Endpoint, Name, Section, Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

DATA_DIR_VARIABLE: Final = "EDGE_DAEMON_DATA"
_SHOWN: Final = 40  # mistakes; a file with more of them is no configuration
SYSTEM_DATA_DIR: Final = Path("/var/lib/edge-daemon")


class Box(Section):
    """``[box]``: this box and where it keeps its data."""

    name: Name = Field(
        default="edge-box", description="Name of this box in exports and central data."
    )
    data_dir: ConfiguredPath = Field(
        default=SYSTEM_DATA_DIR,
        description="Folder of the database and the archive of raw captures.",
    )


def usable_cores() -> int:
    """Cores this process may run on, at most four."""
    return min(len(os.sched_getaffinity(0)), 4)


class Workers(Section):
    """``[workers]``: the disposable processes that decode and classify."""

    count: int = Field(
        default_factory=usable_cores,
        ge=1,
        le=16,
        description="Worker processes; the cores of the box, at most four, unless given.",
    )
    memory_mb: int = Field(
        default=512, ge=256, le=65536, description="Memory one worker may allocate."
    )
    cpu_s: int = Field(default=30, ge=1, le=3600, description="CPU seconds one capture may take.")
    wall_s: float = Field(default=35.0, gt=0, le=3600, description="Seconds one capture may take.")
    tasks_per_worker: int = Field(
        default=500, ge=1, le=1_000_000, description="A worker is replaced after so many captures."
    )


class Limits(Section):
    """``[limits]``: what is refused and when intake pauses."""

    max_file_mb: int = Field(default=64, ge=1, le=1024, description="Largest file that is read.")
    min_free_mb: int = Field(
        default=200,
        ge=1,
        description="Intake pauses while the data folder's disk has less free space.",
    )


class Retention(Section):
    """``[retention]``: when raw captures may be deleted; results never are."""

    max_archive_gb: float = Field(
        default=0.0,
        ge=0,
        le=100_000,
        description="Budget of the archive of raw captures, GB (10⁹ bytes); 0: nothing is deleted.",
    )
    min_age_days: int = Field(
        default=30,
        ge=2,
        le=3650,
        description="Days the service must have seen pass since a capture came.",
    )
    require_sync: bool = Field(
        default=True,
        description="Delete only what the central server has stored; false where there is none.",
    )


class Directories(Section):
    """``[profiles]`` and ``[models]``: folders searched beside the shipped ones."""

    extra_dirs: tuple[ConfiguredPath, ...] = Field(
        default=(),
        strict=False,
        description="Further folders with instrument profiles or model bundles.",
    )


class Reference(Section):
    """``[reference]``: this site's own reference intervals and rules."""

    extra_dirs: tuple[ConfiguredPath, ...] = Field(
        default=(),
        strict=False,
        description="Folders or files whose intervals and rules replace the shipped ones.",
    )


class Logging(Section):
    """``[log]``: how much goes to the journal."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least serious event that is written."
    )


class Web(Section):
    """``[web]``: the technician's page."""

    enabled: bool = Field(default=True, description="Serve the page.")
    listen: Endpoint = Field(
        default="127.0.0.1:8470",
        description="Address of the page. Any but this machine's own needs a password and is "
        "served encrypted.",
    )
    hosts: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="Further names that browsers call this box by.",
    )
    metrics: bool = Field(
        default=False,
        description="Serve `/metrics` to other computers too; without this to the box alone.",
    )
    tls_cert: ConfiguredPath | None = Field(
        default=None, description="Certificate of the page, PEM; a self-made one unless given."
    )
    tls_key: ConfiguredPath | None = Field(
        default=None, description="Key of the certificate, PEM without a passphrase."
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Web:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("`tls_cert` and `tls_key` belong together: give both or none")
        return self


class Sync(Section):
    """``[sync]``: results to the central server, once the box is enrolled."""

    enabled: bool = Field(default=True, description="Send results, if the box is enrolled.")
    proxy: str | None = Field(
        default=None,
        pattern=r"^https?://[^/@\s]+$",
        description="Proxy of the clinic, `http://host:port`; TLS goes through it unopened.",
    )
    simulated: bool = Field(
        default=False, description="Send simulated results too; they stay marked as such."
    )
    raw: Literal["none", "flagged", "all"] = Field(
        default="flagged",
        description="Raw captures to send besides results: those that were flagged or set aside "
        "and control material, all, or none.",
    )
    raw_sample_percent: int = Field(
        default=5, ge=0, le=100, description="With `flagged`, so many of a hundred others too."
    )
    raw_kbit_s: int | None = Field(
        default=None, ge=8, description="Most that raw captures take of the line, kbit/s."
    )
    raw_quiet: str | None = Field(
        default=None,
        pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
        description="Local hours `HH:MM-HH:MM` in which no raw capture is sent.",
    )


class Updates(Section):
    """``[updates]``: signed updates, once the box knows who signs them."""

    enabled: bool = Field(
        default=True, description="Look for updates, if the box trusts who signs them."
    )
    url: str | None = Field(
        default=None,
        pattern=r"^https://[^/@\s?#]+(/[^@\s?#]*)?$",
        description="Address of a repository of updates; the central server's unless given.",
    )
    every_h: float = Field(
        default=6.0, ge=0.25, le=168, description="Hours between two looks for updates."
    )
    keep: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="Settings of this file that the fleet does not change: `section` or "
        "`section.key`.",
    )


class Settings(Section):
    """The whole file."""

    box: Box = Field(default_factory=Box)
    source: tuple[Source, ...] = Field(
        strict=False, min_length=1, description="At least one is needed."
    )
    workers: Workers = Field(default_factory=Workers)
    limits: Limits = Field(default_factory=Limits)
    retention: Retention = Field(default_factory=Retention)
    profiles: Directories = Field(default_factory=Directories)
    models: Directories = Field(default_factory=Directories)
    web: Web = Field(default_factory=Web)
    reference: Reference = Field(default_factory=Reference)
    sync: Sync = Field(default_factory=Sync)
    updates: Updates = Field(default_factory=Updates)
    log: Logging = Field(default_factory=Logging)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration file.

    Attributes
    ----------
    key
        Path of the key, e.g. ``source[0].settle_s``; empty for the file as a whole.
    value
        What stands there, or None where nothing does.
    message
        What was expected.
    """

    key: str
    value: object
    message: str

    def __str__(self) -> str:
        shown = "" if self.value is None else f" = {repr(self.value)[:80]}"
        return f"{(self.key or 'file')[:120]}{shown}: {self.message[:600]}"


class ConfigError(Fatal):
    """The configuration cannot be used; `problems` lists every mistake found."""

    def __init__(self, path: Path, problems: tuple[Problem, ...]) -> None:
        shown = [f"  {problem}" for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            shown.append(f"  and {len(problems) - _SHOWN} more")
        lines = "\n".join(shown)
        super().__init__(
            f"{path}: {len(problems)} problem(s) in the configuration\n{lines}",
            action="correct the file and run `edge-daemon config check`",
            exit_code=EXIT_BAD_CONFIG,
        )
        self.problems = problems


def must_exist(path: Path) -> None:
    """Say how to begin where there is no configuration.

    Raises
    ------
    Fatal
        The file is not there; exit code 78.
    """
    if not path.exists():
        raise Fatal(
            f"{path}: no such file: there is no configuration",
            action=f"Write one with `edge-daemon config init {path}`, or name another.",
            exit_code=EXIT_BAD_CONFIG,
        )


def load_config(path: Path) -> Settings:
    """Read and check a configuration file.

    Parameters
    ----------
    path
        TOML file, UTF-8.

    Returns
    -------
    Settings
        Frozen, with every path absolute.

    Raises
    ------
    ConfigError
        The file cannot be read, is not TOML, or holds wrong or unknown keys; all are listed.
    """
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        raise ConfigError(path, (Problem("", None, reason),)) from error
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
        raise ConfigError(path, (Problem("", None, reason),)) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, (Problem("", None, f"is not TOML: {error}"),)) from error
    base = Path(os.path.abspath(path)).parent  # noqa: PTH100 - resolve() would follow a symlinked file
    try:
        settings = Settings.model_validate(document, context={"base": base})
    except ValidationError as error:
        raise ConfigError(path, _problems(error)) from error
    if problems := _twice(settings):
        raise ConfigError(path, problems)
    return settings


def _twice(settings: Settings) -> tuple[Problem, ...]:
    """Find source names, folders, ports and addresses that are used more than once."""
    problems = []
    for key in ("name", "path", "port", "listen", "connect"):
        seen: set[object] = set()
        for index, source in enumerate(settings.source):
            value = getattr(source, key, None)
            if value is not None and value in seen:
                where = f"source[{index}].{key}"
                problems.append(Problem(where, value, "is used by an earlier source already"))
            seen.add(value)
    return tuple(problems)


def _problems(error: ValidationError) -> tuple[Problem, ...]:
    """Describe every mistake once: what only follows from another one is left out."""
    found = error.errors()
    parents = {e["loc"][:depth] for e in found for depth in range(len(e["loc"]))}
    nameless = {e["loc"][:-1] for e in found if e["loc"][-1] == "name"}
    return tuple(
        _problem(e)
        for e in found
        # A list is "too short" when its items are wrong; an instrument is named like its source.
        if not (e["type"] == "too_short" and e["loc"] in parents)
        and not (e["loc"][-1] == "instrument" and e["loc"][:-1] in nameless)
    )


def _without_kind(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Leave out which kind of source was tried: no key of the file is called so."""
    inside = location[:1] == ("source",) and len(location) > 2
    return (*location[:2], *location[3:]) if inside else location


def _problem(error: ErrorDetails) -> Problem:
    kind = error["type"]
    key = ""
    for part in _without_kind(error["loc"]):
        key += f"[{part}]" if isinstance(part, int) else f"{'.' if key else ''}{part}"
    if kind == "extra_forbidden":
        return Problem(key, None, _unknown_key(error["loc"]))
    if kind == "union_tag_invalid":
        expected = f"Input should be one of {', '.join(map(repr, KINDS))}"
        return Problem(f"{key}.kind", error["input"]["kind"], expected)
    if kind == "union_tag_not_found":
        return Problem(key, None, "Input should be a table")
    value = None if kind == "missing" else error["input"]
    if isinstance(value, dict | list):
        value = None
    return Problem(key, value, error["msg"].removeprefix("Value error, "))


def _unknown_key(location: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = Settings
    if location[:1] == ("source",):
        model = KINDS[str(location[2])]
    elif len(location) > 1:
        model = _SECTIONS[str(location[0])]
    known = sorted(model.model_fields)
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown key; {hint}known keys: {', '.join(known)}"


_SECTIONS: Final[Mapping[str, type[Section]]] = {
    "box": Box,
    "workers": Workers,
    "limits": Limits,
    "retention": Retention,
    "profiles": Directories,
    "models": Directories,
    "web": Web,
    "reference": Reference,
    "sync": Sync,
    "updates": Updates,
    "log": Logging,
}


def json_schema() -> dict[str, Any]:
    """JSON Schema of the configuration file, for editors and installers' tools."""
    return Settings.model_json_schema()


def resolve_data_dir(
    option: str | Path | None, env: Mapping[str, str], settings: Settings | None = None
) -> Path:
    """Decide which data folder a command works on.

    The ``--data-dir`` option wins over the environment, the environment over the configuration.
    Without any of them it is the service's folder where that exists, else one in the user's
    home, so that a first try on a laptop needs no rights.
    """
    if option:
        return Path(option).expanduser().absolute()
    if from_env := env.get(DATA_DIR_VARIABLE):
        return Path(from_env).expanduser().absolute()
    if settings is not None:
        return settings.box.data_dir
    if SYSTEM_DATA_DIR.is_dir():
        return SYSTEM_DATA_DIR
    home = env.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser().absolute() / "edge-daemon"


def default_config_text() -> str:
    """Return a commented configuration with one source, every other value its default."""
    return (Path(__file__).parent / "default_config.toml").read_text(encoding="utf-8")

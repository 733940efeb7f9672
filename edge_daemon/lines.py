"""From a configured ``[[source]]`` to a source: its framing, line settings and limits.

What the configuration leaves open is the instrument profile's to say. Only here do the two meet.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.config import Problem
from edge_daemon.errors import EXIT_BAD_CONFIG, EdgeError, Fatal
from edge_daemon.source_settings import FolderSource, SerialSource, TcpSource, endpoint
from edge_daemon.sources.folder import FolderSource as Folder
from edge_daemon.sources.folder import FolderSpec
from edge_daemon.sources.framing.registry import make_framer
from edge_daemon.sources.intake import LineSpec
from edge_daemon.sources.ports import LineSettings
from edge_daemon.sources.serial_port import SerialSource as Serial
from edge_daemon.sources.serial_port import SerialSpec
from edge_daemon.sources.tcp import TcpSource as Tcp
from edge_daemon.sources.tcp import TcpSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.clock import Clock
    from edge_daemon.config import Settings
    from edge_daemon.decode.profile import Profile
    from edge_daemon.decode.registry import Registry
    from edge_daemon.source_settings import LineSource
    from edge_daemon.sources.folder import Handlers
    from edge_daemon.sources.framing.base import Framer
    from edge_daemon.sources.intake import LineHandlers

AnySource = Folder | Serial | Tcp

JOURNAL_NAME: Final = "journal"
_SUFFIXES: Final = {"astm": "astm", "mllp": "hl7", "packet": "bin", "block": "txt"}
_LOCAL: Final = ("127.0.0.0/8", "::1/128")
_MARGIN: Final = 1 << 20


def make_source(
    settings: Settings,
    configured: FolderSource | SerialSource | TcpSource,
    registry: Registry,
    handlers: tuple[Handlers, LineHandlers],
    clock: Clock,
) -> AnySource:
    """Make the source that a section describes; it is not started.

    Parameters
    ----------
    settings
        Limits, and where journals lie.
    configured
        The section.
    registry
        Profiles.
    handlers
        For a folder, and for lines.
    clock
        Time of the source.

    Raises
    ------
    Fatal
        The section names a profile or framing that cannot be used; exit code 78.
    """
    of_folder, of_line = handlers
    if isinstance(configured, FolderSource):
        return Folder(_folder_spec(configured, settings, registry), of_folder, clock)
    try:
        line = _line_spec(configured, settings, registry)
        if isinstance(configured, SerialSource):
            port = _port_settings(configured, registry)
            return Serial(SerialSpec(line, configured.port, port), of_line, clock)
    except EdgeError as error:
        raise Fatal(
            f"source {configured.name}: {error.message}",
            action=error.action or "correct the file and run `edge-daemon config check`",
            exit_code=EXIT_BAD_CONFIG,
        ) from error
    return Tcp(_tcp_spec(configured, line), of_line, clock)


def unusable(settings: Settings, registry: Registry) -> tuple[Problem, ...]:
    """Find sources whose profile or framing cannot be used."""
    found = []
    for index, source in enumerate(settings.source):
        if isinstance(source, FolderSource):
            continue
        try:
            _framer(source, registry)
        except EdgeError as error:
            key = "profile" if source.framing is None else "framing"
            where = f"source[{index}].{key}"
            found.append(Problem(where, getattr(source, key), error.message))
    return tuple(found)


def _folder_spec(source: FolderSource, settings: Settings, registry: Registry) -> FolderSpec:
    return FolderSpec(
        name=source.name,
        instrument=source.instrument,
        path=source.path,
        patterns=source.patterns,
        recursive=source.recursive,
        settle_s=source.settle_s,
        stall_s=source.stall_s,
        rescan_s=source.rescan_s,
        poll=source.poll,
        max_bytes=settings.limits.max_file_mb << 20,
        parts=registry.part_patterns,
    )


def _line_spec(source: LineSource, settings: Settings, registry: Registry) -> LineSpec:
    name, options = _framing(source, registry)
    make_framer(name, options)  # now, not when the first analyzer calls

    def fresh() -> Framer:
        return make_framer(name, options)

    return LineSpec(
        name=source.name,
        instrument=source.instrument,
        suffix=source.name_suffix or _SUFFIXES[name],
        journal=settings.box.data_dir / JOURNAL_NAME / source.name,
        make_framer=fresh,
        # Escapes may double a message on the line.
        max_journal=(settings.limits.max_file_mb << 21) + _MARGIN,
        message_s=source.message_s if isinstance(source, TcpSource) else None,
        idle_s=source.idle_s if isinstance(source, TcpSource) else None,
    )


def _tcp_spec(source: TcpSource, line: LineSpec) -> TcpSpec:
    return TcpSpec(
        line=line,
        address=endpoint(source.listen or source.connect or ""),
        listening=source.listen is not None,
        allow=tuple(map(ip_network, source.allow or _LOCAL)),
        connections=source.connections,
    )


def _framer(source: LineSource, registry: Registry) -> Framer:
    return make_framer(*_framing(source, registry))


def _framing(source: LineSource, registry: Registry) -> tuple[str, Mapping[str, Any]]:
    if source.framing is not None:
        return source.framing, source.framing_options or {}
    profile = _profile(source, registry)
    if profile is None or profile.framing is None:
        raise EdgeError(
            f"profile {source.profile} says no framing: it is for files",
            action="Give `framing`, or the profile of the instrument's serial or network output.",
        )
    return profile.framing.name, profile.framing.options


def _profile(source: LineSource, registry: Registry) -> Profile | None:
    return None if source.profile is None else registry.get(source.profile)


def _port_settings(source: SerialSource, registry: Registry) -> LineSettings:
    profile = _profile(source, registry)
    usual = None if profile is None else profile.source.serial
    keys = ("baud", "bits", "parity", "stop_bits", "flow")
    given = {key: getattr(usual, key) for key in keys} if usual else {}
    given |= {key: value for key in keys if (value := getattr(source, key)) is not None}
    return LineSettings(**given)

"""``[[source]]``: an export folder, a serial line or the network, told apart by ``kind``."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    model_validator,
)

FramingOptions = dict[str, Any]


def _absolute(path: Path, info: ValidationInfo) -> Path:
    base: Path = (info.context or {}).get("base", Path.cwd())
    return base / path.expanduser()


def _plain_pattern(pattern: str) -> str:
    if not pattern or "/" in pattern:
        raise ValueError("a pattern matches file names and holds no '/'")
    return pattern


def _endpoint(value: str) -> str:
    endpoint(value)
    return value


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError as error:
        raise ValueError(f"expected an address or network: {error}") from error
    return value


# TOML knows neither paths nor tuples, so these two are converted; nothing else is.
ConfiguredPath = Annotated[Path, Field(strict=False), AfterValidator(_absolute)]
Pattern = Annotated[str, AfterValidator(_plain_pattern)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Peer = Annotated[str, AfterValidator(_network)]


def endpoint(text: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[IPv6 address]:port``.

    Raises
    ------
    ValueError
        It is of another form.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not (host and colon and port.isascii() and port.isdecimal() and int(port) < 65_536):
        raise ValueError('expected "host:port", e.g. "192.168.1.10:5100"')
    if ":" in host and not bracketed:
        raise ValueError('an IPv6 address stands in brackets, e.g. "[fd00::10]:5100"')
    return host, int(port)


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, no silent conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Source(Section):
    """What every source has."""

    name: Name = Field(description="Name of this source, unique in the file.")
    instrument: Name = Field(
        default="",
        validate_default=False,
        description="Instrument the captures belong to; the source's name unless given.",
    )

    silent_h: float = Field(
        default=72.0,
        gt=0,
        le=8760,
        description="`status` asks about a source that nothing has come from for so many hours.",
    )

    @model_validator(mode="before")
    @classmethod
    def _instrument_is_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and "instrument" not in data and "name" in data:
            return {**data, "instrument": data["name"]}
        return data


class FolderSource(_Source):
    """``kind = "folder"``: one analyzer's export folder."""

    kind: Literal["folder"] = Field(default="folder", description="How the captures arrive.")
    path: ConfiguredPath = Field(description="Export folder of the analyzer.")
    patterns: tuple[Pattern, ...] = Field(
        default=("*.fcs", "*.lmd"),
        strict=False,
        min_length=1,
        description="File names to take, upper and lower case alike.",
    )
    recursive: bool = Field(default=False, description="Look into sub-folders too.")
    settle_s: float = Field(
        default=2.0,
        ge=0,
        le=3600,
        description="A file is read after standing unchanged for so long.",
    )
    stall_s: float = Field(
        default=900.0,
        gt=0,
        le=86400,
        description="An incomplete file is given up after so long unchanged.",
    )
    rescan_s: float = Field(
        default=30.0, gt=0, le=3600, description="The whole folder is looked through this often."
    )
    poll: bool = Field(
        default=False,
        description="Network share: no change events are relied on; looked through every 10 s.",
    )


class LineSource(_Source):
    """What a serial line and the network have in common."""

    profile: str | None = Field(
        default=None,
        description="Instrument profile that says framing and line settings, e.g. `acme_one/1.0`.",
    )
    framing: str | None = Field(
        default=None, description="Framing of the messages; the profile's unless given."
    )
    framing_options: FramingOptions | None = Field(
        default=None, description="Options of the framing; the profile's unless given."
    )
    name_suffix: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9]{1,12}$",
        description="Ending of the names that captures get; the framing's unless given.",
    )

    @model_validator(mode="after")
    def _framed(self) -> LineSource:
        if self.profile is None and self.framing is None:
            raise ValueError("needs `profile` or `framing`: it says where messages begin and end")
        if self.framing_options is not None and self.framing is None:
            raise ValueError("`framing_options` without `framing`")
        return self


class SerialSource(LineSource):
    """``kind = "serial"``: an analyzer on a serial port.

    Line settings that are not given are the profile's, without a profile those of the schema of
    profiles.
    """

    kind: Literal["serial"] = Field(description="How the captures arrive.")
    port: ConfiguredPath = Field(
        description="The port, best by the name that lasts: `/dev/serial/by-id/...`."
    )
    baud: int | None = Field(default=None, ge=50, le=4_000_000, description="Bits per second.")
    bits: Literal[5, 6, 7, 8] | None = Field(default=None, description="Bits of a character.")
    parity: Literal["none", "even", "odd", "mark", "space"] | None = Field(
        default=None, description="Parity bit."
    )
    stop_bits: Literal[1, 2] | None = Field(default=None, description="Stop bits.")
    flow: Literal["none", "hardware", "software"] | None = Field(
        default=None, description="Flow control: RTS/CTS or XON/XOFF."
    )


class TcpSource(LineSource):
    """``kind = "tcp"``: an analyzer on the network."""

    kind: Literal["tcp"] = Field(description="How the captures arrive.")
    listen: Endpoint | None = Field(
        default=None, description="Address and port of this box that the analyzer connects to."
    )
    connect: Endpoint | None = Field(
        default=None, description="Address and port of the analyzer that this box connects to."
    )
    allow: tuple[Peer, ...] = Field(
        default=(),
        strict=False,
        description="Addresses and networks that may connect; without any, this box alone.",
    )
    connections: int = Field(
        default=4, ge=1, le=8, description="Most connections served at a time."
    )
    idle_s: float = Field(
        default=3600.0,
        ge=1,
        le=604_800,
        description="A connection without a byte for so long is closed.",
    )
    message_s: float = Field(
        default=600.0, ge=1, le=86_400, description="Longest time one message may take."
    )

    @model_validator(mode="after")
    def _one_direction(self) -> TcpSource:
        if (self.listen is None) == (self.connect is None):
            raise ValueError("expected either `listen` or `connect`")
        if self.connect is not None and self.allow:
            raise ValueError("`allow` is for `listen` only")
        if self.listen is not None:
            host = endpoint(self.listen)[0]
            try:
                open_to = ip_address(host)
            except ValueError as error:
                raise ValueError(
                    f"`listen` names {host!r}; expected an address of this box, e.g. 127.0.0.1"
                ) from error
            if not open_to.is_loopback and not self.allow:
                raise ValueError(
                    f"`listen` on {host} without `allow`: name the analyzer's address, "
                    "or the network that may connect"
                )
        return self


def _kind(data: Any) -> Any:
    return data.get("kind", "folder") if isinstance(data, dict) else getattr(data, "kind", None)


KINDS: Final[dict[str, type[Section]]] = {
    "folder": FolderSource,
    "serial": SerialSource,
    "tcp": TcpSource,
}
Source = Annotated[
    Annotated[FolderSource, Tag("folder")]
    | Annotated[SerialSource, Tag("serial")]
    | Annotated[TcpSource, Tag("tcp")],
    Discriminator(_kind),
]
"""One ``[[source]]``; a folder unless ``kind`` says otherwise."""

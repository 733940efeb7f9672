"""Instrument profiles: TOML files that say how one instrument and firmware is decoded."""

from __future__ import annotations

import hashlib
import json
import tomllib
from typing import TYPE_CHECKING, Any, get_args

from pydantic import PrivateAttr, SerializeAsAny, TypeAdapter, ValidationError

from edge_daemon.decode.calibration import TableError, read_calibration
from edge_daemon.decode.codec import Codec
from edge_daemon.decode.codecs import CODECS
from edge_daemon.decode.message import ReportingCodec
from edge_daemon.decode.schema import (
    CALIBRATED,
    Calibration,
    Channel,
    FileName,
    Framing,
    Identity,
    Match,
    Metadata,
    Plausibility,
    Report,
    Reported,
    Source,
    Time,
)
from edge_daemon.decode.section import Section
from edge_daemon.decode.toml_lines import KeyPath, Problem, key_lines, located
from edge_daemon.errors import EdgeError
from edge_daemon.records import ChannelScale

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_daemon.records import OpticalCalibration

SCHEMA = 1
SECTIONS: dict[str, Any] = {
    "profile": Identity,
    "source": Source,
    "match": Match,
    "framing": Framing,
    "file_name": FileName,
    "codec": Codec,
    "channel": tuple[Channel, ...],
    "time": Time,
    "metadata": Metadata,
    "report": Report,
    "reported": tuple[Reported, ...],
    "plausibility": Plausibility,
    "calibration": Calibration,
}
_REQUIRED = ("profile", "source", "codec")
_SHOWN = 40  # problems in a message; a file with more of them is no profile
_OWN_FAMILIES = ("sim_", "generic_")


class ProfileError(EdgeError):
    """A profile file cannot be used.

    Parameters
    ----------
    path
        The file.
    problems
        Every problem found: line, key, what was expected and what was found.
    """

    def __init__(self, path: Path, problems: tuple[str, ...]) -> None:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        super().__init__(
            f"profile {path}: " + "; ".join(found[:400] for found in problems[:_SHOWN]) + more,
            action="Correct the file; docs/profiles.md describes every key.",
        )
        self.path = str(path)
        self.problems = problems


class Profile(Identity):
    """One checked profile.

    Attributes
    ----------
    id
        ``<folder>/<firmware>``; just the folder where no ``[match]`` tells firmwares apart.
    sha256
        Digest of the file.
    match
        None for a decode-only profile, which never matches by itself.
    channel
        The channel map in canonical order of appearance; empty for a decode-only profile.
    calibration
        None where the optics are not calibrated.
    """

    id: str
    sha256: str
    source: Source
    framing: Framing | None
    file_name: FileName | None
    match: Match | None
    codec: SerializeAsAny[Codec]
    channel: tuple[Channel, ...]
    time: Time | None
    metadata: Metadata
    report: Report
    reported: tuple[Reported, ...]
    plausibility: Plausibility
    calibration: Calibration | None = None
    _optics: OpticalCalibration | None = PrivateAttr(default=None)

    @property
    def optics(self) -> OpticalCalibration | None:
        """The calibration with its table, read when the profile was loaded."""
        return self._optics

    @property
    def channels(self) -> tuple[str, ...]:
        """Canonical names, one per column of the decoded signals."""
        return tuple(channel.canonical for channel in self.channel)

    @property
    def scales(self) -> dict[str, ChannelScale]:
        """Unit and usual size of each canonical signal."""
        usual = self.plausibility.channels
        return {
            channel.canonical: ChannelScale(channel.unit)
            if (known := usual.get(channel.canonical)) is None
            else ChannelScale(channel.unit, known.median_min, known.median_max)
            for channel in self.channel
        }

    @property
    def firmware_keywords(self) -> tuple[str, ...]:
        """Keywords of ``[match]`` that tell the firmware; the others tell the instrument."""
        return () if self.match is None else _firmware_keywords(self, self.match, self.metadata)


def load_profile(path: Path) -> Profile:
    """Read and check one profile file.

    Raises
    ------
    ProfileError
        Listing every problem of the file, each with its line where that is known.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ProfileError(path, (f"cannot be read: {error.strerror}",)) from error
    try:
        text = raw.decode("utf-8")
        document = tomllib.loads(text)
        json.dumps(document, default=str)  # fails on what no later step could show either
    except (ValueError, RecursionError) as error:
        raise ProfileError(path, (f"is not TOML: {error}",)) from error
    lines = key_lines(text)
    parts, found = _validate(document)
    found += _cross_check(parts, document, path)
    optics, unread = _read_optics(parts, path)
    found += unread
    if found:
        raise ProfileError(path, tuple(located(problem, lines) for problem in found))
    identity: Identity = parts["profile"]
    folder = path.resolve().parent.name
    profile = Profile(
        **identity.model_dump(),
        id=f"{folder}/{path.stem}" if "match" in parts else folder,
        sha256=hashlib.sha256(raw).hexdigest(),
        source=parts["source"],
        framing=parts.get("framing"),
        file_name=parts.get("file_name"),
        match=parts.get("match"),
        codec=parts["codec"],
        channel=parts.get("channel", ()),
        time=parts.get("time"),
        metadata=parts.get("metadata", Metadata()),
        report=parts.get("report", Report()),
        reported=parts.get("reported", ()),
        plausibility=parts.get("plausibility", Plausibility()),
        calibration=parts.get("calibration"),
    )
    profile._optics = optics  # noqa: SLF001 - a private attribute of our own model
    return profile


def _read_optics(
    parts: dict[str, Any], path: Path
) -> tuple[OpticalCalibration | None, list[Problem]]:
    """Read the calibration's table, where a good section names one."""
    if "calibration" not in parts:
        return None, []
    try:
        return read_calibration(parts["calibration"], path.parent), []
    except TableError as error:
        return None, [(("calibration", "table"), str(error))]


def _validate(document: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Check each section by itself, so that one bad section hides no other."""
    parts: dict[str, Any] = {}
    found: list[Problem] = []
    if document.get("schema") != SCHEMA or isinstance(document["schema"], (bool, float)):
        found.append((("schema",), f"expected {SCHEMA}, found {document.get('schema')!r}"))
    found += [
        ((key,), f"unknown key; expected any of schema, {', '.join(SECTIONS)}")
        for key in document
        if key != "schema" and key not in SECTIONS
    ]
    for name, section in SECTIONS.items():
        if name not in document:
            if name in _REQUIRED:
                found.append(((name,), "section is missing"))
            continue
        model = _codec_of(document[name], found) if name == "codec" else section
        if model is None:
            continue
        try:
            # JSON mode is strict about types and still takes arrays for tuples.
            adapter: TypeAdapter[Any] = TypeAdapter(model)
            parts[name] = adapter.validate_json(json.dumps(document[name], default=str))
        except ValidationError as error:
            inner = _model_within(model)
            found.extend(
                _explain(name, inner, detail) for detail in error.errors(include_url=False)
            )
    return parts, found


def _codec_of(section: Any, found: list[Problem]) -> type[Codec] | None:
    """Return the class that the section's ``name`` names; without one, say so."""
    name = section.get("name") if isinstance(section, dict) else None
    codec = CODECS.get(name) if isinstance(name, str) else None
    if codec is None:
        said = "is missing" if name is None else f"found {_short(name)}"
        found.append((("codec", "name"), f"expected one of {', '.join(CODECS)}; {said}"))
    return codec


def _explain(section: str, model: Any, detail: Any) -> Problem:
    """Say in our words what pydantic found."""
    where: KeyPath = (section, *detail["loc"])
    if detail["type"] == "extra_forbidden":
        return where, f"unknown key; expected any of {', '.join(_allowed_keys(where, model))}"
    if detail["type"] == "missing":
        return where, "is missing"
    message = str(detail["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should be ", "expected ").replace("String should", "should")
    return where, f"{message}, found {_short(detail['input'])}"


def _allowed_keys(where: KeyPath, section: Any) -> list[str]:
    """Return the keys of the section, or of the part of it, that `where` ends in."""
    model = section
    for part in where[1:-1]:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_within(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_within(annotation: Any) -> Any:
    """Return the first section that a type is made of, or None."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_model_within, get_args(annotation))), None)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _cross_check(parts: dict[str, Any], document: dict[str, Any], path: Path) -> list[Problem]:
    """Check what concerns more than one section; a section that failed is passed over."""
    identity: Identity | None = parts.get("profile")
    if identity is None:
        return []
    found = [*_place(identity, path), *_reporting(identity, parts, document)]
    if not identity.classify:
        return found + _only_decodes(identity, parts, document)
    found += [
        ((name,), "section is missing") for name in ("match", "channel") if name not in document
    ]
    found += _channel_map(parts)
    codec: Codec | None = parts.get("codec")
    if codec is not None and codec.max_channels is not None:
        found.append((("codec", "max_channels"), "is for profiles with classify = false only"))
    return found + _matching(identity, parts)


def _only_decodes(
    identity: Identity, parts: dict[str, Any], document: dict[str, Any]
) -> list[Problem]:
    """Check a profile of which no cell is classified; one that reports must match."""
    sections = ("channel", "time", "plausibility", "calibration")
    found: list[Problem] = [
        ((name,), "a profile with classify = false must not have this section")
        for name in (*sections, *(() if identity.reports else ("match",)))
        if name in document
    ]
    if identity.reports and "match" not in document:
        found.append((("match",), "section is missing"))
    return found + _matching(identity, parts)


def _reporting(
    identity: Identity, parts: dict[str, Any], document: dict[str, Any]
) -> Iterator[Problem]:
    """Check what concerns the analyzer's own report."""
    if not identity.reports:
        for name in ("report", "reported"):
            if name in document:
                yield (name,), "is for profiles with reports = true only"
    elif "codec" in parts and not isinstance(parts["codec"], ReportingCodec):
        yield ("profile", "reports"), f"codec {parts['codec'].name} reads no reports"


def _matching(identity: Identity, parts: dict[str, Any]) -> list[Problem]:
    match: Match | None = parts.get("match")
    if match is None:
        return []
    found = _identifying(identity, match, parts.get("metadata", Metadata()))
    codec: Codec | None = parts.get("codec")
    if codec is not None and match.format != codec.name:
        message = f"expected the codec's name, {codec.name!r}, found {match.format!r}"
        found.append((("match", "format"), message))
    return found


def _channel_map(parts: dict[str, Any]) -> list[Problem]:
    found: list[Problem] = []
    channels: tuple[Channel, ...] = parts.get("channel", ())
    plausibility: Plausibility = parts.get("plausibility", Plausibility())
    names = [channel.canonical for channel in channels]
    if "channel" in parts and not channels:
        found.append((("channel",), "expected at least one"))
    for index, name in enumerate(names):
        if name in names[:index]:
            found.append((("channel", index, "canonical"), f"{name} is mapped twice"))
    if channels:
        found += [
            (("plausibility", "channels", name), "no [[channel]] maps this channel")
            for name in plausibility.channels
            if name not in names
        ]
        found += [
            (("calibration",), f"needs a [[channel]] that maps {name}.H")
            for name in CALIBRATED
            if "calibration" in parts and f"{name}.H" not in names
        ]
    return found


def _place(identity: Identity, path: Path) -> Iterator[Problem]:
    """Check that the file lies where its content says."""
    folder = path.resolve().parent.name
    allowed = [f"{identity.vendor}_{identity.model}"]
    if identity.model.startswith(_OWN_FAMILIES):
        allowed.append(identity.model)
    if folder not in allowed:
        yield (
            ("profile", "model"),
            f"expected the file in a folder named {' or '.join(allowed)}, found {folder!r}",
        )
    if path.stem != identity.firmware:
        yield (
            ("profile", "firmware"),
            f"expected the file to be named {identity.firmware}.toml, found {path.name!r}",
        )


def _firmware_keywords(identity: Identity, match: Match, metadata: Metadata) -> tuple[str, ...]:
    named = metadata.firmware and metadata.firmware.keyword.upper()
    keys = tuple(key for key in match.keywords if key.upper() == named)
    return keys or tuple(
        key for key, condition in match.keywords.items() if condition.accepts(identity.firmware)
    )


def _identifying(identity: Identity, match: Match, metadata: Metadata) -> list[Problem]:
    """Both the instrument and its firmware must be told, or an update would go unseen."""
    firmware = _firmware_keywords(identity, match, metadata)
    where = ("match", "keywords")
    if not firmware:
        message = (
            f"no keyword tells the firmware: expected one that accepts {identity.firmware!r}, or "
            "the keyword of [metadata] firmware"
        )
        return [(where, message)]
    if len(firmware) == len(match.keywords):
        return [(where, "no keyword tells the instrument: all of them tell the firmware")]
    return []

"""Instrument profiles: TOML files that say how one instrument and firmware is decoded."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr, TypeAdapter, ValidationError

from edge_daemon.decode.calibration import TableError, read_calibration
from edge_daemon.decode.codecs.fcs import FcsOptions
from edge_daemon.decode.schema import (
    CALIBRATED,
    CalibratedDetector,
    Calibration,
    Channel,
    Codec,
    Condition,
    Identity,
    Match,
    MedianRange,
    Metadata,
    MetadataField,
    Plausibility,
    Section,
    Source,
    Time,
)
from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_daemon.records import OpticalCalibration

SCHEMA = 1
SECTIONS: dict[str, TypeAdapter[Any]] = {
    "profile": TypeAdapter(Identity),
    "source": TypeAdapter(Source),
    "match": TypeAdapter(Match),
    "codec": TypeAdapter(Codec),
    "channel": TypeAdapter(tuple[Channel, ...]),
    "time": TypeAdapter(Time),
    "metadata": TypeAdapter(Metadata),
    "plausibility": TypeAdapter(Plausibility),
    "calibration": TypeAdapter(Calibration),
}
_REQUIRED = ("profile", "source", "codec")
_OWN_FAMILIES = ("sim_", "generic_")
_KEY = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)\s*(\.|$)""")


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
        super().__init__(
            f"profile {path}: " + "; ".join(problems),
            action="Correct the file; docs/profiles.md describes every key.",
        )
        self.path = str(path)
        self.problems = problems


class Profile(Identity):
    """One checked profile.

    Attributes
    ----------
    id
        ``<folder>/<firmware>``; of a decode-only profile just the folder.
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
    match: Match | None
    codec: Codec
    channel: tuple[Channel, ...]
    time: Time | None
    metadata: Metadata
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
    def fcs_options(self) -> FcsOptions:
        """Leniencies that the profile names."""
        return FcsOptions(**self.codec.options)

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
    lines = _key_lines(text)
    parts, found = _validate(document)
    found += _cross_check(parts, document, path)
    optics, unread = _read_optics(parts, path)
    found += unread
    if found:
        raise ProfileError(path, tuple(_located(problem, lines) for problem in found))
    identity: Identity = parts["profile"]
    folder = path.resolve().parent.name
    profile = Profile(
        **identity.model_dump(),
        id=f"{folder}/{path.stem}" if identity.classify else folder,
        sha256=hashlib.sha256(raw).hexdigest(),
        source=parts["source"],
        match=parts.get("match"),
        codec=parts["codec"],
        channel=parts.get("channel", ()),
        time=parts.get("time"),
        metadata=parts.get("metadata", Metadata()),
        plausibility=parts.get("plausibility", Plausibility()),
        calibration=parts.get("calibration"),
    )
    profile._optics = optics  # noqa: SLF001 - a private attribute of our own model
    return profile


_Path = tuple[str | int, ...]
_Problem = tuple[_Path, str]


def _read_optics(
    parts: dict[str, Any], path: Path
) -> tuple[OpticalCalibration | None, list[_Problem]]:
    """Read the calibration's table, where a good section names one."""
    if "calibration" not in parts:
        return None, []
    try:
        return read_calibration(parts["calibration"], path.parent), []
    except TableError as error:
        return None, [(("calibration", "table"), str(error))]


def _validate(document: dict[str, Any]) -> tuple[dict[str, Any], list[_Problem]]:
    """Check each section by itself, so that one bad section hides no other."""
    parts: dict[str, Any] = {}
    found: list[_Problem] = []
    if document.get("schema") != SCHEMA or isinstance(document["schema"], (bool, float)):
        found.append((("schema",), f"expected {SCHEMA}, found {document.get('schema')!r}"))
    found += [
        ((key,), f"unknown key; expected any of schema, {', '.join(SECTIONS)}")
        for key in document
        if key != "schema" and key not in SECTIONS
    ]
    for name, adapter in SECTIONS.items():
        if name not in document:
            if name in _REQUIRED:
                found.append(((name,), "section is missing"))
            continue
        try:
            # JSON mode is strict about types and still takes arrays for tuples.
            parts[name] = adapter.validate_json(json.dumps(document[name], default=str))
        except ValidationError as error:
            found.extend(_explain(name, detail) for detail in error.errors(include_url=False))
    return parts, found


def _explain(section: str, detail: Any) -> _Problem:
    """Say in our words what pydantic found."""
    where: _Path = (section, *detail["loc"])
    if detail["type"] == "extra_forbidden":
        return where, f"unknown key; expected any of {', '.join(_allowed_keys(where))}"
    if detail["type"] == "missing":
        return where, "is missing"
    message = str(detail["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should be ", "expected ").replace("String should", "should")
    return where, f"{message}, found {_short(detail['input'])}"


def _allowed_keys(where: _Path) -> list[str]:
    models: dict[str, tuple[type[Section], type[Section]]] = {
        "profile": (Identity, Identity),
        "source": (Source, Source),
        "match": (Match, Condition),
        "codec": (Codec, Codec),
        "channel": (Channel, Channel),
        "time": (Time, Time),
        "metadata": (Metadata, MetadataField),
        "plausibility": (Plausibility, MedianRange),
        "calibration": (Calibration, CalibratedDetector),
    }
    outer, inner = models[str(where[0])]
    return list((outer if len(where) == 2 else inner).model_fields)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _cross_check(parts: dict[str, Any], document: dict[str, Any], path: Path) -> list[_Problem]:
    """Check what concerns more than one section; a section that failed is passed over."""
    identity: Identity | None = parts.get("profile")
    if identity is None:
        return []
    found = list(_place(identity, path))
    sections = ("match", "channel", "time", "plausibility", "calibration")
    if not identity.classify:
        found += [
            ((name,), "a profile with classify = false must not have this section")
            for name in sections
            if name in document
        ]
        return found
    found += [
        ((name,), "section is missing") for name in ("match", "channel") if name not in document
    ]
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
    codec: Codec | None = parts.get("codec")
    if codec is not None and codec.max_channels is not None:
        found.append((("codec", "max_channels"), "is for profiles with classify = false only"))
    if "match" in parts:
        found += _identifying(identity, parts["match"], parts.get("metadata", Metadata()))
    return found


def _place(identity: Identity, path: Path) -> Iterator[_Problem]:
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


def _identifying(identity: Identity, match: Match, metadata: Metadata) -> list[_Problem]:
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


def _located(problem: _Problem, lines: dict[_Path, int]) -> str:
    where, message = problem
    shown = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in where
    ).removeprefix(".")
    for length in range(len(where), 0, -1):
        line = lines.get(where[:length])
        if line is not None:
            return f"line {line}: {shown}: {message}"
    return f"{shown}: {message}"


def _key_lines(text: str) -> dict[_Path, int]:
    """Map key paths to line numbers, which tomllib does not give.

    Inline tables and multi-line values are found by the line their key stands on.
    """
    lines: dict[_Path, int] = {}
    counts: dict[_Path, int] = {}
    table: _Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("[["):
            table = _split_key(stripped[2:].split("]]")[0])
            index = counts.get(table, 0)
            counts[table] = index + 1
            lines.setdefault(table, number)
            table = (*table, index)
            lines[table] = number
        elif stripped.startswith("["):
            table = _split_key(stripped[1:].split("]")[0])
            lines[table] = number
        elif "=" in stripped and not stripped.startswith("#"):
            key = _split_key(stripped.split("=")[0])
            if key:
                lines.setdefault((*table, *key), number)
    return lines


def _split_key(written: str) -> _Path:
    parts: list[str] = []
    at = 0
    while at < len(written):
        match = _KEY.match(written, at)
        if match is None:
            return ()
        parts.append(match[1].strip("\"'"))
        at = match.end()
    return tuple(parts)

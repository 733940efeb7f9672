"""All profiles at hand, and the rule that exactly one fits a capture."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_daemon.decode.codecs.fcs import FcsOptions, read_header
from edge_daemon.decode.limits import Limits
from edge_daemon.decode.profile import Profile, ProfileError, load_profile
from edge_daemon.errors import EdgeError, Quarantine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edge_daemon.decode.codecs.fcs import FcsHeader


@dataclass(frozen=True, slots=True)
class Detection:
    """Whether one profile fits a capture, and why.

    Attributes
    ----------
    profile
        Its id.
    matched
        Every condition is met.
    instrument
        Every condition that tells the instrument is met, whatever the firmware.
    reasons
        One sentence for each condition.
    """

    profile: str
    matched: bool
    instrument: bool
    reasons: tuple[str, ...]


class Registry:
    """The profiles of some directories.

    Parameters
    ----------
    profiles
        By id.
    problems
        Of files that were left out; a bad file hides no other.
    """

    def __init__(
        self, profiles: Mapping[str, Profile], problems: tuple[ProfileError, ...] = ()
    ) -> None:
        self.profiles = dict(profiles)
        self.problems = problems

    @classmethod
    def load(cls, directories: Sequence[Path]) -> Registry:
        """Load every ``<folder>/<firmware>.toml`` of the directories, shipped ones first.

        A profile whose id or match conditions are already taken is left out and reported, so
        that a site folder can add profiles and never change a shipped one.
        """
        profiles: dict[str, Profile] = {}
        problems: list[ProfileError] = []
        for directory in directories:
            for path in sorted(directory.glob("*/*.toml")):
                try:
                    profile = load_profile(path)
                except ProfileError as error:
                    problems.append(error)
                    continue
                clash = _clash(profile, profiles)
                if clash:
                    problems.append(ProfileError(path, (clash,)))
                else:
                    profiles[profile.id] = profile
        return cls(profiles, tuple(problems))

    def get(self, profile_id: str) -> Profile:
        """Return a profile by id.

        Raises
        ------
        EdgeError
            Naming ids that are near.
        """
        profile = self.profiles.get(profile_id)
        if profile is not None:
            return profile
        near = difflib.get_close_matches(profile_id, self.profiles, n=5, cutoff=0.5)
        known = ", ".join(near or sorted(self.profiles)) or "none"
        raise EdgeError(
            f"no profile {profile_id!r}; {'near it are' if near else 'known are'} {known}",
            action="`edge-daemon profile list` shows all of them.",
        )

    def detect(self, data: bytes, name: str) -> tuple[Detection, ...]:
        """Hold every classifying profile against a capture.

        Parameters
        ----------
        data
            The whole capture.
        name
            File name, for messages.

        Raises
        ------
        Quarantine
            When the bytes are of no known format, or too broken to be identified.
        """
        return self._hold(_identify(data, name))

    def match(self, data: bytes, name: str) -> Profile:
        """Return the one profile that fits instrument and firmware.

        Raises
        ------
        Quarantine
            ``no_profile`` or ``ambiguous_profile`` with the candidates named, or the code of a
            file that cannot be identified.
        """
        header = _identify(data, name)
        detections = self._hold(header)
        matched = tuple(d.profile for d in detections if d.matched)
        if len(matched) == 1:
            return self.profiles[matched[0]]
        if matched:
            raise Quarantine(
                "ambiguous_profile",
                f"{name}: {_describe(header)} fits {len(matched)} profiles: {', '.join(matched)}",
                action="Remove one of them, or make its [match] conditions narrower.",
                candidates=matched,
            )
        raise self._unmatched(header, name, detections)

    def _hold(self, header: FcsHeader) -> tuple[Detection, ...]:
        return tuple(
            _detect(profile, header)
            for _, profile in sorted(self.profiles.items())
            if profile.match is not None
        )

    def _unmatched(
        self, header: FcsHeader, name: str, detections: tuple[Detection, ...]
    ) -> Quarantine:
        near = [self.profiles[d.profile] for d in detections if d.instrument]
        if not near:
            return Quarantine(
                "no_profile",
                f"{name}: no profile describes this instrument: {_describe(header)}",
                action="Add a profile for this instrument; `edge-daemon profile decode` shows the "
                "file's columns.",
            )
        keywords = dict.fromkeys(key for profile in near for key in profile.firmware_keywords)
        says = " and ".join(f"{key} {_value(header, key)}" for key in keywords)
        return Quarantine(
            "no_profile",
            f"{name}: instrument {near[0].model} is known with firmware "
            f"{', '.join(profile.firmware for profile in near)}; this file says {says} "
            f"({_describe(header)})",
            action="Add a profile for this firmware once a person has compared its columns and "
            "values with the known one.",
            candidates=tuple(profile.id for profile in near),
        )


def _value(header: FcsHeader, key: str) -> str:
    value = header.keywords.get(key.upper())
    return repr(value[:60]) if value else "nothing"


def _clash(profile: Profile, profiles: Mapping[str, Profile]) -> str:
    if profile.id in profiles:
        return f"a profile with the id {profile.id} is already loaded; this one is left out"
    for other in profiles.values():
        if profile.match is not None and profile.match == other.match:
            return (
                f"its [match] conditions are those of profile {other.id}, which is already "
                "loaded; this one is left out"
            )
    return ""


def _identify(data: bytes, name: str) -> FcsHeader:
    """Read what identifies the capture; leniencies and size are the profile's to refuse."""
    try:
        limits = Limits(max_bytes=len(data))
        return read_header(data, limits=limits, options=FcsOptions.lenient())
    except Quarantine as error:
        raise Quarantine(error.code, f"{name}: {error.message}", action=error.action) from error


def _detect(profile: Profile, header: FcsHeader) -> Detection:
    assert profile.match is not None
    reasons = []
    failed = set()
    for key, condition in profile.match.keywords.items():
        value = header.keywords.get(key.upper())
        met = condition.accepts(value)
        said = "is absent" if value is None else f"is {value[:60]!r}"
        reasons.append(f"{key} {said}, expected {condition}: {'yes' if met else 'no'}")
        if not met:
            failed.add(key)
    return Detection(
        profile=profile.id,
        matched=not failed,
        instrument=failed <= set(profile.firmware_keywords),
        reasons=tuple(reasons),
    )


def _describe(header: FcsHeader) -> str:
    """Say what a readable file is, so that a person recognises it."""
    keywords = header.keywords
    cytometer = keywords.get("$CYT", "")
    origin = f"from {cytometer[:60]!r}" if cytometer else "that names no instrument (no $CYT)"
    events, columns = _count(keywords, "$TOT"), _count(keywords, "$PAR")
    return f"{header.version} {origin}, {events} events × {columns} columns"


def _count(keywords: Mapping[str, str], key: str) -> str:
    """Show a count that has not been checked yet."""
    text = keywords.get(key, "?").strip()[:12]
    return f"{int(text):,}" if text.isascii() and text.isdigit() else text

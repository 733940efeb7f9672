"""All profiles at hand, and the rule that exactly one fits a capture."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge_daemon.decode.profile import Profile, ProfileError, load_profile
from edge_daemon.errors import EdgeError, Quarantine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edge_daemon.decode.codec import Identified


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
        known = self._identify(data, name)
        return tuple(_detect(p, known.get(p.id)) for p in self._matchable())

    def match(self, data: bytes, name: str) -> Profile:
        """Return the one profile that fits instrument and firmware.

        Raises
        ------
        Quarantine
            ``no_profile`` or ``ambiguous_profile`` with the candidates named, or the code of a
            file that cannot be identified.
        """
        known = self._identify(data, name)
        detections = [_detect(p, known[p.id]) for p in self._matchable() if p.id in known]
        matched = tuple(d.profile for d in detections if d.matched)
        if len(matched) == 1:
            return self.profiles[matched[0]]
        if matched:
            raise Quarantine(
                "ambiguous_profile",
                f"{name}: {known[matched[0]].description} fits {len(matched)} profiles: "
                f"{', '.join(matched)}",
                action="Remove one of them, or make its [match] conditions narrower.",
                candidates=matched,
            )
        raise self._unmatched(known, name, detections)

    @property
    def part_patterns(self) -> tuple[str, ...]:
        """What the profiles say of runs that come in several files (`PartNames`)."""
        found = (profile.source.parts for profile in self.profiles.values())
        return tuple(dict.fromkeys(pattern for pattern in found if pattern is not None))

    def generic(self, data: bytes) -> Profile | None:
        """Return a profile that never matches by itself and can show a capture's columns.

        Parameters
        ----------
        data
            A capture that was identified, so that its bytes are in order.
        """
        generic = (p for _, p in sorted(self.profiles.items()) if p.match is None)
        return next((p for p in generic if p.codec.identify(data) is not None), None)

    def is_whole(self, data: bytes) -> bool:
        """Tell whether a settled file reaches its end, as far as its own format tells.

        Only "not yet" is answered with False. Broken or unknown content is whole: decoding will
        say what is wrong with it, and waiting would not mend it.

        Parameters
        ----------
        data
            Everything the file holds now.
        """
        # Of codecs of one format, one that is content decides: the others ask for more than every
        # instrument writes.
        whole: dict[str, bool] = {}
        for codec in (p.codec for p in self.profiles.values()):
            key = codec.recognises_as
            whole[key] = whole.get(key, False) or codec.is_whole(data)
        return all(whole.values())

    def _matchable(self) -> Iterator[Profile]:
        return (p for _, p in sorted(self.profiles.items()) if p.match is not None)

    def _identify(self, data: bytes, name: str) -> dict[str, Identified]:
        """Ask each profile's codec what the capture says of itself.

        Returns
        -------
        dict
            By profile id; profiles of another format are absent. Empty only where a codec that
            no profile matches with knows the format, e.g. of a decode-only profile.

        Raises
        ------
        Quarantine
            No codec knows the format, or the one that does finds the capture broken.
        """
        asked: dict[str, Identified | None] = {}
        broken: Quarantine | None = None
        for profile in self.profiles.values():
            key = profile.codec.recognises_as
            if key in asked:
                continue
            try:
                asked[key] = profile.codec.identify(data)
            except Quarantine as error:
                asked[key] = None
                broken = broken or error
        if any(asked.values()):
            broken = None
        elif broken is None:
            formats = sorted({p.codec.name for p in self.profiles.values()})
            broken = Quarantine(
                "not_recognised",
                f"expected a capture in a format that a profile reads ({', '.join(formats)}), "
                f"found {_beginning(data)}",
                action=_NOT_A_CAPTURE,
            )
        if broken is not None:
            raise Quarantine(broken.code, f"{name}: {broken.message}", action=broken.action)
        known: dict[str, Identified] = {}
        for profile in self._matchable():
            found = asked[profile.codec.recognises_as]
            if found is not None:
                extra = profile.file_name.keywords(name) if profile.file_name else {}
                known[profile.id] = replace(found, keywords={**found.keywords, **extra})
        return known

    def _unmatched(
        self, known: Mapping[str, Identified], name: str, detections: Sequence[Detection]
    ) -> Quarantine:
        near = [self.profiles[d.profile] for d in detections if d.instrument]
        if not near:
            described = {found.description for found in known.values()}
            return Quarantine(
                "no_profile",
                f"{name}: no profile describes this instrument: "
                f"{' or '.join(sorted(described)) or 'a format that no profile classifies'}",
                action="Add a profile for this instrument: `edge-daemon profile new` drafts one "
                "from this file.",
            )
        found = known[near[0].id]
        keywords = dict.fromkeys(key for profile in near for key in profile.firmware_keywords)
        says = " and ".join(f"{key} {_value(found, key)}" for key in keywords)
        return Quarantine(
            "no_profile",
            f"{name}: instrument {near[0].model} is known with firmware "
            f"{', '.join(profile.firmware for profile in near)}; this file says {says} "
            f"({found.description})",
            action="Add a profile for this firmware once a person has compared its columns and "
            "values with the known one.",
            candidates=tuple(profile.id for profile in near),
        )


_NOT_A_CAPTURE = (
    "Check the export format in the analyzer's settings and the file patterns of the source."
)


def _beginning(data: bytes) -> str:
    return f"bytes that begin {data[:16]!r}" if data else "no bytes"


def _value(found: Identified, key: str) -> str:
    value = found.keywords.get(key.upper())
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


def _detect(profile: Profile, found: Identified | None) -> Detection:
    assert profile.match is not None
    if found is None:
        reason = f"format: expected {profile.match.format}, the capture is of another: no"
        return Detection(profile=profile.id, matched=False, instrument=False, reasons=(reason,))
    reasons = []
    failed = set()
    for key, condition in profile.match.keywords.items():
        value = found.keywords.get(key.upper())
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

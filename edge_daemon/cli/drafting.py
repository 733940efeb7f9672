"""Writing a drafted profile with its sample."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_daemon import errors
from edge_daemon.decode.draft import Identity, propose, render
from edge_daemon.decode.profile import load_profile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Written:
    """A drafted profile on disk."""

    id: str
    profile: Path
    sample: Path
    format: str
    questions: tuple[str, ...]

    def as_record(self) -> Mapping[str, Any]:
        """Return it for ``--json``."""
        return {
            "id": self.id,
            "profile": str(self.profile),
            "sample": str(self.sample),
            "format": self.format,
            "questions": list(self.questions),
        }


def named(vendor: str, model: str, firmware: str, title: str | None) -> Identity:
    """Check what the person calls the instrument.

    Raises
    ------
    Fatal
        A name that cannot be part of a path (exit code 2).
    """
    for option, value in (("--vendor", vendor), ("--model", model), ("--firmware", firmware)):
        if _PART.fullmatch(value) is None:
            raise errors.Fatal(
                f"{option}: expected letters, digits, '.', '_' or '-', found {value!r}",
                action="Folder and file of the profile are named after it.",
                exit_code=errors.EXIT_USAGE,
            )
    return Identity(vendor, model, firmware, title or f"{vendor} {model}, firmware {firmware}")


def write(data: bytes, file: Path, identity: Identity, out: Path) -> Written:
    """Draft a profile from a capture and put both into ``OUT/<vendor>_<model>/``.

    Raises
    ------
    Quarantine
        The capture cannot be read by any codec.
    EdgeError
        A profile of that name exists, or the folder cannot be written.
    """
    proposal = propose(data, file.name)
    folder = out / f"{identity.vendor}_{identity.model}"
    profile = folder / f"{identity.firmware}.toml"
    sample = folder / f"{identity.firmware}.sample.{file.name}"
    for path in (profile, sample):
        if path.exists():
            raise errors.EdgeError(
                f"{path} exists; nothing was written",
                action="Choose another --firmware or --out.",
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sample.write_bytes(data)
        profile.write_text(render(proposal, identity), encoding="utf-8")
    except OSError as error:
        raise errors.EdgeError(
            f"cannot write the draft into {folder}: {error.strerror or error}",
            action="Choose a folder that can be written with --out.",
        ) from error
    return Written(load_profile(profile).id, profile, sample, proposal.format, proposal.questions)

"""What every instrument profile must keep: generic checks that run on any profile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_daemon import errors
from edge_daemon.cli.output import next_action
from edge_daemon.decode import Registry, decode, kit, load_profile
from edge_daemon.resources import profiles_dir

if TYPE_CHECKING:
    from edge_daemon.decode import Profile
    from edge_daemon.records import CellBatch


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one profile; `problem` is None when it holds."""

    profile: str
    name: str
    problem: str | None


def find(target: str) -> tuple[Path, ...]:
    """Return the profile files meant by an id, a file, a profile's folder, or a folder of them.

    Raises
    ------
    Fatal
        Nothing of that name exists (exit code 4).
    """
    path = Path(target)
    if path.is_dir():
        found = sorted(path.glob("*.toml")) or sorted(path.glob("*/*.toml"))
        if found:
            return tuple(found)
    elif path.is_file():
        return (path,)
    else:
        shipped = profiles_dir() / f"{target}.toml"
        folder = profiles_dir() / target
        if shipped.is_file():
            return (shipped,)
        if folder.is_dir():
            return tuple(sorted(folder.glob("*.toml")))
    raise errors.Fatal(
        f"{target!r} is no shipped profile, profile file or folder with profiles",
        action="`edge-daemon profile list` shows the shipped ones.",
        exit_code=errors.EXIT_NOT_FOUND,
    )


def write_expected(path: Path) -> Path:
    """Write the expected arrays of a profile from its sample."""
    return kit.write_expected(path)


def check(path: Path) -> list[Check]:
    """Run every check on one profile file; the first failure of a chain ends it."""
    name = f"{path.resolve().parent.name}/{path.stem}"
    done: list[Check] = []
    step = "loads"
    try:
        profile = load_profile(path)
        name = profile.id
        done.append(Check(name, step, None))
        if not profile.classify:
            return done
        step = "is chosen for its sample"
        sample = kit.sample_path(path)
        data = sample.read_bytes()
        _must_be_chosen(profile, path, data, sample.name)
        done.append(Check(name, step, None))
        step = "decodes its sample as expected"
        _must_equal(decode(data, profile), kit.expected_path(path))
        done.append(Check(name, step, None))
    except errors.EdgeError as error:
        done.append(Check(name, step, f"{error.message}\n{next_action(error.action)}"))
    return done


def _must_be_chosen(profile: Profile, path: Path, data: bytes, sample: str) -> None:
    """Among the shipped profiles and those beside it, exactly this one fits."""
    folders = dict.fromkeys((profiles_dir().resolve(), path.resolve().parent.parent))
    chosen = Registry.load(list(folders)).match(data, sample)
    if chosen.sha256 != profile.sha256:
        raise errors.EdgeError(
            f"{sample} is decoded with profile {chosen.id}, not with this one",
            action="Make the [match] conditions of one of them narrower.",
        )


def _must_equal(batch: CellBatch, expected: Path) -> None:
    try:
        with np.load(expected, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except (OSError, ValueError) as error:
        raise errors.EdgeError(
            f"{expected}: the expected arrays cannot be read: {error}",
            action="Write them with `edge-daemon profile test --write-expected`, and look at them.",
        ) from error
    decoded = {
        "signals": batch.signals,
        "saturated": batch.saturated,
        "channels": np.array(batch.channels),
        "sample": np.array(kit.describe_sample(batch)),
    }
    if batch.time_s is not None:
        decoded["time_s"] = batch.time_s
    differing = sorted(
        key
        for key in decoded.keys() | arrays.keys()
        if key not in decoded
        or key not in arrays
        or not np.array_equal(decoded[key], arrays[key], equal_nan=arrays[key].dtype.kind == "f")
    )
    if differing:
        raise errors.EdgeError(
            f"{expected.name}: the sample decodes to other {', '.join(differing)}",
            action="Correct the profile, or accept the new arrays once a person has checked them.",
        )

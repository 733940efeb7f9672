"""What every instrument profile must keep: generic checks that run on any profile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_daemon import errors
from edge_daemon.cli.output import next_action
from edge_daemon.decode import Registry, kit, load_profile
from edge_daemon.resources import profiles_dir

if TYPE_CHECKING:
    from edge_daemon.decode import Profile


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
        if not kit.needs_sample(profile):
            return done
        step = "is chosen for its sample"
        _must_be_chosen(profile, path, kit.read_sample(path))
        done.append(Check(name, step, None))
        step = "decodes its sample as expected"
        _must_equal(path)
        done.append(Check(name, step, None))
    except errors.EdgeError as error:
        done.append(Check(name, step, f"{error.message}\n{next_action(error.action)}"))
    return done


def _must_be_chosen(profile: Profile, path: Path, sample: kit.Sample) -> None:
    """Among the shipped profiles and those beside it, exactly this one fits."""
    folders = dict.fromkeys((profiles_dir().resolve(), path.resolve().parent.parent))
    chosen = Registry.load(list(folders)).match(sample.data, sample.name)
    if chosen.sha256 != profile.sha256:
        raise errors.EdgeError(
            f"{sample.name} is decoded with profile {chosen.id}, not with this one",
            action="Make the [match] conditions of one of them narrower.",
        )


def _must_equal(path: Path) -> None:
    if differing := kit.differences(path):
        raise errors.EdgeError(
            f"{kit.expected_path(path).name}: the sample decodes to other {', '.join(differing)}",
            action="Correct the profile, or accept the new values once a person has checked them.",
        )

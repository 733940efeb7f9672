"""For the authors of profiles: the sample beside a profile, and what it must decode to.

Beside a profile ``<firmware>.toml`` stand ``<firmware>.sample.<name>``, one capture under the
name that the analyzer gives it (or just its extension, where the name says nothing), and
``<firmware>.expected.npz``, what that capture must decode to. The catalogue tests hold every
shipped profile to them.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_daemon.decode import decode, decode_raw
from edge_daemon.decode.profile import load_profile
from edge_daemon.decode.report import read_reports
from edge_daemon.errors import EdgeError
from edge_daemon.parts import PartNames, join, missing_part

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_daemon.decode.profile import Profile
    from edge_daemon.records import CellBatch


@dataclass(frozen=True, slots=True)
class Sample:
    """The capture beside a profile.

    Attributes
    ----------
    name
        As the analyzer names it.
    data
        The whole capture.
    """

    name: str
    data: bytes


def read_sample(profile_path: Path) -> Sample:
    """Read the capture beside a profile.

    Where the profile knows runs in several files (``[source] parts``), the sample may be the
    files of one run; they are joined as the folder source does it.

    Raises
    ------
    EdgeError
        When there is none, or more than one.
    """
    prefix = f"{profile_path.stem}.sample."
    found = {path.name.removeprefix(prefix): path for path in _sample_paths(profile_path)}
    if len(found) > 1:
        found = _in_order(profile_path, found)
    name = next(iter(found))
    data = join([(part, path.read_bytes()) for part, path in found.items()])
    return Sample(name if "." in name else f"sample.{name}", data)


def _in_order(profile_path: Path, found: dict[str, Path]) -> dict[str, Path]:
    """Sort the parts of one run; anything else is more than one sample."""
    pattern = load_profile(profile_path).source.parts
    names = PartNames([] if pattern is None else [pattern])
    parts = {name: part for name in found if (part := names.of(name)) is not None}
    complete = len(parts) == len(found) and missing_part(list(parts.values())) is None
    if not complete or len({part.run for part in parts.values()}) > 1:
        raise _not_one(profile_path, len(found))
    return {name: found[name] for name in sorted(parts, key=lambda name: parts[name].number)}


def _sample_paths(profile_path: Path) -> list[Path]:
    prefix = f"{profile_path.stem}.sample."
    found = sorted(p for p in profile_path.parent.iterdir() if p.name.startswith(prefix))
    if not found:
        raise _not_one(profile_path, 0)
    return found


def _not_one(profile_path: Path, found: int) -> EdgeError:
    return EdgeError(
        f"{profile_path.parent}: expected one file named {profile_path.stem}.sample.*, "
        f"found {found}",
        action="Put one capture of that instrument and firmware beside the profile.",
    )


def needs_sample(profile: Profile) -> bool:
    """Tell whether captures choose this profile by themselves, so that a sample must show it."""
    return profile.match is not None


def expected_path(profile_path: Path) -> Path:
    """Return where the expected arrays of a profile lie."""
    return profile_path.with_name(f"{profile_path.stem}.expected.npz")


def describe_sample(batch: CellBatch) -> str:
    """Return the metadata of a batch as JSON with sorted keys."""
    return json.dumps(asdict(batch.sample), sort_keys=True)


def decoded(profile: Profile, sample: Sample) -> dict[str, NDArray[Any]]:
    """Decode a sample into what its file of expected arrays holds.

    Returns
    -------
    dict
        Of a profile that classifies: ``signals`` float32 and ``saturated`` bool
        ``(events, channels)``, ``channels``, ``sample`` (JSON), ``time_s`` float32 where the
        profile has a time and ``pulses`` where the capture has them. Of one that only decodes:
        ``values`` ``(events, columns)`` as recorded, and ``columns``. Of one that reports, besides:
        ``reports``, the analyzer's own as JSON.

    Raises
    ------
    EdgeError
        When the sample cannot be decoded.
    """
    if not profile.classify:
        table = decode_raw(sample.data, profile, name=sample.name)
        recorded: dict[str, NDArray[Any]] = {
            "values": table.values,
            "columns": np.array([column.name for column in table.columns], dtype=np.str_),
        }
        return recorded | _reported(profile, sample)
    batch = decode(sample.data, profile, name=sample.name)
    arrays: dict[str, NDArray[Any]] = {
        "signals": batch.signals,
        "saturated": batch.saturated,
        "channels": np.array(batch.channels),
        "sample": np.array(describe_sample(batch)),
    }
    if batch.time_s is not None:
        arrays["time_s"] = batch.time_s
    if batch.pulses is not None:
        arrays["pulses"] = batch.pulses
    return arrays | _reported(profile, sample)


def _reported(profile: Profile, sample: Sample) -> dict[str, NDArray[Any]]:
    if not profile.reports:
        return {}
    reports = [asdict(report) for report, _ in read_reports(sample.data, profile, name=sample.name)]
    return {"reports": np.array(json.dumps(reports, sort_keys=True))}


def write_expected(profile_path: Path) -> Path:
    """Decode the sample beside a profile and write the expected arrays.

    Look at the values before committing them: from then on they are the truth.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    EdgeError
        When the profile or its sample cannot be read.
    """
    profile = load_profile(profile_path)
    arrays = decoded(profile, read_sample(profile_path))
    target = expected_path(profile_path)
    with target.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    return target


def differences(profile_path: Path) -> list[str]:
    """Name the arrays in which the sample does not decode to what is expected.

    Raises
    ------
    EdgeError
        When the profile, its sample or the expected arrays cannot be read.
    """
    found = decoded(load_profile(profile_path), read_sample(profile_path))
    expected = _read_expected(expected_path(profile_path))
    return sorted(
        key
        for key in found.keys() | expected.keys()
        if key not in found or key not in expected or not _equal(found[key], expected[key])
    )


def _equal(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    return found.dtype == expected.dtype and np.array_equal(
        found, expected, equal_nan=expected.dtype.kind == "f"
    )


def _read_expected(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise EdgeError(
            f"{path}: the expected arrays cannot be read: {error}",
            action="Write them with `edge-daemon profile test --write-expected`, and look at them.",
        ) from error

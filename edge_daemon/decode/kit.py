"""For the authors of profiles: expected arrays beside the sample of every clinical profile.

A profile ``<firmware>.toml`` stands beside ``<firmware>.sample.<ext>``, a capture, and
``<firmware>.expected.npz``, what that capture must decode to. The catalogue tests hold every
shipped profile to them.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from edge_daemon.decode import decode
from edge_daemon.decode.profile import load_profile
from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    from pathlib import Path

    from edge_daemon.records import CellBatch


def sample_path(profile_path: Path) -> Path:
    """Return the capture beside a profile.

    Raises
    ------
    EdgeError
        When there is none, or more than one.
    """
    prefix = f"{profile_path.stem}.sample."
    found = sorted(p for p in profile_path.parent.iterdir() if p.name.startswith(prefix))
    if len(found) != 1:
        raise EdgeError(
            f"{profile_path.parent}: expected one file named {prefix}*, found {len(found)}",
            action="Put one capture of that instrument and firmware beside the profile.",
        )
    return found[0]


def expected_path(profile_path: Path) -> Path:
    """Return where the expected arrays of a profile lie."""
    return profile_path.with_name(f"{profile_path.stem}.expected.npz")


def describe_sample(batch: CellBatch) -> str:
    """Return the metadata of a batch as JSON with sorted keys."""
    return json.dumps(asdict(batch.sample), sort_keys=True)


def write_expected(profile_path: Path) -> Path:
    """Decode the sample beside a profile and write the expected arrays.

    The file holds ``signals`` float32 and ``saturated`` bool ``(events, channels)``,
    ``channels``, ``sample`` (JSON), and ``time_s`` float32 where the profile has a time.
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
    batch = decode(sample_path(profile_path).read_bytes(), load_profile(profile_path))
    arrays = {
        "signals": batch.signals,
        "saturated": batch.saturated,
        "channels": np.array(batch.channels),
        "sample": np.array(describe_sample(batch)),
    }
    if batch.time_s is not None:
        arrays["time_s"] = batch.time_s
    target = expected_path(profile_path)
    with target.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    return target

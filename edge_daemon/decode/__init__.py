"""Decode: bytes and a profile in, canonical single cells out. Pure functions."""

from __future__ import annotations

from dataclasses import replace

from edge_daemon.decode.canonical import acquisition_time, canonical_signals
from edge_daemon.decode.checks import check_plausible
from edge_daemon.decode.limits import DEFAULT_LIMITS, Limits
from edge_daemon.decode.profile import Profile, ProfileError, load_profile
from edge_daemon.decode.registry import Detection, Registry
from edge_daemon.decode.sample import read_sample
from edge_daemon.decode.table import RawColumn, RawTable
from edge_daemon.errors import EdgeError
from edge_daemon.records import CellBatch

__all__ = [
    "DEFAULT_LIMITS",
    "Detection",
    "Limits",
    "Profile",
    "ProfileError",
    "RawColumn",
    "RawTable",
    "Registry",
    "decode",
    "decode_raw",
    "load_profile",
    "read_sample",
]


def decode_raw(
    data: bytes,
    profile: Profile,
    *,
    name: str = "",
    dataset: int = 1,
    limits: Limits = DEFAULT_LIMITS,
) -> RawTable:
    """Read the columns of one data set as recorded.

    Parameters
    ----------
    data
        The whole capture.
    profile
        Names the codec and the leniencies that are allowed.
    name
        File name, where the profile takes keywords from it.
    dataset
        Which data set, counted from 1.
    limits
        Caps; a decode-only profile may raise the number of columns.

    Raises
    ------
    Quarantine
        ``not_recognised``, ``malformed``, ``truncated``, ``too_large`` or ``unsupported``.
    """
    table = profile.codec.read(data, dataset=dataset, limits=limits)
    if profile.file_name is None:
        return table
    return replace(table, keywords={**table.keywords, **profile.file_name.keywords(name)})


def decode(
    data: bytes,
    profile: Profile,
    *,
    name: str = "",
    dataset: int = 1,
    limits: Limits = DEFAULT_LIMITS,
) -> CellBatch:
    """Decode one data set into canonical channels and check that it is plausible.

    Parameters
    ----------
    data
        The whole capture.
    profile
        A profile that maps canonical channels (``classify = true``).
    name
        File name, where the profile takes keywords from it.
    dataset
        Which data set, counted from 1.
    limits
        Caps, checked before anything is allocated.

    Returns
    -------
    CellBatch
        Signals in the profile's units, saturation mask, time and metadata.

    Raises
    ------
    Quarantine
        As `decode_raw`, and ``profile_mismatch`` or ``implausible``.
    EdgeError
        When the profile only decodes.
    """
    if not profile.classify:
        raise EdgeError(
            f"profile {profile.id} only decodes: it maps no canonical channels",
            action="Choose a profile of the instrument, or look at the recorded columns.",
        )
    table = decode_raw(data, profile, name=name, dataset=dataset, limits=limits)
    signals, saturated = canonical_signals(table, profile)
    sample, remarks = read_sample(table, profile)
    batch = CellBatch(
        signals=signals,
        channels=profile.channels,
        saturated=saturated,
        sample=sample,
        profile=profile.id,
        time_s=None if profile.time is None else acquisition_time(table, profile.time),
        pulses=table.pulses,
        notes=table.notes + remarks,
        calibration=profile.optics,
    )
    check_plausible(batch, profile)
    return batch

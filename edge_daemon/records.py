"""The frozen records that stages hand to each other (design: data shapes).

numpy is imported for type checking only, so that query commands can use these names without
paying for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping  # noqa: TC003 - read when answers of workers are checked
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CellClass = Literal["pure_rbc", "reticulocyte", "clumped_rbc", "platelet", "other"]
CELL_CLASSES: Final[tuple[CellClass, ...]] = (
    "pure_rbc",
    "reticulocyte",
    "clumped_rbc",
    "platelet",
    "other",
)
"""Order of the posterior's columns and of class codes 0-4, everywhere."""

DETECTORS: Final = ("LA", "HA", "SS", "EXT", "FL")
"""Low-angle, intermediate-angle and side scatter, extinction, RNA-dye fluorescence."""

FEATURES: Final = ("H", "A", "W")
"""Pulse height, area and width."""

CANONICAL_CHANNELS: Final = tuple(f"{d}.{f}" for d in DETECTORS for f in FEATURES)

SPECIES: Final = (
    "dog", "cat", "horse", "cow", "sheep", "goat", "alpaca", "rabbit", "ferret",
)  # fmt: skip

MEASUREMENT_CODES: Final = (
    "RBC", "HCT", "HGB", "MCV", "MCH", "MCHC", "RDW", "RETIC", "RETIC%",
    "PLT", "MPV", "PDW", "PCT", "CLUMP%",
)  # fmt: skip

CaptureState = Literal["received", "decoded", "classified", "quarantined"]


@dataclass(frozen=True, slots=True)
class RawCapture:
    """Bytes of one analyzer run, as received and before anyone has looked inside.

    Attributes
    ----------
    instrument
        Name of the configured source's instrument; with `sha256` the identity of the capture.
    source
        Name of the configured source the bytes came through (``process`` for one-shot use).
    name
        Original file name, or a name made from the message. A label, never used as a path.
    sha256
        Lower-case hex digest of `data`.
    data
        The bytes.
    digested
        Whether `sha256` was made from `data` right here, so that nobody need make it again.
    """

    instrument: str
    source: str
    name: str
    sha256: str
    data: bytes
    # Not given and not copied: a record with other bytes is not taken for a digested one.
    digested: bool = field(default=False, init=False, compare=False, repr=False)

    @classmethod
    def of(cls, instrument: str, source: str, name: str, data: bytes) -> Self:
        """Make the record of these bytes."""
        made = cls(instrument, source, name, hashlib.sha256(data).hexdigest(), data)
        object.__setattr__(made, "digested", True)
        return made


@dataclass(frozen=True, slots=True)
class SampleInfo:
    """What the instrument says about the sample; None means it did not say.

    Attributes
    ----------
    species
        One of `SPECIES` or None.
    volume_ul
        Metered volume of *diluted* sample that passed the detectors, µL.
    dilution
        Diluted volume over blood volume, e.g. 200 for 1:200.
    duration_s
        Time the metered volume took, s.
    acquired_at
        The analyzer's own date and time, as it wrote it.
    simulated
        Permanent mark; True if either the bytes or the profile say so.
    """

    sample_id: str | None = None
    patient_id: str | None = None
    patient_name: str | None = None
    species: str | None = None
    breed: str | None = None
    instrument_model: str | None = None
    instrument_serial: str | None = None
    firmware: str | None = None
    volume_ul: float | None = None
    dilution: float | None = None
    duration_s: float | None = None
    acquired_at: str | None = None
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class ChannelScale:
    """What a profile says of the size of one canonical signal.

    Attributes
    ----------
    unit
        Of the signal.
    median_min, median_max
        Where the median of a run may lie; None where the profile does not say.
    """

    unit: str
    median_min: float | None = None
    median_max: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class OpticalCalibration:
    """What an instrument's scatter heights say about the size and content of a cell.

    Heights are in the units of the profile's canonical channels, in the order LA.H, HA.H, EXT.H
    wherever an axis is called signals; uncertainties and CVs are relative standard deviations.

    Attributes
    ----------
    volume_fl, hc_g_dl, red_cells
        float64 ``(volumes,)`` and ``(concentrations,)`` ascending, and the heights of red cells,
        ``(volumes, concentrations, signals)``.
    platelet_fl, index_step, platelets
        float64 ``(volumes,)`` and ``(steps,)`` ascending, and the heights of platelets,
        ``(volumes, steps, signals)``; a step is the refractive index above the medium.
    gain_uncertainty
        Of each detector's gain, ``(signals,)``.
    light_uncertainty
        Of the light, which moves all detectors together.
    noise_floor, noise_shot
        Variance of a height is ``floor² + shot × height``, each ``(signals,)``.
    light_cv
        Variation between cells in the light they receive, common to all detectors.
    increment_uncertainty
        Of the specific refractive increment of haemoglobin; it scales concentrations only.
    platelet_index_step, platelet_index_uncertainty, platelet_index_cv
        Mean index step of platelets, its uncertainty, and its variation between platelets.
    """

    volume_fl: NDArray[np.float64]
    hc_g_dl: NDArray[np.float64]
    red_cells: NDArray[np.float64]
    platelet_fl: NDArray[np.float64]
    index_step: NDArray[np.float64]
    platelets: NDArray[np.float64]
    gain_uncertainty: tuple[float, ...]
    light_uncertainty: float
    noise_floor: tuple[float, ...]
    noise_shot: tuple[float, ...]
    light_cv: float
    increment_uncertainty: float
    platelet_index_step: float
    platelet_index_uncertainty: float
    platelet_index_cv: float


@dataclass(frozen=True, slots=True)
class CellBatch:
    """One run's cells in canonical channels and units.

    Attributes
    ----------
    signals
        float32 ``(events, channels)``, after gain, offset and linearisation; decoding lays it out
        channel by channel (Fortran order).
    channels
        Canonical names (``LA.H`` …), one per column.
    saturated
        bool ``(events, channels)``: the recorded value stood at the converter's limit.
    sample
        Metadata.
    profile
        Id of the profile that decoded it, ``<vendor>_<model>/<firmware>``.
    time_s
        float32 ``(events,)`` since start of acquisition, or None.
    pulses
        float32 ``(events, detectors, samples)`` or None.
    notes
        Leniencies that were needed and other remarks, stored with the result.
    calibration
        Of the profile's optics, or None where it has none.
    """

    signals: NDArray[np.float32]
    channels: tuple[str, ...]
    saturated: NDArray[np.bool_]
    sample: SampleInfo
    profile: str
    time_s: NDArray[np.float32] | None = None
    pulses: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()
    calibration: OpticalCalibration | None = None

    @property
    def events(self) -> int:
        """Number of events."""
        return int(self.signals.shape[0])


@dataclass(frozen=True, slots=True)
class CellCalls:
    """Per-event classification.

    Attributes
    ----------
    posterior
        float32 ``(events, 5)`` in the order of `CELL_CLASSES`; rows sum to 1. The classifier
        lays it out class by class (Fortran order).
    codes
        uint8 ``(events,)``: index of the called class.
    peak
        float32 ``(channels,)`` in the order of the bundle that called them: the run's red-cell
        peak; None where no bundle did.
    """

    posterior: NDArray[np.float32]
    codes: NDArray[np.uint8]
    peak: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """A condition the technician should know of, with its next action.

    Attributes
    ----------
    code
        Stable ``snake_case`` name.
    severity
        ``info``, ``review`` (look before reporting) or ``invalid`` (do not report).
    message
        Cause, in one sentence with its figure.
    action
        What to do next.
    """

    code: str
    severity: Literal["info", "review", "invalid"]
    message: str
    action: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One reported value.

    Attributes
    ----------
    code
        One of `MEASUREMENT_CODES`.
    value
        Unrounded; None when not reported (the flags say why).
    unit
        UCUM, conventional.
    low, high
        95 % interval, or None where none is known.
    method
        ``counted`` or ``calculated``; a derived value is never shown as measured.
    flags
        Codes of flags that concern this value.
    """

    code: str
    value: float | None
    unit: str
    low: float | None
    high: float | None
    method: Literal["counted", "calculated"]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decoded:
    """First durable step of an analysis: the capture was read with this profile."""

    profile: str
    profile_sha256: str
    events: int
    channels: tuple[str, ...]
    sample: SampleInfo
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Classified:
    """Second durable step: cells were called and counted.

    Attributes
    ----------
    model
        ``<bundle name>@<version>``.
    model_sha256
        Digest of the bundle's manifest (which holds the digests of its files).
    counts
        Events per class; keys are exactly `CELL_CLASSES`.
    elapsed_s
        CPU seconds spent in decode and classify.
    pictures
        Scattergrams and histograms as `store.pictures` reads them; empty for none.
    """

    model: str
    model_sha256: str
    counts: Mapping[str, int]
    measurements: tuple[Measurement, ...]
    flags: tuple[Flag, ...]
    elapsed_s: float = field(default=0.0, compare=False)
    pictures: bytes = b""


@dataclass(frozen=True, slots=True)
class ReportedValue:
    """One line of the analyzer's own report.

    Attributes
    ----------
    name
        The analyzer's own name or code of the value, as written.
    code
        The `MEASUREMENT_CODES` it is, or None where the profile maps it to none.
    value
        In `unit`, or None where the analyzer gave no number.
    unit
        UCUM after the profile's conversion where `code` is set; else as written.
    text
        As written, e.g. ``12.3``, ``++++`` or ``POSITIVE``.
    written_unit
        The unit as written; empty where none was.
    low, high
        The analyzer's reference interval in `unit`, or None.
    flags
        As written, e.g. ``H``, ``A``, ``*``.
    """

    name: str
    code: str | None
    value: float | None
    unit: str
    text: str
    written_unit: str = ""
    low: float | None = None
    high: float | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportedHistogram:
    """A distribution that the analyzer sent along.

    Attributes
    ----------
    name
        The analyzer's own, e.g. ``RBC``.
    low, high
        Lower edge of the first bin and upper edge of the last, in `unit`.
    counts
        One per bin, as sent.
    """

    name: str
    unit: str
    low: float
    high: float
    counts: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class AnalyzerReport:
    """What the analyzer itself reported about a sample; never mixed with our own counts.

    Attributes
    ----------
    sample
        Who and what, as far as it said; `SampleInfo.acquired_at` is the time of the analysis.
    kind
        ``sample``, or ``control`` for quality-control material.
    message_id
        The message's own identifier, or None.
    amends
        The report says that it corrects or completes an earlier one.
    messages
        Suspect flags and comments in the analyzer's words.
    """

    sample: SampleInfo
    kind: Literal["sample", "control"]
    values: tuple[ReportedValue, ...]
    histograms: tuple[ReportedHistogram, ...] = ()
    messages: tuple[str, ...] = ()
    message_id: str | None = None
    amends: bool = False


@dataclass(frozen=True, slots=True)
class Reported:
    """A durable step: what the analyzer itself reported in this capture."""

    profile: str
    profile_sha256: str
    report: AnalyzerReport
    notes: tuple[str, ...] = ()


Step = Decoded | Reported | Classified
"""What an analysis yields; each is made durable before the next begins.

`Decoded` comes before `Classified`; `Reported` may come anywhere, and more than once.
"""

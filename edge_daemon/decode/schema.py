"""The sections of an instrument profile (docs/profiles.md describes every key)."""

from __future__ import annotations

import re
import warnings
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from edge_daemon.decode.section import Section
from edge_daemon.records import CANONICAL_CHANNELS, SPECIES
from edge_daemon.units import UNITS, convert

MAX_VALUE = 200
"""Longest keyword value that identifies an instrument or describes a sample, characters."""
MAX_FILE_NAME = 255


def _canonical(value: str) -> str:
    if value not in CANONICAL_CHANNELS:
        raise ValueError(f"expected one of {', '.join(CANONICAL_CHANNELS)}")
    return value


def _pattern(value: str) -> str:
    try:
        with warnings.catch_warnings(action="error"):  # of what will mean something else
            re.compile(value)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"expected a regular expression: {error}") from error
    return value


def _nonzero(value: float) -> float:
    if value == 0:
        raise ValueError("expected a number other than 0")
    return value


Name = Annotated[str, Field(min_length=1, max_length=MAX_VALUE)]
PathPart = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Canonical = Annotated[str, AfterValidator(_canonical)]
Factor = Annotated[float, AfterValidator(_nonzero)]


class Identity(Section):
    """``[profile]``: what the profile is for."""

    title: Name
    vendor: PathPart
    model: PathPart
    firmware: PathPart
    revision: int = Field(ge=1)
    simulated: bool = False
    classify: bool = True
    reports: bool = False
    provenance: Literal["generated", "captured", "documented"]


class SerialLine(Section):
    """``[source.serial]``: the line settings that the instrument leaves the factory with."""

    baud: int = Field(default=9600, ge=50, le=4_000_000)
    bits: Literal[5, 6, 7, 8] = 8
    parity: Literal["none", "even", "odd", "mark", "space"] = "none"
    stop_bits: Literal[1, 2] = 1
    flow: Literal["none", "hardware", "software"] = "none"


def _part_group(value: str) -> str:
    if "PART" not in re.compile(_pattern(value)).groupindex:
        raise ValueError("expected a regular expression with the group (?P<PART>...)")
    return value


class Source(Section):
    """``[source]``: how captures arrive."""

    kind: Literal["folder", "serial", "tcp"]
    patterns: tuple[Name, ...] = ()
    parts: Annotated[str, AfterValidator(_part_group)] | None = None
    serial: SerialLine | None = None

    @model_validator(mode="after")
    def _of_one_kind(self) -> Source:
        if self.kind == "folder" and not self.patterns:
            raise ValueError('a folder source needs patterns, e.g. ["*.fcs"]')
        if self.kind != "serial" and self.serial is not None:
            raise ValueError('[source.serial] is for kind = "serial" only')
        return self


_Plain = bool | int | float | str


class Framing(Section):
    """``[framing]``: how messages stand in the byte stream (docs/framing.md)."""

    name: Literal["astm", "mllp", "packet", "block"]
    options: dict[str, _Plain | dict[str, _Plain]] = Field(default_factory=dict)


def _groups(value: str) -> str:
    if not re.compile(_pattern(value)).groupindex:
        raise ValueError("expected a regular expression with named groups, (?P<SAMPLE>...)")
    return value


class FileName(Section):
    """``[file_name]``: what the analyzer writes into the names of its files.

    Each named group of the pattern becomes a keyword ``NAME.<GROUP>``.
    """

    pattern: Annotated[str, AfterValidator(_groups)]

    def keywords(self, name: str) -> dict[str, str]:
        """Return what a file name says; nothing where it is of another form."""
        found = re.fullmatch(self.pattern, name.rpartition("/")[2][:MAX_FILE_NAME])
        named = found.groupdict() if found else {}
        return {f"NAME.{key.upper()}": value.strip() for key, value in named.items() if value}


class Condition(Section):
    """What a keyword must say: exactly this, or the whole of this regular expression."""

    exact: str | None = None
    regex: Annotated[str, AfterValidator(_pattern)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"exact": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_of_both(self) -> Condition:
        if (self.exact is None) == (self.regex is None):
            raise ValueError('expected a text, { exact = "..." } or { regex = "..." }')
        return self

    def accepts(self, value: str | None) -> bool:
        """Tell whether a keyword's value, or its absence, meets the condition."""
        if value is None or len(value) > MAX_VALUE:
            return False
        if self.regex is not None:
            return re.fullmatch(self.regex, value) is not None
        return value == self.exact

    def __str__(self) -> str:
        return repr(self.exact) if self.regex is None else f"/{self.regex}/"


class Match(Section):
    """``[match]``: which captures the profile is for."""

    format: Name
    keywords: dict[Name, Condition] = Field(min_length=2)


class Channel(Section):
    """``[[channel]]``: one recorded column and the canonical channel it is."""

    column: Name
    canonical: Canonical
    scale: Literal["linear", "log"] = "linear"
    gain: Factor = 1.0
    offset: float = 0.0
    unit: Name
    saturates_low: bool = False


class Time(Section):
    """``[time]``: the column of acquisition time."""

    column: Name
    seconds_per_unit: float | None = Field(default=None, gt=0)
    keyword: Name | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Time:
        if (self.seconds_per_unit is None) == (self.keyword is None):
            raise ValueError("expected either seconds_per_unit or keyword")
        return self


class MetadataField(Section):
    """One field of the sample's description, and the keyword that holds it."""

    keyword: Name
    map: dict[str, str] | None = None
    scale: Factor | None = None
    required: bool = False


def _text_only(value: MetadataField | None) -> MetadataField | None:
    if value is not None and value.scale is not None:
        raise ValueError("scale is for volume_ul, dilution and duration_s only")
    return value


def _known_species(value: MetadataField | None) -> MetadataField | None:
    mapped = (value.map or {}) if value is not None else {}
    unknown = sorted(set(mapped.values()) - set(SPECIES))
    if unknown:
        raise ValueError(
            f"unknown species {', '.join(unknown)}; expected any of {', '.join(SPECIES)}"
        )
    return value


TextField = Annotated[MetadataField | None, AfterValidator(_text_only)]


class Metadata(Section):
    """``[metadata]``: what the file says about the sample (records.SampleInfo)."""

    sample_id: TextField = None
    patient_id: TextField = None
    patient_name: TextField = None
    species: Annotated[TextField, AfterValidator(_known_species)] = None
    breed: TextField = None
    instrument_model: TextField = None
    instrument_serial: TextField = None
    firmware: TextField = None
    volume_ul: MetadataField | None = None
    dilution: MetadataField | None = None
    duration_s: MetadataField | None = None
    acquired_at: TextField = None


NUMERIC_METADATA = ("volume_ul", "dilution", "duration_s")


class MedianRange(Section):
    """Where the median of one canonical channel must lie, in its unit."""

    median_min: float
    median_max: float

    @model_validator(mode="after")
    def _ordered(self) -> MedianRange:
        if self.median_min >= self.median_max:
            raise ValueError("expected median_min below median_max")
        return self


class Plausibility(Section):
    """``[plausibility]``: what a decoded capture must look like to be believed."""

    min_events: int = Field(default=1, ge=1)
    max_saturated_fraction: float = Field(default=1.0, ge=0, le=1)
    channels: dict[Canonical, MedianRange] = Field(default_factory=dict)


def _reportable(value: str) -> str:
    if value not in UNITS:
        raise ValueError(f"expected one of {', '.join(UNITS)}")
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]


class Reported(Section):
    """``[[reported]]``: one of our measurements, and how the analyzer's report names it."""

    code: Annotated[str, AfterValidator(_reportable)]
    name: Condition
    unit: Name | None = None
    units: dict[Name, Name] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _convertible(self) -> Reported:
        for unit in (*([] if self.unit is None else [self.unit]), *self.units.values()):
            if convert(self.code, 1.0, unit) is None:
                raise ValueError(
                    f"{unit} is no unit of {self.code}, which is in {UNITS[self.code]}"
                )
        return self


class SentHistogram(Section):
    """``[[report.histogram]]``: a distribution inside a result, as whole numbers one after another.

    `low` and `high` are the outer edges of the first and the last bin, in `unit`; without `high`
    each bin is one unit wide.
    """

    name: Name
    observation: Name
    bytes: Literal[1, 2, 4]
    byte_order: Literal["big", "little"] = "big"
    unit: Name
    low: float
    high: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> SentHistogram:
        if self.high is not None and self.low >= self.high:
            raise ValueError("expected low below high")
        return self


class Report(Section):
    """``[report]``: what else the analyzer's report says, beyond values and ``[metadata]``."""

    control: dict[Name, Condition] = Field(default_factory=dict)
    suspects: Pattern | None = None
    pictures: Pattern | None = None
    histogram: tuple[SentHistogram, ...] = ()


CALIBRATED: Final = ("LA", "HA", "EXT")
"""Detectors of a calibration, in the order of its tables' last axis."""

Uncertainty = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 < value[0] < value[1] < 180:
        raise ValueError("expected two angles between 0 and 180 degrees, the smaller first")
    return value


class CalibratedDetector(Section):
    """Gain and noise of one detector's heights."""

    gain_uncertainty: Uncertainty
    noise_floor: float = Field(ge=0)
    noise_shot: float = Field(ge=0)


class Calibration(Section):
    """``[calibration]``: what the scatter heights say about a cell's volume and content."""

    table: PathPart
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    wavelength_nm: Positive
    medium_index: Positive
    increment_ml_g: Positive
    increment_uncertainty: Uncertainty
    LA_angles: Annotated[tuple[float, float], AfterValidator(_ascending)]
    HA_angles: Annotated[tuple[float, float], AfterValidator(_ascending)]
    light_uncertainty: Uncertainty
    light_cv: Uncertainty
    platelet_index_step: Positive
    platelet_index_uncertainty: Uncertainty
    platelet_index_cv: Uncertainty
    LA: CalibratedDetector
    HA: CalibratedDetector
    EXT: CalibratedDetector

    @property
    def physics(self) -> tuple[float, ...]:
        """What a table is computed for, in the order in which its file states it."""
        return (
            self.wavelength_nm,
            self.medium_index,
            self.increment_ml_g,
            *self.LA_angles,
            *self.HA_angles,
        )

"""Schema of a bundle's ``manifest.toml``."""

from __future__ import annotations

import math
import re
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from edge_daemon.classify.strata import STRATA
from edge_daemon.records import CANONICAL_CHANNELS, SPECIES

STAGE1_CLASSES: Final = ("red_cell", "platelet", "other")
STAGE2_CLASSES: Final = ("pure_rbc", "reticulocyte", "clumped_rbc")
SPECIES_TRAITS: Final = 8
BUNDLE_FILES: Final = ("stage1.onnx", "stage2.onnx", "golden.npz", "card.md")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")]
Version = Annotated[str, StringConstraints(pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$")]
ProfileId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Field(gt=0, lt=1)]
RelativeSd = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
OddsSd = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Identity(_Table):
    """``[bundle]``."""

    name: Name
    version: Version
    title: str = Field(min_length=1)


class Runtime(_Table):
    """``[runtime]``: what the golden vectors were made with."""

    onnxruntime: Version
    opset: int = Field(ge=13, le=30)
    quantization: Literal["static_qdq_int8"]


class Validity(_Table):
    """``[valid]``: captures this bundle may classify."""

    profiles: list[ProfileId] = Field(min_length=1)
    species: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _known_species(self) -> Self:
        unknown = sorted(set(self.species) - set(SPECIES))
        if unknown:
            raise ValueError(f"unknown species {unknown}, expected some of {list(SPECIES)}")
        return self


class Inputs(_Table):
    """``[input]``: what the graphs take."""

    channels: list[str] = Field(min_length=1)
    anchor: str
    transform: Literal["log_over_red_cell_peak"]

    @model_validator(mode="after")
    def _known_channels(self) -> Self:
        unknown = [c for c in self.channels if c not in CANONICAL_CHANNELS]
        if unknown:
            raise ValueError(f"not canonical channels: {unknown}")
        if len(set(self.channels)) != len(self.channels):
            raise ValueError("a channel is listed twice")
        if self.anchor not in self.channels:
            raise ValueError(f"anchor {self.anchor!r} is not one of the channels")
        return self


class Stage(_Table):
    """``[stage1]`` and ``[stage2]``: class names and the priors they were trained with.

    Priors are one list for all events, or, in stage 1, one for each stratum of events
    (`edge_daemon.classify.strata`).
    """

    classes: list[str]
    priors: list[Probability] | list[list[Probability]]
    latent: int = Field(ge=1, le=64)

    @model_validator(mode="after")
    def _priors_sum(self) -> Self:
        for priors in self.by_stratum:
            if len(priors) != len(self.classes):
                raise ValueError(f"{len(self.classes)} classes but {len(priors)} priors")
            if not math.isclose(sum(priors), 1.0, abs_tol=1e-6):
                raise ValueError(f"priors sum to {sum(priors):.8g}, expected 1")
        if len(self.by_stratum) not in {1, STRATA}:
            raise ValueError(f"priors of {len(self.by_stratum)} strata, expected 1 or {STRATA}")
        return self

    @property
    def by_stratum(self) -> list[list[float]]:
        """Priors of each stratum; one row where the events are not parted."""
        rows = [row for row in self.priors if isinstance(row, list)]
        return rows or [[p for p in self.priors if isinstance(p, float)]]


class Uncertainty(_Table):
    """``[uncertainty]``: errors of a run beyond counting, from reported values.

    The first four are relative SDs of the counts. The ``odds`` are SDs of the error in the
    log-odds of a call, natural logarithm: they matter as far as calls are uncertain. The last is
    the share of red-cell events that are clumps taken for single cells, an SD that only widens
    upwards. Bundles made before they were known have none.
    """

    rbc: RelativeSd
    platelet: RelativeSd
    reticulocyte: RelativeSd
    clumped_rbc: RelativeSd
    rbc_odds: OddsSd = 0.0
    platelet_odds: OddsSd = 0.0
    reticulocyte_odds: OddsSd = 0.0
    clumped_rbc_odds: OddsSd = 0.0
    clumped_rbc_missed: Share = 0.0


class Calibration(_Table):
    """``[calibration]``: what values are multiplied with so that they agree with reported ones.

    ``reticulocyte`` is of RETIC%, and of RETIC with it: dim reticulocytes are called mature cells
    in the same proportion in every run, and the values an analyzer reported say in which.
    """

    reticulocyte: float = Field(default=1.0, ge=0.5, le=2.0, allow_inf_nan=False)


class Coincidence(_Table):
    """``[coincidence]``: cells that pass together by chance.

    ``window_ul`` is the volume of diluted sample within which two cells are one event, µL, and
    ``uncertainty`` its relative SD. ``called_single`` and ``called_clump`` are accepted of bundles
    made before the number of doublets entered the re-estimation of class frequencies, and ignored.
    """

    window_ul: float = Field(ge=0, le=1, allow_inf_nan=False)
    uncertainty: RelativeSd = 0.1
    called_single: Share | None = None
    called_clump: Share | None = None


class Kind(_Table):
    """Centre and precision of some traits of the runs of one kind."""

    centre: list[Finite] = Field(min_length=1, max_length=64)
    precision: list[list[Finite]]

    @model_validator(mode="after")
    def _square(self) -> Self:
        if {len(self.precision), *map(len, self.precision)} != {len(self.centre)}:
            raise ValueError(f"precision is not {len(self.centre)} × {len(self.centre)}")
        return self


def _same_traits(kinds: dict[str, Kind], traits: int) -> None:
    wrong = [name for name, kind in kinds.items() if len(kind.centre) != traits]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: expected {traits} traits")


class Heights(_Table):
    """``[habit.heights]``: where single red cells of each species stand in every detector."""

    features: list[str] = Field(min_length=1, max_length=64)
    limit: Positive
    kinds: dict[str, Kind] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _same_traits(self.kinds, len(self.features))
        return self


class Habit(_Table):
    """``[habit]``: what runs of training were like (`edge_daemon.classify.outlier`)."""

    features: list[str] = Field(min_length=1, max_length=64)
    centre: list[Finite]
    scale: list[Positive]
    precision: list[list[Finite]]
    limit: Positive
    heights: Heights | None = None

    @model_validator(mode="after")
    def _square(self) -> Self:
        size = len(self.features)
        rows = {len(self.centre), len(self.scale), len(self.precision), *map(len, self.precision)}
        if rows != {size}:
            raise ValueError(f"{size} features, but lists of {sorted(rows)}")
        return self


class SpeciesHabits(_Table):
    """``[species]``: how species differ (`edge_daemon.classify.species`)."""

    limit: Positive
    kinds: dict[str, Kind] = Field(min_length=2)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _same_traits(self.kinds, SPECIES_TRAITS)
        return self


class FileEntry(_Table):
    """``[files."NAME"]``."""

    sha256: Sha256
    bytes: int = Field(ge=1, le=64 * 2**20)


class Provenance(_Table):
    """``[provenance]``: what it was trained on."""

    simulated: bool
    captures: int = Field(ge=1)
    cells: int = Field(ge=1)
    references_sha256: Sha256
    seed: int = Field(ge=0)
    trained_with: str = Field(min_length=1)
    method: str = Field(min_length=1)


class Manifest(_Table):
    """A bundle's manifest; every key is required and no other key is allowed."""

    schema_version: Literal[1] = Field(alias="schema")
    bundle: Identity
    runtime: Runtime
    valid: Validity
    input: Inputs
    stage1: Stage
    stage2: Stage
    uncertainty: Uncertainty
    coincidence: Coincidence
    files: dict[str, FileEntry]
    provenance: Provenance
    calibration: Calibration = Calibration()
    habit: Habit | None = None
    species: SpeciesHabits | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if sorted(self.files) != sorted(BUNDLE_FILES):
            raise ValueError(f"files: expected {list(BUNDLE_FILES)}, found {sorted(self.files)}")
        for stage, classes in ((self.stage1, STAGE1_CLASSES), (self.stage2, STAGE2_CLASSES)):
            if tuple(stage.classes) != classes:
                raise ValueError(f"classes: expected {list(classes)}, found {stage.classes}")
        if len(self.stage2.by_stratum) > 1:
            raise ValueError("stage2: its cells are red cells, one stratum; expected one list")
        return self


def version_key(version: str) -> tuple[int, ...]:
    """Order semantic versions by number, not by letter."""
    return tuple(int(part) for part in re.findall(r"\d+", version))

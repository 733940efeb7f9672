"""A folder of captures with reference values and, kept apart, the truth."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.errors import EdgeError
from edge_daemon.simulator.acquisition import Acquisition, Reference, Truth, acquire
from edge_daemon.simulator.biology import SPECIES, conditions_of, plan_sample
from edge_daemon.simulator.instruments import find_firmware, find_instrument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

DEFAULT_SPECIES: Final = ("dog", "cat", "horse")

_OURS: Final = frozenset({".fcs", ".edp", ".csv", ".npz"})
_PLAN: Final = 100
"""Stream of the sample's biology; streams 0-3 belong to the acquisition."""


@dataclass(frozen=True, slots=True)
class CohortSummary:
    """What was written.

    Attributes
    ----------
    samples, events
        Captures, and events over all of them.
    species, conditions, classes
        Samples per species and per condition, events per class.
    """

    samples: int
    events: int
    species: Mapping[str, int]
    conditions: Mapping[str, int]
    classes: Mapping[str, int]


def simulate(  # noqa: PLR0913  (each option is one of the command's)
    out: Path,
    *,
    instrument: str = "sim_optical4",
    firmware: str | None = None,
    samples: int,
    events: int,
    seed: int,
    species: Sequence[str] | None = None,
    condition: str | None = None,
    shifted: bool = False,
    event_rate: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> CohortSummary:
    """Write a cohort into `out`: captures, ``references.csv``, ``truth.csv``, ``truth.npz``.

    Parameters
    ----------
    out
        Folder, made if absent; must hold no captures or tables, which would mix with ours.
    firmware
        A version, or None for a mixture of all.
    samples, events
        Captures, and events in each.
    seed
        Same seed, same bytes; a sample does not depend on how many follow it.
    species
        Species to draw from; `DEFAULT_SPECIES` if None.
    condition
        One condition for all, or None for a mixture.
    shifted
        Other physics behind the same export.
    event_rate
        Times the usual events per second; see `acquire`.
    progress
        Called with samples done and samples in all.

    Raises
    ------
    EdgeError
        If an argument is not known or the folder cannot be written.
    """
    _check(instrument, firmware, samples, seed, species, condition)
    truths: list[Truth] = []
    references: list[Reference] = []
    codes: dict[str, NDArray[np.uint8]] = {}
    try:
        _prepare(out)
        for index in range(samples):
            run = sample(
                index, instrument=instrument, firmware=firmware, events=events, seed=seed,
                species=species, condition=condition, shifted=shifted, event_rate=event_rate,
            )  # fmt: skip
            _write(out / run.name, run.data)
            truths.append(run.truth)
            references.append(run.reference)
            codes[run.name] = run.codes
            if progress is not None:
                progress(index + 1, samples)
        _write(out / "references.csv", _table(Reference._fields, references))
        _write(out / "truth.csv", _table(Truth._fields, truths))
        packed = io.BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **codes)
        _write(out / "truth.npz", packed.getvalue())
    except OSError as error:
        raise EdgeError(
            f"cannot write the cohort to {out}: {error.strerror or error}",
            action="Choose a folder that can be written and has space.",
        ) from error
    return _summary(truths)


def sample(  # noqa: PLR0913  (as above)
    index: int,
    *,
    instrument: str = "sim_optical4",
    firmware: str | None = None,
    events: int,
    seed: int,
    species: Sequence[str] | None = None,
    condition: str | None = None,
    shifted: bool = False,
    event_rate: float = 1.0,
) -> Acquisition:
    """Acquire sample number `index` (from 0) of the cohort of `seed`; see `simulate`."""
    rng = np.random.default_rng([seed, index, _PLAN])
    kind = str(rng.choice(list(species or DEFAULT_SPECIES)))
    probabilities = conditions_of(kind)
    drawn = str(rng.choice(list(probabilities), p=list(probabilities.values())))
    versions = list(find_instrument(instrument).firmwares)
    version = str(rng.choice(versions))
    plan = plan_sample(rng, kind, condition or drawn, sample_id=f"SIM{seed}-{index + 1:04d}")
    layout = find_firmware(find_instrument(instrument), firmware or version)
    return acquire(
        plan,
        instrument=instrument,
        firmware=layout.version,
        events=events,
        seed=(seed, index),
        name=f"{index + 1:04d}_{kind}{layout.suffix}",
        shifted=shifted,
        event_rate=event_rate,
    )


def _check(
    instrument: str,
    firmware: str | None,
    samples: int,
    seed: int,
    species: Sequence[str] | None,
    condition: str | None,
) -> None:
    model = find_instrument(instrument)
    if firmware is not None:
        find_firmware(model, firmware)
    if samples < 1 or seed < 0:
        raise EdgeError(
            f"samples is {samples} and seed is {seed}; samples must be 1 or more, seed 0 or more",
            action="Correct the number.",
        )
    for kind in species or DEFAULT_SPECIES:
        if kind not in SPECIES:
            raise EdgeError(
                f"unknown species {kind!r}; the simulator knows {', '.join(SPECIES)}",
                action="Choose one of the known species.",
            )
        if condition is not None and condition not in conditions_of(kind):
            known = ", ".join(conditions_of(kind))
            raise EdgeError(
                f"condition {condition!r} is not simulated in species {kind!r}; known are {known}",
                action="Choose another condition, or name the species it occurs in.",
            )


def _prepare(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    held = next((p.name for p in out.iterdir() if p.suffix in _OURS), None)
    if held is not None:
        raise EdgeError(
            f"{out} already holds {held}: it may be an earlier cohort, or no place for one",
            action="Choose an empty folder.",
        )


def _write(path: Path, data: bytes) -> None:
    """Write as an analyzer should: under another name first, so that nobody reads half."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    temporary.replace(path)


def _table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return text.getvalue().encode("utf-8")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _summary(truths: Sequence[Truth]) -> CohortSummary:
    classes: Counter[str] = Counter()
    for truth in truths:
        for field in Truth._fields:
            if field.startswith("n_"):
                classes[field.removeprefix("n_")] += getattr(truth, field)
    return CohortSummary(
        samples=len(truths),
        events=classes.total(),
        species=Counter(t.species for t in truths),
        conditions=Counter(t.condition for t in truths),
        classes=classes,
    )

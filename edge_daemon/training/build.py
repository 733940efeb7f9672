"""From a folder of captures and a table of reported values to a bundle."""

from __future__ import annotations

import importlib.metadata
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.manifest import (
    Calibration,
    Identity,
    Inputs,
    Provenance,
    Uncertainty,
    Validity,
)
from edge_daemon.classify.quantify import quantify
from edge_daemon.classify.runtime import Classifier
from edge_daemon.classify.tally import tally_cells
from edge_daemon.errors import EdgeError
from edge_daemon.training.bundling import Recipe, exact_twin, write_bundle
from edge_daemon.training.card import training_card
from edge_daemon.training.checkpoint import fingerprint_of, open_checkpoint
from edge_daemon.training.data import ANCHOR, Cohort, Run, load_cohort
from edge_daemon.training.doubt import learn_doubt, residuals
from edge_daemon.training.evaluate import Twin, compare_twins
from edge_daemon.training.fit import Fitted, fit
from edge_daemon.training.habits import learn_habits
from edge_daemon.training.report_training import Diary, as_batch, leave_report
from edge_daemon.training.trainer import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.decode.registry import Registry
    from edge_daemon.training.trainer import Report

METHOD: Final = "IDEC then VaDE on sample-level values (arXiv 2509.19399), no cell labels"
CALIBRATION_RUNS: Final = 60
CALIBRATION_EVENTS: Final = 3000


@dataclass(frozen=True)
class Agreement:
    """The finished int8 bundle against the reported values.

    Attributes
    ----------
    runs
        Runs compared.
    uncertainty
        The bundle's own error from run to run, the analyzer's imprecision taken off
        (`doubt.learn_doubt`).
    calibration
        What values are multiplied with to agree with the reported ones.
    twins
        The validation runs by the int8 and by the float graphs.
    """

    runs: int
    uncertainty: Uncertainty
    calibration: Calibration
    twins: tuple[Twin, ...]


def train_bundle(  # noqa: PLR0913 - each option is one of the command's
    captures: Path,
    references: Path,
    out: Path,
    registry: Registry,
    *,
    seed: int,
    profile_id: str | None = None,
    schedule: Schedule | None = None,
    report: Report | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    say: Callable[[str], None] = lambda _message: None,
) -> Bundle:
    """Train, quantize, check on held-out runs, write a bundle and a report beside it.

    The state of training is kept in ``<out>.part`` until the bundle is written; the same call
    after an interruption goes on from there and ends with the same bytes.

    Parameters
    ----------
    captures, references
        Folder of captures, and the values an analyzer reported for them.
    out
        Bundle folder to create; ``<name>-<version>`` names the bundle.
    registry
        Instrument profiles.
    seed
        Of every random choice.
    profile_id
        Train for this profile only.
    say
        Told when an interrupted training is taken up again, or cannot be.

    Raises
    ------
    EdgeError
        Too few captures, contradictory reference values, or `out` cannot be written.
    """
    if out.exists():
        raise EdgeError(
            f"{out}: exists already; a bundle is never overwritten",
            action="choose another folder, or a new version",
        )
    cohort = load_cohort(captures, references, registry, profile_id=profile_id, progress=progress)
    diary = Diary(report)
    plan = schedule or Schedule()
    checkpoint = open_checkpoint(out, fingerprint_of(cohort, (seed, plan, _versions())), say)
    fitted = fit(cohort, seed=seed, schedule=plan, report=diary, checkpoint=checkpoint)
    recipe = _recipe(out.name, cohort, fitted, seed)
    runs = [(run.signals[:CALIBRATION_EVENTS], run.peak) for run in _spread(cohort.runs)]
    with tempfile.TemporaryDirectory() as folder:
        draft = write_bundle(Path(folder, "draft"), fitted.networks, recipe, runs)
        agreement = compare(draft, cohort, fitted)
        habit, species = learn_habits(draft, (as_batch(run, cohort) for run in cohort.runs))
    recipe = replace(
        recipe,
        uncertainty=agreement.uncertainty,
        calibration=agreement.calibration,
        habit=habit,
        species=species,
        card=training_card(recipe.identity, cohort, fitted, agreement),
    )
    bundle = write_bundle(out, fitted.networks, recipe, runs)
    leave_report(bundle, cohort, fitted, diary, agreement.twins)
    checkpoint.drop()
    return bundle


def _versions() -> tuple[str, ...]:
    """Whatever computes the bytes of a bundle."""
    return tuple(
        f"{name} {importlib.metadata.version(name)}" for name in ("edge-daemon", "jax", "numpy")
    )


def _spread(runs: Sequence[Run]) -> list[Run]:
    picks = np.linspace(0, len(runs) - 1, min(CALIBRATION_RUNS, len(runs))).astype(int)
    return [runs[i] for i in picks]


def _recipe(folder: str, cohort: Cohort, fitted: Fitted, seed: int) -> Recipe:
    parts = re.fullmatch(r"(?P<name>.+)-(?P<version>\d+\.\d+\.\d+)", folder)
    name = parts["name"] if parts else folder
    slug = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")[:64] or "bundle"
    mark = "simulated " if cohort.simulated else ""
    return Recipe(
        identity=Identity(
            name=slug,
            version=parts["version"] if parts else "0.1.0",
            title=f"{', '.join(cohort.profiles)}, trained on {len(cohort.runs)} {mark}runs",
        ),
        validity=Validity(profiles=list(cohort.profiles), species=list(cohort.species)),
        inputs=Inputs(
            channels=list(cohort.channels), anchor=ANCHOR, transform="log_over_red_cell_peak"
        ),
        uncertainty=Uncertainty(rbc=0, platelet=0, reticulocyte=0, clumped_rbc=0),
        provenance=Provenance(
            simulated=cohort.simulated,
            captures=len(cohort.runs),
            cells=sum(run.events for run in cohort.runs),
            references_sha256=cohort.references_sha256,
            seed=seed,
            trained_with=f"jax {importlib.metadata.version('jax')}",
            method=METHOD,
        ),
        stage1_priors=fitted.priors[0],
        stage2_priors=fitted.priors[1],
        coincidence_ul=fitted.coincidence_ul,
        card="Not yet checked against the validation runs.\n",
    )


def compare(bundle: Bundle, cohort: Cohort, fitted: Fitted) -> Agreement:
    """Run the finished bundle on all runs and hold it against their reports."""
    classifier, exact = Classifier(bundle), Classifier(exact_twin(bundle, fitted.networks))
    compared, twins = [], []
    for index, run in enumerate(cohort.runs):
        batch = as_batch(run, cohort)
        calls = classifier.classify(batch)
        found = {m.code: m.value for m in quantify(batch, calls, bundle).measurements}
        tally = tally_cells(batch, calls, bundle.manifest.coincidence)
        compared.append(residuals(tally, found, run.reference))
        if index in fitted.validation:
            twins.append(compare_twins(run.reference.capture, calls, exact.classify(batch)))
    species = [run.reference.species for run in cohort.runs]
    learnt = learn_doubt(compared, [compared[i] for i in fitted.validation], species)
    return Agreement(len(compared), learnt.uncertainty, learnt.calibration, tuple(twins))

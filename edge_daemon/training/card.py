"""``card.md``: what a bundle was made from, how well it does, and where it does not."""

from __future__ import annotations

import hashlib
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

import tomlkit

from edge_daemon.classify.bundle import MANIFEST, Bundle, load_bundle
from edge_daemon.errors import EdgeError
from edge_daemon.training.table import markdown

if TYPE_CHECKING:
    from pathlib import Path

    from edge_daemon.classify.manifest import Identity
    from edge_daemon.training.build import Agreement
    from edge_daemon.training.data import Cohort
    from edge_daemon.training.evaluate import Evaluation
    from edge_daemon.training.fit import Fitted

MEASURED: Final = "## Measured against truth"


def training_card(identity: Identity, cohort: Cohort, fitted: Fitted, agreement: Agreement) -> str:
    """Write the card as it stands after training, before any truth is known."""
    doubt, twins = agreement.uncertainty, agreement.twins
    source = "Simulated runs only; nothing here has seen an animal." if cohort.simulated else ""
    lines = [
        f"# {identity.name} {identity.version}",
        "",
        identity.title + ".",
        "",
        *([f"**{source}**", ""] if source else []),
        "## Training",
        "",
        (
            f"- {len(cohort.runs)} runs, {sum(r.events for r in cohort.runs)} events, species "
            f"{', '.join(cohort.species)}; {len(cohort.dropped)} captures left out"
        ),
        "- no cell label: only each run's reported RBC, PLT and reticulocyte %",
        f"- {len(fitted.history['stage1'])} + {len(fitted.history['stage2'])} epochs",
        "",
        f"## Agreement with the reported values of {agreement.runs} runs",
        "",
        "Own relative SD from run to run, the analyzer's imprecision taken off:",
        f"RBC {doubt.rbc:.1%}, PLT {doubt.platelet:.1%}, RETIC% {doubt.reticulocyte:.1%};",
        (
            f"SD of the log-odds of a call: RBC {doubt.rbc_odds:.2f}, PLT "
            f"{doubt.platelet_odds:.2f}, RETIC% {doubt.reticulocyte_odds:.2f}. These widen the "
            "reported intervals."
        ),
        "",
        (
            f"RETIC% is multiplied by {agreement.calibration.reticulocyte:.3f}, by which what the "
            "networks found differed from the reported values in the mean of the runs."
        ),
        "",
        (
            f"Int8 against float, over {len(twins)} validation runs: a class's share of the "
            f"events changes by at most {max(t.counts for t in twins):.3%}, "
            f"{fmean(t.identical for t in twins):.3%} of the events are called the same."
        ),
        "",
        "## Limits",
        "",
        "- valid only for the profiles and species named in the manifest",
        "- platelets in aggregates are not counted as platelets",
        "- reticulocytes inside clumps are not told from mature cells",
        "- nobody reports clumps: the doubt of CLUMP% is an assumption",
        "",
    ]
    return "\n".join(lines)


def add_evaluation(bundle: Bundle, evaluation: Evaluation, cohort: str) -> Bundle:
    """Write a measured accuracy table into a bundle's card, replacing an earlier one.

    A release step: the card's digest changes, and so does the manifest's. Models do not.

    Parameters
    ----------
    cohort
        One sentence that says what was measured on.
    """
    card = (bundle.path / "card.md").read_text(encoding="utf-8").split(MEASURED)[0].rstrip()
    text = "\n".join([card, "", MEASURED, "", cohort, "", *markdown(evaluation), ""])
    data = text.encode()
    manifest = bundle.path / MANIFEST
    table: Any = tomlkit.parse(manifest.read_text(encoding="utf-8"))
    table["files"]["card.md"]["sha256"] = hashlib.sha256(data).hexdigest()
    table["files"]["card.md"]["bytes"] = len(data)
    try:
        _replace(bundle.path / "card.md", data)
        _replace(manifest, tomlkit.dumps(table).encode())
    except OSError as error:
        raise EdgeError(f"{bundle.path}: cannot write the card: {error.strerror}") from error
    return load_bundle(bundle.path)


def _replace(file: Path, data: bytes) -> None:
    part = file.with_name(f".{file.name}.part")
    part.write_bytes(data)
    part.replace(file)

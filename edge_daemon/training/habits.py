"""Keep with a bundle what its training runs were like, for the box to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_daemon.classify.calibrate import red_cell_peak
from edge_daemon.classify.outlier import learn_habit, run_summary
from edge_daemon.classify.runtime import Classifier
from edge_daemon.classify.species import learn_species, species_traits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.classify.manifest import Habit, SpeciesHabits
    from edge_daemon.records import CellBatch


def learn_habits(
    bundle: Bundle, runs: Iterable[CellBatch]
) -> tuple[Habit | None, SpeciesHabits | None]:
    """Classify the training runs with the finished bundle and sum up what they were like.

    Parameters
    ----------
    bundle
        Its graphs are those that will be shipped.
    runs
        With the bundle's channels, in its order.
    """
    classifier = Classifier(bundle)
    anchor = bundle.manifest.input.anchor
    summaries, traits, species = [], [], []
    for batch in runs:
        calls = classifier.classify(batch)
        peak = red_cell_peak(batch.signals, bundle.channels, anchor)
        summaries.append(run_summary(batch.signals, bundle.channels, peak, calls.posterior, anchor))
        traits.append(species_traits(batch, calls))
        species.append(batch.sample.species)
    return learn_habit(summaries, species), learn_species(traits, species)

"""Explain a run's calls: what made them, and what would have changed them.

For each class, Shapley values of the log-odds of the class say how much every detector and channel
contributed, against the run's own red cells and against any event of the run; thresholds say how
far one signal would have to move for the call to change. Everything is asked of the bundle's own
int8 graphs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.call_model import CallModel
from edge_daemon.classify.explanation import (
    Attribution,
    CellExplanation,
    ClassExplanation,
    Contribution,
    Explanation,
    Spread,
    Threshold,
    Turn,
    describe,
)
from edge_daemon.classify.shapley import by_channel, by_group, mean_and_error
from edge_daemon.classify.thresholds import Turns, find_turns, over_reference
from edge_daemon.errors import EdgeError
from edge_daemon.records import CELL_CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.classify.explanation import Background, Side
    from edge_daemon.records import CellBatch, CellCalls

MIN_CELLS: Final = 10
"""Events a class needs for an average over them to say something."""

BACKGROUND_CELLS: Final = 48
"""Cells drawn from each background."""

_NEAR_MIDDLE = 4096  # events among which the typical one is looked for
_SIDES: Final[tuple[Side, Side]] = ("below", "above")


def explain(
    batch: CellBatch,
    calls: CellCalls,
    bundle: Bundle,
    *,
    cells_per_class: int = 32,
    seed: int = 0,
) -> Explanation:
    """Explain the calls of one run, class by class.

    Parameters
    ----------
    batch
        The run.
    calls
        Its calls.
    bundle
        The bundle that made them.
    cells_per_class
        Cells drawn from each class, at least 2.
    seed
        The same seed gives the same explanation.

    Raises
    ------
    EdgeError
        The calls are not those of this bundle, or the run has too few pure red cells to compare
        with.
    """
    explainer = _Explainer(batch, calls, bundle, seed)
    counts = np.bincount(calls.codes, minlength=len(CELL_CLASSES))
    enough = [code for code in range(len(CELL_CLASSES)) if counts[code] >= MIN_CELLS]
    return Explanation(
        model=bundle.id,
        red_cell_median=explainer.red_cell_median(),
        classes=tuple(explainer.explain_class(code, cells_per_class) for code in enough),
        too_few={
            name: int(counts[code]) for code, name in enumerate(CELL_CLASSES) if code not in enough
        },
        seed=seed,
    )


def explain_cell(
    batch: CellBatch, calls: CellCalls, bundle: Bundle, event: int, *, seed: int = 0
) -> CellExplanation:
    """Explain the call of one event.

    Parameters
    ----------
    batch, calls, bundle, seed
        As in `explain`.
    event
        Number of the event, from 0.

    Raises
    ------
    EdgeError
        As in `explain`, or the run has no such event.
    """
    if not 0 <= event < batch.events:
        raise EdgeError(
            f"the run has no event {event}: its events are 0 to {batch.events - 1}",
            action="give the number of one of its events",
        )
    return _Explainer(batch, calls, bundle, seed).explain_event(event)


class _Explainer:
    """Model, reference and backgrounds of one run."""

    def __init__(self, batch: CellBatch, calls: CellCalls, bundle: Bundle, seed: int) -> None:
        self._model = CallModel(batch, calls, bundle)
        self._codes = calls.codes
        self._seed = seed
        channels = self._model.channels
        self._detectors = {
            detector: [i for i, c in enumerate(channels) if c.startswith(f"{detector}.")]
            for detector in dict.fromkeys(c.partition(".")[0] for c in channels)
        }
        red = np.flatnonzero(calls.codes == 0)
        if len(red) < MIN_CELLS:
            raise EdgeError(
                f"{len(red)} events of the run are called pure red cell, expected at least "
                f"{MIN_CELLS} to compare the others with",
                action="look at the run's flags; repeat the run",
            )
        self._reference = np.median(self._model.signals[red], axis=0).astype(np.float32)
        if np.any(self._reference <= 0):
            channel = channels[int(np.argmax(self._reference <= 0))]
            raise EdgeError(
                f"channel {channel} has no positive median over the run's pure red cells",
                action="check the profile's gain and offset for this channel",
            )

    def red_cell_median(self) -> dict[str, float]:
        """Median of each channel over the pure red cells."""
        return self._by_channel(self._reference)

    def explain_class(self, code: int, count: int) -> ClassExplanation:
        """Explain a sample of the events with one call."""
        members = np.flatnonzero(self._codes == code)
        drawn = self._rng(code).permutation(members)[: max(count, 2)]
        cells = self._model.signals[drawn]
        return ClassExplanation(
            name=CELL_CLASSES[code],
            events=len(members),
            explained=len(drawn),
            attributions=self._attributions(cells, code),
            spreads=self._spreads(cells),
            typical=self.explain_event(self._typical(members)),
        )

    def explain_event(self, event: int) -> CellExplanation:
        """Explain one event."""
        code = int(self._codes[event])
        cell = self._model.signals[event : event + 1]
        posterior = self._model.posterior(cell)[0]
        multiples = self._by_channel(cell[0] / self._reference)
        attributions = self._attributions(cell, code)
        thresholds = self._thresholds(cell)
        return CellExplanation(
            event=event,
            called=CELL_CLASSES[code],
            posterior=dict(zip(CELL_CLASSES, posterior.tolist(), strict=True)),
            multiples=multiples,
            attributions=attributions,
            thresholds=thresholds,
            sentence=describe(CELL_CLASSES[code], attributions[0], multiples, thresholds),
        )

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, *stream))

    def _by_channel(self, values: NDArray[np.float32]) -> dict[str, float]:
        return dict(zip(self._model.channels, values.astype(float).tolist(), strict=True))

    def _backgrounds(self, code: int) -> Mapping[Background, NDArray[np.float32]]:
        """Cells to compare a class with, the most telling background first."""
        first: Background = "red_cells" if code else "others"
        pools: dict[Background, NDArray[np.int64]] = {
            first: np.flatnonzero((self._codes == 0) == (code != 0)),
            "run": np.arange(len(self._codes)),
        }
        return {
            name: self._model.signals[self._rng(5, place).permutation(pool)[:BACKGROUND_CELLS]]
            for place, (name, pool) in enumerate(pools.items())
            if len(pool)
        }

    def _attributions(self, cells: NDArray[np.float32], code: int) -> tuple[Attribution, ...]:
        def odds(signals: NDArray[np.float32]) -> NDArray[np.float64]:
            return self._model.log_odds(signals, code)

        groups = list(self._detectors.values())
        found = []
        for name, background in self._backgrounds(code).items():
            detectors = by_group(odds, cells, background, groups)
            channels = by_channel(odds, cells, background, self._rng(6, code))
            found.append(
                Attribution(
                    background=name,
                    baseline=float(odds(background).mean()),
                    value=float(odds(cells).mean()),
                    detectors=_contributions(tuple(self._detectors), detectors),
                    channels=_contributions(self._model.channels, channels),
                )
            )
        return tuple(found)

    def _typical(self, members: NDArray[np.int64]) -> int:
        """Event nearest to the middle of a class, in log signals over their spread."""
        members = members[:_NEAR_MIDDLE]
        logs = np.log(over_reference(self._model.signals[members], self._reference))
        distance = np.abs(logs - np.median(logs, axis=0))
        spread = np.maximum(np.median(distance, axis=0), 1e-6)
        return int(members[np.argmin((distance / spread).sum(axis=1))])

    def _signals(self) -> Iterator[tuple[str, list[int]]]:
        """Name each signal that is changed as one, with its columns, the leading one first."""
        place = {name: index for index, name in enumerate(self._model.channels)}
        everything = []
        for detector in self._detectors:
            # Area leads: it sums the whole pulse, and is what the field plots.
            columns = [place[c] for c in (f"{detector}.A", f"{detector}.H") if c in place]
            everything += columns
            if columns:
                yield detector, columns
        if everything:
            yield "all", everything
        widths = [index for name, index in place.items() if name.endswith(".W")]
        if widths:
            yield "width", widths

    def _turns(self, cells: NDArray[np.float32]) -> list[tuple[str, str, Turns]]:
        """Signal, leading channel and turns of every signal."""
        found = []
        for signal, columns in self._signals():
            turns = find_turns(self._model, cells, self._reference, columns)
            if signal == "all":  # its detectors have no level in common but the cell's own
                own = turns.multiple / turns.start[:, None]
                turns = Turns(np.ones_like(turns.start), own, turns.becomes)
            found.append((signal, self._model.channels[columns[0]], turns))
        return found

    def _thresholds(self, cell: NDArray[np.float32]) -> tuple[Threshold, ...]:
        return tuple(
            Threshold(
                signal=signal,
                channel=channel,
                multiple=float(turns.start[0]),
                below=_turn(turns, 0),
                above=_turn(turns, 1),
            )
            for signal, channel, turns in self._turns(cell)
        )

    def _spreads(self, cells: NDArray[np.float32]) -> tuple[Spread, ...]:
        found = []
        for signal, _, turns in self._turns(cells):
            for column, side in enumerate(_SIDES):
                levels = turns.multiple[:, column]
                levels = levels[np.isfinite(levels)]
                if len(levels):
                    low, median, high = np.quantile(levels, (0.1, 0.5, 0.9)).tolist()
                    share = len(levels) / len(cells)
                    found.append(Spread(signal, side, share, median, low, high))
        return tuple(found)


def _turn(turns: Turns, side: int) -> Turn | None:
    code = int(turns.becomes[0, side])
    return None if code < 0 else Turn(float(turns.multiple[0, side]), CELL_CLASSES[code])


def _contributions(names: tuple[str, ...], values: NDArray[np.float64]) -> tuple[Contribution, ...]:
    means, errors = mean_and_error(values)
    return tuple(
        Contribution(name, value, error)
        for name, value, error in zip(names, means.tolist(), errors.tolist(), strict=True)
    )

"""Whether a candidate model agrees with the one in use on the same captures; pure.

Both see the same cells, so counting noise does not part them: what differs is the models. The
limits are this product's own goals for bias (docs/agreement.md), and for single samples three
times as much or the run's own 95 % interval, whichever is wider.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.updates.state import SHADOW_SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LIMITS: Final[Mapping[str, float]] = {
    "RBC": 2.0,
    "HCT": 2.0,
    "HGB": 2.0,
    "MCV": 2.0,
    "PLT": 10.0,
    "RETIC%": 15.0,
}
"""Measurement → largest median difference, percent."""

SINGLE: Final = 3.0
"""So many times the limit may one sample differ."""
EXCEPTIONS: Final = 1
"""So many of the samples may lie beyond, or not be classified, or lack a value."""
_LEAST: Final = 10  # samples with a value that a median is judged by


def compare(
    active: Iterable[Mapping[str, Any]], candidate: Iterable[Mapping[str, Any]]
) -> dict[str, list[float] | None]:
    """Put the values of two results of one capture beside each other.

    Parameters
    ----------
    active, candidate
        Measurements with ``code``, ``value``, ``low`` and ``high``.

    Returns
    -------
    dict
        Code → difference in percent of the active value and half the active 95 % interval in
        percent; None where one has a value and the other has none. Codes without both are absent.
    """
    other = {m["code"]: m["value"] for m in candidate}
    found: dict[str, list[float] | None] = {}
    for value in active:
        code, here, there = value["code"], value["value"], other.get(value["code"])
        if code not in LIMITS or (here is None and there is None):
            continue
        if here is None or there is None:
            found[code] = None
        else:
            found[code] = _difference(here, there, value["low"], value["high"])
    return found


def _difference(here: float, there: float, low: float | None, high: float | None) -> list[float]:
    if here <= 0.0:  # nothing was counted: percent of it say nothing
        return [0.0 if there <= (high or 0.0) else 1000.0, 0.0]
    half = 0.0 if low is None or high is None else max(here - low, high - here)
    return [round(100.0 * (there - here) / here, 3), round(100.0 * half / here, 3)]


def verdict(samples: Sequence[Mapping[str, Any]]) -> str | None:
    """Judge what was compared so far.

    Parameters
    ----------
    samples
        Records with ``failed`` (why the candidate gave no result, or empty) and ``values`` as
        `compare` gives them.

    Returns
    -------
    str or None
        Empty: it agrees. A reason: it does not. None: more samples are needed.
    """
    failed = [sample["failed"] for sample in samples if sample["failed"]]
    if len(failed) > EXCEPTIONS:
        return f"{len(failed)} of {len(samples)} samples gave no result: {failed[0]}"
    if len(samples) < SHADOW_SAMPLES:
        return None
    for code, limit in LIMITS.items():
        if problem := _judge(code, limit, samples):
            return problem
    return ""


def _judge(code: str, limit: float, samples: Sequence[Mapping[str, Any]]) -> str:
    told = [sample["values"][code] for sample in samples if code in sample["values"]]
    lacking = sum(pair is None for pair in told)
    if lacking > EXCEPTIONS:
        return f"{code} is there with one model and not with the other in {lacking} samples"
    pairs = [pair for pair in told if pair is not None]
    far = [d for d, half in pairs if abs(d) > max(SINGLE * limit, half)]
    if len(far) > EXCEPTIONS:
        worst = max(far, key=abs)
        return f"{code} differs in {len(far)} of {len(pairs)} samples, by up to {worst:+.1f} %"
    if len(pairs) >= _LEAST:
        median = statistics.median(d for d, _ in pairs)
        if abs(median) > limit:
            return f"{code} differs by {median:+.1f} % (median; at most ±{limit:g} % is allowed)"
    return ""

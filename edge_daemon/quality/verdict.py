"""What the statistics mean for the person who reads them, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.quality.bland_altman import BlandAltman
    from edge_daemon.quality.moving import Stream
    from edge_daemon.quality.passing_bablok import PassingBablok

Word = Literal["agrees", "small", "undecided", "differs"]

GOALS: Final = {
    "RBC": 2.0, "HCT": 2.0, "HGB": 2.0, "MCV": 2.0, "MCH": 2.0, "MCHC": 2.0, "PLT": 10.0,
}  # fmt: skip
"""Bias in percent that this product aims to stay within; docs/agreement.md gives the reasons."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One word, one sentence, one action (empty where there is nothing to do)."""

    word: Word
    meaning: str
    action: str


def judge(code: str, percent: BlandAltman, line: PassingBablok | None) -> Verdict:
    """Judge one measure.

    Parameters
    ----------
    code
        Of the measure; `GOALS` holds how much bias is allowed.
    percent
        Its differences in percent.
    line
        The regression, or None where there is none.
    """
    low, high = percent.bias_ci
    goal = GOALS.get(code)
    bias = (
        "no difference on average"
        if low <= 0.0 <= high
        else f"ours is {_amount(percent.bias)} than the analyzer's on average"
    )
    shape, cause = _shape(line)
    if low <= 0.0 <= high and not shape:
        if goal is not None and max(-low, high) > goal:
            return Verdict(
                "undecided",
                f"no difference shown, but it may be {max(-low, high):.1f} % (goal ±{goal:g} %)",
                "let more samples run on both before relying on it",
            )
        return Verdict("agrees", "no systematic difference", "")
    if goal is not None and -goal <= low and high <= goal:
        return Verdict("small", f"{bias}{shape}: within the goal of ±{goal:g} %", "")
    if goal is not None and low <= goal and high >= -goal:
        return Verdict(
            "undecided",
            f"{bias}{shape}; it may be within the goal of ±{goal:g} %, or beyond",
            "let more samples run on both; then read this again",
        )
    beyond = f", beyond the goal of ±{goal:g} %" if goal is not None else " (no goal is set for it)"
    return Verdict(
        "differs",
        f"{bias}{beyond}{shape}",
        f"run control material on the analyzer; if it is in control, {cause}",
    )


def _amount(percent: float) -> str:
    return f"{abs(percent):.1f} % {'higher' if percent > 0 else 'lower'}"


def _shape(line: PassingBablok | None) -> tuple[str, str]:
    """Say how the difference changes with the value, and where to look for its cause."""
    if line is None:
        return "", "look at smears of some of these samples"
    words, causes = [], []
    if not line.slope_ci[0] <= 1.0 <= line.slope_ci[1]:
        words.append(f"in proportion to the value (slope {line.slope:.3f})")
        causes.append("check metered volume, dilution and gains in the instrument's profile")
    if not line.intercept_ci[0] <= 0.0 <= line.intercept_ci[1]:
        words.append(f"by an amount that stays the same (intercept {line.intercept:.3g})")
        causes.append("check the background count and what counts as noise")
    if not words:
        return "", "look at smears of some of these samples"
    return f"; they differ {' and '.join(words)}", " and ".join(causes)


_CAUSES: Final = {
    (True, True): "both moved: the instrument or its reagents. Run control material; if it has"
    " moved too, clean and calibrate, else look whether the patients changed",
    (True, False): "only ours moved: check the profile, the model in use since then and the"
    " signals (`explain`), and replay a run from before",
    (False, True): "only the analyzer's moved: check its calibration with control material",
}


def drift_action(sides: Mapping[str, Stream | None]) -> str:
    """Say what to do about a value that drifts on at least one side.

    Parameters
    ----------
    sides
        The streams ``ours`` and ``analyzer`` of one value; None where there is none.
    """
    moved = {side: s is not None and s.state == "drift" for side, s in sides.items()}
    known = [side for side, s in sides.items() if s is not None and s.state != "too_few"]
    if len(known) == 1:
        return "run control material; if it has moved too, clean and calibrate the analyzer"
    return _CAUSES[moved["ours"], moved["analyzer"]]


BLIND_SPOT: Final = (
    "MCV, MCH and MCHC cannot show RBC, HCT and HGB drifting together: their ratio stays. RBC,"
    " PLT and the events per second are followed for that, with wider limits, since patients"
    " differ more in them. Control material remains the proof."
)

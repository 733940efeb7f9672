"""The accuracy table, for the card and for the command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edge_daemon.training.evaluate import Evaluation

COLUMNS: Final = (
    ("runs", "runs"),
    ("plt_within_25", "PLT events ±25 %"),
    ("plt_median_error", "PLT events, median error"),
    ("plt_blood_within_25", "PLT in blood ±25 %"),
    ("plt_covered", "PLT interval holds truth"),
    ("rbc_within_5", "RBC ±5 %"),
    ("rbc_median_error", "RBC, median error"),
    ("retic_within_25", "RETIC% ±25 %"),
    ("retic_median_error", "RETIC%, median error"),
    ("baseline_plt_within_25", "threshold: PLT events ±25 %"),
    ("baseline_retic_within_25", "threshold: RETIC% ±25 %"),
)
"""Key of a row of `Evaluation.table`, and its heading."""


def markdown(evaluation: Evaluation) -> list[str]:
    """Accuracy table as Markdown lines."""
    lines = [
        "| group | " + " | ".join(heading for _, heading in COLUMNS) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for row in evaluation.table():
        name = row["name"] if row["group"] == "all" else f"{row['group']}: {row['name']}"
        cells = [cell(key, row[key]) for key, _ in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def cell(key: str, value: float | None) -> str:
    """One value as people read it: shares and errors in percent."""
    if value is None:
        return "–"
    if key == "runs":
        return str(int(value))
    return f"{100 * value:.1f} %" if key.endswith("error") else f"{100 * value:.0f} %"

"""What people say about control material, inside the transaction that the writer is given."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final, Literal

from edge_daemon.errors import EdgeError
from edge_daemon.store import said
from edge_daemon.store.corrections import required
from edge_daemon.store.rows import clean, stamp_row
from edge_daemon.store.sql import insert, value
from edge_daemon.units import UNITS, is_possible, possible_range

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from edge_daemon.clock import Stamp

MarkKind = Literal["control", "blank", "check", "patient"]
KINDS: Final[tuple[MarkKind, ...]] = ("control", "blank", "check", "patient")
_PREFIX: Final = 2


@dataclass(frozen=True, slots=True)
class LotTarget:
    """Mean and one standard deviation of a value, in our unit."""

    mean: float
    sd: float


@dataclass(frozen=True, slots=True)
class Lot:
    """One level of a lot of control material.

    Attributes
    ----------
    lot, level, material
        Number of the lot, e.g. ``normal``, and what it is called.
    targets
        By measurement code.
    expires
        Day, ISO 8601, or None.
    pattern
        Sample ids that mean it, with ``*`` and ``?``; None: only what is marked by hand.
    instrument
        Only on this instrument; None for any.
    """

    lot: str
    level: str
    material: str
    targets: Mapping[str, LotTarget]
    expires: str | None = None
    pattern: str | None = None
    instrument: str | None = None


def add_lot(db: sqlite3.Connection, lot: Lot, by: str, stamp: Stamp) -> int:
    """Add a level of a lot; the same lot and level again takes the place of the former."""
    row = {
        "lot": required(lot.lot, "the number of the lot"),
        "level": required(lot.level, "the level"),
        "material": required(lot.material, "the name of the material"),
        "instrument": clean(lot.instrument).strip() or None if lot.instrument else None,
        "pattern": _pattern(lot.pattern),
        "expires": _day(lot.expires),
        "targets": json.dumps({code: _target(code, t) for code, t in lot.targets.items()}),
        "made_by": required(by, "who adds the lot"),
        **stamp_row("made", stamp),
    }
    if not lot.targets:
        raise EdgeError("a lot needs a target for at least one value", action="read its sheet")
    return insert(db, "lots", row)


def _target(code: str, target: LotTarget) -> dict[str, float]:
    if code not in UNITS:
        raise EdgeError(f"{code!r} is no value", action=f"give one of {', '.join(UNITS)}")
    if not (math.isfinite(target.mean) and is_possible(code, target.mean) and target.mean > 0):
        raise EdgeError(
            f"the target {target.mean:g} of {code} cannot be: {possible_range(code)} can",
            action="check number and unit on the sheet of the lot",
        )
    if not (math.isfinite(target.sd) and 0 < target.sd < target.mean):
        raise EdgeError(
            f"the standard deviation {target.sd:g} of {code} must be above 0 and below its mean",
            action="check the sheet of the lot",
        )
    return asdict(target)


def _day(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise EdgeError(
            f"{text!r} is no date", action="write the day of expiry as 2027-03-31"
        ) from error


def _pattern(text: str | None) -> str | None:
    if text is None:
        return None
    found = clean(text).strip()
    if len(re.split(r"[*?\[]", found, maxsplit=1)[0]) < _PREFIX:
        raise EdgeError(
            f"the pattern {found!r} would take patients for controls",
            action="begin it with two characters that are no wildcard, e.g. QC-*",
        )
    return found


def mark(
    db: sqlite3.Connection,
    run_id: int,
    kind: MarkKind,
    lot: str | None,
    level: str | None,
    by: str,
    stamp: Stamp,
) -> int:
    """Say what the capture of a run is; the newest mark of a capture counts."""
    if kind not in KINDS:
        raise EdgeError(f"{kind!r} is no kind of run", action=f"give one of {', '.join(KINDS)}")
    capture_id = value(db, "SELECT capture_id FROM runs WHERE id = ?", (run_id,))
    if capture_id is None:
        raise EdgeError(f"there is no run {run_id}", action="list the results to find its number")
    if kind == "control":
        query = "SELECT 1 FROM lots WHERE lot = ? AND level = ? LIMIT 1"
        if value(db, query, (lot, level)) is None:
            raise EdgeError(
                f"there is no lot {lot!r} with level {level!r}",
                action="list the lots, or add this one first",
            )
    elif lot or level:
        raise EdgeError("only a control has a lot and a level", action="leave them out")
    row: dict[str, Any] = {
        "capture_id": capture_id,
        "kind": kind,
        "lot": lot,
        "level": level,
        "made_by": required(by, "who marks it"),
        **stamp_row("made", stamp),
    }
    added = insert(db, "control_marks", row)
    said.send(db, "mark", added)
    return added

"""What a run is by what is known while it is written, for the document that tells of it.

Marks that people make are items of their own (`store.said`) and count before it. They are left out
here: a capture that is analysed again in a restored database would otherwise be told with the mark
that came after it, as another document than the one the centre has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from edge_daemon.joining import sample_key
from edge_daemon.store.controls import by_sample_id
from edge_daemon.store.reader import rows
from edge_daemon.store.reports import told_controls

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

_LOTS: Final = """
    SELECT lot, level, pattern, instrument, made_wall FROM lots
    WHERE id > (SELECT coalesce(max(id), 0) FROM lots) - 1000 ORDER BY id DESC
"""
"""The last thousand: a result costs the same however many lots a site has had."""


def kind_of(db: sqlite3.Connection, capture: Mapping[str, Any], sample_id: str | None) -> str:
    """Say what a run is, within the transaction that writes it.

    Parameters
    ----------
    db
        With the run in it.
    capture
        Its row of ``captures``.
    sample_id
        Of the run.

    Returns
    -------
    str
        ``patient``, ``control`` or ``blank``, as `controls.kinds` tells what nobody marked.
    """
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for lot in rows(db, _LOTS):
        newest.setdefault((lot["lot"], lot["level"]), lot)
    found = by_sample_id({**capture, "sample_id": sample_id}, list(newest.values()))
    if found != "patient":
        return found
    told = rows(
        db,
        "SELECT 1 FROM reports WHERE kind = 'control' AND sample_key = ? LIMIT 1",
        [sample_key(sample_id)],
    )
    return "control" if told and told_controls(db, [capture["id"]]) else "patient"

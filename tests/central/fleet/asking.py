"""Every question of the page and the API, asked of a database that explains what each one cost."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.central.fleet.visiting import Caller

LARGE: Final = frozenset(
    {"documents", "receipts", "results", "result_flags", "said", "pairs", "audit",
     "health_history"}
)  # fmt: skip
"""Tables that grow with what boxes send: no question may read one from end to end."""


@dataclass
class Statement:
    """One statement as the database carried it out.

    Attributes
    ----------
    rows
        Rows read of each table, those that were read and thrown away too.
    scanned
        Tables that were read from end to end.
    """

    sql: str
    plan: dict[str, Any]
    ms: float
    buffers: int
    rows: Counter[str] = field(default_factory=Counter)
    scanned: set[str] = field(default_factory=set)


def _look(node: dict[str, Any], into: Statement) -> None:
    table = node.get("Relation Name")
    if table is not None:
        removed = node.get("Rows Removed by Filter", 0)
        removed += node.get("Rows Removed by Index Recheck", 0)
        into.rows[table] += round((node["Actual Rows"] + removed) * node["Actual Loops"])
        if node["Node Type"] == "Seq Scan":
            into.scanned.add(table)
    for part in node.get("Plans", ()):
        _look(part, into)


@contextmanager
def explained(engine: Engine) -> Iterator[list[Statement]]:
    """Gather, for each SELECT that a database is asked meanwhile, how it was carried out."""
    found: list[Statement] = []

    def explain(connection: Any, _cursor: Any, sql: str, words: Any, *_more: Any) -> None:
        if not sql.lstrip().startswith(("SELECT", "WITH")) or "set_config" in sql:
            return
        with connection.connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", words)
            (told,) = cursor.fetchone()[0]
        plan = told["Plan"]
        one = Statement(
            sql, plan, told["Execution Time"] + told["Planning Time"],
            plan["Shared Hit Blocks"] + plan["Shared Read Blocks"],
        )  # fmt: skip
        _look(plan, one)
        found.append(one)

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", explain)


def took_ms(caller: Caller, path: str, times: int) -> tuple[float, int]:
    """Middle of some answers' times in ms, and the bytes of one."""
    spent, size = [0.0], 0
    for _ in range(times):
        began = time.perf_counter()
        answer = caller.get(path)
        spent.append(1000 * (time.perf_counter() - began))
        assert answer.status == 200, (path, answer.status, answer.body[:200])
        size = len(answer.body)
    return statistics.median(spent[1:] or spent), size

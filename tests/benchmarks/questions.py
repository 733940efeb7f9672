"""What every page and call of the centre takes on a large fleet: real pages, real PostgreSQL.

A million documents of two thousand boxes are made by the database itself; then an operator,
somebody of a chain of twenty clinics and somebody of one clinic ask all that can be asked. Each
question is asked three times, and once more with every statement explained. Prints the table of
``docs/scale.md``; `tests/central/fleet/test_large.py` holds it to limits.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from contextlib import closing
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.engine import Engine

from edge_daemon.central.limits import Limiter
from edge_daemon.central.store import CentralStore
from tests.central.centre import scratch_postgres
from tests.central.fleet.asking import LARGE, explained, took_ms
from tests.central.fleet.crowd import Size, fill
from tests.central.fleet.questions import EXPORTS, asked
from tests.central.fleet.visiting import served, signed_in

_UNLIMITED: Final = 1e9


def measure(store: CentralStore, url: str, size: Size, times: int = 3) -> list[dict[str, Any]]:
    """Ask everything, so many times, and then explained."""
    found = []
    with served(store, url, calls=Limiter(_UNLIMITED, _UNLIMITED)) as address:
        callers = {user: signed_in(store, address, user) for user in ("ops", "chief", "vet")}
        for user, path in (*asked(size), *EXPORTS):
            ms, sent = took_ms(callers[user], path, times)
            with explained(Engine) as statements:
                callers[user].get(path)
            rows = sum((one.rows for one in statements), Counter[str]())
            found.append(
                {
                    "user": user,
                    "path": path,
                    "ms": ms,
                    "database_ms": sum(one.ms for one in statements),
                    "statements": len(statements),
                    "rows": sum(rows[table] for table in LARGE),
                    "scanned": sorted({t for one in statements for t in one.scanned} & LARGE),
                    "bytes": sent,
                }
            )
    return found


def show(one: dict[str, Any]) -> str:
    """Row of the table."""
    return (
        f"| {one['user']} | `{one['path']}` | {one['ms']:.0f} ms | {one['database_ms']:.0f} ms "
        f"| {one['statements']} | {one['rows']:,} | {', '.join(one['scanned']) or '–'} "
        f"| {one['bytes'] / 1024:.0f} kB |"
    )


HEAD: Final = (
    "| Who | Asks | Answered in | Database | Statements | Rows read | From end to end | Answer |\n"
    "|---|---|---:|---:|---:|---:|---|---:|"
)


def main() -> None:
    """Fill, ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--boxes", type=int, default=2_000)
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    size = Size(words.documents, words.boxes)
    load = os.getloadavg()[0]
    with scratch_postgres("questions") as (_, postgres):
        url = postgres.make("questions")
        with closing(CentralStore(url)) as store:
            began = time.perf_counter()
            fill(store, size)
            filled_s = time.perf_counter() - began
            with store.engine.connect() as db:
                used = db.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
            found = measure(store, url, size)
    if words.json:
        told = {"load": load, "filled_s": filled_s, "database_bytes": used, "questions": found}
        sys.stdout.write(json.dumps(told) + "\n")
        return
    sys.stdout.write(
        f"{size.documents:,} documents of {size.boxes:,} boxes, {used / 1e9:.1f} GB, made in "
        f"{filled_s:.0f} s; load before {load:.1f}\n\n"
    )
    sys.stdout.write("\n".join([HEAD, *map(show, found)]) + "\n")


if __name__ == "__main__":
    main()

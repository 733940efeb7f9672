"""``/results/N``: everything about one result, the most important first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.routing import Route

from edge_daemon.store import queries, visits
from edge_daemon.web import render, values

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.responses import Response

_SEVERITY: Final = ("invalid", "review", "info")


def page(request: Request) -> Response:
    """Show one result."""
    run_id = request.path_params["run_id"]
    with request.state.site.reading() as db:
        run = stored_run(db, run_id)
        visited = visits.of_patient(db, run)
    return render.page(request, "result.html", _content(request, run, visited))


def stored_run(db: sqlite3.Connection, run_id: int) -> dict[str, Any]:
    """Read one run.

    Raises
    ------
    HTTPException
        404: there is none.
    """
    found = queries.run(db, f"run:{run_id}")
    if found is None:
        raise HTTPException(404)
    return found


def _content(
    request: Request, run: dict[str, Any], visited: list[dict[str, Any]]
) -> dict[str, Any]:
    numbers = render.preferences(request).numbers
    earlier = [visit for visit in visited if visit["id"] < run["id"]]
    before = earlier[0] if earlier else None
    return {
        "run": run,
        "flags": sorted(
            [*run["flags"], *run["analyzer"]["remarks"]],
            key=lambda flag: _SEVERITY.index(flag["severity"]),
        ),
        "rows": values.table(run, before, numbers),
        "others": values.others(run, numbers),
        "before": before,
        "visited": visited,
        "by_name": not run["patient_id"],
        "total": sum(run["counts"].values()),
    }


ROUTES: Final = [Route("/results/{run_id:int}", page, name="result")]
"""Of this page."""

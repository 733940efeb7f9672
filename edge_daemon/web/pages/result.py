"""``/results/N``: everything about one result, the most important first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.routing import Route

from edge_daemon.errors import EdgeError
from edge_daemon.resources import reference_pictures_dir
from edge_daemon.store import amendments, pictures, queries, visits
from edge_daemon.web import apart, plots, render, trend, values
from edge_daemon.web.interpreting import STATUS, asking_list, citations, unmarked

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.reference.findings import Interpretation
    from edge_daemon.web.apart import Apart
    from edge_daemon.web.numbers import Numbers
    from edge_daemon.web.site import Site

FIELD_NAMES: Final = {
    "patient_name": "Name",
    "patient_id": "Patient id",
    "sample_id": "Sample",
    "species": "Species",
    "breed": "Breed",
}


def page(request: Request) -> Response:
    """Show one result."""
    run_id = request.path_params["run_id"]
    site: Site = request.state.site
    numbers = render.preferences(request).numbers
    with site.reading() as db:
        run = stored_run(db, run_id)
        what = apart.of_run(db, run)
        visited = visits.of_patient(db, run)
        drawn, no_pictures = drawn_pictures(db, run_id)
        said = {"corrections": amendments.history(db, run), "notes": amendments.notes(db, run)}
    found = (site.shelf.plain if what else site.shelf.interpret)(run)
    content = _content(run, found, visited, numbers) | _plots(run, drawn, numbers)
    content["apart"] = what
    if what is not None:
        content |= _apart(what, run, content, numbers)
    content |= {"no_pictures": no_pictures, "said": said, "field_names": FIELD_NAMES}
    return render.page(request, "result.html", content)


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


def newest_of(run: Mapping[str, Any]) -> int:
    """Id of the newest run of a run's capture: a replay or a correction makes another."""
    numbers = {run["number"]: run["id"]} | {o["number"]: o["id"] for o in run["other_runs"]}
    return int(numbers[max(numbers)])


def _content(
    run: dict[str, Any], found: Interpretation, visited: list[dict[str, Any]], numbers: Numbers
) -> dict[str, Any]:
    before = next(iter(visits.before(visited, run)), None)
    return {
        "run": run,
        "found": found,
        "replaced_by": None if newest_of(run) == run["id"] else newest_of(run),
        "awaited": any(f["code"] == "species_corrected" for f in run["flags"]),
        "status": STATUS[found.headline],
        "asks": asking_list(run, found),
        "rows": values.table(run, found, before, numbers),
        "sources": citations(found)[0],
        "unmarked": unmarked(found),
        "others": values.others(run, numbers),
        "before": before,
        "by_name": not run["patient_id"],
        "trend_columns": (shown := trend.columns(visited, _intervals(found), numbers)),
        "visits": trend.rows(visited, shown, numbers),
    }


def _apart(
    what: Apart, run: Mapping[str, Any], content: Mapping[str, Any], numbers: Numbers
) -> dict[str, Any]:
    """Show what is no patient's beside its target or limit, and nothing that is of animals."""
    held = apart.hold(what, run, content["rows"], numbers)
    asks = apart.asked(content["asks"], what)
    return {
        "held": held,
        "rows": held.rows,
        "asks": asks,
        "status": "invalid" if any(ask.severity == "invalid" for ask in asks) else "info",
        "awaited": False,
        "unmarked": [],
        "example": None,
    }


def _intervals(found: Interpretation) -> dict[str, tuple[float, float]]:
    return {
        value.code: (value.reference.low, value.reference.high)
        for value in found.values
        if value.reference is not None
    }


def drawn_pictures(db: sqlite3.Connection, run_id: int) -> tuple[dict[str, Any] | None, str]:
    """Read the pictures of a run; without any, say why."""
    try:
        found = pictures.of_run(db, run_id)
    except EdgeError as error:
        return None, f"{error.message}. {error.action}"
    missing = "This result was made before pictures of the cells were kept. Analyse it again."
    return found, "" if found else missing


def _plots(
    run: Mapping[str, Any], drawn: dict[str, Any] | None, numbers: Numbers
) -> dict[str, Any]:
    """Lay out what the plots and their tables show."""
    histograms = drawn["histograms"] if drawn else []
    example = pictures.example(reference_pictures_dir(), run["profile"], run["species"])
    return {
        "pictures": drawn,
        "example": {**example["example"], "simulated": example["simulated"]} if example else None,
        "scattergrams": plots.SCATTERGRAMS,
        "histograms": [plots.histogram_table(h, numbers) for h in histograms],
        "classes": plots.class_rows(run["counts"], numbers),
        "total": sum(run["counts"].values()),
    }


ROUTES: Final = [Route("/results/{run_id:int}", page, name="result")]
"""Of this page."""

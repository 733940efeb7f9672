"""``/results/N/correct`` and ``/results/N/note``: what people say after a run; nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

from edge_daemon import wording
from edge_daemon.errors import EdgeError
from edge_daemon.records import CELL_CLASSES, SPECIES
from edge_daemon.web import render
from edge_daemon.web.guard import posted
from edge_daemon.web.pages.result import newest_of, stored_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.web.site import Site

FIELDS: Final = {
    "patient_name": "Patient's name",
    "patient_id": "Patient id",
    "sample_id": "Sample id",
    "species": "Species",
    "breed": "Breed",
}
LONGEST: Final = 200


def form(request: Request) -> Response:
    """Offer both forms."""
    with request.state.site.reading() as db:
        run = stored_run(db, request.path_params["run_id"])
    return _form(request, run, {}, "")


async def correct(request: Request) -> Response:
    """Correct the sample of a run; the corrected result is another run of its capture."""
    fields = await posted(request)
    site: Site = request.state.site
    run = await run_in_threadpool(_run, site, request.path_params["run_id"])
    changes = {
        field: fields[field].strip() or None
        for field in FIELDS
        if field in fields and fields[field].strip() != _as_typed(run[field])
    }
    try:
        done = await run_in_threadpool(
            site.store.correct,
            run["id"],
            changes,
            by=_by(request, fields),
            reason=fields.get("reason", ""),
        )
    except EdgeError as error:
        return await run_in_threadpool(_form, request, run, fields, _words(error))
    site.wake()
    return RedirectResponse(f"/results/{done.run_id}#said", status_code=303)


async def note(request: Request) -> Response:
    """Add a note, or what a smear showed."""
    fields = await posted(request)
    site: Site = request.state.site
    run = await run_in_threadpool(_run, site, request.path_params["run_id"])
    verdict = fields.get("verdict") or None
    smear = verdict in ("confirms", "refutes")
    try:
        await run_in_threadpool(
            site.store.note,
            run["id"],
            fields.get("text", ""),
            by=_by(request, fields),
            kind="smear" if smear else "note",
            concerns=fields.get("concerns") or None,
            verdict=verdict,  # type: ignore[arg-type] # the store says which there are
        )
    except EdgeError as error:
        return await run_in_threadpool(_form, request, run, fields, _words(error))
    return RedirectResponse(f"/results/{run['id']}#said", status_code=303)


def newest(request: Request) -> Response:
    """Say which run of this run's capture is the newest, for a page that waits for it."""
    with request.state.site.reading() as db:
        run = stored_run(db, request.path_params["run_id"])
    return JSONResponse({"newest": newest_of(run)})


def _run(site: Site, run_id: int) -> dict[str, Any]:
    with site.reading() as db:
        return stored_run(db, run_id)


def _as_typed(stored: str | None) -> str:
    """Bring a stored text into the form in which a browser's field of one line sends it back."""
    return (stored or "").replace("\r", "").replace("\n", "").strip()


def _by(request: Request, fields: Mapping[str, str]) -> str:
    """Who says it: the name given at sign-in, on a box without passwords that in the form."""
    name: str = request.state.visitor.name or fields.get("by", "")
    return name[:LONGEST]


def _words(error: EdgeError) -> str:
    return f"{render.sentence(error.message)} {render.sentence(error.action)}".strip()


def _form(
    request: Request, run: dict[str, Any], given: Mapping[str, str], problem: str
) -> Response:
    concerns = [(key, wording.CLASS_NAMES[key]) for key in CELL_CLASSES]
    concerns += [(m["code"], m["code"]) for m in run["measurements"]]
    concerns += [(f["code"], f"flag {f['code']}") for f in run["flags"]]
    said = {
        "run": run,
        "given": given,
        "problem": problem,
        "fields": FIELDS,
        "species": SPECIES,
        "longest": LONGEST,
        "concerns": concerns,
        "replaced_by": None if newest_of(run) == run["id"] else newest_of(run),
    }
    return render.page(request, "amend.html", said, status=400 if problem else 200)


ROUTES: Final = [
    Route("/results/{run_id:int}/amend", form),
    Route("/results/{run_id:int}/correct", correct, methods=["POST"]),
    Route("/results/{run_id:int}/note", note, methods=["POST"]),
    Route("/results/{run_id:int}/newest.json", newest),
]
"""Of this page."""

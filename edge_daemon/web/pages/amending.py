"""``/results/N/correct``, ``note`` and ``mark``: what people say after a run; nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

from edge_daemon import wording
from edge_daemon.errors import EdgeError
from edge_daemon.records import CELL_CLASSES, SPECIES
from edge_daemon.store import controls
from edge_daemon.web import apart, render
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
PARTS: Final = {
    "correct": (
        "The patient, species or sample is wrong",
        "a mistyped name, a dog entered as a cat",
    ),
    "note": ("A note, or what a smear showed", "clumps at the edge, the vein was hard to find"),
    "mark": (
        "It is no patient’s sample",
        "control material, a blank, part of a check; or it is one after all",
    ),
}
"""What can be said, each with its title and an example; the page asks first which of them it is."""


def form(request: Request) -> Response:
    """Ask what it is about, and offer the form for that."""
    with request.state.site.reading() as db:
        run = stored_run(db, request.path_params["run_id"])
    what = request.query_params.get("what", "")
    return _form(request, run, {}, "", what if what in PARTS else "")


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
            by=by(request, fields),
            reason=fields.get("reason", ""),
        )
    except EdgeError as error:
        return await run_in_threadpool(_form, request, run, fields, words(error), "correct")
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
            by=by(request, fields),
            kind="smear" if smear else "note",
            concerns=fields.get("concerns") or None,
            verdict=verdict,  # type: ignore[arg-type] # the store says which there are
        )
    except EdgeError as error:
        return await run_in_threadpool(_form, request, run, fields, words(error), "note")
    return RedirectResponse(f"/results/{run['id']}#said", status_code=303)


async def mark(request: Request) -> Response:
    """Say what a run is: a control, a blank, part of a check, or a patient's after all."""
    fields = await posted(request)
    site: Site = request.state.site
    run = await run_in_threadpool(_run, site, request.path_params["run_id"])
    try:
        await run_in_threadpool(_mark, site, run["id"], fields, by(request, fields))
    except EdgeError as error:
        return await run_in_threadpool(_form, request, run, fields, words(error), "mark")
    return RedirectResponse(f"/results/{run['id']}", status_code=303)


def _mark(site: Site, run_id: int, fields: Mapping[str, str], who: str) -> None:
    kind = fields.get("kind", "")
    lot = level = None
    if kind == "control":
        with site.reading() as db:
            chosen = fields.get("lot", "")
            known = [one for one in controls.lots(db) if str(one["id"]) == chosen]
        if not known:
            raise EdgeError("no lot was chosen", action="choose the lot and level of the control")
        lot, level = known[0]["lot"], known[0]["level"]
    site.store.mark(run_id, kind, by=who, lot=lot, level=level)  # type: ignore[arg-type] # the store says which there are


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


def by(request: Request, fields: Mapping[str, str]) -> str:
    """Who says it: the name given at sign-in, on a box without passwords that in the form."""
    name: str = request.state.visitor.name or fields.get("by", "")
    return name[:LONGEST]


def words(error: EdgeError) -> str:
    """Say what is wrong and what to do, as sentences."""
    return f"{render.sentence(error.message)} {render.sentence(error.action)}".strip()


def _form(
    request: Request, run: dict[str, Any], given: Mapping[str, str], problem: str, what: str
) -> Response:
    concerns = [(key, wording.CLASS_NAMES[key]) for key in CELL_CLASSES]
    concerns += [(m["code"], m["code"]) for m in run["measurements"]]
    concerns += [(f["code"], f"flag {f['code']}") for f in run["flags"]]
    with request.state.site.reading() as db:
        no_patient, lots = apart.of_run(db, run), controls.lots(db)
    said = {
        "run": run,
        "what": what,
        "parts_of": PARTS,
        "apart": no_patient,
        "lots": lots,
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
    Route("/results/{run_id:int}/mark", mark, methods=["POST"]),
    Route("/results/{run_id:int}/newest.json", newest),
]
"""Of this page."""

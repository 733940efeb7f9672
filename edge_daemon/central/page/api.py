"""``/api/v1``: the same as the pages, for programs; `openapi` describes it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from edge_daemon.central.feeds.export import bundles_after
from edge_daemon.central.fleet import agreement, boxes, deeds, results, updates
from edge_daemon.central.page import writing
from edge_daemon.central.page.asking import SEARCH, AskingError, ask, wanted
from edge_daemon.central.page.openapi import description
from edge_daemon.errors import Retryable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.requests import Request

    from edge_daemon.central.page.site import Site
    from edge_daemon.central.users import Person

PAGE: Final = 50


def who(request: Request) -> tuple[Site, Person]:
    """Give what the guard has found."""
    return request.state.site, request.state.visitor.person


def list_boxes(request: Request) -> Response:
    """List boxes, those that need somebody first."""
    asked = ask(_given(request), ("kind", "clinic", "after", "limit"))
    site, person = who(request)
    with site.reader.reading(person.scope) as db:
        found = boxes.boxes(db, person.scope, _now())
    found = chosen(found, asked)
    first = 0
    if "after" in asked:
        ids = [one.id for one in found]
        if asked["after"] not in ids:
            raise AskingError("after", "no box of this list has this id")
        first = ids.index(asked["after"]) + 1
    part = found[first : first + asked.get("limit", PAGE)]
    more = first + len(part) < len(found)
    said = {"boxes": [writing.box(one) for one in part], "next": part[-1].id if more else None}
    return JSONResponse(said)


def chosen(found: list[boxes.Box], asked: dict[str, Any]) -> list[boxes.Box]:
    """Narrow a list of boxes."""
    return [
        one
        for one in found
        if asked.get("kind") in (None, one.kind) and asked.get("clinic") in (None, one.clinic_id)
    ]


def one_box(request: Request) -> Response:
    """Describe one box, with its moving averages."""
    ask(_given(request), ())
    site, person = who(request)
    key = request.path_params["box"]
    with site.reader.reading(person.scope) as db:
        found = boxes.box(db, person.scope, key, _now())
        if found is None:
            raise HTTPException(404)
        averages = boxes.averages(db, person.scope, key)
    return JSONResponse({**writing.box(found), "averages": writing.plain(averages)})


def box_history(request: Request) -> Response:
    """List what a box said of itself."""
    ask(_given(request), ())
    site, person = who(request)
    key = request.path_params["box"]
    with site.reader.reading(person.scope) as db:
        if boxes.box(db, person.scope, key, _now()) is None:
            raise HTTPException(404)
        found = boxes.history(db, person.scope, key)
    return JSONResponse({"spells": writing.plain(found)})


def list_results(request: Request) -> Response:
    """Find results, newest first."""
    asked = ask(_given(request), (*SEARCH, "limit", "before"))
    site, person = who(request)
    limit = asked.get("limit", PAGE)
    with site.reader.reading(person.scope) as db:
        found, rest = results.find(
            db, person.scope, wanted(asked), limit=limit, before=asked.get("before")
        )
    more = None if rest is None else str(rest)
    return JSONResponse({"results": writing.plain(found), "next": more})


def one_result(request: Request) -> Response:
    """Describe one version of a result, with the document as the box sent it."""
    ask(_given(request), ())
    site, person = who(request)
    with site.reader.reading(person.scope) as db:
        found = results.result(db, person.scope, number(request, "result"))
    if found is None:
        raise HTTPException(404)
    return JSONResponse(writing.plain(found))


def export(request: Request) -> Response:
    """Write all results that are found, as CSV or JSON Lines; that is written down."""
    asked = ask(_given(request), SEARCH)
    site, person = who(request)
    form = request.path_params["form"]
    if form not in _FORMS:
        raise HTTPException(404)
    write, media = _FORMS[form]
    words = {name: text for name, text in _given(request) if text}
    site.users.note(person, "exported", f"results.{form}", words)
    lines = write(results.every(site.reader, person.scope, wanted(asked)))
    name = f'attachment; filename="results.{form}"'
    return StreamingResponse(
        _in_parts(lines), media_type=media, headers={"Content-Disposition": name}
    )


_FORMS: Final = {
    "csv": (writing.csv_lines, "text/csv; charset=utf-8"),
    "jsonl": (writing.json_lines, "application/jsonl"),
}


def _in_parts(lines: Iterator[str]) -> Iterator[str]:
    """Join lines, so that a part is worth sending."""
    part: list[str] = []
    for line in lines:
        part.append(line)
        if len(part) == 200:
            yield "".join(part)
            part.clear()
    yield "".join(part)


def fhir(request: Request) -> Response:
    """Write a page of FHIR bundles of what is new after a document, as a feed sends them."""
    asked = ask(_given(request), ("after_id", "limit", "clinic"))
    site, person = who(request)
    after, scope = asked.get("after_id", 0), person.scope
    if "clinic" in asked:
        one = frozenset({asked["clinic"]})
        scope = replace(scope, clinics=one if scope.clinics is None else one & scope.clinics)
    try:
        lines, through = bundles_after(site.reader, scope, after, asked.get("limit", PAGE))
    except Retryable as error:
        raise HTTPException(503, error.message, headers={"Retry-After": "10"}) from error
    if lines:
        details = {"after": str(after), "through": str(through)}
        site.users.note(person, "exported", "FHIR bundles", details)
    query = urlencode({**request.query_params, "after_id": through})
    headers = {"Link": f'</api/v1/fhir?{query}>; rel="next"', "Edge-Through": str(through)}
    return Response(b"".join(lines), media_type="application/fhir+ndjson", headers=headers)


def compare(request: Request) -> Response:
    """Compare our values with the analyzers' own across boxes."""
    asked = ask(_given(request), ("days", "instrument", "species"))
    site, person = who(request)
    since = _now() - dt.timedelta(days=asked.pop("days", agreement.DAYS))
    with site.reader.reading(person.scope) as db:
        found = agreement.agreement(db, person.scope, since, **asked)
    return JSONResponse(writing.agreed(found))


def drift(request: Request) -> Response:
    """List the moving averages that have left their limits."""
    ask(_given(request), ())
    site, person = who(request)
    with site.reader.reading(person.scope) as db:
        found = boxes.averages(db, person.scope)
    return JSONResponse({"averages": writing.plain(found)})


def list_updates(request: Request) -> Response:
    """List updates on their way through the fleet, newest first."""
    ask(_given(request), ())
    site, person = who(request)
    with site.reader.reading(person.scope) as db:
        found = updates.updates(db, person.scope, _now())
    return JSONResponse({"rollouts": [writing.update(one) for one in found]})


def list_deeds(request: Request) -> Response:
    """List who did what, newest first."""
    asked = ask(_given(request), ("action", "limit", "before_id"))
    site, person = who(request)
    limit = asked.get("limit", PAGE)
    with site.reader.reading(person.scope) as db:
        found, rest = deeds.deeds(
            db,
            person.scope,
            limit=limit,
            before=asked.get("before_id"),
            action=asked.get("action"),
        )
    return JSONResponse({"deeds": writing.plain(found), "next": rest})


def list_clinics(request: Request) -> Response:
    """List the clinics and what else results can be narrowed to."""
    ask(_given(request), ())
    site, person = who(request)
    with site.reader.reading(person.scope) as db:
        return JSONResponse(results.choices(db, person.scope))


def describe(request: Request) -> Response:
    """Describe this API, and what boxes call."""
    ask(_given(request), ())
    return JSONResponse(description())


def number(request: Request, name: str) -> int:
    """Read a key from a path; what is none is not there."""
    text = str(request.path_params[name])
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise HTTPException(404)
    return int(text)


def _given(request: Request) -> Iterable[tuple[str, str]]:
    return request.query_params.multi_items()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


ROUTES: Final = [
    Route(f"/api/v1{path}", call, methods=["GET"])
    for path, call in (
        ("/boxes", list_boxes),
        ("/boxes/{box}", one_box),
        ("/boxes/{box}/history", box_history),
        ("/results", list_results),
        ("/results/{result}", one_result),
        ("/exports/results.{form}", export),
        ("/fhir", fhir),
        ("/agreement", compare),
        ("/drift", drift),
        ("/rollouts", list_updates),
        ("/audit", list_deeds),
        ("/clinics", list_clinics),
        ("/openapi.json", describe),
    )
]
"""Of the API."""

"""The pages: boxes, results, agreement, deeds, sign-in."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.routing import Route

from edge_daemon.central.audit import ACTIONS
from edge_daemon.central.fleet import agreement, boxes, deeds, results, updates
from edge_daemon.central.page import render
from edge_daemon.central.page.api import chosen, number, who
from edge_daemon.central.page.asking import SEARCH, AskingError, ask, wanted
from edge_daemon.central.page.guard import COOKIE
from edge_daemon.central.rollout import LAST
from edge_daemon.quality.pairs import MIN_PAIRS
from edge_daemon.quality.robust import FEWEST
from edge_daemon.quality.verdict import GOALS
from edge_daemon.records import SPECIES
from edge_daemon.signin import forms
from edge_daemon.signin.tokens import new_token
from edge_daemon.units import UNITS

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PAGE: Final = 50
SHOWN: Final = ("RBC", "HCT", "RETIC", "PLT")
"""Values that stand in the list of results."""


def list_boxes(request: Request) -> Response:
    """Show the boxes by health."""
    asked = _asked(request, ("kind", "clinic", "after"))
    site, person = who(request)
    with site.reader.reading(person.scope) as db:
        every = boxes.boxes(db, person.scope, _now())
    found = chosen(every, asked)
    ids = [one.id for one in found]
    first = ids.index(asked["after"]) + 1 if asked.get("after") in ids else 0
    part = found[first : first + PAGE]
    said = {
        "counts": Counter(one.kind for one in chosen(every, {**asked, "kind": None})),
        "every": len(every),
        "asked": asked,
        "boxes": part,
        "clinics": sorted({(one.clinic, one.clinic_id) for one in every}),
        "more": part[-1].id if first + PAGE < len(found) else None,
        "paged": first > 0,
        "cut": len(every) >= boxes.MOST,
    }
    return render.page(request, "boxes.html", said)


def one_box(request: Request) -> Response:
    """Show one box, its history and its moving averages."""
    site, person = who(request)
    key = request.path_params["box"]
    with site.reader.reading(person.scope) as db:
        found = boxes.box(db, person.scope, key, _now())
        if found is None:
            raise HTTPException(404)
        averages = boxes.averages(db, person.scope, key)
        said = {
            "box": found,
            "spells": boxes.history(db, person.scope, key),
            "followed": [one for one in averages if one["state"] != "too_few"],
            "unfollowed": _unfollowed(averages),
            "count": boxes.results_of(db, person.scope, key),
        }
    return render.page(request, "box.html", said)


def _unfollowed(averages: list[dict[str, Any]]) -> dict[str, int]:
    """Count the results of what has too few to be followed."""
    found: dict[str, int] = {}
    for one in averages:
        if one["state"] == "too_few":
            mark = ", SIMULATED" if one["simulated"] else ""
            name = f"{one['species']} on {one['instrument']}{mark}"
            most = max(side["values"] for side in one["sides"].values())
            found[name] = max(found.get(name, 0), most)
    return found


def list_results(request: Request) -> Response:
    """Find results."""
    words = _given(request)
    site, person = who(request)
    problem, rest = "", None
    found: list[dict[str, Any]] = []
    asked: dict[str, Any] = {}
    with site.reader.reading(person.scope) as db:
        try:
            asked = ask(words, (*SEARCH, "before"))
        except AskingError as error:
            problem = f"{error.name}: {error.message}"
        else:
            found, rest = results.find(
                db, person.scope, wanted(asked), limit=PAGE, before=asked.get("before")
            )
        known = results.choices(db, person.scope)
    said = {
        "problem": problem,
        "words": {**dict.fromkeys(SEARCH), **dict(words), "before": None},
        "narrowed": any(name != "before" for name, _ in words),
        "results": found,
        "rest": rest,
        "paged": "before" in asked,
        "known": known,
        "species": SPECIES,
        "shown": [c for c in SHOWN if any(c in one["values"] for one in found)],
        "units": UNITS,
    }
    return render.page(request, "results.html", said, status=422 if problem else 200)


def one_result(request: Request) -> Response:
    """Show one version of a result."""
    site, person = who(request)
    with site.reader.reading(person.scope) as db:
        found = results.result(db, person.scope, number(request, "result"))
    if found is None:
        raise HTTPException(404)
    theirs: dict[str, float] = {}
    for report in found["reports"]:
        told = report["values"]
        theirs |= {code: v["value"] for code, v in told.items() if v["value"] is not None}
    said = {"result": found, "theirs": theirs, "units": {**UNITS, "CLUMP%": "%"}}
    return render.page(request, "result.html", said)


def compare(request: Request) -> Response:
    """Show agreement and drift across the fleet."""
    asked = _asked(request, ("days", "instrument", "species"))
    site, person = who(request)
    days = asked["days"] or agreement.DAYS
    narrowed = {name: asked[name] for name in ("instrument", "species")}
    with site.reader.reading(person.scope) as db:
        found = agreement.agreement(db, person.scope, _now() - dt.timedelta(days=days), **narrowed)
        drifting = boxes.averages(db, person.scope)
    said = {
        "found": found,
        "drifting": [
            one for one in drifting
            if narrowed["species"] in (None, one["species"])
            and (narrowed["instrument"] is None
                 or one["instrument"].startswith(narrowed["instrument"]))
        ],
        "days": days,
        "asked": narrowed,
        "species": SPECIES,
        "verdicts": agreement.WORDS,
        "goals": GOALS,
        "fewest": FEWEST,
        "least": MIN_PAIRS,
        "most": agreement.MOST,
    }  # fmt: skip
    return render.page(request, "agreement.html", said)


def list_updates(request: Request) -> Response:
    """Show updates on their way through the fleet."""
    _asked(request, ())
    site, person = who(request)
    with site.reader.reading(person.scope) as db:
        found = updates.updates(db, person.scope, _now())
    said = {"updates": found, "last": LAST, "most": updates.MOST}
    return render.page(request, "updates.html", said)


def list_deeds(request: Request) -> Response:
    """Show who did what."""
    asked = _asked(request, ("action", "before_id"))
    site, person = who(request)
    with site.reader.reading(person.scope) as db:
        found, rest = deeds.deeds(
            db, person.scope, limit=PAGE, before=asked["before_id"], action=asked["action"]
        )
    said = {"deeds": found, "rest": rest, "asked": asked, "actions": ACTIONS}
    return render.page(request, "audit.html", said)


def ask_who(request: Request) -> Response:
    """Ask who it is."""
    return _form(request, forms.local_path(request.query_params.get("next", "/")), "")


async def sign_in(request: Request) -> Response:
    """Begin a session for a right name and password."""
    site = request.state.site
    fields = await forms.posted(request, site.secret, request.state.visitor.token)
    target = forms.local_path(fields.get("next", "/"))
    name = fields.get("name", "")[:200]
    peer = request.client.host if request.client else ""
    wait = site.throttle.wait_s(peer)
    if wait > 0:
        said = f"Too many wrong passwords. Try again in {round(wait + 0.5)} seconds."
        return _form(request, target, said, name=name, status=429)
    person = await run_in_threadpool(site.users.sign_in, name, fields.get("password", ""))
    if person is None:
        site.throttle.failed(peer)
        await run_in_threadpool(site.users.note_refused, name, peer)
        return _form(
            request, target, "This name and password do not belong together.", name=name,
            status=403,
        )  # fmt: skip
    site.throttle.passed(peer)
    # Another token than before signing in: one that somebody planted is worth nothing.
    token = await run_in_threadpool(site.users.open_session, person)
    return _with_cookie(request, target, token)


async def sign_out(request: Request) -> Response:
    """End the session."""
    site, visitor = request.state.site, request.state.visitor
    await forms.posted(request, site.secret, visitor.token)
    await run_in_threadpool(site.users.close_session, visitor.token, visitor.person)
    return _with_cookie(request, "/sign-in", new_token())


def _with_cookie(request: Request, target: str, token: str) -> Response:
    response = RedirectResponse(target, status_code=303)
    secure = request.state.site.secure
    response.headers.append("Set-Cookie", forms.cookie(COOKIE, token, secure=secure))
    return response


def _form(
    request: Request, target: str, problem: str, *, name: str = "", status: int = 200
) -> Response:
    said = {"target": target, "problem": problem, "name": name}
    return render.page(request, "sign_in.html", said, status=status)


def _asked(request: Request, known: tuple[str, ...]) -> dict[str, Any]:
    return {**dict.fromkeys(known), **ask(_given(request), known)}


def _given(request: Request) -> list[tuple[str, str]]:
    """Give the words of an address; a field of a form that was left empty says nothing."""
    return [(name, text) for name, text in request.query_params.multi_items() if text.strip()]


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


ROUTES: Final = [
    Route("/", list_boxes, methods=["GET"]),
    Route("/boxes/{box}", one_box, methods=["GET"]),
    Route("/results", list_results, methods=["GET"]),
    Route("/results/{result}", one_result, methods=["GET"]),
    Route("/agreement", compare, methods=["GET"]),
    Route("/updates", list_updates, methods=["GET"]),
    Route("/audit", list_deeds, methods=["GET"]),
    Route("/sign-in", ask_who, methods=["GET"]),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
]
"""Of the pages."""

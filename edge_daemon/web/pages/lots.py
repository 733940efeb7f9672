"""``/quality/lots``: lots of control material and their targets, as their sheets give them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse
from starlette.routing import Route

from edge_daemon.errors import EdgeError
from edge_daemon.store import controls
from edge_daemon.web import lot_form, render
from edge_daemon.web.apart import spread
from edge_daemon.web.guard import posted
from edge_daemon.web.pages.amending import LONGEST, by, words
from edge_daemon.web.pages.listing import number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.web.lot_form import Sheet
    from edge_daemon.web.numbers import Numbers
    from edge_daemon.web.site import Site


def page(request: Request) -> Response:
    """Show the lots, and a form for a new one or for one that is changed."""
    numbers = render.preferences(request).numbers
    wanted = number(request.query_params.get("again"))
    with request.state.site.reading() as db:
        chosen = next((lot for lot in controls.lots(db) if lot["id"] == wanted), None)
    filled = lot_form.again(chosen, numbers) if chosen else lot_form.empty(numbers)
    return _page(request, filled, {}, ())


async def add(request: Request) -> Response:
    """Add a level of a lot, or put another in the place of the former."""
    fields = await posted(request)
    typed = lot_form.read(fields, render.preferences(request).numbers)
    problems = typed.problems
    if not problems:
        try:
            added = await run_in_threadpool(_add, request.state.site, typed, by(request, fields))
        except EdgeError as error:
            problems = (words(error),)
        else:
            return RedirectResponse(f"/quality/lots?added={added}", status_code=303)
    return await run_in_threadpool(_page, request, typed, fields, problems)


def _add(site: Site, typed: Sheet, who: str) -> int:
    # SQLAlchemy is loaded here and not with the page's other modules, which only read.
    from edge_daemon.store.lots import Lot, LotTarget  # noqa: PLC0415

    given: dict[str, Any] = {field: text or None for field, text in typed.texts.items()}
    for field in ("lot", "level", "material"):
        given[field] = given[field] or ""
    targets = {code: LotTarget(**target) for code, target in typed.targets.items()}
    return site.store.add_lot(Lot(**given, targets=targets), by=who)


def _page(
    request: Request, typed: Sheet, given: Mapping[str, str], problems: tuple[str, ...]
) -> Response:
    numbers = render.preferences(request).numbers
    added = number(request.query_params.get("added"))
    with request.state.site.reading() as db:
        known = controls.lots(db)
        instruments = controls.instruments(db)
        fresh = next((lot for lot in known if lot["id"] == added), None)
        taken = _taken(db, fresh) if fresh else 0
    said = {
        "typed": typed,
        "given": given,
        "problems": problems,
        "lots": [lot | {"words": _words(lot["targets"], numbers)} for lot in known],
        "added": fresh,
        "taken": taken,
        "instruments": instruments,
        "longest": LONGEST,
    }
    return render.page(request, "lots.html", said, status=400 if problems else 200)


def _taken(db: Any, lot: Mapping[str, Any]) -> int:
    """How many results so far count as this lot and level."""
    key = lot["lot"], lot["level"]
    measured = controls.measured(db)
    return sum(one["side"] == "ours" and (one["lot"], one["level"]) == key for one in measured)


def _words(targets: Mapping[str, Mapping[str, float]], numbers: Numbers) -> list[str]:
    return [
        f"{code} {numbers.value(code, one['mean'])} ± {spread(code, one['sd'], numbers)}"
        for code, one in targets.items()
    ]


ROUTES: Final = [
    Route("/quality/lots", page, methods=["GET"]),
    Route("/quality/lots", add, methods=["POST"]),
]
"""Of this page."""

"""``/``: the newest results, live, and the search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from starlette.routing import Route

from edge_daemon.store import controls, queries, searching
from edge_daemon.web import render
from edge_daemon.web.apart import worded
from edge_daemon.web.asking import understand
from edge_daemon.web.interpreting import STATUS
from edge_daemon.web.pages.live import newest

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.reference.findings import Interpretation
    from edge_daemon.web.apart import Apart
    from edge_daemon.web.asking import Asked
    from edge_daemon.web.site import Site

PAGE_SIZE: Final = 40
LOOKED_AT: Final = 240
"""Most runs that are put beside the tables for one page."""

SHOWN: Final = ("RBC", "HCT", "RETIC", "PLT")
"""Measurands that stand in the list."""


def page(request: Request) -> Response:
    """Show the newest results, or those that a search finds."""
    return render.page(request, "listing.html", _content(request))


def rows(request: Request) -> Response:
    """Show only the list, for a page that is open and heard of something new."""
    return render.page(request, "listing_rows.html", _content(request))


def _content(request: Request) -> dict[str, Any]:
    text = request.query_params.get("q", "")[:200]
    before = number(request.query_params.get("before"))
    site: Site = request.state.site
    with site.reading() as db:
        flags = searching.flag_codes(db)
        asked = understand(text, flags, datetime.now())  # noqa: DTZ005 - in the box's own zone
        page = _gather(db, site, asked, before, inside=False)
        inside = False
        if not page.shown and page.older is None and asked.wanted.text is not None:
            page, inside = _gather(db, site, asked, before, inside=True), True
        heard = newest(db, site)
    query = {"q": text} if text else {}
    return {
        "query": text,
        "asked": asked,
        "inside": inside and bool(page.shown),
        "results": page.shown,
        "units": _units([one.run for one in page.shown]),
        "shown": SHOWN,
        "flags": flags,
        "older": None if page.older is None else "/?" + urlencode({**query, "before": page.older}),
        "paged": before is not None,
        "heard": heard,
        "rows_url": "/rows?" + urlencode({"q": text}),
    }


@dataclass(frozen=True, slots=True)
class _Page:
    """Some results, and where the next page begins."""

    shown: list[_Shown]
    older: int | None


@dataclass(frozen=True, slots=True)
class _Shown:
    """One result of the list.

    Attributes
    ----------
    found
        What its reference intervals and rules say.
    apart
        What it is that is no patient's; None for a patient's.
    """

    run: dict[str, Any]
    found: Interpretation
    apart: Apart | None

    @property
    def status(self) -> str:
        """Headline as it is stored; of what is no patient's only ``invalid``, or empty."""
        if self.apart is None:
            return STATUS[self.found.headline]
        failed = self.found.headline == "Failed" and self.apart.kind != "blank"
        return "invalid" if failed else ""


def _gather(
    db: sqlite3.Connection, site: Site, asked: Asked, before: int | None, *, inside: bool
) -> _Page:
    """Read one page; where a headline is asked for, look on until it is full or long enough.

    A rule can ask for a look where no flag does, so the headline is known only once a run was put
    beside the tables of this site.
    """
    headline = asked.wanted.status
    wanted = asked.wanted if headline in (None, "invalid") else replace(asked.wanted, status=None)
    shown: list[_Shown] = []
    looked = 0
    while True:
        ids = searching.find(db, wanted, limit=PAGE_SIZE + 1, before=before, inside=inside)
        chunk, more = ids[:PAGE_SIZE], len(ids) > PAGE_SIZE
        for one in _read(db, site, chunk):
            if headline in (None, one.status):
                shown.append(one)
            before = one.run["id"]
            if len(shown) == PAGE_SIZE:
                return _Page(shown, before if more or before != chunk[-1] else None)
        looked += len(chunk)
        if not more or looked >= LOOKED_AT:
            return _Page(shown, before if more else None)


def _read(db: sqlite3.Connection, site: Site, ids: list[int]) -> Iterator[_Shown]:
    runs = queries.results(db, ids=ids, limit=len(ids), all_runs=True) if ids else []
    kinds = controls.kinds(db, [run["capture_id"] for run in runs])
    for run in runs:
        what = worded(kinds.get(run["capture_id"]))
        found = site.shelf.plain(run) if what else site.shelf.interpret(run)
        yield _Shown(run, found, what)


def _units(results: list[dict[str, Any]]) -> dict[str, str]:
    """Find the unit of each measurand that is shown."""
    return {m["code"]: m["unit"] for r in results for m in r["measurements"] if m["code"] in SHOWN}


def number(text: str | None) -> int | None:
    """Read a key from an address; anything else is None."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


ROUTES: Final = [Route("/", page, name="list"), Route("/rows", rows)]
"""Of this page."""

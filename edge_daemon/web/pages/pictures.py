"""``/results/N/pictures``: scattergrams and histograms as stored; a browser draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from edge_daemon.resources import reference_pictures_dir
from edge_daemon.store import pictures
from edge_daemon.store.reader import rows

if TYPE_CHECKING:
    from starlette.requests import Request


def own(request: Request) -> Response:
    """Hand the pictures of one run on."""
    with request.state.site.reading() as db:
        body = pictures.body_of_run(db, request.path_params["run_id"])
    return _answer(body)


def normal(request: Request) -> Response:
    """Hand on those of healthy animals of the run's species on its instrument."""
    query = "SELECT profile, species FROM runs WHERE id = ?"
    with request.state.site.reading() as db:
        found = rows(db, query, [request.path_params["run_id"]])
    if not found:
        raise HTTPException(404)
    folder = reference_pictures_dir()
    return _answer(pictures.example_body(folder, found[0]["profile"], found[0]["species"]))


def _answer(body: bytes | None) -> Response:
    if body is None:
        raise HTTPException(404)
    return Response(body, media_type=pictures.MEDIA_TYPE)


ROUTES: Final = [
    Route("/results/{run_id:int}/pictures", own),
    Route("/results/{run_id:int}/normal", normal),
]
"""Of this page."""

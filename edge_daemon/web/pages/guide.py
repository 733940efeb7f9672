"""``/guide``: how to work with the page, and how to set the box up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse
from starlette.routing import Route

from edge_daemon.web import guide, render

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_EVERY: Final = (*guide.TECHNICIAN, *guide.INSTALLER)
_FOR_A_YEAR: Final = {"Cache-Control": "private, max-age=31536000, immutable"}


def contents(request: Request) -> Response:
    """List the topics."""
    said = {
        "technician": [guide.topic(slug) for slug in guide.TECHNICIAN],
        "installer": [guide.topic(slug) for slug in guide.INSTALLER],
    }
    return render.page(request, "guide_contents.html", said)


def page(request: Request) -> Response:
    """Show one topic."""
    slug = request.path_params["slug"]
    if slug not in _EVERY:
        raise HTTPException(404)
    at = _EVERY.index(slug)
    said = {
        "topic": guide.topic(slug),
        "before": guide.topic(_EVERY[at - 1]) if at else None,
        "after": guide.topic(_EVERY[at + 1]) if at + 1 < len(_EVERY) else None,
        "picture_url": guide.picture_url,
    }
    return render.page(request, "guide_topic.html", said)


def picture(request: Request) -> Response:
    """Hand one picture on."""
    path = guide.folder() / "pictures" / request.path_params["name"]
    if path.suffix != ".png" or path.name not in {p.name for p in path.parent.iterdir()}:
        raise HTTPException(404)
    return FileResponse(path, media_type="image/png", headers=_FOR_A_YEAR)


ROUTES: Final = [
    Route("/guide", contents),
    Route("/guide/pictures/{name}", picture),
    Route("/guide/{slug}", page),
]
"""Of this page."""

"""``/results/N/why``: which signals made the calls of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.routing import Route

from edge_daemon import wording
from edge_daemon.web import render
from edge_daemon.web.pages.result import stored_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.web.site import Site

_DETECTORS: Final = {
    "LA": "low-angle scatter: mostly the size of the cell",
    "HA": "wide-angle scatter: size and haemoglobin concentration",
    "SS": "side scatter: structure inside the cell",
    "EXT": "extinction: mostly its haemoglobin",
    "FL": "fluorescence: RNA dye",
}


def page(request: Request) -> Response:
    """Explain the calls; decodes and classifies again, which takes seconds."""
    site: Site = request.state.site
    with site.reading() as db:
        run = stored_run(db, request.path_params["run_id"])
    found = site.explainer.explain(run["id"], run["digest"])
    detectors = [d["name"] for c in found["classes"] if c["attributions"] for d in _against(c)]
    said = {
        "run": run,
        "found": found,
        "against": _against,
        "detectors": {name: _DETECTORS.get(name, name) for name in dict.fromkeys(detectors)},
        "class_names": wording.CLASS_NAMES,
    }
    return render.page(request, "why.html", said)


def _against(explained: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Contributions of the detectors, compared with the background that tells most."""
    found = explained["attributions"]
    return list(found[0]["detectors"]) if found else []


ROUTES: Final = [Route("/results/{run_id:int}/why", page)]
"""Of this page."""

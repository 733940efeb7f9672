"""``/quality``: whether the analyzer and this box still measure what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse
from starlette.routing import Route

from edge_daemon.store import searching
from edge_daemon.web import drift, render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.follower import Followed
    from edge_daemon.web.drift import Group
    from edge_daemon.web.site import Site


def page(request: Request) -> Response:
    """Show drift, agreement and what to do."""
    numbers = render.preferences(request).numbers
    followed = _look(request.state.site)
    groups = drift.groups(followed.document, numbers) if followed.document else []
    agreements = drift.agreements(followed.document, numbers) if followed.document else []
    said = {
        "state": _state(groups, followed),
        "followed": followed,
        "groups": groups,
        "agreements": agreements,
        "needed": drift.NEEDED,
    }
    return render.page(request, "quality.html", said)


def agreement(request: Request) -> Response:
    """Show our values beside the analyzer's own, in full."""
    numbers = render.preferences(request).numbers
    followed = _look(request.state.site)
    found = drift.agreements(followed.document, numbers) if followed.document else []
    return render.page(request, "agreement.html", {"followed": followed, "agreements": found})


def ready(request: Request) -> Response:
    """Say whether something is still being worked out, for a page that waits for it."""
    return JSONResponse({"working": _look(request.state.site).working})


def _look(site: Site) -> Followed:
    with site.reading() as db:
        newest = searching.newest(db)
    return site.follower.look((newest["run"], newest["capture"]))


def _state(groups: Sequence[Group], followed: Followed) -> dict[str, Any]:
    """Answer the question of the page: of clinical results, or where there are none of simulated.

    Returns
    -------
    dict
        ``status``, ``title``, ``text``, ``simulated``.
    """
    clinical = [group for group in groups if not group.simulated]
    asked = clinical or groups
    drifting = [group for group in asked if group.drifts]
    said = {"simulated": bool(asked) and not clinical}
    if drifting:
        what = "; ".join(
            f"{', '.join(code for code, _, _ in group.drifts)} of {group.instrument},"
            f" {group.species}"
            for group in drifting
        )
        text = f"Moving averages beyond their limits: {what}. What to do stands below."
        return said | {"status": "review", "title": "Something has drifted", "text": text}
    if any(group.streams for group in asked):
        text = "Every moving average that can be judged lies within its limits."
        return said | {"status": "ok", "title": "No drift shown", "text": text}
    if followed.document is None:
        text = followed.problem or "This page shows it as soon as it is done."
        title = "Cannot be worked out now" if followed.problem else "Being worked out"
        return said | {"status": "info", "title": title, "text": text}
    text = f"Moving averages need {drift.NEEDED} animals of a species on one analyzer."
    return said | {"status": "info", "title": "Nothing can be said yet", "text": text}


ROUTES: Final = [
    Route("/quality", page),
    Route("/quality/agreement", agreement),
    Route("/quality/ready.json", ready),
]
"""Of this page."""

"""``/quality``: whether the analyzer and this box still measure what they did."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse
from starlette.routing import Route

from edge_daemon import control_charts
from edge_daemon.errors import EdgeError
from edge_daemon.store import controls as store_controls
from edge_daemon.store import queries, searching
from edge_daemon.web import controls, drift, pairs_plot, render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.follower import Followed
    from edge_daemon.web.controls import Controls
    from edge_daemon.web.drift import Group
    from edge_daemon.web.numbers import Numbers
    from edge_daemon.web.site import Site


NEWEST: Final = 60
"""Measurements of control material that a chart shows."""


def page(request: Request) -> Response:
    """Show controls, drift, agreement, checks, and what to do."""
    numbers = render.preferences(request).numbers
    followed = _look(request.state.site)
    document = followed.document or {"streams": [], "measures": []}
    groups = sorted(drift.groups(document, numbers), key=lambda one: not one.drifts)
    with request.state.site.reading() as db:
        charts = control_charts.charts(db, newest=NEWEST)
        expired = control_charts.expired(db, charts)
        blank = control_charts.newest_blank(db)
    charted = controls.controls(charts, numbers)
    state = _state(charted, groups, followed)
    drifting = [one for one in groups if one.drifts and one.simulated == state["simulated"]]
    broken = any(one.status == "invalid" for one in charted)
    said = {
        "state": state,
        "drifting": drifting,
        # What asks for somebody comes first; control material is the proof where both do.
        "averages_first": bool(drifting) and not broken,
        "controls": charted,
        "expired": expired,
        "blank": controls.blank(blank, numbers),
        "followed": followed,
        "groups": groups,
        "agreements": drift.agreements(document, numbers),
        "needed": drift.NEEDED,
        **_carried(request, numbers),
    }
    return render.page(request, "quality.html", said)


def _carried(request: Request, numbers: Numbers) -> dict[str, Any]:
    """Check carry-over in the six results that were asked for, if any were."""
    runs = request.query_params.get("runs", "")[:120]
    said: dict[str, Any] = {"runs": runs, "carried": None, "carry_problem": ""}
    wanted = re.findall(r"[0-9]{1,18}", runs)
    if not runs.strip():
        return said
    if len(wanted) != 6:
        return said | {"carry_problem": f"Give six numbers of results; there are {len(wanted)}."}
    with request.state.site.reading() as db:
        found = [queries.run(db, f"run:{number}") for number in wanted]
    missing = [number for number, run in zip(wanted, found, strict=True) if run is None]
    if missing:
        return said | {"carry_problem": f"There is no result {missing[0]}."}
    try:
        checked = control_charts.carry_over_of([run for run in found if run is not None])
    except EdgeError as error:
        words = f"{render.sentence(error.message)} {render.sentence(error.action)}"
        return said | {"carry_problem": words}
    return said | {"carried": controls.carry_over(checked, numbers)}


def agreement(request: Request) -> Response:
    """Show our values beside the analyzer's own, in full."""
    numbers = render.preferences(request).numbers
    followed = _look(request.state.site)
    measures = followed.document["measures"] if followed.document else []
    asked = request.query_params
    said = {
        "followed": followed,
        "agreements": drift.agreements({"measures": measures}, numbers),
        "choices": pairs_plot.choices(measures),
        "scale": asked.get("as", ""),
        "plot": pairs_plot.plot(measures, asked.get("of", ""), asked.get("as", ""), numbers),
    }
    return render.page(request, "agreement.html", said)


def ready(request: Request) -> Response:
    """Say whether something is still being worked out, for a page that waits for it."""
    return JSONResponse({"working": _look(request.state.site).working})


def _look(site: Site) -> Followed:
    with site.reading() as db:
        newest = searching.newest(db)
        said = store_controls.said(db)
    return site.follower.look((newest["run"], newest["capture"], said))


def _state(
    charted: Sequence[Controls], groups: Sequence[Group], followed: Followed
) -> dict[str, Any]:
    """Answer the question of the page: of clinical results, or where there are none of simulated.

    Returns
    -------
    dict
        ``status``, ``title``, ``text``, ``simulated``.
    """
    marks = [one.simulated for one in charted] + [one.simulated for one in groups]
    clinical = not all(marks)
    known = [one for one in charted if not (clinical and one.simulated)]
    asked = [one for one in groups if not (clinical and one.simulated)]
    status, title, text = (
        _out_of_control(known) or _drifting(asked) or _quiet(known, asked) or _unknown(followed)
    )
    simulated = not clinical and bool(known or asked)
    return {"status": status, "title": title, "text": text, "simulated": simulated}


def _out_of_control(known: Sequence[Controls]) -> tuple[str, str, str] | None:
    out = [one for one in known if one.status == "invalid"]
    if not out:
        return None
    where = "; ".join(
        f"{one.instrument}, {one.side}: {', '.join(dict.fromkeys(b.codes for b in one.broken))}"
        for one in out
    )
    return "invalid", "Out of control: hold results back", f"Control material of {where}"


def _drifting(asked: Sequence[Group]) -> tuple[str, str, str] | None:
    drifting = [group for group in asked if group.drifts]
    if not drifting:
        return None
    what = "; ".join(
        f"{', '.join(code for code, _, _ in group.drifts)} of {group.instrument}, {group.species}"
        for group in drifting
    )
    text = f"Moving averages beyond their limits: {what}. What to do stands below."
    return "review", "Something has drifted", text


def _quiet(known: Sequence[Controls], asked: Sequence[Group]) -> tuple[str, str, str] | None:
    averaged = any(group.streams for group in asked)
    if not known and not averaged:
        return None
    parts = ["the newest controls break no rule that rejects"] if known else []
    parts += ["every moving average that can be judged is within its limits"] if averaged else []
    return "ok", "No drift shown", "; ".join(parts)


def _unknown(followed: Followed) -> tuple[str, str, str]:
    if followed.document is None and followed.problem:
        return "info", "Cannot be worked out now", followed.problem
    if followed.document is None:
        return "info", "Being worked out", "This page shows it as soon as it is done."
    text = f"Measure control material; moving averages need {drift.NEEDED} animals of a species."
    return "info", "Nothing can be said yet", text


ROUTES: Final = [
    Route("/quality", page),
    Route("/quality/agreement", agreement),
    Route("/quality/ready.json", ready),
]
"""Of this page."""

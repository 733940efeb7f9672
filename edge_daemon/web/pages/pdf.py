"""``/results/N/pdf``: one result as a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response
from starlette.routing import Route

from edge_daemon import __version__, wording
from edge_daemon.web import apart, plots, printing, render, values
from edge_daemon.web.interpreting import asking_list, citations, unmarked
from edge_daemon.web.pages.result import drawn_pictures, newest_of, stored_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from edge_daemon.reference.findings import Interpretation
    from edge_daemon.web.apart import Apart
    from edge_daemon.web.interpreting import Ask
    from edge_daemon.web.numbers import Numbers
    from edge_daemon.web.site import Site

_AXES: Final = {
    "LA": "low-angle scatter (size)",
    "HA": "wide-angle scatter (content)",
    "SS": "side scatter",
    "EXT": "extinction (haemoglobin)",
    "FL": "RNA dye",
}


def page(request: Request) -> Response:
    """Make the file; browsers offer to save it."""
    site: Site = request.state.site
    with site.reading() as db:
        run = stored_run(db, request.path_params["run_id"])
        drawn, _ = drawn_pictures(db, run["id"])
        what = apart.of_run(db, run)
    found = (site.shelf.plain if what else site.shelf.interpret)(run)
    numbers = render.preferences(request).numbers
    said = content(site.box, run, found, drawn, numbers)
    if (newest := newest_of(run)) != run["id"]:
        said["replaced"] = f"This result was replaced by a later one of its cells: run {newest}."
    if what is not None:
        said |= _apart(what, run, found, numbers)
    body = printing.make_pdf(said)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", run["sample_id"] or "")[:60].strip("-.") or "result"
    shown = f'attachment; filename="{name}-run{run["id"]}.pdf"'
    return Response(body, media_type="application/pdf", headers={"Content-Disposition": shown})


def content(
    box: str,
    run: Mapping[str, Any],
    found: Interpretation,
    drawn: Mapping[str, Any] | None,
    numbers: Numbers,
) -> dict[str, Any]:
    """Word everything that stands on paper, as plain values for `paper`."""
    title = run["patient_name"] or run["patient_id"] or run["sample_id"] or f"Run {run['id']}"
    regeneration = found.regeneration
    head, widths, rows = _laid_out(values.table(run, found, None, numbers), "Reference")
    return {
        "title": title,
        "box": box,
        "who": _who(run),
        "simulated": run["simulated"],
        "replaced": "",
        "headline": found.headline,
        "reason": render.sentence(found.reason),
        "regeneration": f"{render.sentence(regeneration.text)} [{regeneration.source}]"
        if regeneration
        else "",
        "asks": _asks(asking_list(run, found)),
        "values": [head, *rows],
        "widths": widths,
        "notes": [
            *(f"{cited.letter}  {cited.text}" for cited in citations(found)[0]),
            *(f"{codes}: {why}" for codes, why in unmarked(found)),
            *found.notes,
        ],
        "pictures": None if drawn is None else _titled(drawn),
        "classes": [
            f"{name} {events} ({share})"
            for _, name, events, share in plots.class_rows(run["counts"], numbers)
        ],
        "origin": [
            f"Model {run['model']}, profile {run['profile']}, file sha256 {run['sha256']}",
        ],
        "footer": f"{box} · run {run['id']} · edge_daemon {__version__}"
        + (" · SIMULATED" if run["simulated"] else ""),
    }


def _apart(
    what: Apart, run: Mapping[str, Any], found: Interpretation, numbers: Numbers
) -> dict[str, Any]:
    """Word what is no patient's: its target or limit, and nothing that is of animals."""
    held = apart.hold(what, run, values.table(run, found, None, numbers), numbers)
    asks = apart.asked(asking_list(run, found), what)
    failed = f"Failed: {found.reason}. " if any(a.severity == "invalid" for a in asks) else ""
    said = f"{failed}No patient's sample. {render.sentence(held.verdict)}"
    head, widths, rows = _laid_out(held.rows, what.against)
    return {
        "title": run["sample_id"] or f"Run {run['id']}",
        "who": [f"sample {_isolated(run['sample_id'] or 'not given')}", _who(run)[1]],
        "headline": what.title,
        "reason": " ".join(filter(None, (said.strip(), render.sentence(held.action)))),
        "asks": _asks(asks),
        "values": [head, *rows],
        "widths": widths,
        "notes": ["Targets are those of the lot's sheet."] if what.targets else [],
    }


def _asks(asks: Sequence[Ask]) -> list[dict[str, str]]:
    return [
        {
            "text": " ".join(
                (
                    f"{ask.word}:",
                    render.sentence(f"{ask.title} {ask.facts}"),
                    render.sentence(ask.cause),
                )
            ),
            "action": render.sentence(ask.action),
        }
        for ask in asks
    ]


def _isolated(name: str) -> str:
    """Let a name have its own direction, whatever letters it is in (Unicode's FSI and PDI)."""
    return f"\u2068{name}\u2069"


def _who(run: Mapping[str, Any]) -> list[str]:
    breed = _isolated(run["breed"]) if run["breed"] else None
    known = [", ".join(filter(None, (run["species"] or "species unknown", breed)))]
    known += [f"patient {_isolated(run['patient_id'])}"] if run["patient_id"] else []
    known += [f"sample {_isolated(run['sample_id'] or 'not given')}"]
    clock = run["capture"]["received_clock"]
    received = f"received {wording.local_time(run['capture']['received_wall'])}"
    if clock != "synchronised":
        received += f" ({wording.CLOCKS.get(clock, clock)})"
    measured = [f"measured {run['acquired_at']} (analyzer's clock)"] if run["acquired_at"] else []
    analyzer = " ".join(
        filter(None, (run["instrument_model"] or run["instrument"], run["instrument_serial"]))
    )
    return [" · ".join(known), " · ".join([*measured, received, analyzer])]


def _laid_out(
    rows: Sequence[values.Row], against: str
) -> tuple[list[str], list[int], list[list[str]]]:
    """Heading, widths and rows of the values; the analyzer's own only where there are any."""
    head, widths = ["", "Value", "", "95 % interval", against, ""], [9, 8, 6, 10, 11, 13]
    analyzer = any(row.analyzer for row in rows)
    if analyzer:
        head, widths = [*head, "Analyzer", "Difference"], [*widths, 8, 11]
    return head, widths, [_row(row, analyzer=analyzer) for row in rows]


def _row(row: values.Row, *, analyzer: bool) -> list[str]:
    remarks = ("calculated" if row.calculated else "", "unconfirmed" if row.unconfirmed else "")
    cells = [
        row.code,
        f"{row.mark} {row.value or wording.NOT_REPORTED}".strip(),
        row.unit,
        row.interval,
        f"{row.reference} {row.letter}".strip(),
        ", ".join(filter(None, remarks)),
    ]
    if analyzer:
        theirs = row.analyzer
        cells += [
            f"{theirs.value} {theirs.marks}".strip() if theirs else "",
            f"{theirs.difference} ({theirs.percent})" if theirs and theirs.difference else "",
        ]
    return cells


def _titled(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Add headings and the words of the x axis to pictures."""
    titles = {**plots.SCATTERGRAMS, **plots.HISTOGRAMS}
    return {
        kind: [
            {**p, "title": titles.get(p["name"], p["name"]), "x_label": _axis(p["x"])}
            for p in drawn[kind]
        ]
        for kind in ("scattergrams", "histograms")
    }


def _axis(axis: Mapping[str, Any]) -> str:
    if axis["name"] == "volume":
        return f"volume, {axis['unit']}"
    return _AXES.get(str(axis["name"]).partition(".")[0], str(axis["name"]))


ROUTES: Final = [Route("/results/{run_id:int}/pdf", page)]
"""Of this page."""

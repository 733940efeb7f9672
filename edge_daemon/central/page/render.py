"""Templates of the fleet's page: every page gets the same surroundings, everything is escaped."""

from __future__ import annotations

import datetime as dt
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from edge_daemon import wording
from edge_daemon.central.fleet.words import KINDS, span
from edge_daemon.signin import forms, static

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

HERE: Final = Path(__file__).resolve().parent
STATIC: Final = HERE / "static"

NAVIGATION: Final = (
    ("/", "Boxes"),
    ("/results", "Results"),
    ("/agreement", "Agreement and drift"),
    ("/updates", "Updates"),
    ("/audit", "Who did what"),
)
"""The pages every other page links to."""


def page(
    request: Request,
    template: str,
    context: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> HTMLResponse:
    """Render one page.

    Parameters
    ----------
    request
        That is answered; it has passed the guard.
    template
        File name under ``templates``.
    context
        What the template shows; all of it is escaped.
    """
    site, visitor = request.state.site, request.state.visitor
    text = (
        _environment()
        .get_template(template)
        .render(
            {
                "fleet": site.name,
                "person": visitor.person,
                "path": request.url.path,
                "navigation": NAVIGATION,
                "form_token": functools.partial(forms.form_token, site.secret, visitor.token),
                "now": dt.datetime.now(dt.UTC),
                **(context or {}),
            }
        )
    )
    return HTMLResponse(text, status_code=status, headers=headers)


@functools.cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals.update(
        static=functools.partial(static.static_url, STATIC), wording=wording, kinds=KINDS,
        link=link, span=span,
    )  # fmt: skip
    made.filters.update(
        moment=moment, day=day, sentence=sentence, number=number, percent=percent, code=code
    )
    return made


def link(path: str, **words: object) -> str:
    """Write an address with words; those that are None or empty are left out."""
    given = {name.rstrip("_"): str(value) for name, value in words.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def moment(at: dt.datetime | None) -> str:
    """Show a moment, to the minute, in UTC: the fleet spans more than one zone."""
    return "" if at is None else at.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M")


def day(at: dt.datetime | None) -> str:
    """Show a day."""
    return "" if at is None else at.astimezone(dt.UTC).strftime("%Y-%m-%d")


def sentence(text: str) -> str:
    """Begin with a capital and end with a full stop."""
    text = text.strip()
    if not text:
        return ""
    return text[:1].upper() + text[1:] + ("" if text[-1] in ".!?…" else ".")


def code(text: str) -> Markup:
    """Escape a text, and show what stands in it between backticks as a command."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped


def number(value: float | None, of: str) -> str:
    """Show a value with the decimals of its kind."""
    return "–" if value is None else f"{value:.{wording.DECIMALS.get(of, 1)}f}"


def percent(value: float) -> str:
    """Show a difference in percent, with its sign."""
    text = f"{value:+.1f}".replace("-", "−")
    return "0.0 %" if text in ("+0.0", "−0.0") else f"{text} %"

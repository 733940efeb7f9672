"""Templates: every page gets the same surroundings, and everything in it is escaped."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from edge_daemon import wording
from edge_daemon.signin import static
from edge_daemon.web import guard
from edge_daemon.web.numbers import Numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

HERE: Final = Path(__file__).resolve().parent
STATIC: Final = HERE / "static"
_TYPED: Final = re.compile("`([^`]+)`")

NAVIGATION: Final = (
    ("/", "Results"),
    ("/quality", "Quality"),
    ("/set-aside", "Set aside"),
    ("/device", "Device"),
    ("/guide", "Guide"),
    ("/settings", "Settings"),
)
"""The pages every other page links to."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """What one browser wants; kept in its cookie.

    Attributes
    ----------
    numbers
        How numbers are written.
    keys
        Whether single keys are shortcuts.
    """

    numbers: Numbers
    keys: bool


PREFERENCES_COOKIE: Final = "edge_view"


def preferences(request: Request) -> Preferences:
    """Read what this browser wants from its cookie."""
    words = request.cookies.get(PREFERENCES_COOKIE, "").split(".")
    return Preferences(
        Numbers(comma="comma" in words, si="si" in words), keys="nokeys" not in words
    )


def page(
    request: Request,
    template: str,
    context: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
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
    status
        HTTP status.
    """
    site, visitor = request.state.site, request.state.visitor
    wanted = preferences(request)
    text = (
        _environment()
        .get_template(template)
        .render(
            {
                "box": site.box,
                "doubt": site.doubt,
                "now": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
                "visitor": visitor,
                "may_change": visitor.role == "technician",
                "path": request.url.path,
                "navigation": NAVIGATION,
                "preferences": wanted,
                "n": wanted.numbers,
                "form_token": functools.partial(guard.form_token, site, visitor),
                **(context or {}),
            }
        )
    )
    return HTMLResponse(text, status_code=status)


@functools.cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # The templates of a running service do not change.
        auto_reload=False,
    )
    made.globals.update(static=static_url, wording=wording)
    made.filters.update(
        local_time=wording.local_time, short_time=_short_time, sentence=_prose, age=age
    )
    return made


def sentence(text: str) -> str:
    """Begin with a capital and end with a full stop."""
    text = text.strip()
    if not text:
        return ""
    return text[:1].upper() + text[1:] + ("" if text[-1] in ".!?…" else ".")


def _prose(text: str) -> Markup:
    """Show a sentence; what stands between backticks is typed as it is, such as a command."""
    return Markup(_TYPED.sub(r"<code>\1</code>", str(escape(sentence(text)))))  # noqa: S704 - escaped


def age(seconds: float) -> str:
    """Say how long ago something was, as people do."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "just now"
    if minutes < 120:
        return f"{minutes} min ago"
    hours = round(minutes / 60)
    return f"{hours} hours ago" if hours < 48 else f"{round(hours / 24)} days ago"


def _short_time(wall: str) -> str:
    """Show a stored moment as local day and minute; one that cannot be read as it is."""
    try:
        return wording.short_time(wall)
    except ValueError:
        return wall


def static_url(name: str) -> str:
    """Address of a static file."""
    return static.static_url(STATIC, name)

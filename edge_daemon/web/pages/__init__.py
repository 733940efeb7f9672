"""The pages: one module each, with a list of its `ROUTES`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import BaseRoute


def routes() -> list[BaseRoute]:
    """List the routes of every page."""
    from edge_daemon.web.pages import (  # noqa: PLC0415 - pages import the templates' renderer
        amending,
        device,
        guide,
        listing,
        live,
        lots,
        machine,
        pdf,
        pictures,
        quality,
        result,
        set_aside,
        settings,
        signing,
        why,
    )

    pages = (
        listing, result, pictures, amending, why, pdf, live, quality, lots, guide, set_aside,
        device, settings, signing, machine,
    )  # fmt: skip
    return [route for page in pages for route in page.ROUTES]

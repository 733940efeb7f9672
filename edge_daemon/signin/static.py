"""Static files whose address changes with their content."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Scope

LOOK: Final = Path(__file__).resolve().parent / "static"
"""The look that both sites share."""

_FOR_A_YEAR: Final = "public, max-age=31536000, immutable"


class Static(StaticFiles):
    """The shared look, and the files of one site.

    Parameters
    ----------
    folder
        Of the site.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder)
        self.all_directories = [*self.all_directories, LOOK]

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Let browsers keep the file for good when they asked for exactly this version."""
        response = await super().get_response(path, scope)
        if response.status_code in (200, 304) and scope["query_string"].startswith(b"v="):
            response.headers["Cache-Control"] = _FOR_A_YEAR
        return response


@functools.cache
def static_url(folder: Path, name: str) -> str:
    """Address of a static file; it changes with the file, so that browsers may keep it."""
    file = folder / name
    digest = hashlib.sha256((file if file.exists() else LOOK / name).read_bytes()).hexdigest()
    return f"/static/{name}?v={digest[:12]}"

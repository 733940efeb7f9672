"""The repository of updates as boxes fetch it, and what the fleet's rings let each of them take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, Response

if TYPE_CHECKING:
    from pathlib import Path

    from edge_daemon.central.rollouts import Rollouts
    from edge_daemon.central.store import Device

FOLDER: Final = "updates"
"""Folder of the server that `edge-daemon release publish --to` fills."""

_PATH = re.compile(r"(metadata|targets)(/[A-Za-z0-9][A-Za-z0-9_.-]*){1,5}")


def file(folder: Path, path: str) -> Response:
    """Answer with a file of the repository, whole or from where a box goes on.

    404 is an ordinary answer and no alarm: every look asks for a root that is not there yet.
    """
    found = folder / path
    if not _PATH.fullmatch(path) or found.is_symlink() or not found.is_file():
        return Response(status_code=404)
    return FileResponse(found, media_type="application/octet-stream")


async def plan(rollouts: Rollouts, device: Device) -> Response:
    """Answer what a box may take now, and what it must give back."""
    return JSONResponse(await run_in_threadpool(rollouts.plan, device.id))

"""Makes PDF files in a process of their own: the library for it never enters the service."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.errors import EdgeError, Retryable

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATIENCE_S: Final = 60
_NEEDED: Final = ("reportlab", "bidi", "arabic_reshaper")
_one_at_a_time = threading.Lock()


def has_pdf() -> bool:
    """Tell whether PDF files can be made here: they need an extra."""
    return all(importlib.util.find_spec(name) for name in _NEEDED)


def make_pdf(content: Mapping[str, Any]) -> bytes:
    """Lay a result out on paper, see `edge_daemon.web.paper`.

    Raises
    ------
    EdgeError
        The extra is not installed, or the file could not be made.
    Retryable
        Another one is being made, or it took too long.
    """
    if not has_pdf():
        raise EdgeError(
            "PDF files need the extra `pdf`, which is not installed on this box",
            action="print the result from the browser, which can save it as PDF; or install "
            "`edge-daemon[pdf]`",
        )
    if not _one_at_a_time.acquire(timeout=_PATIENCE_S):
        raise Retryable("another PDF is being made", action="try again in a few seconds")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edge_daemon.web.paper"],
            input=json.dumps(content).encode(),
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Retryable(
            f"the PDF took longer than {_PATIENCE_S} s", action="try again later"
        ) from error
    finally:
        _one_at_a_time.release()
    if done.returncode or not done.stdout.startswith(b"%PDF"):
        raise EdgeError(
            "the PDF could not be made",
            action="print the result from the browser, which can save it as PDF",
        )
    return done.stdout

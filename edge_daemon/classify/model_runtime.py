"""onnxruntime, imported without its remark on graphics cards.

While it is imported it looks for graphics cards and warns on stderr where it may not: in every
worker, which sees no hardware. No switch of the runtime comes before that. What else it says
then, and everything it says later, is passed on.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_REMARK: Final = b"GPU device discovery failed"
_STDERR: Final = 2
_PIPE_BYTES: Final = 1 << 16


@contextlib.contextmanager
def _without(remark: bytes) -> Iterator[None]:
    """Hold back lines on stderr that contain `remark`, also those of native code."""
    try:
        kept = os.dup(_STDERR)
    except OSError:  # there is no stderr to keep clean
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)  # what a pipe does not hold is lost, and nobody waits for it
    os.dup2(writing, _STDERR)
    os.close(writing)
    try:
        yield
    finally:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(kept, _STDERR)  # closes the last end that writes
        os.close(kept)
        with os.fdopen(reading, "rb") as said:
            lines = said.read(_PIPE_BYTES).splitlines(keepends=True)
        others = [line for line in lines if remark not in line]
        if others:
            os.write(_STDERR, b"".join(others))


with _without(_REMARK):
    import onnxruntime

__all__ = ["onnxruntime"]

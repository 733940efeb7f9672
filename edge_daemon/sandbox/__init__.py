"""Take from a process what decoding does not need: writing, the network, other programs.

Captures are untrusted bytes, and a worker reads them with C code that is not ours. Should one of
them take the worker over, it finds a process that can read Python's own files, the profiles, the
models and the archive, and can change nothing. Two parts of the kernel see to that, each without
help of the other where it alone is there: Landlock knows paths, the system-call filter does not,
but is in every kernel. Neither needs a privilege. docs/sandbox.md says what each of them stops.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_daemon.sandbox import landlock, syscalls
from edge_daemon.sandbox.kernel import no_new_privileges

if TYPE_CHECKING:
    from collections.abc import Iterable

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_SYSTEM: Final = (
    # Libraries, where the loader finds them, and zones of time.
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache",
    "/etc/localtime", "/usr/share/zoneinfo",
    # What the model runtime asks of the processor, and random numbers.
    "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/dev/urandom", "/dev/null",
)  # fmt: skip


def missing() -> tuple[str, ...]:
    """Name the parts of the kernel that are needed and not there: ``landlock``, ``filter``."""
    parts = (("landlock", landlock.abi() > 0), ("filter", syscalls.available()))
    return tuple(name for name, there in parts if not there)


def confine(readable: Iterable[Path]) -> None:
    """Confine this process and all it will start, for ever.

    Parameters
    ----------
    readable
        Files and folders that may be read beside Python, its packages and the system's libraries.
        Those that are not there are left out.

    Raises
    ------
    OSError
        The kernel has what is needed, and refused.
    RuntimeError
        More than one thread runs already: the others would stay free.
    """
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208 - names only
        raise RuntimeError("a process must be confined before it starts threads")
    no_new_privileges()
    # Also where neither part is there: nothing can be written into a regular file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if landlock.abi():
        landlock.restrict_to([*_code(), *map(Path, _SYSTEM), *readable])
    if syscalls.available():
        syscalls.install()


def _code() -> list[Path]:
    """Where modules are imported from; the current folder is not one of them."""
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    return [_PACKAGE, *(Path(entry) for entry in {*prefixes, *sys.path} if entry)]

"""One file for each update: a plain tar of few small files, written and read strictly.

The same files give the same bytes. What is read is never extracted by a library: names and sizes
are checked, and anything but a regular file is refused.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_FILES: Final = 64
MAX_BYTES: Final = 64 << 20
_NAME = re.compile(r"[^/\x00-\x1f\x7f]{1,200}(/[^/\x00-\x1f\x7f]{1,200})?")


def pack(files: Mapping[str, bytes]) -> bytes:
    """Write files into an archive; names are at most one folder deep."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            _check_name(name)
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(files[name]))
    return out.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """Read an archive.

    Raises
    ------
    EdgeError
        It is none, or holds what `pack` does not write.
    """
    files: dict[str, bytes] = {}
    size = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                _check_name(member.name)
                size += member.size
                if not member.isreg() or member.issparse() or member.name in files:
                    raise EdgeError(f"{member.name!r} in the update is no file, or there twice")
                if len(files) >= MAX_FILES or size > MAX_BYTES:
                    raise EdgeError("the update holds more than an update may")
                stream = tar.extractfile(member)
                files[member.name] = b"" if stream is None else stream.read(member.size)
                if len(files[member.name]) != member.size:
                    raise EdgeError(f"{member.name!r} in the update is cut off")
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise EdgeError(f"the update is no archive: {error}") from error
    if not files:
        raise EdgeError("the update is empty")
    return files


def read_folder(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder, at most one folder deep, by their names."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def content_digest(files: Mapping[str, bytes]) -> str:
    """One SHA-256 over names and contents."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return total.hexdigest()


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or {".", ".."} & set(name.split("/")) or name.startswith("."):
        raise EdgeError(f"{name[:80]!r} is no name of a file in an update")

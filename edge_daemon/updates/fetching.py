"""Where TUF gets its files: a folder, or HTTPS through the box's own client; bounded in time.

A download that breaks off is kept and gone on with. What it holds is believed only after TUF has
verified length and digest of the whole.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final

from tuf.api import exceptions
from tuf.ngclient import FetcherInterface

from edge_daemon.sync.policy import TroubleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge_daemon.sync.http import Server

METADATA: Final = "metadata"
TARGETS: Final = "targets"
_PIECE: Final = 64 << 10
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*){1,5}")


class SlowError(exceptions.DownloadError):
    """It comes so slowly that it would never end."""


class FolderFetcher(FetcherInterface):
    """Reads from a folder that holds ``metadata`` and ``targets``: a stick, an export.

    Parameters
    ----------
    folder
        Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._folder / _checked(url)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise exceptions.DownloadHTTPError(f"{url}: no such file", 404) from error
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise exceptions.DownloadError(f"{url} is no file")
            while piece := file.read(_PIECE):
                yield piece


class HttpFetcher(FetcherInterface):
    """Reads over HTTPS, with a limit of time for each file and going on where it broke off.

    Parameters
    ----------
    server
        The connection; TLS is never downgraded and no redirect followed.
    prefix
        Path of the repository on the server, ``/v1/updates`` or empty.
    incoming
        Folder of downloads that are not whole.
    least_rate
        Bytes a second, on average, below which a download is given up; what came is kept.
    grace_s
        Seconds that every file may take besides.
    monotonic
        Clock, s.
    """

    def __init__(
        self,
        server: Server,
        prefix: str,
        incoming: Path,
        *,
        least_rate: float = 2000.0,
        grace_s: float = 60.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._prefix = prefix
        self._incoming = incoming
        self._least_rate = least_rate
        self._grace_s = grace_s
        self._monotonic = monotonic
        self._begins_at = 0

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._pieces(url, 0)

    def _pieces(self, url: str, offset: int) -> Iterator[bytes]:
        """Yield what the server sends from an offset on; the first piece tells where it begins."""
        try:
            with self._server.stream(f"{self._prefix}/{_checked(url)}", offset=offset) as answer:
                if answer.status not in {200, 206}:
                    raise exceptions.DownloadHTTPError(
                        f"{url}: status {answer.status}", answer.status
                    )
                self._begins_at = answer.begins_at
                yield from answer.pieces
        except TroubleError as error:
            raise exceptions.DownloadError(error.message) from error

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Download a file; a target that breaks off is gone on with at the next try."""
        resumable = url.startswith(f"{TARGETS}/")
        with self._open(url, resumable=resumable) as file:
            self._receive(url, max_length, file)
            file.seek(0)
            yield file
        if resumable:
            self._partial(url).unlink(missing_ok=True)

    def _receive(self, url: str, max_length: int, file: IO[bytes]) -> None:
        offset = file.seek(0, os.SEEK_END)
        if offset >= max_length:
            offset = 0
            file.truncate(0)
        deadline = self._monotonic() + self._grace_s + max_length / self._least_rate
        begun = False
        for piece in self._pieces(url, offset):
            if not begun:
                if self._begins_at != offset:  # the server begins anew
                    file.truncate(0)
                file.seek(0, os.SEEK_END)
                begun = True
            file.write(piece)
            if file.tell() > max_length:
                raise exceptions.DownloadLengthMismatchError(
                    f"{url}: more than the {max_length} bytes it may have"
                )
            if self._monotonic() > deadline:
                raise SlowError(f"{url}: {file.tell()} of {max_length} bytes in the time allowed")

    @contextmanager
    def _open(self, url: str, *, resumable: bool) -> Iterator[IO[bytes]]:
        if not resumable:
            with tempfile.TemporaryFile() as file:
                yield file
            return
        self._incoming.mkdir(parents=True, exist_ok=True)
        partial = self._partial(url)
        with partial.open("a+b") as file:
            try:
                yield file
            except (
                exceptions.DownloadLengthMismatchError,
                exceptions.DownloadHTTPError,
                exceptions.RepositoryError,
            ):
                partial.unlink(missing_ok=True)  # what came is not what was signed
                raise

    def _partial(self, url: str) -> Path:
        return self._incoming / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.part"


def _checked(url: str) -> str:
    if not _PATH.fullmatch(url):
        raise exceptions.DownloadError(f"{url[:100]!r} is no place in a repository")
    return url

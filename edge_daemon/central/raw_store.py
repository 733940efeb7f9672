"""Raw captures by their content: in a folder, or in any service that speaks S3."""

from __future__ import annotations

import hashlib
import io
import os
from typing import TYPE_CHECKING, Protocol

from edge_daemon.errors import EdgeError, Retryable

if TYPE_CHECKING:
    from pathlib import Path

    from minio import Minio


class DigestError(EdgeError):
    """The bytes that arrived are not those that were named."""


class RawStore(Protocol):
    """Where whole captures go; what is half arrived waits in a folder beside it."""

    def put(self, sha256: str, source: Path) -> None:
        """Keep a whole capture; doing so twice is no harm."""
        ...

    def get(self, sha256: str) -> bytes:
        """Return a capture's bytes; `FileNotFoundError` where there are none."""
        ...


class FolderStore:
    """Captures as files, ``ab/abcd….raw``.

    Parameters
    ----------
    folder
        Made if absent.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, sha256: str, source: Path) -> None:
        """Move a file into its place, durably."""
        target = self._path(sha256)
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            _sync(self._folder)
        source.replace(target)
        _sync(target.parent)

    def get(self, sha256: str) -> bytes:
        """Return a capture's bytes."""
        return self._path(sha256).read_bytes()

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / f"{sha256}.raw"


class S3Store:
    """Captures as objects of one bucket.

    Parameters
    ----------
    client
        Of the service.
    bucket
        Made if absent.
    """

    def __init__(self, client: Minio, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        if not client.bucket_exists(bucket):
            client.make_bucket(bucket)

    def put(self, sha256: str, source: Path) -> None:
        """Upload a file, then remove it."""
        data = source.read_bytes()
        self._client.put_object(self._bucket, f"{sha256}.raw", io.BytesIO(data), len(data))
        source.unlink()

    def get(self, sha256: str) -> bytes:
        """Return a capture's bytes."""
        from minio.error import S3Error  # noqa: PLC0415 - only where it is used

        try:
            answer = self._client.get_object(self._bucket, f"{sha256}.raw")
        except S3Error as error:
            if error.code == "NoSuchKey":
                raise FileNotFoundError(f"{sha256}.raw") from error
            raise
        try:
            return answer.read()
        finally:
            answer.close()
            answer.release_conn()


class Arrivals:
    """Captures that are still arriving, part by part, each box's apart.

    Parameters
    ----------
    folder
        Made if absent.
    store
        Where whole captures go.
    max_bytes
        Largest capture.
    """

    def __init__(self, folder: Path, store: RawStore, max_bytes: int) -> None:
        self._folder = folder
        self._store = store
        self._max_bytes = max_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def offset(self, device_id: str, sha256: str) -> int:
        """Bytes of a capture that have arrived from this box."""
        try:
            return self._path(device_id, sha256).stat().st_size
        except FileNotFoundError:
            return 0

    def add(self, device_id: str, sha256: str, first: int, total: int, part: bytes) -> bool:
        """Append a part at `first`, which must be the present offset; tell whether it is whole.

        Raises
        ------
        Retryable
            The part does not go on where the last one ended.
        DigestError
            The whole is not what its name says; what has arrived is thrown away.
        EdgeError
            The capture is too large.
        """
        if total > self._max_bytes:
            raise EdgeError(f"{total} bytes; at most {self._max_bytes} are taken")
        path = self._path(device_id, sha256)
        with path.open("ab") as file:
            if file.tell() != first:
                raise Retryable(f"{file.tell()} bytes have arrived, the part begins at {first}")
            file.write(part)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        if size < total:
            return False
        if not self._keep(path, sha256):
            path.unlink()
            raise DigestError("the bytes are not those of this SHA-256")
        return True

    def finish(self, device_id: str, sha256: str) -> int | None:
        """Keep a capture that has arrived whole and could not be kept then.

        The server may have ended behind the last part, or the raw store have been away.

        Returns
        -------
        int or None
            Its size; None where it has not arrived whole.
        """
        path = self._path(device_id, sha256)
        if not path.is_file():
            return None
        size = path.stat().st_size
        return size if self._keep(path, sha256) else None

    def _keep(self, path: Path, sha256: str) -> bool:
        """Hand what has arrived to the store if it is the whole capture."""
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return False
        self._store.put(sha256, path)
        return True

    def _path(self, device_id: str, sha256: str) -> Path:
        return self._folder / f"{device_id}-{sha256}.part"


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

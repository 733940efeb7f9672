"""The wire protocol, version 1, as both ends read and write it (docs/protocol.md).

A box sends batches of NDJSON lines; the server answers each item by itself. Pure functions on
bytes: nothing here opens a connection or a database.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import sys
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from edge_daemon.canonical import canonical, digest
from edge_daemon.errors import EdgeError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Status = Literal["stored", "duplicate", "rejected"]
Encoding = Literal["zstd", "gzip", "identity"]

MAX_ITEMS: Final = 100
MAX_BYTES: Final = 1 << 20
"""Most items, and bytes of lines before compression, in one batch."""

NDJSON: Final = "application/x-ndjson"
JSON: Final = "application/json"
INGEST: Final = "/v1/ingest"

_EPOCH = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEY = re.compile(rf"({_EPOCH.pattern}):(\d{{1,19}})-(\d{{1,19}})")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_STATUSES: Final[frozenset[str]] = frozenset({"stored", "duplicate", "rejected"})
_MAX_SEQ: Final = (1 << 63) - 1
_LEVEL: Final = 6


class ProtocolError(EdgeError):
    """What came over the line is not what the protocol says.

    Parameters
    ----------
    status
        HTTP status that a server answers with.
    code
        Stable reason, ``snake_case``.
    """

    def __init__(self, status: int, code: str, message: str, *, action: str = "") -> None:
        super().__init__(message, action=action)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a box's outbox.

    Attributes
    ----------
    seq
        Its number in the outbox of this epoch, from 1.
    digest
        SHA-256 of the canonical text of `body`.
    type
        ``<what>.clinical`` or ``<what>.simulated``.
    schema
        Of `body`.
    created_at, clock_state
        Wall time of the box when the row was written, and whether to trust it.
    body
        The document.
    """

    seq: int
    digest: str
    type: str
    schema: int
    created_at: str
    clock_state: str
    body: Mapping[str, Any]

    @property
    def text(self) -> str:
        """Canonical text of the body.

        Raises
        ------
        ValueError
            It has none: a number in it is infinite.
        """
        return canonical(self.body)

    def proven(self) -> str | None:
        """Canonical text of the body; None if it is not the one that was digested when written."""
        try:
            text = self.text
            return text if digest(text) == self.digest else None
        except (ValueError, RecursionError):  # an infinite number, half a character
            return None

    @property
    def sound(self) -> bool:
        """Whether the body is the one that was digested when it was written."""
        return self.proven() is not None

    def line(self) -> bytes:
        """Write the item as one line of a batch."""
        return line({name: getattr(self, name) for name in _FIELDS if name != "body"}, self.text)


_FIELDS: Final = ("seq", "digest", "type", "schema", "created_at", "clock_state", "body")


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request carries.

    Attributes
    ----------
    epoch
        Of the box's database.
    items
        In any order.
    """

    epoch: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server did with one item.

    Attributes
    ----------
    seq
        Of the item.
    status
        ``stored`` and ``duplicate`` retire it; ``rejected`` sets it aside.
    code
        Why it was rejected; empty otherwise.
    """

    seq: int
    status: Status
    code: str = ""


def line(envelope: Mapping[str, Any], body: str) -> bytes:
    """Write an item as one line of a batch.

    Parameters
    ----------
    envelope
        Every field of `Item` but its body.
    body
        Its canonical text, which is taken as it is: writing it again would cost a box most of
        what sending costs. ``body`` is the first of the sorted names.
    """
    return f'{{"body":{body},{canonical(envelope)[1:]}\n'.encode()


def pack(
    epoch: str, lines: Sequence[tuple[int, bytes]], *, clock: str, encoding: Encoding = "zstd"
) -> tuple[dict[str, str], bytes]:
    """Make headers and body of an ingest request.

    Parameters
    ----------
    epoch
        Of the box's database.
    lines
        ``(seq, Item.line())`` of each item; at least one, within `MAX_ITEMS` and `MAX_BYTES`.
    clock
        State of the box's clock now.
    encoding
        How the body is compressed.
    """
    seqs = [seq for seq, _ in lines]
    payload = _compress(b"".join(line for _, line in lines), encoding)
    headers = {
        "Content-Type": NDJSON,
        "Content-Digest": content_digest(payload),
        "Idempotency-Key": f"{epoch}:{min(seqs)}-{max(seqs)}",
        "Edge-Epoch": epoch,
        "Edge-Clock": clock,
    }
    return headers if encoding == "identity" else headers | {"Content-Encoding": encoding}, payload


def unpack(headers: Mapping[str, str], payload: bytes) -> Batch:
    """Read an ingest request.

    Parameters
    ----------
    headers
        By lower-case name.
    payload
        Body as received, still compressed.

    Raises
    ------
    ProtocolError
        With the status to answer: 400 not a batch, 413 too large, 415 another kind of body.
        A single item whose digest is wrong is no reason: see `Item.sound`.
    """
    if _media_type(headers.get("content-type", "")) != NDJSON:
        raise ProtocolError(415, "content_type", f"expected Content-Type: {NDJSON}")
    if headers.get("content-digest") != content_digest(payload):
        raise ProtocolError(400, "content_digest", "Content-Digest does not fit the body")
    epoch = headers.get("edge-epoch", "")
    if not _EPOCH.fullmatch(epoch):
        raise ProtocolError(400, "epoch", "Edge-Epoch is no UUID in lower case")
    text = _expand(payload, headers.get("content-encoding", "identity").strip().lower())
    raw = text.splitlines()
    if not 0 < len(raw) <= MAX_ITEMS:
        status = 413 if raw else 400
        raise ProtocolError(status, "items", f"{len(raw)} items; expected 1 to {MAX_ITEMS}")
    items = tuple(_item(line, number) for number, line in enumerate(raw, 1))
    seqs = [item.seq for item in items]
    key = _KEY.fullmatch(headers.get("idempotency-key", ""))
    if key is None or key.groups() != (epoch, str(min(seqs)), str(max(seqs))):
        raise ProtocolError(400, "idempotency_key", "Idempotency-Key does not fit the batch")
    if len(set(seqs)) != len(seqs):
        raise ProtocolError(400, "twice", "an item is in the batch twice")
    return Batch(epoch, items)


def write_reply(
    epoch: str, answers: Iterable[Answer], *, acked_through: int, server_time: str
) -> bytes:
    """Write the server's reply; sent only after the commit."""
    told = [{"seq": a.seq, "status": a.status, "code": a.code} for a in answers]
    return canonical(
        {
            "epoch": epoch,
            "results": told,
            "acked_through": acked_through,
            "server_time": server_time,
        }
    ).encode()


def read_reply(
    status: int, content_type: str, payload: bytes, *, epoch: str, seqs: Iterable[int]
) -> dict[int, Answer]:
    """Read what the server did with each item of a batch.

    Returns
    -------
    dict
        Seq → answer, of this batch's items only. An item without an answer stays.

    Raises
    ------
    ProtocolError
        It is no reply of the server to this batch: a captive portal's page, a truncated or a
        mixed-up answer. Nothing of it counts.
    """
    if status != 200 or _media_type(content_type) != JSON:
        raise ProtocolError(status, "no_reply", f"status {status}, {content_type!r}: no reply")
    try:
        reply = json.loads(payload)
        told = {
            result["seq"]: Answer(result["seq"], result["status"], str(result.get("code") or ""))
            for result in reply["results"]
            if result["status"] in _STATUSES and type(result["seq"]) is int
        }
        right = reply["epoch"] == epoch
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ProtocolError(status, "no_reply", f"not a reply: {error}") from error
    if not right:
        raise ProtocolError(status, "other_epoch", "the reply is about another database")
    return {seq: told[seq] for seq in seqs if seq in told}


def content_digest(payload: bytes) -> str:
    """Value of ``Content-Digest`` (RFC 9530) for a body as it is sent."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(payload).digest()).decode()}:"


def _item(line: bytes, number: int) -> Item:
    try:
        told = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(400, "line", f"line {number} is not JSON: {error}") from error
    if not isinstance(told, dict) or told.keys() != set(_FIELDS):
        raise ProtocolError(400, "line", f"line {number} has not the fields {', '.join(_FIELDS)}")
    numbers = (told["seq"], told["schema"])
    texts = (told["digest"], told["type"], told["created_at"], told["clock_state"])
    good = (
        all(type(value) is int and 0 < value <= _MAX_SEQ for value in numbers)
        and all(isinstance(text, str) and 0 < len(text) <= 100 for text in texts)
        and all(text.isprintable() for text in texts)
        and _DIGEST.fullmatch(told["digest"])
        and isinstance(told["body"], dict)
    )
    if not good:
        raise ProtocolError(400, "line", f"line {number} holds a value of another kind")
    return Item(**told)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _compress(text: bytes, encoding: Encoding) -> bytes:
    if encoding == "zstd":
        return bytes(zstd.compress(text, _LEVEL))
    return gzip.compress(text, _LEVEL, mtime=0) if encoding == "gzip" else text


def _expand(payload: bytes, encoding: str) -> bytes:
    """Decompress, never to more than a batch may hold."""
    limit = MAX_BYTES + 1
    try:
        if encoding == "zstd":
            reader = zstd.ZstdDecompressor()
            text = reader.decompress(payload, max_length=limit)
            whole = reader.eof and not reader.unused_data
        elif encoding == "gzip":
            inflater = zlib.decompressobj(wbits=31)
            text = inflater.decompress(payload, limit)
            whole = inflater.eof and not inflater.unused_data
        elif encoding == "identity":
            text, whole = payload, True
        else:
            raise ProtocolError(415, "content_encoding", f"Content-Encoding {encoding!r}")
    except (zstd.ZstdError, zlib.error, EOFError) as error:
        raise ProtocolError(400, "content_encoding", f"the body is not {encoding}") from error
    if len(text) > MAX_BYTES:
        raise ProtocolError(413, "bytes", f"more than {MAX_BYTES} bytes of lines")
    if not whole:
        raise ProtocolError(400, "content_encoding", f"the {encoding} body is not whole")
    return bytes(text)

"""OpenAPI description of what boxes call: the wire protocol, version 1 (docs/protocol.md)."""

from __future__ import annotations

from typing import Any, Final

from edge_daemon.central.receiving import KINDS, TYPES
from edge_daemon.sync import protocol

Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_MOMENT: Final[Json] = {"type": "string", "format": "date-time"}
_DIGEST: Final[Json] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def _object(**fields: Json) -> Json:
    return {"type": "object", "properties": fields, "required": list(fields)}


BOX_SCHEMAS: Final[Json] = {
    "Claim": _object(code=_TEXT, request=_TEXT),
    "Renewal": _object(request=_TEXT),
    "Certificate": _object(
        device=_TEXT, name=_TEXT, certificate=_TEXT, fleet=_TEXT, not_after=_MOMENT,
        renew_after=_MOMENT,
    ),
    "Item": _object(
        seq={"type": "integer", "minimum": 1},
        digest=_DIGEST,
        type={"type": "string", "enum": sorted(f"{w}.{kind}" for w in TYPES for kind in KINDS)},
        schema={"type": "integer"},
        created_at=_TEXT,
        clock_state=_TEXT,
        body={"type": "object"},
    ),
    "Reply": _object(
        epoch=_TEXT,
        results={
            "type": "array",
            "items": _object(
                seq={"type": "integer"},
                status={"type": "string", "enum": ["stored", "duplicate", "rejected"]},
                code=_TEXT,
            ),
        },
        acked_through={"type": "integer"},
        server_time=_MOMENT,
    ),
}  # fmt: skip


def _error(meaning: str) -> Json:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": meaning, "content": {"application/json": {"schema": schema}}}


_REFUSED: Final[Json] = {
    "400": _error("The request is not what the protocol says."),
    "401": _error("No certificate of this fleet, or none that a box has now: renew, or enrol."),
    "403": _error("The box is revoked."),
    "413": _error("Larger than a call may be."),
    "422": _error("The request can be read, and not be taken."),
    "429": _error("Too many calls; `Retry-After` says how long to wait."),
    "503": _error("The database is away; nothing was stored."),
}


def _json(name: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _call(
    summary: str,
    responses: Json,
    body: Json | None = None,
    *,
    certificate: bool = True,
    **more: Any,
) -> Json:
    said: Json = {"summary": summary, "responses": {**responses, **_REFUSED}, **more}
    if body is not None:
        said["requestBody"] = {"required": True, "content": body}
    said["security"] = [{"certificate": []}] if certificate else []
    return said


_CERTIFIED: Final = {"201": {"description": "A certificate.", "content": _json("Certificate")}}
_NAMED: Final = [{"name": "sha256", "in": "path", "required": True, "schema": _DIGEST}]


def _header(name: str, meaning: str, schema: Json) -> Json:
    return {
        "name": name, "in": "header", "required": True, "description": meaning, "schema": schema,
    }  # fmt: skip


_UUID: Final[Json] = {"type": "string", "format": "uuid"}

BOX_PATHS: Final[Json] = {
    "/v1/enrol": {
        "post": _call(
            "Let a box in for a claim code.", _CERTIFIED, _json("Claim"), certificate=False
        )
    },
    "/v1/renew": {"post": _call("Give a box another certificate.", _CERTIFIED, _json("Renewal"))},
    protocol.INGEST: {
        "post": _call(
            "Store a batch, and answer each item.",
            {
                "200": {"description": "After COMMIT.", "content": _json("Reply")},
                "415": _error("Neither NDJSON nor an encoding that is known."),
            },
            {
                "application/x-ndjson": {
                    "schema": {"type": "string", "description": "One `Item` a line, 1 to 100."}
                }
            },
            parameters=[
                _header("Content-Digest", "`sha-256=:…:` of the body as sent (RFC 9530).", _TEXT),
                _header("Edge-Epoch", "UUID of the box's database.", _UUID),
                _header("Edge-Clock", "State of the box's clock.", _TEXT),
                _header("Idempotency-Key", "`<epoch>:<lowest seq>-<highest seq>`.", _TEXT),
            ],
        )
    },
    "/v1/raw/{sha256}": {
        "parameters": _NAMED,
        "head": _call(
            "Ask whether a raw capture is whole.",
            {
                "200": {"description": "It is."},
                "404": {"description": "It is not; `Upload-Offset` says how much is there."},
            },
        ),
        "put": _call(
            "Send a part of a raw capture.",
            {
                "200": {"description": "The part is taken."},
                "201": {"description": "It is whole, and its digest right."},
                "409": _error("Another part is the next: `Upload-Offset` says where."),
            },
            {"application/octet-stream": {"schema": {}}},
            parameters=[_header("Content-Range", "`bytes first-last/total`.", _TEXT)],
        ),
    },
    "/v1/health": {
        "post": _call(
            "Say how the box is.",
            {"204": {"description": "Noted."}},
            {"application/json": {"schema": {"type": "object"}}},
        )
    },
    "/v1/updates/plan": {
        "get": _call(
            "Ask which updates a box may take now, and which it must give back.",
            {
                "200": {
                    "description": "What the fleet's rings let it do.",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                }
            },
        )
    },
    "/v1/updates/{path}": {
        "get": _call(
            "Fetch a file of the repository of signed updates.",
            {
                "200": {
                    "description": "The file.",
                    "content": {"application/octet-stream": {"schema": {}}},
                },
                "206": {
                    "description": "The part that was asked for.",
                    "content": {"application/octet-stream": {"schema": {}}},
                },
                "404": {"description": "There is none, which is an ordinary answer."},
                "416": {"description": "There is no such part of it."},
            },
            parameters=[{"name": "path", "in": "path", "required": True, "schema": _TEXT}],
        )
    },
}

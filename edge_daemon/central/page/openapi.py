"""OpenAPI 3.1 description of the API, and of what boxes call (docs/protocol.md)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from edge_daemon import __version__
from edge_daemon.central.audit import ACTIONS
from edge_daemon.central.fleet.agreement import WORDS
from edge_daemon.central.fleet.reading_documents import CODES
from edge_daemon.central.fleet.words import KINDS
from edge_daemon.central.page.asking import PARAMETERS, SEARCH, STATUS
from edge_daemon.central.page.openapi_boxes import BOX_PATHS, BOX_SCHEMAS
from edge_daemon.central.rollout import STATES
from edge_daemon.records import SPECIES

if TYPE_CHECKING:
    from collections.abc import Iterable

Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_NUMBER: Final[Json] = {"type": "number"}
_WHOLE: Final[Json] = {"type": "integer"}
_TRUTH: Final[Json] = {"type": "boolean"}
_MOMENT: Final[Json] = {"type": "string", "format": "date-time"}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _words(words: Iterable[str]) -> Json:
    return {"type": "string", "enum": list(words)}


def _list(schema: Json) -> Json:
    return {"type": "array", "items": schema}


def _object(**fields: Json) -> Json:
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def ref(name: str) -> Json:
    """Point at a schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


_VALUE: Final = _object(
    value=_or_null(_NUMBER), low=_or_null(_NUMBER), high=_or_null(_NUMBER), method=_TEXT
)
_RESULT: Final[Json] = {
    "id": _WHOLE, "at": _MOMENT, "at_trusted": _TRUTH, "simulated": _TRUTH,
    "status": _or_null(_words(STATUS)), "clinic_id": _WHOLE, "clinic": _TEXT, "device": _TEXT,
    "box": _TEXT, "instrument": _TEXT, "source": _TEXT, "sample_id": _or_null(_TEXT),
    "patient_id": _or_null(_TEXT), "species": _or_null(_words(SPECIES)),
    "breed": _or_null(_TEXT), "mark": _or_null(_TEXT), "version": _WHOLE, "newest": _TRUTH,
    "capture": _TEXT, "profile": _TEXT, "model": _or_null(_TEXT),
    "values": {
        "type": "object", "properties": dict.fromkeys(CODES, _VALUE),
        "additionalProperties": False,
        "description": "In the units " + ", ".join(f"{c} {u}" for c, u in CODES.items()),
    },
    "flags": _list(ref("Flag")),
}  # fmt: skip
_BOX: Final[Json] = {
    "id": _TEXT, "name": _TEXT, "clinic_id": _WHOLE, "clinic": _TEXT, "enrolled_at": _MOMENT,
    "not_after": _MOMENT, "seen_at": _or_null(_MOMENT), "revoked_at": _or_null(_MOMENT),
    "clock_state": _or_null(_TEXT), "told_at": _or_null(_MOMENT),
    "words": _list(ref("Word")), "kind": _words(KINDS), "models": _list(_TEXT),
    "profiles": _list(_TEXT), "version": _or_null(_TEXT), "state": _or_null(_TEXT),
}  # fmt: skip
_MEDIAN: Final = _object(n=_WHOLE, median=_NUMBER, low=_NUMBER, high=_NUMBER, spread=_NUMBER)
_STREAM: Final = _object(
    state=_words(("too_few", "in_control", "drift")), values=_WHOLE, target=_or_null(_NUMBER),
    limit_percent=_or_null(_NUMBER), percent=_list(_NUMBER), drifting=_WHOLE,
)  # fmt: skip
_BOXES: Final = _object(
    boxes=_WHOLE, active=_WHOLE, failed=_WHOLE, trying=_WHOLE, waiting=_WHOLE, unused=_WHOLE,
    silent=_WHOLE,
)  # fmt: skip

SCHEMAS: Final[Json] = {
    "Error": {
        "type": "object",
        "properties": {"code": _TEXT, "message": _TEXT},
        "required": ["code", "message"],
    },
    "Flag": _object(
        code=_TEXT, severity=_words(("info", "review", "invalid")), message=_TEXT, action=_TEXT
    ),
    "Word": _object(
        kind=_words(KINDS), severity=_words(("error", "warning", "notice")), message=_TEXT,
        action=_TEXT, since=_or_null(_MOMENT),
    ),
    "Box": _object(**_BOX),
    "BoxInFull": _object(**_BOX, averages=_list(ref("Average"))),
    "Boxes": _object(boxes=_list(ref("Box")), next=_or_null(_TEXT)),
    "History": _object(
        spells=_list(
            _object(
                first_at=_MOMENT, last_at=_MOMENT, version=_or_null(_TEXT), state=_or_null(_TEXT),
                conditions=_list(
                    _object(
                        code=_TEXT, subject=_TEXT, severity=_TEXT, message=_TEXT, action=_TEXT,
                        since=_or_null(_MOMENT),
                    )
                ),
                waiting=_WHOLE, oldest=_or_null(_MOMENT), dead=_WHOLE, held=_TRUTH,
                reason=_or_null(_TEXT),
                updates=_list(
                    _object(item=_TEXT, version=_or_null(_TEXT), candidate=_or_null(_TEXT))
                ),
            )
        )
    ),
    "Average": _object(
        device_id=_TEXT, box=_TEXT, clinic=_TEXT, clinic_id=_WHOLE, instrument=_TEXT, species=_TEXT,
        simulated=_TRUTH, code=_TEXT, state=_words(("too_few", "in_control", "drift")),
        since=_or_null(_MOMENT), checked_at=_MOMENT, action=_TEXT,
        sides={
            "type": "object", "properties": {"ours": _STREAM, "analyzer": _STREAM},
            "additionalProperties": False,
        },
    ),
    "Averages": _object(averages=_list(ref("Average"))),
    "Result": _object(**_RESULT),
    "Results": _object(results=_list(ref("Result")), next=_or_null(_TEXT)),
    "ResultInFull": _object(
        **_RESULT,
        document={"description": "As the box sent it.", "type": ["object", "null"]},
        versions=_list(_object(id=_WHOLE, number=_WHOLE, newest=_TRUTH, at=_MOMENT)),
        reports=_list(
            _object(
                id=_WHOLE, at=_MOMENT, instrument=_TEXT,
                values={"type": "object", "additionalProperties": _VALUE},
            )
        ),
        said=_list(
            {
                "type": "object",
                "properties": {"what": _TEXT, "by": _TEXT, "at": _MOMENT},
                "required": ["what", "by", "at"],
            }
        ),
    ),
    "Agreement": _object(
        since=_MOMENT, pairs=_WHOLE, cut=_TRUTH,
        groups=_list(
            _object(
                instrument=_TEXT, analyzer=_TEXT, species=_TEXT, simulated=_TRUTH,
                values=_list(
                    _object(
                        code=_TEXT, n=_WHOLE, boxes_counted=_WHOLE, percent=_or_null(_MEDIAN),
                        word=_words(WORDS),
                        boxes=_list(
                            _object(
                                device=_TEXT, box=_TEXT, clinic=_TEXT, n=_WHOLE,
                                percent=_or_null(_MEDIAN), word=_words(WORDS),
                            )
                        ),
                    )
                ),
            )
        ),
    ),
    "Deeds": _object(
        deeds=_list(
            _object(
                id=_WHOLE, at=_MOMENT, actor=_TEXT, origin=_TEXT, action=_words(ACTIONS),
                words=_TEXT, subject=_TEXT, clinic=_or_null(_TEXT), chain=_or_null(_TEXT),
                details={"type": "object"},
            )
        ),
        next=_or_null(_WHOLE),
    ),
    "Rollouts": _object(
        rollouts=_list(
            _object(
                item=_TEXT, state=_words(STATES), ring=_WHOLE, hours=_NUMBER,
                max_failed_percent=_NUMBER, ring_since=_MOMENT, well_since=_or_null(_MOMENT),
                reason=_TEXT, created_at=_MOMENT, reached=_BOXES,
                rings=_list(_object(number=_WHOLE, share=_WHOLE, open=_TRUTH, boxes=_BOXES)),
                failed=_list(_object(id=_TEXT, name=_TEXT, clinic=_TEXT, ring=_WHOLE)),
            )
        )
    ),
    "Clinics": _object(clinics=_list(_object(id=_WHOLE, name=_TEXT)), flags=_list(_TEXT)),
}  # fmt: skip


def error(meaning: str) -> Json:
    """Describe an answer that says what is wrong."""
    return {"description": meaning, "content": {"application/json": {"schema": ref("Error")}}}


def _parameter(name: str, called: str | None = None) -> Json:
    one = PARAMETERS[name]
    return {
        "name": called or name, "in": "query", "required": False, "description": one.meaning,
        "schema": dict(one.schema),
    }  # fmt: skip


def _get(
    summary: str,
    schema: str | None,
    parameters: Iterable[str] = (),
    *,
    path: Json | None = None,
    media: str = "application/json",
) -> Json:
    content = {media: {"schema": _TEXT if schema is None else ref(schema)}}
    responses = {
        "200": {"description": "What was asked for.", "content": content},
        "401": error("No token, or one that has ended."),
        "422": error("A parameter is unknown, or cannot be what it is; the message names it."),
        "429": error("Too many calls; `Retry-After` says how long to wait."),
        "503": error("The database does not answer; `Retry-After` says when to ask again."),
    }
    if path is not None:
        responses["404"] = error("There is none, or it is of another clinic.")
    given = [_parameter(name) for name in parameters]
    return {
        "get": {
            "summary": summary,
            "parameters": [*([path] if path else []), *given],
            "responses": responses,
            "security": [{"token": []}],
        }
    }


def _path(name: str, schema: Json) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": schema}


@functools.cache
def description() -> Json:
    """Make the whole description."""
    box = _path("box", _TEXT)
    whole = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}
    paths = {
        "/api/v1/boxes": _get(
            "Boxes by health, those that need somebody first.", "Boxes",
            ("kind", "clinic", "after", "limit"),
        ),
        "/api/v1/boxes/{box}": _get("One box.", "BoxInFull", path=box),
        "/api/v1/boxes/{box}/history": _get(
            "What a box said of itself, newest first.", "History", path=box
        ),
        "/api/v1/results": _get(
            "Results, newest first.", "Results", (*SEARCH, "limit", "before")
        ),
        "/api/v1/results/{result}": _get(
            "One version of a result.", "ResultInFull", path=_path("result", whole)
        ),
        "/api/v1/exports/results.csv": _get(
            "All results that are found, safe to open in a spreadsheet.", None, SEARCH,
            media="text/csv",
        ),
        "/api/v1/exports/results.jsonl": _get(
            "All results that are found, one JSON object a line.", None, SEARCH,
            media="application/jsonl",
        ),
        "/api/v1/fhir": _get(
            "FHIR R4 bundles of what is new after a document, one a line, as a feed sends them; "
            "the header `Link` (next) and `Edge-Through` say where to go on.",
            None, ("after_id", "limit", "clinic"), media="application/fhir+ndjson",
        ),
        "/api/v1/agreement": _get(
            "Our values against the analyzers' own, by instrument and species.", "Agreement",
            ("days", "instrument", "species"),
        ),
        "/api/v1/drift": _get("Moving averages that have left their limits.", "Averages"),
        "/api/v1/rollouts": _get(
            "Updates on their way through the fleet, newest first, and what the boxes that you see "
            "say of them.", "Rollouts",
        ),
        "/api/v1/audit": _get("Who did what, newest first.", "Deeds",
                              ("action", "limit", "before_id")),
        "/api/v1/clinics": _get("Clinics, and flags that results carry.", "Clinics"),
    }  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edge_daemon, central server",
            "version": __version__,
            "description": "What people's programs read (`/api/v1`), and what boxes call (`/v1`).",
        },
        "paths": {**paths, **BOX_PATHS},
        "components": {
            "schemas": {**SCHEMAS, **BOX_SCHEMAS},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {
                    "type": "mutualTLS",
                    "description": "Certificate that the fleet has signed for a box.",
                },
            },
        },
    }

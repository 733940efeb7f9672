"""What a worker answers: written as JSON, and believed only as far as it can be checked.

A worker reads untrusted bytes and may have been taken over by them. Its answers are data: nothing
in them is executed or names a class, every field has its type, every number is finite, and steps
come in an order that an analysis can have.
"""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from edge_daemon.errors import QUARANTINE_CODES, EdgeError, Quarantine, Retryable
from edge_daemon.records import (
    CELL_CLASSES,
    MEASUREMENT_CODES,
    Classified,
    Decoded,
    Reported,
    Step,
)
from edge_daemon.store import pictures

MAX_BYTES: Final = 4 << 20
MAX_PICTURE_BYTES: Final = 256 << 10
"""Of one run; usual ones take 4 to 12 kB."""
"""Of one answer; the reports of a day are a thousandth of it."""
MAX_ANSWERS: Final = 10_000
"""Of one capture; an analyzer's memory holds fewer reports."""

_MAX_TEXT: Final = 20_000  # of a message for people
_SHARES: Final = ("RETIC%", "CLUMP%")


class AnswerError(ValueError):
    """It is not what an analysis answers."""


class _Answer(BaseModel):
    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        ser_json_bytes="base64",
        val_json_bytes="base64",
        ser_json_inf_nan="constants",  # so that the other end refuses it; null would be "none"
    )


class Ready(_Answer):
    """The worker has loaded what it needs; `rejected` are bundles that it does not use, and why."""

    kind: Literal["ready"] = "ready"
    rejected: tuple[tuple[str, str], ...] = ()


class Done(_Answer):
    """The task ended well."""

    kind: Literal["done"] = "done"


class Crashed(_Answer):
    """A defect or want of memory; the worker ends."""

    kind: Literal["crashed"] = "crashed"
    detail: str


class Failed(_Answer):
    """The analysis raised one of our errors; it names no class of its own."""

    kind: Literal["failed"] = "failed"
    response: Literal["quarantine", "retry", "other"]
    message: str
    action: str
    code: str = ""
    candidates: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: EdgeError) -> Failed:
        """Describe an error."""
        message, action = unicode(error.message), unicode(error.action)
        if isinstance(error, Quarantine):
            candidates = tuple(error.candidates)
            return cls(
                response="quarantine",
                message=message,
                action=action,
                code=error.code,
                candidates=candidates,
            )
        response: Literal["retry", "other"] = "retry" if isinstance(error, Retryable) else "other"
        return cls(response=response, message=message, action=action)

    def raise_it(self) -> NoReturn:
        """Raise what was described; a worker cannot stop the service, so never a `Fatal`.

        Raises
        ------
        EdgeError
            Always.
        AnswerError
            There is no such quarantine code.
        """
        if self.response == "retry":
            raise Retryable(self.message, action=self.action)
        if self.response == "other":
            raise EdgeError(self.message, action=self.action)
        if self.code not in QUARANTINE_CODES:
            raise AnswerError(f"quarantine code {self.code!r:.60}")
        raise Quarantine(self.code, self.message, action=self.action, candidates=self.candidates)


class StepDecoded(_Answer):
    """First step."""

    kind: Literal["decoded"] = "decoded"
    step: Decoded


class StepReported(_Answer):
    """What the analyzer itself says."""

    kind: Literal["reported"] = "reported"
    step: Reported


class StepClassified(_Answer):
    """Second step."""

    kind: Literal["classified"] = "classified"
    step: Classified


Answer = Ready | Done | Crashed | Failed | StepDecoded | StepReported | StepClassified

_ANSWER: Final[TypeAdapter[Answer]] = TypeAdapter(Annotated[Answer, Field(discriminator="kind")])
_STEPS: Final = {
    Decoded: StepDecoded,
    Reported: StepReported,
    Classified: StepClassified,
}


def unicode(text: str) -> str:
    """Return text that can be written: names of files may hold what is no Unicode."""
    return text[:_MAX_TEXT].encode("utf-8", "backslashreplace").decode("utf-8")


def write(answer: Answer) -> bytes:
    """Write an answer.

    Raises
    ------
    AnswerError
        Its text is not Unicode, or it is longer than `MAX_BYTES`.
    """
    try:
        data = answer.model_dump_json().encode()
    except (PydanticSerializationError, UnicodeError) as error:
        raise AnswerError(f"it cannot be written: {error!s:.200}") from error
    if len(data) > MAX_BYTES:
        raise AnswerError(f"{len(data)} bytes, the limit is {MAX_BYTES}")
    return data


def write_step(step: Step) -> bytes:
    """Write a step, if the service would take it.

    Raises
    ------
    Quarantine
        ``not_classified``: it holds a value that no analysis has.
    """
    try:
        data = write(_STEPS[type(step)](step=step))
        read(data)
    except AnswerError as error:
        raise Quarantine(
            "not_classified",
            f"the analysis gave what cannot be recorded: {error}",
            action="keep the file and report it with a support bundle",
        ) from error
    return data


def read(data: bytes) -> Answer:
    """Read an answer.

    Raises
    ------
    AnswerError
        It is none; the message says where.
    """
    try:
        answer = _ANSWER.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AnswerError(f"{where}: {first['msg']}"[:200]) from error
    if isinstance(answer, StepDecoded) and answer.step.events < 0:
        raise AnswerError(f"{answer.step.events} events")
    if isinstance(answer, StepClassified):
        _check(answer.step)
    return answer


def _check(step: Classified) -> None:
    """Hold a result against what it can be."""
    if set(step.counts) != set(CELL_CLASSES) or min(step.counts.values()) < 0:
        raise AnswerError(f"counts {dict(step.counts)!s:.100}")
    codes = [measurement.code for measurement in step.measurements]
    if len(set(codes)) < len(codes) or not set(codes) <= set(MEASUREMENT_CODES):
        raise AnswerError(f"measurements {codes!s:.100}")
    for found in step.measurements:
        most = 100.0 if found.code in _SHARES else math.inf
        if found.value is not None and not 0 <= found.value <= most:
            raise AnswerError(f"{found.code} is {found.value:g}")
        if found.low is not None and found.high is not None and found.low > found.high:
            raise AnswerError(f"{found.code} from {found.low:g} to {found.high:g}")
    if step.pictures:
        _check_pictures(step.pictures)


def _check_pictures(body: bytes) -> None:
    if len(body) > MAX_PICTURE_BYTES:
        raise AnswerError(f"pictures of {len(body)} bytes, the limit is {MAX_PICTURE_BYTES}")
    try:
        pictures.check(body)
    except EdgeError as error:
        raise AnswerError(f"pictures: {error.message}") from error


class Order:
    """The steps of one task: each result once, and one that fits what came before it."""

    def __init__(self) -> None:
        self._events: int | None = None
        self._classified = False
        self._left = MAX_ANSWERS

    def take(self, answer: Answer) -> Step:
        """Return the step that an answer holds.

        Raises
        ------
        AnswerError
            No analysis answers this now.
        EdgeError
            What the analysis raised.
        """
        self._left -= 1
        if self._left < 0:
            raise AnswerError(f"more than {MAX_ANSWERS} steps")
        if isinstance(answer, Failed):
            answer.raise_it()
        if isinstance(answer, StepReported):
            return answer.step
        if isinstance(answer, StepDecoded) and self._events is None:
            self._events = answer.step.events
            return answer.step
        if isinstance(answer, StepClassified) and not self._classified:
            counted = sum(answer.step.counts.values())
            if counted != self._events:
                raise AnswerError(f"{counted} cells counted of {self._events} events")
            self._classified = True
            return answer.step
        raise AnswerError(f"{answer.kind!r} at this point")

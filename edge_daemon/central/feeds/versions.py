"""What a document means for whoever follows a result: pure, on documents of one result.

Each message depends on nothing but what had been received when its document was: made again
after a crash, it is the same to the byte, with the same id, and a receiver knows it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

from edge_daemon import __version__, wording
from edge_daemon.canonical import canonical, digest
from edge_daemon.central.order import as_written
from edge_daemon.exchange.coding import Origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edge_daemon.central.feeds.documents import Told

FOLLOWED: Final = frozenset({"run", "note", "correction", "mark"})
"""Types of what is said of a result."""
NO_PATIENT: Final = {
    "control": "it is control material", "blank": "it is a blank", "check": "it is of a check",
}  # fmt: skip
"""Marks and kinds of captures that are no patient's, as reasons."""

_BASE: Final = {"ok": "final", "review": "preliminary", "invalid": "cancelled"}
_FINAL: Final = frozenset({"final", "amended", "corrected"})
_WHOSE: Final = ("sample_id", "patient_id", "species", "breed")


@dataclass(frozen=True, slots=True)
class Version:
    """A result as it is told after one document.

    Attributes
    ----------
    told
        The document that is the occasion: a version of the result, or what was said of it.
    run
        The version that counts then.
    standing
        As `exchange.coding.standing`.
    said
        Notes and corrections until then, oldest first.
    withdrawn
        Why it is no patient's result, or empty.
    """

    told: Told
    run: Told
    standing: str
    said: tuple[Told, ...]
    withdrawn: str = ""

    @property
    def id(self) -> str:
        """Digest of the box, the occasion, and everything the message says."""
        said = [one.digest for one in self.said]
        run = self.run
        told = [run.device_id, self.told.digest, run.digest, self.standing, said, self.withdrawn]
        return digest(canonical(told))


def version_after(told: Told, of_result: Sequence[Told]) -> Version | None:
    """Say what a document changes for whoever follows the result; None: nothing.

    Parameters
    ----------
    told
        The occasion.
    of_result
        Documents of the result (`FOLLOWED`), `told` among them, in order; later ones are left out.

    Returns
    -------
    Version or None
        None for a version that a newer one has overtaken (a backlog arrives newest first), for
        what is said of a result that has not come yet, and for a run that is no patient's and
        was never told as one.
    """
    known = [one for one in of_result if one.id <= told.id or _beside(one, told)]
    runs = sorted((r for r in known if r.what == "run" and r.id <= told.id), key=_order)
    if not runs or (told.what == "run" and runs[-1].id != told.id):
        return None
    run = runs[-1]
    withdrawn = _no_patient(known, run)
    if told.what == "correction" or (told.what != "run" and _beside(told, run)):
        return None  # told with its version, which is of the same batch or was sent without it
    said = tuple(one for one in known if one.what in ("note", "correction"))
    before = _standing_before(told, runs, known)
    if withdrawn:
        if before is None or before == "entered-in-error":
            return None
        return Version(told, run, "entered-in-error", said, withdrawn)
    if told.what == "mark" and before not in (None, "entered-in-error"):
        return None
    # What was never told, because it was no patient's, is no version that this one changes.
    return Version(told, run, _standing(told, runs if before else [run], before), said)


def _order(run: Told) -> tuple[int, int]:
    return run.order


def _beside(one: Told, told: Told) -> bool:
    """Whether the two came in one batch of one box."""
    return one.received_at == told.received_at and one.device_id == told.device_id


def last_mark(marks: Iterable[Told]) -> Told | None:
    """Find what people marked a capture as last: of a backlog, the last mark may come first."""
    said = as_written(marks, lambda one: (one.epoch, one.seq, one.id))
    return said[-1] if said else None


def kind_of(run: Told, marks: Iterable[Told]) -> str:
    """Say what a version of a result is: as people marked it last, else as its box knew it."""
    said = last_mark(marks) or run
    return str(said.body.get("kind") or "patient")


def _no_patient(known: Sequence[Told], run: Told) -> str:
    return NO_PATIENT.get(kind_of(run, [one for one in known if one.what == "mark"]), "")


def _standing_before(told: Told, runs: Sequence[Told], known: Sequence[Told]) -> str | None:
    """Say what was told of the result last; None where nothing was."""
    before = [r for r in runs if r.id < told.id]
    if not before:
        return None
    earlier = [one for one in known if one.id < told.id]
    if _no_patient(earlier, before[-1]):
        was_told = any(_was_told(one, before, earlier) for one in earlier)
        return "entered-in-error" if was_told else None
    return _standing(before[-1], before, None)


def _was_told(one: Told, runs: Sequence[Told], known: Sequence[Told]) -> bool:
    """Whether the result stood as a patient's after an earlier document."""
    until = [run for run in runs if run.id <= one.id]
    beside = [other for other in known if other.id <= one.id or _beside(other, one)]
    return bool(until) and not _no_patient(beside, until[-1])


def _standing(told: Told, runs: Sequence[Told], before: str | None) -> str:
    run, earlier = runs[-1], runs[:-1]
    base = _BASE[str(run.body["status"])]
    were_final = any(r.body["status"] == "ok" for r in earlier)
    if base == "cancelled":
        return "entered-in-error" if were_final else base
    if told.what == "note":
        return "appended" if _standing(run, runs, None) in _FINAL else base
    if before == "entered-in-error":
        return "corrected"
    if not were_final:
        return base
    same = all(_whose(run, key) == _whose(earlier[-1], key) for key in _WHOSE)
    return "amended" if same else "corrected"


def _whose(run: Told, key: str) -> Any:
    return run.body["sample"].get(key)


def as_run(version: Version) -> dict[str, Any]:
    """Give a version in the form that `exchange` writes.

    Names of patients never come to the centre, and intervals are a site's own: neither is there.
    """
    run, body = version.run, version.run.body
    result: dict[str, Any] = {
        **body["sample"],
        "id": result_id(run),
        "digest": version.id,
        "instrument": body["instrument"],
        "simulated": run.simulated,
        "status": body["status"],
        "profile": body["profile"],
        "model": body["model"],
        "measurements": body["measurements"],
        "flags": body["flags"],
        "patient_name": None,
        "created_wall": run.created_at,
        "created_clock": run.clock_state,
        "standing": version.standing,
        "version": body["number"],
        "said": _said(version),
        "clinic": run.clinic,
        "elsewhere": True,
    }
    if version.withdrawn:
        told = {"status": "invalid", "headline": "Withdrawn", "reason": version.withdrawn}
        result.update(told)
    return result


def _said(version: Version) -> list[dict[str, str | None]]:
    """Tell what people said; of a correction without its reason, that it was one."""
    body = version.run.body
    told = [sentence(one) for one in version.said]
    explained = any(
        one.what == "correction" and one.body["number"] == body["number"] for one in version.said
    )
    if (fields := body.get("corrected")) and not explained:
        names = ", ".join(field.replace("_", " ") for field in fields)
        told.append({"concerns": None, "text": f"Corrected by a person: {names}"})
    return told


def origin(run: Told) -> Origin:
    """Name the box that speaks."""
    return Origin(run.device_id, __version__)


def result_id(run: Told) -> str:
    """Id that all versions of a result share."""
    _, instrument, capture = run.result
    return str(uuid5(UUID(run.device_id), f"{instrument}\n{capture}"))


def sentence(told: Told) -> dict[str, str | None]:
    """Say in words what a person said, and which value it concerns."""
    body = told.body
    dated = f" ({body['made_at'][:10]})" if body["made_clock"] == "synchronised" else ""
    who = f"by {body['by']}{dated}"
    if told.what == "correction":
        return {"concerns": None, "text": f"Corrected {who}: {_changes(body)}. {body['reason']}"}
    concerns = body["concerns"]
    about = _called(concerns) if concerns else ""
    if body["kind"] == "smear":
        text = f"Smear {who} {body['verdict']} {about}: {body['text']}"
    else:
        text = f"Note {who}{f' on {about}' if about else ''}: {body['text']}"
    return {"concerns": concerns, "text": text}


def _changes(body: Mapping[str, Any]) -> str:
    return ", ".join(
        field.replace("_", " ")
        + ("" if change == [None, None] else f" {change[0] or '–'} → {change[1] or '–'}")
        for field, change in sorted(body["changes"].items())
    )


def _called(code: str) -> str:
    return wording.MEASUREMENT_NAMES.get(code) or wording.CLASS_NAMES.get(code) or code

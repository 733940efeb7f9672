"""Documents become results to search and pairs to compare, apart from the transaction that stores.

A box waits for its answer only until its documents are stored. What is here follows within
seconds, in the order of the documents' numbers, and only as far as they are settled (`settling`).
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, insert, select, text, tuple_, update

from edge_daemon.central import audit, settling
from edge_daemon.central.fleet import comparing, drifting
from edge_daemon.central.fleet.reading_documents import UnreadableError, read
from edge_daemon.central.fleet.tables import in_use, indexed, result_flags, results, said
from edge_daemon.central.order import as_written
from edge_daemon.central.schema import devices, documents
from edge_daemon.log import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Engine

    from edge_daemon.log import EventLog

    Row = dict[str, Any]

BATCH: Final = 300
_IDLE_S: Final = 1.0
_LOOK_S: Final = 0.02
_LOCK: Final = 0x65646769
_REPORTED: Final = 20
"""So many new results make a box's moving averages worth another look: one batch of them."""


class Indexer:
    """Follows the documents.

    Parameters
    ----------
    engine
        Of the server's database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._new: Counter[str] = Counter()
        self._looked: set[str] = set()
        self._hope: tuple[int, int] | None = None

    def step(self, limit: int = BATCH) -> int:
        """Take up to so many documents in, and return how many it were.

        Of several processes that do this, one does it at a time; the others return 0.
        """
        settled = self._settled()
        with self._engine.begin() as db:
            if settled is None or not _only_one(db):
                return 0
            state = db.execute(select(indexed)).one()
            query = (
                select(documents)
                .where(documents.c.id > state.upto, documents.c.id <= settled)
                .order_by(documents.c.id)
                .limit(limit)
            )
            found = [dict(row) for row in db.execute(query).mappings()]
            if not found:
                return 0
            taken, unreadable = [], 0
            for row in found:
                try:
                    taken.append(read(row))
                except UnreadableError:
                    unreadable += 1
            _take(db, taken)
            db.execute(
                update(indexed).values(
                    upto=found[-1]["id"], unreadable=state.unreadable + unreadable
                )
            )
        self._new.update(one["device_id"] for one in taken if one["what"] in ("run", "report"))
        for device in {one["device_id"] for one in taken if one["what"] == "mark"}:
            # What is a patient's no more, or one's after all, is in or out of the averages at once.
            self._looked.discard(device)
            self._new[device] += 0
        return len(found)

    def look_for_drift(self) -> bool:
        """Follow the moving averages of one box that has enough new results; False if none has."""
        due = (
            device
            for device, count in self._new.most_common()
            if count >= _REPORTED or device not in self._looked
        )
        device = next(due, None)
        if device is None:
            return False
        with self._engine.begin() as db:
            drifting.follow_box(db, device)
        del self._new[device]
        self._looked.add(device)
        return True

    def catch_up(self) -> int:
        """Take in everything that is there; for tests."""
        total = 0
        while self._behind():
            taken = self.step()
            total += taken
            if not taken:
                time.sleep(_LOOK_S)
        while self.look_for_drift():
            pass
        return total

    def _behind(self) -> bool:
        with self._engine.begin() as db:
            highest = db.execute(select(func.max(documents.c.id))).scalar() or 0
            return bool(highest > db.execute(select(indexed.c.upto)).scalar_one())

    def _settled(self) -> int | None:
        """Find a number below which nothing can still appear; None while there is none new."""
        if self._hope is None:
            with self._engine.begin() as db:
                highest = int(db.execute(select(func.max(documents.c.id))).scalar() or 0)
                if highest <= db.execute(select(indexed.c.upto)).scalar_one():
                    return None
                fence = settling.fence(db)
            if fence is None:
                return highest
            self._hope = highest, fence
        highest, fence = self._hope
        with self._engine.begin() as db:
            if not settling.is_passed(db, fence):
                return None
        self._hope = None
        return highest


class IndexingThread:
    """Runs an indexer beside the server, at most a third of the time.

    Parameters
    ----------
    engine
        Of the server's database.
    log
        Told when turns begin to fail; the next is tried all the same.
    """

    def __init__(self, engine: Engine, log: EventLog) -> None:
        self._indexer = Indexer(engine)
        self._log = log
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="indexing", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the turn in hand."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def _run(self) -> None:
        while not self._stopping.is_set():
            began, busy = time.monotonic(), False
            try:
                busy = self._indexer.step() > 0 or self._indexer.look_for_drift()
            except Exception as error:  # noqa: BLE001 - boxes are answered, whatever this does
                kind = type(error).__name__
                self._log.on_change("index", kind, Event.CENTRAL_INDEX_FAILED, error_type=kind)
            else:
                self._log.forget("index")
            took = time.monotonic() - began
            self._stopping.wait(min(2 * took, _IDLE_S) if busy else _IDLE_S)


def _only_one(db: Connection) -> bool:
    if db.dialect.name != "postgresql":
        return True
    lock = text("SELECT pg_try_advisory_xact_lock(:lock)")
    return bool(db.execute(lock, {"lock": _LOCK}).scalar())


def _take(db: Connection, taken: Sequence[Row]) -> None:
    told = [one for one in taken if one["what"] in ("run", "report")]
    words = [one for one in taken if one["what"] not in ("run", "report")]
    _take_results(db, told)
    _take_words(db, words)
    _mark(db, told, words)
    comparing.compare_again(
        db, {(one["device_id"], one["sample_key"]) for one in told if one["sample_key"]}
    )
    _note_versions(db, [one for one in told if one["kind"] == "run"])


def _take_results(db: Connection, told: Sequence[Row]) -> None:
    if not told:
        return
    columns = {c.name for c in results.columns} - {"facts", "newest"}
    db.execute(
        insert(results),
        [
            {
                **{name: one[name] for name in columns},
                "newest": True,
                "facts": json.dumps(
                    {key: one[key] for key in ("sample", "values", "flags", "rates")},
                    ensure_ascii=False,
                ),
            }
            for one in told
        ],
    )
    flags = [
        {
            "code": flag["code"],
            "document_id": one["document_id"],
            "clinic_id": one["clinic_id"],
            "at": one["at"],
        }
        for one in told
        for flag in one["flags"]
    ]
    if flags:
        db.execute(insert(result_flags), flags)
    _supersede(db, {(one["device_id"], one["capture"]) for one in told})


def _supersede(db: Connection, captures: Iterable[tuple[str, str]]) -> None:
    """Leave only the last version of a result the newest; two of a number came from a backup."""
    query = select(
        results.c.document_id, results.c.device_id, results.c.capture, results.c.kind,
        results.c.source, results.c.number,
    ).where(
        tuple_(results.c.device_id, results.c.capture).in_(sorted(captures)),
        results.c.newest,
    )  # fmt: skip
    last: dict[tuple[str, ...], tuple[int, int]] = {}
    every = db.execute(query).all()
    for row in every:
        key = (row.device_id, row.capture, row.kind, row.source)
        # An analysis may have read several reports: all of the last one stand.
        place = (row.number, row.document_id if row.kind == "run" else 0)
        last[key] = max(last.get(key, place), place)
    over = [
        row.document_id
        for row in every
        if last[row.device_id, row.capture, row.kind, row.source]
        != (row.number, row.document_id if row.kind == "run" else 0)
    ]
    if over:
        db.execute(update(results).where(results.c.document_id.in_(over)).values(newest=False))
        comparing.forget(db, over)


def _take_words(db: Connection, words: Sequence[Row]) -> None:
    """Keep what people said; it stands in the audit trail as well."""
    if not words:
        return
    names = ("document_id", "clinic_id", "device_id", "capture", "what", "by", "at")
    rows = [
        {**{n: one[n] for n in names}, "facts": json.dumps(one["facts"], ensure_ascii=False)}
        for one in words
    ]
    db.execute(insert(said), rows)
    ids = sorted({one["device_id"] for one in words})
    named = db.execute(select(devices.c.id, devices.c.name).where(devices.c.id.in_(ids)))
    boxes = {row.id: row.name for row in named}
    for one in words:
        box = boxes.get(one["device_id"], one["device_id"])
        audit.note(
            db,
            audit.Actor(f"{one['by']} ({box})", "box"),
            _DEEDS[one["what"]],
            f"capture {one['capture'][:12]}",
            clinic_id=one["clinic_id"],
            details={
                **one["facts"],
                "device": one["device_id"],
                "capture": one["capture"],
                "at": one["at"].isoformat(),
            },
        )


_DEEDS: Final = {"correction": "corrected", "note": "noted", "mark": "marked"}


def _mark(db: Connection, told: Sequence[Row], words: Sequence[Row]) -> None:
    """Say of results what their captures are marked as; either may have come first."""
    captures = {(one["device_id"], one["capture"]) for one in (*told, *words)}
    if not captures:
        return
    query = (
        select(said, documents.c.epoch, documents.c.seq)
        .join(documents, documents.c.id == said.c.document_id)
        .where(tuple_(said.c.device_id, said.c.capture).in_(sorted(captures)))
        .where(said.c.what == "mark")
    )
    marks: dict[tuple[str, str], list[Any]] = {}
    for row in db.execute(query):
        marks.setdefault((row.device_id, row.capture), []).append(row)
    newest = {
        key: json.loads(as_written(found, lambda m: (m.epoch, m.seq, m.document_id))[-1].facts)
        for key, found in marks.items()
    }
    for (device, capture), facts in newest.items():
        kind = facts.get("kind")
        of = (results.c.device_id == device) & (results.c.capture == capture)
        mark = None if kind == "patient" else kind
        db.execute(update(results).where(of).values(mark=mark))
        keys = select(results.c.document_id, results.c.sample_key).where(of)
        found = db.execute(keys).all()
        comparing.forget(db, [row.document_id for row in found])
        comparing.compare_again(db, {(device, r.sample_key) for r in found if r.sample_key})


def _note_versions(db: Connection, runs: Sequence[Row]) -> None:
    """Remember which model and profile each box's newest result was made with."""
    newest: dict[tuple[str, str, str], tuple[Row, str]] = {}
    for one in as_written(runs, lambda run: (run["epoch"], run["seq"], run["document_id"])):
        name, _, version = (one["model"] or "").partition("@")
        said = [("profile", one["profile"], one["profile_sha256"][:12])]
        said += [("model", name, version)] if name and version else []
        for what, called, edition in said:
            key = one["device_id"], what, called
            before = newest.get(key, (one, ""))[0]
            believed = before["at_trusted"] and one["at_trusted"]
            if not (believed and before["at"] > one["at"]):
                newest[key] = one, edition
    for (device, what, name), (one, version) in newest.items():
        this = (in_use.c.device_id == device) & (in_use.c.what == what) & (in_use.c.name == name)
        known = db.execute(select(in_use).where(this)).mappings().first()
        if known is None:
            row = {"device_id": device, "what": what, "name": name, "version": version}
            more = {"clinic_id": one["clinic_id"], "first_at": one["at"], "last_at": one["at"]}
            db.execute(insert(in_use).values(**row, **more))
            continue
        changes: Row = {}
        last = drifting.utc(known["last_at"])
        if version == known["version"]:
            changes["first_at"] = min(drifting.utc(known["first_at"]), one["at"])
            changes["last_at"] = max(last, one["at"])
        elif one["at"] > last and (one["at_trusted"] or not _overtaken(db, one, what, name)):
            changes = {"version": version, "first_at": one["at"], "last_at": one["at"]}
        if changes:
            db.execute(update(in_use).where(this).values(**changes))


def _overtaken(db: Connection, one: Row, what: str, name: str) -> bool:
    """Tell whether the box made a later result with it: of a backlog the oldest comes last."""
    named = results.c.profile == name
    if what == "model":
        named = func.substr(results.c.model, 1, len(name) + 1) == f"{name}@"
    of_box = (results.c.device_id == one["device_id"]) & (results.c.epoch == one["epoch"])
    query = select(results.c.document_id).where(of_box, results.c.seq > one["seq"], named)
    return db.execute(query.where(results.c.kind == "run").limit(1)).first() is not None

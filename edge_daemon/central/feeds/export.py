"""One export: everything of a choice, as messages or as tables, in whole files."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from edge_daemon import __version__
from edge_daemon.central.feeds.columns import TABLES, Entry, other_units
from edge_daemon.central.feeds.documents import PAGE, Choice, pages, related, settled
from edge_daemon.central.feeds.tables import TableWriter, Written, hidden_name, publish
from edge_daemon.central.feeds.versions import FOLLOWED, as_run, last_mark, origin, version_after
from edge_daemon.exchange.fhir import as_fhir
from edge_daemon.exchange.hl7 import as_hl7

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Iterator

    from edge_daemon.central.feeds.documents import Told
    from edge_daemon.central.feeds.versions import Version
    from edge_daemon.central.reading import Reader, Scope

Form = Literal["fhir", "hl7", "csv", "parquet"]
MANIFEST: Final = "export.json"
SUFFIXES: Final[dict[Form, str]] = {
    "fhir": ".ndjson", "hl7": ".hl7", "csv": ".csv", "parquet": ".parquet",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be exported, and where to.

    Attributes
    ----------
    out
        A file with the ending of the form, or a folder, which then also gets a manifest.
    kinds
        ``clinical``, ``simulated``, or both; each row and message says which it is.
    after, limit
        Number of the document to go on after, and most documents; None: all.
    since
        Received by the centre at this time or later.
    by_month
        Tables: a file for each month of receipt.
    page
        FHIR bundles in one file of a folder.
    """

    form: Form
    out: Path
    scope: Scope
    kinds: frozenset[str]
    since: dt.datetime | None = None
    after: int = 0
    limit: int | None = None
    by_month: bool = False
    page: int = 1000

    @property
    def to_folder(self) -> bool:
        """Whether `out` is a folder."""
        return self.out.is_dir() or self.out.suffix.lower() != SUFFIXES[self.form]


@dataclass(slots=True)
class Done:
    """What an export did.

    Attributes
    ----------
    through
        Number of the last document that was looked at; a next export goes on after it.
    counts
        Rows by table, or messages.
    left_out
        Documents that became no message (`versions.version_after`).
    other_units
        Values that no column takes, with how often.
    unreadable
        Numbers of documents that are not what their type says.
    """

    through: int
    counts: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    other_units: Counter[str] = field(default_factory=Counter)
    unreadable: list[int] = field(default_factory=list)
    files: list[Written] = field(default_factory=list)

    def as_json(self, order: Order) -> dict[str, Any]:
        """Say it as a program reads it; paths are below the folder."""
        base = order.out if order.to_folder else order.out.parent
        return {
            "format": order.form,
            "software": f"edge_daemon {__version__}",
            "clinics": None if order.scope.clinics is None else sorted(order.scope.clinics),
            "kinds": sorted(order.kinds),
            "since": None if order.since is None else order.since.isoformat(),
            "after": order.after,
            "through": self.through,
            "written": dict(self.counts),
            "left_out": self.left_out,
            "other_units": dict(self.other_units),
            "unreadable": self.unreadable[:1000],
            "files": [
                {"path": str(Path(f.path).relative_to(base)), "rows": f.rows, "sha256": f.sha256}
                for f in self.files
            ],
        }


def export(reader: Reader, order: Order, progress: Callable[[int, int], None]) -> Done:
    """Write what is asked for; a file appears under its name when it is whole.

    Raises
    ------
    Retryable
        What was received last is not settled yet.
    Fatal
        Parquet is asked for, and pyarrow is not installed.
    OSError
        The files cannot be written.
    """
    tables = _tables(order)
    what = frozenset().union(*(types for _, types in tables.values())) if tables else FOLLOWED
    upto = settled(reader, order.scope)
    choice = Choice(what, order.kinds, order.after, upto, order.since)
    done = Done(max(upto, order.after))
    walk = _walk(reader, order, choice, done, progress)
    (order.out if order.to_folder else order.out.parent).mkdir(parents=True, exist_ok=True)
    if tables:
        _write_tables(walk, reader, order, upto, done)
    elif order.to_folder and order.form == "hl7":
        _write_each(_versions(walk, reader, order, done), order)
    else:
        _write_messages(_versions(walk, reader, order, done), order, done)
    if order.to_folder:
        path = order.out / MANIFEST
        hidden = hidden_name(path)
        hidden.write_text(json.dumps(done.as_json(order), indent=1) + "\n", encoding="utf-8")
        publish(hidden, path)
    return done


def _tables(order: Order) -> dict[str, Any]:
    if order.form not in ("csv", "parquet"):
        return {}
    return dict(TABLES) if order.to_folder else {"results": TABLES["results"]}


def _walk(
    reader: Reader,
    order: Order,
    choice: Choice,
    done: Done,
    progress: Callable[[int, int], None],
) -> Iterator[list[Told]]:
    """Page through the choice, at most `limit` documents, and note how far it went."""
    seen, numbers = 0, max(0, choice.upto - choice.after)
    progress(0, numbers)
    for page in pages(reader, order.scope, choice, size=PAGE, leave_out=done.unreadable.append):
        taken = page if order.limit is None else page[: order.limit - seen]
        yield taken
        seen += len(taken)
        progress(taken[-1].id - choice.after, numbers)
        if seen == order.limit:
            done.through = taken[-1].id
            return
    progress(numbers, numbers)


def _write_tables(
    walk: Iterator[list[Told]], reader: Reader, order: Order, upto: int, done: Done
) -> None:
    assert order.form in ("csv", "parquet")
    facts = {"software": f"edge_daemon {__version__}", "kinds": " ".join(sorted(order.kinds))}
    with ExitStack() as stack:
        writers = {}
        for name, (columns, types) in _tables(order).items():
            target = order.out
            if order.to_folder:
                target = order.out / (name if order.by_month else f"{name}.{order.form}")
            writer = TableWriter(
                target,
                columns,
                order.form,
                {**facts, "table": name},
                by_month=order.by_month,
                part=f"part-{order.after}",
            )
            writers[name] = (stack.enter_context(writer), types)
        for page in walk:
            entries = _entries(page, reader, order, upto)
            for name, (writer, types) in writers.items():
                rows = [entry for entry in entries if entry.told.what in types]
                writer.write(rows)
                done.counts[name] += len(rows)
            for entry in entries:
                done.other_units.update(other_units(entry.told))
        for writer, _ in writers.values():
            done.files += writer.finish()


def _entries(page: list[Told], reader: Reader, order: Order, upto: int) -> list[Entry]:
    """Say of each document whether it is the newest, and what people say its capture is."""
    what = ("run", "report", "mark")
    found = related(reader, order.scope, page, upto=upto, what=what)
    entries = []
    for told in page:
        of_result = found.get(told.result, [])
        marked = last_mark(one for one in of_result if one.what == "mark")
        mark = None if marked is None else str(marked.body["kind"])
        later = told.what in ("run", "report") and any(
            one.what == told.what and _number(one) > _number(told) for one in of_result
        )
        entries.append(Entry(told, not later, mark))
    return entries


def _number(told: Told) -> tuple[int, int]:
    # An analysis may read several reports out of one capture: none is older than the other.
    return told.order if told.what == "run" else (told.order[0], 0)


def _versions(
    walk: Iterator[list[Told]], reader: Reader, order: Order, done: Done
) -> Iterator[Version]:
    for page in walk:
        found = related(reader, order.scope, page, what=FOLLOWED)
        for told in page:
            version = version_after(told, found.get(told.result, []))
            if version is None:
                done.left_out += 1
                continue
            done.counts["messages"] += 1
            yield version


def message(version: Version, form: Literal["fhir", "hl7"], *, answered: bool = False) -> bytes:
    """Write a version as a message."""
    run, box = as_run(version), origin(version.run)
    return as_hl7(run, box, answered=answered) if form == "hl7" else as_fhir(run, box)


def message_name(version: Version) -> str:
    """Name of a message's file: in order, and the same whenever it is made again."""
    return f"{version.told.id:012d}-{version.id[:20]}.hl7"


def _write_each(versions: Iterator[Version], order: Order) -> None:
    """Write every HL7 message into a file of its own, as practice software takes them."""
    for version in versions:
        write_file(order.out / message_name(version), [message(version, "hl7")])


def _write_messages(versions: Iterator[Version], order: Order, done: Done) -> None:
    """Write messages into one file, or into pages of a folder."""
    form: Literal["fhir", "hl7"] = "hl7" if order.form == "hl7" else "fhir"
    bodies = (message(version, form) for version in versions)
    if not order.to_folder:
        done.files.append(write_file(order.out, bodies))
        return
    for number in itertools.count(1):
        path = order.out / f"bundles-{number:06d}{SUFFIXES[order.form]}"
        first = next(bodies, None)
        if first is None:
            return
        page = itertools.chain([first], itertools.islice(bodies, order.page - 1))
        done.files.append(write_file(path, page))


def write_file(path: Path, bodies: Iterable[bytes]) -> Written:
    """Write messages one after the other; the file appears when it is whole."""
    hidden = hidden_name(path)
    rows = 0
    try:
        with hidden.open("wb") as file:
            for body in bodies:
                file.write(body)
                rows += 1
        return Written(str(path), rows, publish(hidden, path))
    finally:
        hidden.unlink(missing_ok=True)


def bundles_after(reader: Reader, scope: Scope, after: int, most: int) -> tuple[list[bytes], int]:
    """Make one page of FHIR bundles of patients' results, a line each.

    Returns
    -------
    tuple
        The lines, and the number of the document to go on after: `after` where nothing is new.

    Raises
    ------
    Retryable
        What was received last is not settled yet.
    """
    upto = settled(reader, scope, after=after)
    choice = Choice(FOLLOWED, frozenset({"clinical"}), after, upto)
    lines: list[bytes] = []
    for page in pages(reader, scope, choice, size=most):
        found = related(reader, scope, page, what=FOLLOWED)
        for told in page:
            version = version_after(told, found.get(told.result, []))
            if version is not None:
                lines.append(message(version, "fhir"))
                if len(lines) == most:
                    return lines, told.id
    return lines, max(after, upto)

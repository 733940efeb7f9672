"""Rows to files: CSV and Parquet, written atomically, a group of rows at a time."""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self

from edge_daemon.errors import Fatal
from edge_daemon.safe_text import csv_cell

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from edge_daemon.central.feeds.columns import Column, Entry

TableForm = Literal["csv", "parquet"]
GROUP: Final = 5000
"""Rows of a Parquet row group; no more are held in memory."""


class Sink(Protocol):
    """Takes rows of one file."""

    def write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Append rows."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class _Csv:
    """UTF-8; the first line names the columns, with their unit in brackets."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow([f"{c.name} [{c.unit}]" if c.unit else c.name for c in columns])

    def write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._writer.writerows([_cell(value) for value in row] for row in rows)

    def close(self) -> None:
        self._file.close()


def _cell(value: Any) -> str | float:
    if isinstance(value, bool):
        return "true" if value else "false"
    return csv_cell(value.isoformat() if hasattr(value, "isoformat") else value)


class _Parquet:
    """Typed columns; meaning, unit and LOINC code in the metadata of each."""

    def __init__(self, path: Path, columns: Sequence[Column], facts: Mapping[str, str]) -> None:
        import pyarrow as pa  # noqa: PLC0415 - only who writes Parquet pays for it
        from pyarrow import parquet  # noqa: PLC0415

        kinds = {
            "text": pa.string(), "integer": pa.int64(), "number": pa.float64(),
            "truth": pa.bool_(), "time": pa.timestamp("us", tz="UTC"),
        }  # fmt: skip
        self._pa = pa
        self._schema = pa.schema(
            [pa.field(c.name, kinds[c.kind], metadata=_described(c)) for c in columns],
            metadata=dict(facts),
        )
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[tuple[Any, ...]] = []

    def write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._rows += rows
        while len(self._rows) >= GROUP:
            self._flush()

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        rows, self._rows = self._rows[:GROUP], self._rows[GROUP:]
        arrays = [
            self._pa.array(values, type=field.type)
            for values, field in zip(zip(*rows, strict=True), self._schema, strict=True)
        ]
        self._writer.write_batch(self._pa.record_batch(arrays, schema=self._schema))


def _described(column: Column) -> dict[str, str]:
    facts = {"meaning": column.meaning, "unit": column.unit, "loinc": column.loinc}
    return {key: value for key, value in facts.items() if value}


@dataclass(frozen=True, slots=True)
class Written:
    """One finished file: its path below the folder, its rows, and its SHA-256."""

    path: str
    rows: int
    sha256: str


class TableWriter:
    """Writes one table: one file, or one for each month in which the centre received rows.

    Files stand under hidden names until `finish`, which syncs and renames them; without it
    nothing is left.

    Parameters
    ----------
    target
        File of the table, or the folder that holds its months.
    columns
        Of the table.
    form
        CSV or Parquet.
    facts
        Metadata of Parquet files.
    by_month
        Whether `target` is a folder: ``month=2026-11/part-….parquet`` in it.
    part
        Name of the files in the months.

    Raises
    ------
    Fatal
        pyarrow is not installed.
    """

    def __init__(
        self,
        target: Path,
        columns: Sequence[Column],
        form: TableForm,
        facts: Mapping[str, str],
        *,
        by_month: bool = False,
        part: str = "part-0",
    ) -> None:
        self._target = target
        self._columns = columns
        self._form: TableForm = form
        self._facts = facts
        self._by_month = by_month
        self._part = part
        self._open: dict[str, tuple[Path, Path, Sink]] = {}
        self._rows: dict[str, int] = {}
        if form == "parquet":
            _needs_pyarrow()
        if not by_month:
            self._sink("")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave nothing half written."""
        for _, hidden, sink in self._open.values():
            sink.close()
            hidden.unlink(missing_ok=True)
        self._open.clear()

    def write(self, entries: Sequence[Entry]) -> None:
        """Append documents as rows, in their order."""
        by_month: dict[str, list[tuple[Any, ...]]] = {}
        for entry in entries:
            month = _month(entry.told.received_at) if self._by_month else ""
            row = tuple(column.cell(entry) for column in self._columns)
            by_month.setdefault(month, []).append(row)
        for month, rows in by_month.items():
            self._sink(month).write(rows)
            self._rows[month] += len(rows)

    def finish(self) -> list[Written]:
        """Close, sync and rename every file; say what they are, by month."""
        done = []
        for month in sorted(self._open):
            path, hidden, sink = self._open[month]
            sink.close()
            digest = publish(hidden, path)
            del self._open[month]
            done.append(Written(str(path), self._rows[month], digest))
        return done

    def _sink(self, month: str) -> Sink:
        if month not in self._open:
            path = self._target
            if self._by_month:
                path = self._target / f"month={month}" / f"{self._part}.{self._form}"
            path.parent.mkdir(parents=True, exist_ok=True)
            hidden = hidden_name(path)
            sink: Sink = (
                _Csv(hidden, self._columns)
                if self._form == "csv"
                else _Parquet(hidden, self._columns, self._facts)
            )
            self._open[month] = (path, hidden, sink)
            self._rows[month] = 0
        return self._open[month][2]


def hidden_name(path: Path) -> Path:
    """Name under which a file is written before it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def publish(hidden: Path, path: Path) -> str:
    """Sync a finished file, give it its name, sync its folder; return its SHA-256."""
    with hidden.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    hidden.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return digest


def _month(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m}"


def _needs_pyarrow() -> None:
    try:
        import pyarrow as pa  # noqa: F401, PLC0415
    except ImportError as error:
        raise Fatal(
            "Parquet needs pyarrow, which is not installed",
            action="install it with `pip install edge-daemon[central]`, or write --format csv",
        ) from error

"""The whole path without an analyzer: simulated ones export and send, the real service works."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from edge_daemon import errors
from edge_daemon.cli import options, output, report
from edge_daemon.cli.demo_analyzers import (
    EXPORT,
    PORT,
    SERIAL_SOURCE,
    SOURCES,
    FolderAnalyzer,
    SerialAnalyzer,
)
from edge_daemon.cli.interpretation import Interpreter
from edge_daemon.stopping import StopRequest
from edge_daemon.wording import counted

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from edge_daemon.cli.output import Record

_COHORT: Final = 6
_PATIENCE_S: Final = 120.0
_POLL_S: Final = 0.1
_STOP_S: Final = 20.0
_CONFIG: Final = "demo.toml"
_LOG: Final = "service.log"
# prctl(PR_SET_PDEATHSIG): the service must not outlive a demo that was killed.
_CHILD: Final = (
    "import ctypes, signal; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "from edge_daemon.cli import main; main()"
)
_SETTINGS: Final = f"""\
# Clinic of `edge-daemon demo`: every value in it is SIMULATED.
[box]
name = "demo"
data_dir = "."

{SOURCES}
[web]
listen = "127.0.0.1:0"

[log]
level = "warning"
"""


@click.command()
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="End after N samples.")
@click.option("--once", is_flag=True, help="Analyse a small cohort and end.")
@click.option(
    "--events",
    type=click.IntRange(min=200, max=1_000_000),
    default=20_000,
    show_default=True,
    metavar="N",
    help="Cells in each sample.",
)
@click.option(
    "--every",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Time between two samples; default 3 in a terminal, otherwise 0.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the demo's clinic in this folder, new or of an earlier demo.",
)
@options.json_option
def demo(
    samples: int | None,
    once: bool,
    events: int,
    every: float | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Try everything without an analyzer.

    Two simulated analyzers run the blood of simulated dogs, cats and horses: one exports files
    into a folder, one sends its runs on a serial line. The real service takes them in; each
    result is shown as it appears. In a terminal it goes on until Ctrl-C. Every value is marked
    SIMULATED for ever and is never sent as clinical.
    """
    endless = sys.stdout.isatty() and not (samples or once or as_json)
    total = None if endless else samples or _COHORT
    pause = every if every is not None else 3.0 * endless
    folder = _clinic(data_dir)
    show = _Show(as_json=as_json)
    show.begin(folder, total)
    # Ctrl-C as an exception could come anywhere, also where its traceback is only printed.
    stop = StopRequest(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    with _service(folder) as service, _analyzers(folder, events) as turns:
        for record in Interpreter().add(play(folder, service, turns, total, pause, stop)):
            show.result(record, _page(folder))
    if stop.signal is not None and not endless:
        raise click.Abort
    show.end(folder)


def _clinic(data_dir: Path | None) -> Path:
    """Make the demo's folder; one that holds anything else is left alone."""
    if data_dir is None:
        folder = Path(tempfile.mkdtemp(prefix="edge-daemon-demo-"))
    else:
        folder = data_dir.expanduser().absolute()
        if folder.is_dir() and any(folder.iterdir()) and not (folder / _CONFIG).is_file():
            raise errors.Fatal(
                f"{folder}: not empty, and not of an earlier demo",
                action="Give a new folder: simulated results do not belong among a clinic's.",
            )
    (folder / EXPORT).mkdir(parents=True, exist_ok=True)
    (folder / _CONFIG).write_text(_SETTINGS, encoding="utf-8")
    return folder


@contextlib.contextmanager
def _service(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the real service on the clinic, as systemd would, and stop it in the end."""
    command = [sys.executable, "-c", _CHILD, "run", "--config", str(folder / _CONFIG)]
    environment = {k: v for k, v in os.environ.items() if k != options.DATA_VARIABLE}
    log = (folder / _LOG).open("w+", encoding="utf-8")
    # A session of its own: Ctrl-C is for the demo, which then stops the service in order.
    service = subprocess.Popen(  # noqa: S603 this program, with our own arguments
        command, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield service
    finally:
        service.terminate()
        try:
            service.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()
        log.close()


@contextlib.contextmanager
def _analyzers(folder: Path, events: int) -> Iterator[Iterator[Callable[[], bool]]]:
    """Set up both analyzers; yields whose turn it is, one after the other."""
    with contextlib.closing(SerialAnalyzer(folder, events, _sent(folder))) as serial:
        yield itertools.cycle([FolderAnalyzer(folder, events).run, serial.run])


def play(
    folder: Path,
    service: subprocess.Popen[bytes],
    turns: Iterator[Callable[[], bool]],
    total: int | None,
    pause: float,
    stop: StopRequest,
) -> Iterator[Record]:
    """Let the analyzers run in turns until stopped; yield each result once it is stored.

    Raises
    ------
    Fatal
        The service ended, set a capture aside, or gave no result for two minutes.
    """
    exported = shown = 0
    analyze = next(turns)
    seen, aside = _latest(folder)
    due = last = time.monotonic()
    while total is None or shown < total:
        now = time.monotonic()
        if now >= due and (total is None or exported < total) and analyze():
            exported += 1
            due = now + pause
            analyze = next(turns)
        for record in _fresh(folder, seen):
            seen, last = record["id"], now
            shown += 1
            yield record
        if service.poll() is not None or now - last > _PATIENCE_S or _latest(folder)[1] > aside:
            raise _stuck(folder, service)
        if stop.wait(0.0 if last == now else _POLL_S):
            return


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the clinic's database, or None while the service has not made it yet."""
    from edge_daemon.store import queries

    try:
        db = queries.connect(folder)
    except errors.EdgeError:
        yield None
        return
    with contextlib.closing(db):
        yield db


def _page(folder: Path) -> str | None:
    """Return where the service serves its page, or None where it does not."""
    from edge_daemon.health import STATUS_NAME

    try:
        told = json.loads((folder / STATUS_NAME).read_bytes())
    except (OSError, ValueError):
        return None
    url: str | None = (told.get("web") or {}).get("url")
    return url


def _latest(folder: Path) -> tuple[int, int]:
    """Return the ids of the newest run and of the newest capture in quarantine, or 0."""
    from edge_daemon.store import queries

    with _reading(folder) as db:
        if db is None:
            return 0, 0
        run, aside = queries.results(db, limit=1), queries.quarantined(db, limit=1)
    return run[0]["id"] if run else 0, aside[0]["id"] if aside else 0


def _sent(folder: Path) -> int:
    """Count the runs that the clinic has from the serial line."""
    with _reading(folder) as db:
        if db is None:
            return 0
        query = "SELECT count(*) FROM captures WHERE source = ?"
        return int(db.execute(query, (SERIAL_SOURCE,)).fetchone()[0])


def _fresh(folder: Path, seen: int) -> list[Record]:
    """Return the runs after `seen`, oldest first."""
    from edge_daemon.store import queries

    with _reading(folder) as db:
        found = queries.results(db, limit=100) if db else []
    return [r for r in reversed(found) if r["id"] > seen]


def _stuck(folder: Path, service: subprocess.Popen[bytes]) -> errors.Fatal:
    """Say why no further result will come."""
    from edge_daemon.store import queries

    with _reading(folder) as db:
        aside = queries.quarantined(db, limit=1) if db else []
    code = service.poll()
    if aside:
        return errors.Fatal(
            f"the service set a capture aside: {aside[0]['reason_message']}",
            action=aside[0]["reason_action"],
        )
    what = "gave no result for two minutes" if code is None else f"ended with exit code {code}"
    return errors.Fatal(f"the service {what}", action=f"Look at {folder / _LOG}.")


_COLUMNS: Final = (
    output.Column("sample", "Sample", lambda r: r["sample_id"]),
    output.Column("species", "Species", lambda r: r["species"]),
    output.Column("status", "Status", report.headline),
    *(output.measurement_column(code) for code in output.LISTED),
    output.Column("events", "Cells", lambda r: f"{r['events']:,}", right=True),
    output.Column("simulated", "Mark", output.simulated_mark),
)
_WIDTHS: Final = (8, 7, 6, 8, 12, 8, 12, 7, 9)


@dataclass
class _Show:
    """What the person sees: a table that grows, or one JSON document at the end."""

    as_json: bool
    results: list[Record] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def begin(self, folder: Path, total: int | None) -> None:
        if self.as_json:
            return
        output.say(f"{output.SIMULATED}: no animal, no analyzer; every value below is made up.")
        end = counted(total, "sample") if total else "Ctrl-C ends it"
        output.say(f"A simulated analyzer → folder {folder / EXPORT} ┐")
        output.say(f"another → serial line {folder / PORT} ┴→ edge-daemon run ({end})\n")

    def result(self, record: Record, page: str | None) -> None:
        """Show one more result; with the first, where the page is."""
        if not self.results and not self.as_json:
            if page:
                output.say(f"The page, for as long as the demo runs: {page}\n")
            output.growing(_COLUMNS, _WIDTHS, None)
        self.results.append(record)
        if not self.as_json:
            output.growing(_COLUMNS, _WIDTHS, record)

    def end(self, folder: Path) -> None:
        seconds = time.monotonic() - self.started
        if self.as_json:
            output.emit_json(
                {
                    "simulated": True,
                    "data_dir": str(folder),
                    "seconds": seconds,
                    "results": self.results,
                }
            )
            return
        verdicts = Counter(report.headline(r) for r in self.results)
        verdict = ", ".join(f"{n} {word}" for word, n in verdicts.items()) or "none"
        cells = sum(r["events"] for r in self.results)
        output.say(
            f"\n{len(self.results)} {output.SIMULATED} results ({verdict}), {cells:,} cells, "
            f"{seconds:.0f} s. Look at them:"
        )
        output.say(f"  edge-daemon results --data-dir {folder}")
        if self.results:
            key = self.results[-1]["sample_id"]
            output.say(f"  edge-daemon show {key} --data-dir {folder}")
        output.say(f"Remove them: rm -r {folder}")

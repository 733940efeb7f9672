"""One archive that tells a supporter what is the matter, without anybody's name in it."""

from __future__ import annotations

import io
import json
import os
import platform
import secrets
import sqlite3
import tarfile
import time
from contextlib import closing
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_daemon import __version__, redact
from edge_daemon.config import ConfigError, load_config
from edge_daemon.doctor import judge
from edge_daemon.doctor.read import read_facts
from edge_daemon.doctor.read_system import run, text
from edge_daemon.errors import EXIT_NOT_FOUND, EdgeError, Fatal
from edge_daemon.store import layout, statistics
from edge_daemon.store.archive import archived_path, raw_deleted, read_archived
from edge_daemon.store.reader import connect, rows, value

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_daemon.doctor.checks import Check

_JOURNAL_LINES: Final = "2000"
_ROWS: Final = 50
_ABOUT: Final = """\
Support bundle of edge_daemon. It holds no name of a patient or owner and no file name. Sample ids
are replaced by codes that stand for the same sample within this bundle only; the clinic finds a
result by the number of its run or capture.

versions.json    software, packages, processor, system
config.json      the configuration as read, without comments and secrets
doctor.json      what `edge-daemon doctor` finds
status.json      what the running service says of itself
database.json    rows by table, states, sizes
quarantine.json  captures that were set aside, by code; the text of a reason may hold names
runs.json        the newest results: profile, model, flags by code, no values
journal.txt      our own events; frames of tracebacks; what systemd said of the unit
missing.json     parts that could not be read, and why
"""
_CAPTURE_ABOUT: Final = """
capture-*        added because --with-capture asked for it: the analyzer's bytes and the reason in
                 full. These MAY HOLD NAMES of patients and owners.
"""


def collect(
    config: Path, data_dir: Path, pid: int | None, status_file: Path, captures: tuple[int, ...]
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Collect every file of the bundle by its name, and say why some are missing.

    Parameters
    ----------
    config, data_dir, pid, status_file
        As for `doctor`.
    captures
        Numbers of captures whose bytes go along.

    Raises
    ------
    Fatal
        A capture does not exist.
    """
    key = secrets.token_bytes(16)
    parts: dict[str, Callable[[], Any]] = {
        "versions.json": versions,
        "config.json": lambda: _config(config),
        "doctor.json": lambda: [
            _described(check) for check in judge(read_facts(config, data_dir, pid, status_file))
        ],
        "status.json": lambda: redact.settings(json.loads(status_file.read_bytes())),
        "database.json": lambda: _database(data_dir),
        "quarantine.json": lambda: _quarantine(data_dir),
        "runs.json": lambda: _runs(data_dir, key),
    }
    files = {"README.txt": _ABOUT.encode()}
    missing: dict[str, str] = {}
    classes: dict[str, str] = {}
    for name, part in parts.items():
        try:
            files[name] = _json(part())
        except (EdgeError, OSError, ValueError) as error:
            missing[name] = str(error)
            classes[name] = type(error).__name__  # the message may name a file
    lines, withheld = journal()
    if lines is None:
        missing["journal.txt"] = classes["journal.txt"] = "journalctl gave nothing"
    else:
        note = f"({withheld} other lines withheld)" if withheld else ""
        files["journal.txt"] = "\n".join([*lines, note, ""]).encode()
    files["missing.json"] = _json(classes)
    for capture_id in captures:
        files |= _capture(data_dir, capture_id)
    if captures:
        files["README.txt"] += _CAPTURE_ABOUT.encode()
    return files, missing


def write(target: Path, files: dict[str, bytes]) -> None:
    """Write the archive; it appears when it is complete, and only its owner may read it."""
    partial = target.with_name(f".{target.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with (
        os.fdopen(descriptor, "wb") as stream,
        tarfile.open(fileobj=stream, mode="w:gz") as archive,
    ):
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"edge-daemon-support/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(content))
    partial.replace(target)


def versions() -> dict[str, Any]:
    """List software and machine; not the machine's name, which may be a person's."""
    packages = {dist.name: dist.version for dist in metadata.distributions()}
    machine = platform.uname()
    cpu = text(Path("/proc/cpuinfo")) or ""
    return {
        "edge_daemon": __version__,
        "schema": layout.REVISION,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": text(Path("/etc/os-release")),
        "kernel": f"{machine.system} {machine.release} {machine.machine}",
        "board": text(Path("/proc/device-tree/model")),
        "processor": sorted(
            {line for line in cpu.splitlines() if line.startswith(("model name", "Features"))}
        ),
        "packages": dict(sorted(packages.items())),
    }


def journal() -> tuple[list[str] | None, int]:
    """Read the unit's journal; None where there is none or it may not be read."""
    said = run(
        "journalctl", "-u", "edge-daemon.service", "-n", _JOURNAL_LINES, "-o", "json", "--no-pager"
    )
    if not said:
        return None, 0
    entries = []
    for line in said.splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            entries.append({})
    return redact.journal(entries)


def _described(check: Check) -> dict[str, str]:
    if check.name == "configuration" and check.verdict == "bad":
        # A mistaken value may be anything; config.json has the keys.
        return asdict(check) | {"text": "see config.json"}
    return {name: redact.paths(words) for name, words in asdict(check).items()}


def _config(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return redact.settings(load_config(path).model_dump(mode="json"))
    except ConfigError as error:
        return {"problems": [problem.key for problem in error.problems]}


def _database(data_dir: Path) -> dict[str, Any]:
    with closing(connect(data_dir)) as db:
        found: dict[str, Any] = {
            "tables": statistics.table_counts(db),
            "bytes": value(db, "PRAGMA page_count") * value(db, "PRAGMA page_size"),
            "free_pages": value(db, "PRAGMA freelist_count"),
            "epoch": value(db, "SELECT value FROM meta WHERE key = 'epoch'"),
            "states": rows(
                db, "SELECT state, finished, count(*) AS captures FROM captures GROUP BY 1, 2"
            ),
        }
    log = layout.database_path(data_dir).with_name(f"{layout.DATABASE_NAME}-wal")
    found["log_bytes"] = log.stat().st_size if log.exists() else 0
    return found


def _quarantine(data_dir: Path) -> dict[str, Any]:
    with closing(connect(data_dir)) as db:
        newest = rows(
            db,
            "SELECT c.id AS capture_id, c.reason_code AS code, c.instrument, c.source, c.size,"
            " c.received_wall, c.received_clock, substr(c.sha256, 1, 12) AS sha256"
            " FROM captures AS c"
            " WHERE c.state = 'quarantined' ORDER BY c.id DESC LIMIT ?",
            [_ROWS],
        )
        counts = statistics.reasons(db)
    return {"by_code": counts, "newest": newest}


def _runs(data_dir: Path, key: bytes) -> list[dict[str, Any]]:
    query = """
        SELECT r.id AS run_id, r.capture_id, r.number, r.status, r.simulated, r.profile, r.model,
            r.events, r.elapsed_s, r.created_wall, r.created_clock, r.created_boot, r.sample_id,
            (SELECT group_concat(f.code) FROM flags AS f WHERE f.run_id = r.id) AS flags
        FROM runs AS r ORDER BY r.id DESC LIMIT ?"""
    with closing(connect(data_dir)) as db:
        found = rows(db, query, [_ROWS])
    for row in found:
        row["sample"] = redact.hashed(row.pop("sample_id"), key)
    return found


def _capture(data_dir: Path, capture_id: int) -> dict[str, bytes]:
    with closing(connect(data_dir)) as db:
        found = rows(db, "SELECT * FROM captures WHERE id = ?", [capture_id])
    if not found:
        raise Fatal(
            f"there is no capture {capture_id}",
            action="`edge-daemon quarantine` lists captures with their numbers.",
            exit_code=EXIT_NOT_FOUND,
        )
    if when := found[0]["raw_deleted_wall"]:
        raise raw_deleted(f"capture {capture_id}", when)
    sha256 = found[0]["sha256"]
    data = read_archived(archived_path(data_dir / layout.ARCHIVE_NAME, sha256), sha256)
    return {
        f"capture-{capture_id}.json": _json(found[0]),
        f"capture-{capture_id}.raw": data,
    }


def _json(content: object) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"

"""Where a problem of a profile stands in its file: tomllib does not tell line numbers."""

from __future__ import annotations

import re

KeyPath = tuple[str | int, ...]
Problem = tuple[KeyPath, str]
"""Path of a key, and what is wrong with it."""

_KEY = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)\s*(\.|$)""")


def located(problem: Problem, lines: dict[KeyPath, int]) -> str:
    """Say what is wrong, with the line of the nearest key that has one."""
    where, message = problem
    shown = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in where
    ).removeprefix(".")
    for length in range(len(where), 0, -1):
        line = lines.get(where[:length])
        if line is not None:
            return f"line {line}: {shown}: {message}"
    return f"{shown}: {message}"


def key_lines(text: str) -> dict[KeyPath, int]:
    """Map key paths to line numbers, which tomllib does not give.

    Inline tables and multi-line values are found by the line their key stands on.
    """
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("[["):
            table = _split_key(stripped[2:].split("]]")[0])
            index = counts.get(table, 0)
            counts[table] = index + 1
            lines.setdefault(table, number)
            table = (*table, index)
            lines[table] = number
        elif stripped.startswith("["):
            table = _split_key(stripped[1:].split("]")[0])
            lines[table] = number
        elif "=" in stripped and not stripped.startswith("#"):
            key = _split_key(stripped.split("=")[0])
            if key:
                lines.setdefault((*table, *key), number)
    return lines


def _split_key(written: str) -> KeyPath:
    parts: list[str] = []
    at = 0
    while at < len(written):
        match = _KEY.match(written, at)
        if match is None:
            return ()
        parts.append(match[1].strip("\"'"))
        at = match.end()
    return tuple(parts)

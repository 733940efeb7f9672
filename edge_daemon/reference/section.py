"""A table of a TOML file that notes every problem instead of stopping at the first."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.reference.tables import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

_NEEDED: Final = object()


def did_you_mean(written: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?``, or nothing where no known word is near."""
    near = difflib.get_close_matches(written, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


class Section:
    """One table, and which of its keys were asked for.

    Parameters
    ----------
    table
        As TOML gave it.
    key
        Path of the table in the file; empty for the whole file.
    problems
        Where problems are noted.
    """

    def __init__(self, table: dict[str, Any], key: str, problems: list[Problem]) -> None:
        self._table = table
        self._key = key
        self._problems = problems
        self._known: list[str] = []

    def problem(self, name: str, message: str) -> None:
        """Note a problem at a key of this table; an empty `name` is the table itself."""
        self._problems.append(Problem(self._path(name), message))

    def has(self, name: str) -> bool:
        """Tell whether a key is there."""
        return name in self._table

    def text(self, name: str, default: object = _NEEDED) -> str:
        """Text at a key; empty where it is wrong."""
        found = self._get(name, default)
        if found is None:
            return ""
        if not isinstance(found, str) or (default is _NEEDED and not found.strip()):
            self.problem(name, "must be a text that is not empty")
            return ""
        return found.strip()

    def number(self, name: str, default: object = _NEEDED) -> float | None:
        """Finite number at a key; None where it is absent or wrong."""
        found = self._get(name, default)
        if found is None:
            return None
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if not is_number or not math.isfinite(found):
            self.problem(name, f"{found!r} is not a number")
            return None
        return float(found)

    def yes(self, name: str) -> bool:
        """Tell whether a key is ``true``; absent is false."""
        found = self._get(name, False)  # noqa: FBT003 - a default, not a switch
        if not isinstance(found, bool):
            self.problem(name, "must be true or false")
        return found is True

    def choice(self, name: str, allowed: tuple[str, ...]) -> str | None:
        """One of the allowed words; None where it is absent or wrong."""
        found = self._get(name, _NEEDED)
        if found is None:
            return None
        if isinstance(found, str) and found in allowed:
            return found
        self._not_allowed(name, found, allowed)
        return None

    def choices(self, name: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
        """Any number of the allowed words."""
        found = self.texts(name)
        for word in found:
            if word not in allowed:
                self._not_allowed(name, word, allowed)
        return tuple(word for word in found if word in allowed)

    def texts(self, name: str) -> tuple[str, ...]:
        """List of texts; empty where it is absent or wrong."""
        found = self._get(name, [])
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            self.problem(name, "must be a list of texts")
            return ()
        return tuple(found)

    def section(self, name: str, purpose: str) -> Section | None:
        """Return a table that must be there; None where it is not."""
        found = self._get(name, {})
        if not isinstance(found, dict) or not found:
            self.problem(name, f"the table [{name}] is needed: {purpose}")
            return None
        return Section(found, self._path(name), self._problems)

    def sections(self, name: str) -> list[tuple[str, Section]]:
        """Name and content of the tables inside a table."""
        found = self._get(name, {})
        if not isinstance(found, dict):
            self.problem(name, "must be a table")
            return []
        parts = []
        for key, table in found.items():
            if isinstance(table, dict):
                parts.append((key, Section(table, self._path(f"{name}.{key}"), self._problems)))
            else:
                self.problem(f"{name}.{key}", "must be a table")
        return parts

    def items(self, name: str) -> list[Section]:
        """Tables of a list of tables."""
        found = self._get(name, [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            self.problem(name, "must be a list of tables")
            return []
        return [
            Section(item, f"{self._path(name)}[{index}]", self._problems)
            for index, item in enumerate(found)
        ]

    def finish(self) -> None:
        """Note every key that nothing asked for: a misspelt one would be ignored otherwise."""
        for name in self._table:
            if name not in self._known:
                hint = did_you_mean(name, self._known)
                known = ", ".join(dict.fromkeys(self._known))
                self.problem(name, f"unknown key{hint} (known: {known})")

    def _get(self, name: str, default: object) -> Any:
        self._known.append(name)
        if name in self._table:
            return self._table[name]
        if default is _NEEDED:
            self.problem(name, "is missing")
            return None
        return default

    def _not_allowed(self, name: str, found: object, allowed: tuple[str, ...]) -> None:
        hint = did_you_mean(str(found), allowed)
        self.problem(name, f"{found!r} is not allowed{hint} (allowed: {', '.join(allowed)})")

    def _path(self, name: str) -> str:
        return ".".join(filter(None, (self._key, name)))

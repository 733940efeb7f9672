"""What can be updated: its kinds, its names, and what it needs of a box; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Kind = Literal["model", "profile", "intervals", "rules", "settings"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_NAME = re.compile(rf"{_PART}(/{_PART})?")
_VERSION = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})")


@dataclass(frozen=True, slots=True)
class Item:
    """One version of something that can be updated.

    Attributes
    ----------
    kind
        One of `KINDS`.
    name
        Of the bundle, ``<folder>/<firmware>`` of the profile, the species, ``rules``, or ``fleet``.
    version
        Three numbers.
    needs
        What a box must have: ``edge_daemon`` (at least this version), ``onnxruntime`` (exactly).
        A need that this software does not know is not met.
    """

    kind: Kind
    name: str
    version: str
    needs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise EdgeError(f"{self.kind!r} is no kind of update: {', '.join(KINDS)}")
        if not _NAME.fullmatch(self.name):
            raise EdgeError(f"{self.name!r} is no name of an update")
        if not _VERSION.fullmatch(self.version):
            raise EdgeError(f"{self.version!r} is no version: expected three numbers, 1.0.2")

    @property
    def key(self) -> str:
        """``kind/name``: versions of the same key replace each other."""
        return f"{self.kind}/{self.name}"

    @property
    def id(self) -> str:
        """``kind/name@version``."""
        return f"{self.key}@{self.version}"

    @property
    def path(self) -> str:
        """Where it lies among the targets."""
        return f"{self.key}/{self.version}.tar"

    def custom(self) -> dict[str, Any]:
        """Return what the signed metadata says of it beside length and digest."""
        return {
            "kind": self.kind,
            "name": self.name,
            "version": self.version,
            "needs": dict(self.needs),
        }

    @staticmethod
    def of_target(path: str, custom: object) -> Item:
        """Read a target; its path must be the one its own words give.

        Raises
        ------
        EdgeError
            It is none of ours.
        """
        if not isinstance(custom, dict) or custom.keys() != {"kind", "name", "version", "needs"}:
            raise EdgeError(f"target {path!r} does not say kind, name, version and needs")
        needs = custom["needs"]
        words = [custom["kind"], custom["name"], custom["version"]]
        if not isinstance(needs, dict) or not all(
            isinstance(text, str) for text in [*words, *needs, *needs.values()]
        ):
            raise EdgeError(f"target {path!r} says something that is no text")
        item = Item(custom["kind"], custom["name"], custom["version"], needs)
        if item.path != path:
            raise EdgeError(f"target {path!r} says that it is {item.path!r}")
        return item

    @staticmethod
    def parse(text: str) -> tuple[str, str | None]:
        """Read ``kind/name`` or ``kind/name@version`` as a person writes it.

        Raises
        ------
        EdgeError
            It is neither.
        """
        key, _, version = text.partition("@")
        kind, _, name = key.partition("/")
        item = Item(kind, name, version or "0.0.0")  # type: ignore[arg-type] # checked there
        return item.key, version or None


def version_key(version: str) -> tuple[int, ...]:
    """Order versions by their numbers."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def unmet(needs: Mapping[str, str], has: Mapping[str, str]) -> list[str]:
    """List what a box lacks, in words.

    Parameters
    ----------
    needs
        Of the item.
    has
        ``edge_daemon`` and ``onnxruntime`` of the box.
    """
    lacking = []
    for name, wanted in needs.items():
        found = has.get(name)
        if found is None:
            lacking.append(f"{name} {wanted}, which this software does not know")
        elif name == "edge_daemon":
            if version_key(found) < version_key(wanted):
                lacking.append(f"{name} {wanted} or later, this is {found}")
        elif found != wanted:
            lacking.append(f"{name} {wanted}, this is {found}")
    return lacking


def newest(items: Iterable[Item]) -> dict[str, Item]:
    """Keep the newest version of each key."""
    found: dict[str, Item] = {}
    for item in items:
        known = found.get(item.key)
        if known is None or version_key(item.version) > version_key(known.version):
            found[item.key] = item
    return found

"""The guide: Markdown files of the documentation, as blocks that a template renders.

Only what the guide uses is understood: one heading, paragraphs, lists, code, pictures, and in a
line **bold**, *italic*, `code` and links. Text stays text: the template escapes it.
"""

from __future__ import annotations

import functools
import hashlib
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from edge_daemon.resources import docs_dir

if TYPE_CHECKING:
    from pathlib import Path

TECHNICIAN: Final = (
    "headline", "finding", "reading", "cells", "flags", "comparing", "correcting", "smear",
    "printing", "quality-control", "degraded",
)  # fmt: skip
INSTALLER: Final = ("connecting", "network", "health", "backups", "central")

SpanKind = Literal["text", "bold", "italic", "code", "link"]
BlockKind = Literal["text", "list", "code", "picture"]

_SPAN: Final = re.compile(r"\*\*(.+?)\*\*|\*(.+?)\*|`(.+?)`|\[(.+?)\]\((.+?)\)")
_PICTURE: Final = re.compile(r"!\[(.+?)\]\(pictures/([\w-]+\.png)\)")


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line; `target` is where a link goes."""

    kind: SpanKind
    text: str
    target: str = ""


Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph (one line), a list (its items), code (its lines as text), or a picture.

    Attributes
    ----------
    picture
        File name; its caption is the one line.
    width, height
        Of the picture, pixels.
    """

    kind: BlockKind
    lines: tuple[Line, ...]
    picture: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Topic:
    """One page of the guide."""

    slug: str
    title: str
    blocks: tuple[Block, ...]


def folder() -> Path:
    """Folder of the guide's text; its pictures lie in ``pictures``."""
    return docs_dir() / "guide"


@functools.cache
def topic(slug: str) -> Topic:
    """Read one page; `slug` is one of `TECHNICIAN` or `INSTALLER`."""
    text = (folder() / f"{slug}.md").read_text(encoding="utf-8")
    title, _, rest = text.partition("\n")
    return Topic(slug, title.removeprefix("# ").strip(), blocks(rest))


def blocks(text: str) -> tuple[Block, ...]:
    """Split text at its empty lines, code at its fences."""
    found: list[Block] = []
    for number, part in enumerate(re.split(r"^```$", text, flags=re.MULTILINE)):
        if number % 2:
            found.append(Block("code", ((Span("text", part.strip("\n")),),)))
            continue
        found += [_block(piece) for piece in re.split(r"\n\s*\n", part) if piece.strip()]
    return tuple(found)


def _block(piece: str) -> Block:
    lines = piece.strip().splitlines()
    if (match := _PICTURE.fullmatch(lines[0])) is not None:
        width, height = _size(folder() / "pictures" / match[2])
        return Block("picture", (spans(match[1]),), match[2], width, height)
    if lines[0].startswith("- "):
        return Block("list", tuple(spans(line.removeprefix("- ")) for line in lines))
    return Block("text", (spans(" ".join(lines)),))


def spans(line: str) -> Line:
    """Find what stands out in a line."""
    found: list[Span] = []
    end = 0
    for match in _SPAN.finditer(line):
        if match.start() > end:
            found.append(Span("text", line[end : match.start()]))
        bold, italic, code, text, target = match.groups()
        if bold:
            found.append(Span("bold", bold))
        elif italic:
            found.append(Span("italic", italic))
        elif code:
            found.append(Span("code", code))
        else:
            found.append(Span("link", text, target if "/" in target else f"/guide/{target}"))
        end = match.end()
    if end < len(line):
        found.append(Span("text", line[end:]))
    return tuple(found)


def _size(path: Path) -> tuple[int, int]:
    """Read width and height from the head of a PNG."""
    with path.open("rb") as file:
        width, height = struct.unpack(">16x2I", file.read(24))
    return width, height


@functools.cache
def picture_url(name: str) -> str:
    """Address of a picture; it changes with the picture, so that browsers may keep it."""
    digest = hashlib.sha256((folder() / "pictures" / name).read_bytes()).hexdigest()
    return f"/guide/pictures/{name}?v={digest[:12]}"

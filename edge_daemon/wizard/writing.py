"""Write answers into the commented configuration: every other line stays as it is shipped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import tomlkit

from edge_daemon.config import default_config_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KEY: Final = re.compile(r"^(?:# )?(?P<key>[a-z_]+) = (?P<rest>.*)$")
_ROOM: Final = 41  # where comments begin


def render(
    sources: Sequence[Mapping[str, Any]], box: Mapping[str, Any], web: Mapping[str, Any]
) -> str:
    """Return the text of a configuration.

    Parameters
    ----------
    sources
        Keys of each ``[[source]]``, with its ``kind``.
    box, web
        Keys of these sections that are not the default.
    """
    head, blocks, tail = _parts(default_config_text())
    text = _fill(head, box).rstrip("\n") + "\n"
    for source in sources:
        text += "\n" + _fill(blocks[source["kind"]], source)
    unused = [kind for kind in blocks if kind not in {s["kind"] for s in sources}]
    for kind in unused:
        commented = "".join(f"# {line}" for line in blocks[kind].splitlines(keepends=True))
        text += f"\n# An example of another source ({kind}).\n{commented}"
    sections = re.split(r"(?m)^(?=\[)", tail)
    return text + "\n" + "".join(_fill(s, web) if s.startswith("[web]") else s for s in sections)


def _parts(text: str) -> tuple[str, dict[str, str], str]:
    """Split the shipped text: what is before the sources, each kind of source, what is after."""
    head, rest = text.split("# One [[source]] for each analyzer", 1)
    sources, tail = rest.split("[workers]", 1)
    blocks: dict[str, str] = {}
    for block in re.findall(r"(?m)^(?:# )?\[\[source\]\]\n(?:.+\n)+", sources):
        plain = block.removeprefix("# ")
        if plain != block:  # an example: every line of it is a comment
            plain = re.sub(r"(?m)^# ", "", block)
        kind = re.search(r'kind = "(\w+)"', plain)
        assert kind is not None
        blocks[kind[1]] = plain
    return head, blocks, f"[workers]{tail}"


def _fill(block: str, values: Mapping[str, Any]) -> str:
    """Give keys their values, and comment out those that have none."""
    lines, left = [], dict(values)
    for line in block.rstrip("\n").splitlines():
        match = _KEY.match(line)
        if match is None:
            lines.append(line)
            continue
        _, _, comment = match["rest"].partition("  # ")
        key = match["key"]
        if key not in left:
            lines.append(line if line.startswith("# ") else f"# {line}")
        else:
            said = f"{key} = {tomlkit.item(left.pop(key)).as_string()}"
            lines.append(f"{said:<{_ROOM - 1}} # {comment.strip()}" if comment else said)
    # Keys that the shipped text names only in a comment.
    lines += [f"{key} = {tomlkit.item(value).as_string()}" for key, value in left.items()]
    return "\n".join(lines) + "\n" + "\n" * (len(block) - len(block.rstrip("\n")) - 1)

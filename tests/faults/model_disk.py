"""A model of a disk: recorded system calls, and what a power cut may leave of them.

Of each file and each folder it keeps what fsync has made durable and what is still on its way.
The power can be cut at any call: so that nothing unsynced survives, or so that a random part of
it does, torn at sector borders and in any order.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

SECTOR = 512
CALLS = "openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,unlink,mkdir"
"""What strace must record, with ``-y -xx -s 200000``."""


class File:
    def __init__(self):
        self.data = bytearray()
        self.durable = bytearray()
        self.pending = []

    def write(self, offset, data):
        patch(self.data, offset, data)
        at = 0
        while at < len(data):
            end = at + SECTOR - (offset + at) % SECTOR
            self.pending.append((offset + at, data[at:end]))
            at = end

    def truncate(self, size):
        resize(self.data, size)
        self.pending.append((size, None))

    def sync(self):
        self.durable = bytearray(self.data)
        self.pending = []

    def left(self, rng):
        """Content after a cut; without `rng` nothing unsynced survives."""
        content = bytearray(self.durable)
        for at, data in self.pending if rng else ():
            if rng.random() < 0.5:
                resize(content, at) if data is None else patch(content, at, data)
        return content


def patch(content, offset, data):
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data


def resize(content, size):
    content.extend(bytes(max(0, size - len(content))))
    del content[size:]


class Disk:
    """Names and files below `root`; a name is durable once its folder was synced.

    A file moved between two folders is in one of them, as journaling file systems have it.
    """

    def __init__(self, root):
        self.root = root
        self.now = {}
        self.durable = {}
        self.pending = {}
        self.moves = []

    def name(self, path, node):
        """Give a name to a file, a folder (``"folder"``) or, with None, to nothing."""
        if node is None:
            self.now.pop(path, None)
        else:
            self.now[path] = node
        self.pending.setdefault(path.parent, []).append((path, node))

    def sync(self, path):
        for name, node in self.pending.pop(path, ()):
            self.durable[name] = node
        if isinstance(node := self.now.get(path), File):
            node.sync()

    def image(self, target, rng=None):
        names = dict(self.durable)
        for waiting in self.pending.values() if rng else ():
            names.update(waiting[: rng.randrange(len(waiting) + 1)])
        for old, new, node in self.moves:
            if names.get(new) is node or names.get(old) is not node:
                names[new] = node
                if names.get(old) is node:
                    names[old] = None
        for path in sorted(names):
            place = target / path.relative_to(self.root)
            if not place.parent.is_dir() or path.name.endswith("-shm"):
                continue
            if names[path] == "folder":
                place.mkdir()
            elif names[path] is not None:
                place.write_bytes(names[path].left(rng))


def text_of(quoted):
    return bytes.fromhex(quoted.replace("\\x", ""))


def calls(trace):
    """Completed system calls: name, paths and strings among the arguments, the rest."""
    begun = {}
    for line in trace.read_text().splitlines():
        pid, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[pid] = call.removesuffix("<unfinished ...>")
            continue
        if call.startswith("<..."):
            call = begun.pop(pid) + call.partition("resumed>")[2]
        found = re.fullmatch(r"(\w+)\((.*)\)\s+= (\d+).*", call)
        if found:
            strings = [text_of(item) for item in re.findall(r'"([^"]*)"', found[2])]
            opened = [text_of(item) for item in re.findall(r"\d<([^>]*)>", found[2])]
            yield found[1], opened, strings, found[2]


def replay(trace, root, answers="1<"):
    """Apply one call after another; yields the disk and the answer that the call was, if any.

    Answers are what is written to the descriptor with this beginning.
    """
    disk = Disk(root)
    for call, opened, strings, arguments in calls(trace):
        if call == "write" and arguments.startswith(answers):
            yield disk, strings[0].decode()
            continue
        named = strings if call == "openat" else opened or strings
        paths = [Path(item.decode()) for item in named]
        if paths and paths[0].is_relative_to(root):
            if call in {"openat", "mkdir", "unlink", "rename"}:
                change_names(disk, call, paths, arguments)
            else:
                change_content(disk, call, paths[0], strings, arguments)
            yield disk, None


def change_names(disk, call, paths, arguments):
    if call == "openat" and "O_CREAT" in arguments and paths[0] not in disk.now:
        disk.name(paths[0], File())
    elif call == "mkdir":
        disk.name(paths[0], "folder")
    elif call == "rename":
        node = disk.now[paths[0]]
        disk.name(paths[1], node)
        if paths[0].parent != paths[1].parent:
            disk.moves.append((paths[0], paths[1], node))
    if call in {"rename", "unlink"}:
        disk.name(paths[0], None)


def change_content(disk, call, path, strings, arguments):
    if call in {"fsync", "fdatasync"}:
        disk.sync(path)
    elif call == "ftruncate":
        disk.now[path].truncate(int(arguments.rpartition(",")[2]))
    elif call == "write":
        disk.now[path].write(len(disk.now[path].data), strings[0])
    else:
        disk.now[path].write(int(arguments.rpartition(",")[2]), strings[0])


def said(answer: str) -> dict[str, Any]:
    """Read an answer that is an event of the service; empty for words."""
    try:
        return json.loads(answer)
    except ValueError:
        return {}

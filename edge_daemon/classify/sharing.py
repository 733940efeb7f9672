"""Cut two graphs so that what both of them begin with is computed once.

Both stages of a bundle scale and quantise the same logarithms in the same way before their
encoders. Where that beginning is the same to the byte, stage 1 also gives its quantised inputs and
stage 2 takes them. The graphs of a bundle are what its digests and golden vectors prove; what is
made of them here holds the same operations, each once.

A serialised graph is read and written here as what it is, numbered fields (protobuf): what makes
graphs is no part of an installation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_GRAPH: Final = 7  # of a model
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12  # of a graph
_TAKES, _GIVES, _KIND = 1, 2, 4  # of a node
_TENSOR_TYPE, _TENSOR_NAME = 2, 8  # of an initializer
_VALUE_NAME = 1  # of an input
_BYTES: Final = 2  # how a field of so many bytes is marked


class _UnreadError(ValueError):
    """The bytes are no message, or hold fields that no graph has."""


class _Field(NamedTuple):
    """One field of a message: its number, its content, and all its bytes."""

    number: int
    content: bytes
    whole: bytes


@dataclass(frozen=True)
class Shared:
    """Two graphs with one beginning.

    Attributes
    ----------
    first
        Stage 1, which also gives `inputs`.
    second
        Stage 2 without its beginning: it takes `inputs` and nothing else.
    inputs
        Name of the quantised inputs, ``(events, inputs)``.
    """

    first: bytes
    second: bytes
    inputs: str


@dataclass(frozen=True)
class _Node:
    kind: bytes
    takes: tuple[bytes, ...]
    gives: tuple[bytes, ...]


def share(first: bytes, second: bytes) -> Shared | None:
    """Cut two serialised models; None where they do not begin alike, or are not read here."""
    try:
        one, two = (_fields(_graph(model)) for model in (first, second))
        return _cut(first, second, one, two)
    except _UnreadError:
        return None


def _cut(
    first: bytes, second: bytes, one: Sequence[_Field], two: Sequence[_Field]
) -> Shared | None:
    beginning, quantised = _beginning(one, two)
    rest = [f for f in two if f.number != _INPUT and f.whole not in beginning]
    made = {name for f in two if f.whole in beginning for name in _node(f).gives}
    made.update(_names(two, _INPUT, _VALUE_NAME))
    crossing = {name for f in rest if f.number == _NODE for name in _node(f).takes} & made
    if len(crossing) != 1 or crossing.isdisjoint(quantised):
        return None
    (inputs,) = crossing
    value = _value(inputs, quantised[inputs])
    second = b"".join(f.whole for f in _fields(second) if f.number != _GRAPH)
    second += _written(_GRAPH, b"".join(f.whole for f in rest) + _written(_INPUT, value))
    # A message that follows another is merged with it: this adds an output to the graph.
    return Shared(first + _written(_GRAPH, _written(_OUTPUT, value)), second, inputs.decode())


def _beginning(one: Sequence[_Field], two: Sequence[_Field]) -> tuple[set[bytes], dict[bytes, int]]:
    """Nodes of both graphs down to the quantisation of what they take.

    Returns
    -------
    tuple
        The nodes' bytes, and the type of each quantised value by its name.
    """
    constants = {f.whole for f in one if f.number == _INITIALIZER}
    alike = [f for f in two if f.number == _INITIALIZER and f.whole in constants]
    fixed = dict(zip(_names(alike, _INITIALIZER, _TENSOR_NAME), alike, strict=True))
    known = set(_names(two, _INPUT, _VALUE_NAME)) & set(_names(one, _INPUT, _VALUE_NAME))
    nodes = {f.whole for f in one if f.number == _NODE}
    beginning: set[bytes] = set()
    quantised: dict[bytes, int] = {}
    for field in two:
        if field.number != _NODE or field.whole not in nodes:
            continue
        node = _node(field)
        # What follows only from constants is no beginning, and neither is what follows quantising.
        if known.isdisjoint(node.takes) or not all(n in known or n in fixed for n in node.takes):
            continue
        beginning.add(field.whole)
        if node.kind == b"QuantizeLinear":
            zero = _fields(fixed[node.takes[2]].content) if len(node.takes) > 2 else []
            kind = next((f.content for f in zero if f.number == _TENSOR_TYPE), b"\x02")
            quantised.update(dict.fromkeys(node.gives, kind[0]))
        else:
            known.update(node.gives)
    return beginning, quantised


def _graph(model: bytes) -> bytes:
    return next((f.content for f in _fields(model) if f.number == _GRAPH), b"")


def _node(field: _Field) -> _Node:
    parts = _fields(field.content)
    takes, gives = (
        tuple(f.content for f in parts if f.number == number) for number in (_TAKES, _GIVES)
    )
    return _Node(next(f.content for f in parts if f.number == _KIND), takes, gives)


def _names(fields: Collection[_Field], number: int, name: int) -> Iterator[bytes]:
    for field in fields:
        if field.number == number:
            yield next(f.content for f in _fields(field.content) if f.number == name)


def _value(name: bytes, kind: int) -> bytes:
    """Describe a tensor ``(events, inputs)`` of this type."""
    dimensions = b"".join(_written(1, _written(2, text)) for text in (b"events", b"inputs"))
    tensor = bytes([1 << 3, kind]) + _written(2, dimensions)
    return _written(_VALUE_NAME, name) + _written(2, _written(1, tensor))


def _written(number: int, content: bytes) -> bytes:
    length, size = bytearray(), len(content)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | _BYTES, *length, size]) + content


def _fields(message: bytes) -> list[_Field]:
    found = []
    at = 0
    while at < len(message):
        begin = at
        tag, at = _varint(message, at)
        start = at
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                length, start = _varint(message, at)
                at = start + length
            case 5:
                at += 4
            case _:
                raise _UnreadError
        if at > len(message):
            raise _UnreadError
        found.append(_Field(tag >> 3, message[start:at], message[begin:at]))
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise _UnreadError

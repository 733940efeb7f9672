"""From the keys of a configuration to a frozen dataclass of options.

The dataclasses check their own values; here only names and types are checked, so that every
framing answers a wrong key in the same words. Bytes are written as hexadecimal digits.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Options = TypeVar("Options")

_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}


def read_options(cls: type[Options], values: Mapping[str, object], path: str = "") -> Options:
    """Build a dataclass of options.

    Parameters
    ----------
    cls
        A frozen dataclass whose fields are bool, int, float, str, bytes, a Literal of strings,
        another such dataclass, or one of these or None.
    values
        Keys as in a TOML table.
    path
        Where the table stands, for messages.

    Raises
    ------
    ValueError
        An unknown or missing key, a value of the wrong type, or one the dataclass refuses; the
        message names the key and what is expected.
    """
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(
            f"unknown key {path}{unknown[0]:.60}; expected one of {', '.join(sorted(known))}"
        )
    missing = [n for n, field in known.items() if n not in values and not _has_default(field)]
    if missing:
        raise ValueError(f"key {path}{missing[0]} is missing; it has no default")
    hints = get_type_hints(cls)
    built = {name: _convert(hints[name], value, path + name) for name, value in values.items()}
    try:
        return cls(**built)
    except ValueError as error:
        raise ValueError(f"{path}{error}") from error


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _convert(hint: Any, value: object, key: str) -> object:
    if get_origin(hint) in {Union, types.UnionType}:
        hint = next(part for part in get_args(hint) if part is not types.NoneType)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ValueError(
                f"{key} is {value!r:.100}; expected one of {', '.join(get_args(hint))}"
            )
        return value
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ValueError(f"{key} is {value!r:.100}; expected a table of options")
        return read_options(hint, value, f"{key}.")
    if hint is bytes:
        return _hexadecimal(value, key)
    # A whole number is a number, but true is no number.
    wanted = (int, float) if hint is float else (hint,)
    if type(value) not in wanted:
        raise ValueError(f"{key} is {value!r:.100}; expected {_NAMES[hint]}")
    return value


def _hexadecimal(value: object, key: str) -> bytes:
    try:
        return bytes.fromhex(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(
            f'{key} is {value!r:.100}; expected bytes as hexadecimal digits, for example "a5 5a"'
        ) from None


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside ``[low, high]``; not-a-number is outside.

    Raises
    ------
    ValueError
        Naming the key, the value and the range.
    """
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; expected {low} to {high}")

"""A frozen dataclass from a parsed TOML table: each key a field, each value of the field's type, or a clear error.

The metadata `key` of a field is its key, None for a field that no table may set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sentriton.errors import InvalidInput

MAX_INTEGER = 2**32 - 1  # the largest seed of NumPy


def build(kind: Any, value: Any, where: str) -> Any:
    """Turn `value` into `kind`: a dataclass, tuple[X, ...], Literal, X | None, str, int, float or bool.

    A string is short for a table with this `name` alone. Raises `InvalidInput` that names `where`, the value and the
    allowed ones.
    """
    if get_origin(kind) in (Union, UnionType):
        return build(next(option for option in get_args(kind) if option is not NoneType), value, where)
    if get_origin(kind) is Literal:
        return _one_of(get_args(kind), value, where)
    if get_origin(kind) is tuple:
        return _tuple(get_args(kind)[0], value, where)
    if is_dataclass(kind):
        return _dataclass(kind, {"name": value} if isinstance(value, str) else value, where)
    return _scalar(kind, value, where)


def _one_of(allowed: tuple[Any, ...], value: Any, where: str) -> Any:
    if value not in allowed:
        raise InvalidInput(f"{where} = {value!r}: must be one of {', '.join(allowed)}")
    return value


def _tuple(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list) or not value:
        raise InvalidInput(f"{where} = {value!r}: must be a list of one or more entries")
    return tuple(build(kind, entry, f"{where}[{index}]") for index, entry in enumerate(value))


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{where} = {value!r}: must be a table")
    hints = get_type_hints(kind)
    named = {field.metadata.get("key", field.name): field for field in fields(kind)}
    allowed = {key: field for key, field in named.items() if key is not None}
    for key in value:
        if key not in allowed:
            raise InvalidInput(f"{where}: unknown key {key!r}; allowed: {', '.join(allowed)}")
    for key, field in allowed.items():
        if key not in value and field.default is MISSING:
            raise InvalidInput(f"{where}: the key {key!r} is missing")
    arguments = {
        allowed[key].name: build(hints[allowed[key].name], entry, f"{where}.{key}") for key, entry in value.items()
    }
    try:
        return kind(**arguments)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error


def _scalar(kind: type, value: Any, where: str) -> Any:
    accepted = (int, float) if kind is float else kind
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, accepted):
        raise InvalidInput(f"{where} = {value!r}: must be of type {kind.__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(f"{where} = {value!r}: must be finite")
    if isinstance(value, int | float) and value > MAX_INTEGER:
        raise InvalidInput(f"{where} = {value!r}: must be at most {MAX_INTEGER:,}")
    return value

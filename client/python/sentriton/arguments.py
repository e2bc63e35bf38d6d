"""Checks the arguments of `encode`. `InvalidInput` names argument, value and allowed values."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, SupportsIndex, TypeVar, cast

import numpy as np

from sentriton import allowed
from sentriton.allowed import ABOVE_0
from sentriton.errors import InvalidInput

Choice = TypeVar("Choice", bound=str)


def as_texts(
    sentences: Iterable[str] | None, inputs: Iterable[str] | None = None, go_on: Callable[[], None] = lambda: None
) -> tuple[list[str], bool]:
    """The sentences as a list, and whether it was a single string. Accepts any ordered iterable of strings. Raises
    `InvalidInput` for the first that is no string or invalid Unicode. Calls `go_on` after each.
    """
    name, given = one_name(sentences, inputs)
    if isinstance(given, str):
        check_unicode(name, given)
        return [str.__str__(given)], True
    texts: list[str] = []
    for place, text in enumerate(in_order(name, given)):
        if not isinstance(text, str):
            raise InvalidInput(
                f"{name}[{place}] is {repr(text)[:200]} ({type(text).__name__}); every sentence must be a string"
            )
        check_unicode(f"{name}[{place}]", text)
        texts.append(str.__str__(text))  # also for numpy.str_ and members of an enumeration
        go_on()
    return texts, False


def one_name(sentences: object, inputs: object) -> tuple[str, Any]:
    """The argument that has the sentences, and its value. Raises `InvalidInput` for both names."""
    if sentences is not None and inputs is not None:
        raise InvalidInput("sentences and inputs are two names of one argument; give one of them")
    return ("sentences", sentences) if inputs is None else ("inputs", inputs)


def in_order(name: str, given: Any) -> Iterable[Any]:
    """`given`, which must be an ordered iterable, not a mapping, table or set."""
    shape = getattr(given, "shape", (0,))
    if isinstance(shape, tuple) and len(shape) != 1:
        raise InvalidInput(
            f"{name} is a {type(given).__name__} of shape {tuple(shape)}; give one column of it, of shape (n,)"
        )
    if not isinstance(given, Iterable) or isinstance(given, (bytes, bytearray, memoryview)):
        raise InvalidInput(f"{name} is {repr(given)[:200]}; give a string or an iterable of strings")
    if isinstance(given, Mapping):
        raise InvalidInput(f"{name} is a mapping ({type(given).__name__}); give a list of its keys or of its values")
    if isinstance(given, AbstractSet):
        raise InvalidInput(f"{name} is a set ({type(given).__name__}), which has no order; give a list of strings")
    return given


def check_unicode(name: str, text: str) -> None:
    """Raises `InvalidInput` for a lone surrogate, half of a UTF-16 pair, which has no UTF-8."""
    # A copy is needless for ASCII.
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{name} has the lone surrogate {text[error.start]!r} at character {error.start}, which has no UTF-8; "
            "give whole characters (errors='surrogateescape' or a cut JSON escape leave such halves)"
        ) from error


def whole_number(name: str, value: object, *, most: int | None = None) -> int:
    """`value` as an int from 1 to `most`. Allows numpy's integers, but no booleans."""
    try:
        number = 0 if isinstance(value, (bool, np.bool_)) else operator.index(cast("SupportsIndex", value))
    except TypeError:
        number = 0
    allowed.whole(1, most).check(name, number, repr(value))
    return number


def positive(name: str, value: object) -> float:
    return float(ABOVE_0.check(name, value))


def choice(name: str, value: object, names: Sequence[Choice]) -> Choice:
    return cast("Choice", allowed.one_of(*names).check(name, value))

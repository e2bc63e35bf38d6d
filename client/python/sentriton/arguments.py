"""Checks of what callers give to `encode`: each raises `InvalidInput` naming argument, value and what is allowed."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sentriton.errors import InvalidInput


def as_texts(sentences: str | Iterable[str]) -> tuple[list[str], bool]:
    """The sentences as a list, and whether it was a single string. Takes any iterable of strings: lists, numpy arrays,
    generators, columns of datasets and pandas. Raises `InvalidInput` naming the first that is no string or no Unicode.
    """
    if isinstance(sentences, str):
        check_unicode("sentences", sentences)
        return [sentences], True
    if not isinstance(sentences, Iterable) or isinstance(sentences, (bytes, bytearray, dict)):
        raise InvalidInput(f"sentences is {sentences!r}; give a string or an iterable of strings")
    if isinstance(sentences, np.ndarray):
        if sentences.ndim != 1:
            raise InvalidInput(f"sentences is an array of shape {sentences.shape}; give one of shape (n,) of strings")
        sentences = sentences.tolist()  # str, not numpy.str_
    texts = list(sentences)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(
                f"sentences[{place}] is {text!r} ({type(text).__name__}); every sentence must be a string"
            )
        check_unicode(f"sentences[{place}]", text)
    return texts, False


def check_unicode(name: str, text: str) -> None:
    """Refuse a text with a lone surrogate, half of a UTF-16 pair: it has no UTF-8, so no tokenizer takes it."""
    # Asking for ASCII first spares most English texts the copy.
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{name} has the lone surrogate {text[error.start]!r} at character {error.start}, which has no UTF-8; "
            "give whole characters (errors='surrogateescape' or a cut JSON escape leave such halves)"
        ) from error


def whole_number(name: str, value: Any, *, most: int | None = None) -> int:
    """`value` as an int from 1 to `most`; numpy's integers are taken, booleans are not."""
    allowed = "a whole number of at least 1" if most is None else f"1 to {most}"
    if isinstance(value, (bool, np.bool_)):
        raise InvalidInput(f"{name} is {value!r}; allowed are {allowed}")
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InvalidInput(f"{name} is {value!r}; allowed are {allowed}") from error
    if number < 1 or (most is not None and number > most):
        raise InvalidInput(f"{name} is {value!r}; allowed are {allowed}")
    return number


def positive(name: str, value: Any) -> float:
    """`value` as a float above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < float("inf"):
        raise InvalidInput(f"{name} is {value!r}; allowed are numbers above 0")
    return float(value)


def one_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    """`value`, which must be one of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidInput(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
    return value

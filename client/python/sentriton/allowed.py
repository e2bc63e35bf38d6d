"""The allowed values of a setting or an argument."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from sentriton.errors import InvalidInput


@dataclass(frozen=True)
class Allowed:
    """Allowed values: `words` describe them, `holds` checks one."""

    words: str
    holds: Callable[[Any], bool]

    def check(self, name: str, value: Any, shown: str | None = None) -> Any:
        """Return `value` if it is allowed. Raises `InvalidInput` with `name`, the value (or `shown`) and `words`."""
        if not self.holds(value):
            raise InvalidInput(f"{name} is {repr(value) if shown is None else shown}; allowed are {self.words}")
        return value


def check_names(of: str, given: Iterable[str], names: Collection[str]) -> None:
    """Raises `TypeError` for an argument that `of` does not have."""
    for name in given:
        if name not in names:
            raise TypeError(f"{of} got an unexpected argument {name!r}; its options are {', '.join(names)}")


def one_of(*names: str) -> Allowed:
    return Allowed(", ".join(names), lambda value: isinstance(value, str) and value in names)


def whole(least: int, most: int | None = None, *, of: str = "", zero: str = "") -> Allowed:
    """Whole numbers from `least` to `most`, `of` a unit; `zero` is the meaning of 0."""
    lowest = f"{least} ({zero})" if zero else str(least)
    words = f"{lowest} to {most}" if most is not None else f"whole numbers{of and f' of {of}'} from {lowest}"

    def holds(value: Any) -> bool:
        whole = isinstance(value, Integral) and not _is_truth(value)
        return whole and least <= value and (most is None or value <= most)

    return Allowed(words, holds)


def matching(pattern: str, words: str) -> Allowed:
    return Allowed(words, lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None)


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def _is_above_0(value: Any) -> bool:
    is_number = isinstance(value, Real) and not _is_truth(value)
    return is_number and 0 < value <= sys.float_info.max  # an integer may exceed a float


ABOVE_0 = Allowed("finite numbers above 0", _is_above_0)
TRUTH = Allowed("True, False", _is_truth)
HOST = matching(r"[\w.:%-]+", "host names and addresses, such as 0.0.0.0")
PORT = whole(0, 65535, zero="a free port")
ANYTHING = Allowed("any text", lambda value: True)
# gRPC's headers allow these.
KEY = matching(
    r"[!-~]([ -~]*[!-~])?",
    "printable ASCII characters without leading or trailing spaces, such as the output of `openssl rand -hex 32`",
)

"""The errors of a body: message, code and param of OpenAI's error object."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

_SHOWN_CHARACTERS = 100  # of a value in a message
Fault: TypeAlias = tuple[str, str, str | None]


def shown(value: object) -> str:
    """A value for a message, truncated if it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def no_json(reason: str) -> Fault:
    return f"the body is not JSON: {reason}", "invalid_json", None


def unreadable(error: BaseException | None) -> Fault:
    """The fault of a body that `json.loads` rejects with this error, other than a JSONDecodeError."""
    if isinstance(error, ValueError) and not isinstance(error, UnicodeError):  # a limit of Python, not of JSON
        most = sys.get_int_max_str_digits()
        return (
            f"the body has an integer of more than {most:,} digits; send token ids or dimensions",
            "invalid_json",
            None,
        )
    return no_json("it must be UTF-8, not compressed, and not nested thousands of levels deep")


def too_many_inputs(count: int, most: int) -> Fault:
    return f"input has {count} elements; allowed are 1 to {most}", "invalid_value", "input"


def invalid_field(error: Mapping[str, Any]) -> Fault:
    """Convert an error of pydantic, whose `loc` begins with the field."""
    # In ("input", "texts", 3), the form of the input is not part of the caller's path.
    field, *inside = [part for part in error["loc"] if part not in ("text", "texts", "tokens", "token arrays")] or [
        "body"
    ]
    field = str(field)
    if len(field) > _SHOWN_CHARACTERS:  # the caller chooses the names of unknown fields
        field = f"{field[:_SHOWN_CHARACTERS]}…"
    name = f"{field}{''.join(f'[{place}]' for place in inside if isinstance(place, int))}"
    if error["type"] == "missing":
        return f"{name} is missing", "missing_required_parameter", field
    if error["type"] == "extra_forbidden":
        return f"{name} is an unknown parameter", "unknown_parameter", field
    message = f"{name} is {shown(error.get('input'))}: {error['msg']}"
    return message, "invalid_value", None if field == "body" else field

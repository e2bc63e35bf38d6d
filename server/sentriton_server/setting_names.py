"""Describes settings for the server's log, with their source: flag, variable or default."""

from __future__ import annotations

from typing import Any

from sentriton.declaration import settings_of, source_of


def described(settings: Any, *, all: bool) -> list[str]:
    """The values of resolved settings with their sources. Without `all`, default values are left out."""
    lines = []
    for declared in settings_of(type(settings)):
        source, value = source_of(settings, declared.field), getattr(settings, declared.field)
        if source is not None or all:
            shown = "set" if declared.secret and value is not None else declared.words_of(value)
            lines.append(f"{declared.field} {shown} ({source or 'default'})")
    return lines

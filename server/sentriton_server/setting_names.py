"""How logs of the server name its settings: by flag, variable or default."""

from __future__ import annotations

from typing import Any

from sentriton.declaration import settings_of, source_of


def described(settings: Any, *, all: bool) -> list[str]:
    """Each value of resolved settings with its source, for a log; defaults only if `all` are asked for."""
    lines = []
    for declared in settings_of(type(settings)):
        source, value = source_of(settings, declared.field), getattr(settings, declared.field)
        if source is not None or all:
            shown = "set" if declared.secret and value is not None else declared.words_of(value)
            lines.append(f"{declared.field} {shown} ({source or 'default'})")
    return lines

"""Declares a setting as a dataclass field: its flag, variable, checks, help text and documentation."""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from sentriton.allowed import ANYTHING, Allowed, check_names
from sentriton.errors import InvalidInput

TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_PATHS = ("file", "folder", "checkpoint")  # units

AnySettings = TypeVar("AnySettings")
Value = TypeVar("Value")


def setting(default: Value, help: str, *, group: str, **details: Any) -> Value:
    """A field of a dataclass, with its default. `details` are those of `Setting`."""
    metadata = {"help": help, "group": group, **details}
    return dataclasses.field(default=default, repr=not details.get("secret"), metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """The declaration of a field by `setting`, with the field's name, type and default.

    `unit` is the unit of the value (seconds), or the kind of thing that it names (a file). `unset` is the effect of
    None. A `secret` is never shown. An empty variable is unset, but an error for a `lock`, since unset leaves a server
    open. The former names work for one release, with a warning.
    """

    field: str
    kind: type
    default: Any
    help: str
    group: str
    allowed: Allowed = ANYTHING
    unit: str = ""
    unset: str = ""
    secret: bool = False
    lock: bool = False
    former_flag: str | None = None
    former_variable: str | None = None

    @property
    def flag(self) -> str:
        return _flag(self.field)

    @property
    def variable(self) -> str:
        return f"SENTRITON_{self.field.upper()}"

    def words_of(self, value: Any) -> str:
        """A value as text: None with its effect, a switch as on or off, 5.0 as 5."""
        if value is None:
            return f"unset: {self.unset}" if self.unset else "unset"
        if isinstance(value, bool):
            return "on" if value else "off"
        return f"{value:g}" if isinstance(value, float) else str(value)

    def check(self, source: str, value: Any) -> None:
        """Raises `InvalidInput` that names the value's `source`: a flag, a variable or the field."""
        if value is None and self.default is None:
            return
        self.allowed.check(source, value, self._shown(value))

    def parse(self, source: str, text: str) -> Any:
        """The value of a flag or variable, parsed from its text. Raises `InvalidInput` that names `source`."""
        try:
            value = _PARSERS[self.kind](text)
        except ValueError as error:
            words = ", ".join(TRUE + FALSE) if self.kind is bool else self.allowed.words
            raise InvalidInput(f"{source} is {self._shown(text)}; allowed are {words}") from error
        self.allowed.check(source, value, self._shown(text))
        return value

    def read_environment(self, warn: Callable[[str], None]) -> tuple[str, Any] | None:
        """The variable that is set, as `$NAME`, and its value, or None."""
        for variable in filter(None, (self.variable, self.former_variable)):
            text = os.environ.get(variable)
            if text == "" and self.lock:
                raise InvalidInput(f"${variable} is empty; set a key, or remove the variable: {self.unset}")
            if text:
                if variable != self.variable:
                    warn(deprecation(f"${variable}", f"${self.variable}"))
                return f"${variable}", self.parse(f"${variable}", text)
        return None

    def _shown(self, value: Any) -> str:
        return "a value that is not shown" if self.secret else repr(value)


def deprecation(former: str, name: str) -> str:
    return f"{former} is deprecated and will be removed in the next release; use {name}"


def settings_of(cls: type) -> tuple[Setting, ...]:
    hints = get_type_hints(cls)
    return tuple(
        Setting(field.name, _kind(hints[field.name]), field.default, **field.metadata)
        for field in dataclasses.fields(cls)
    )


def check_settings(settings: Any) -> None:
    for declared in settings_of(type(settings)):
        declared.check(declared.field, getattr(settings, declared.field))


def resolve(
    cls: type[AnySettings],
    given: Mapping[str, Any] | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    warn: Callable[[str], None] | None = None,
) -> AnySettings:
    """Settings by field from `given`, else `flags`, else variables, else `defaults`, else the defaults of the class.
    None counts as unset. `~` at the beginning of a path is the home folder. `warn` gets warnings of former names.

    Raises `InvalidInput`, which names the source of an invalid value, and `TypeError` for an unknown field.
    """
    check_names(cls.__name__, given or (), [field.name for field in dataclasses.fields(cast("type[Any]", cls))])
    given, flags = ({key: value for key, value in (each or {}).items() if value is not None} for each in (given, flags))
    values, sources = {**(defaults or {}), **given}, {}
    for declared in settings_of(cls):
        field = declared.field
        if field in given:
            sources[field] = field
        elif field in flags:
            values[field], sources[field] = flags[field], declared.flag
        elif found := declared.read_environment(warn or _warn):
            sources[field], values[field] = found
        if declared.unit in _PATHS and re.match(r"~(/|$)", str(values.get(field))):
            values[field] = declared.kind(os.path.expanduser(values[field]))  # noqa: PTH111
    settings = cls.__new__(cls)
    object.__setattr__(settings, "_sources", sources)  # first, for the errors of its checks
    cls.__init__(settings, **values)
    return settings


def source_of(settings: Any, field: str) -> str | None:
    """The flag, the variable (`$NAME`) or the field of a resolved value; None for a default."""
    return getattr(settings, "_sources", {}).get(field)


def name_of(settings: Any, field: str) -> str:
    """The name of a setting in a command's error message: its source, or its flag."""
    return source_of(settings, field) or _flag(field)


def _flag(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def _kind(hint: Any) -> type:
    """The type of a field: `int | None` is an int, and a `Literal` of strings is a str."""
    first = next((each for each in get_args(hint) if each is not type(None)), hint)
    if get_origin(hint) is Literal:
        return type(first)
    return hint if first is hint else _kind(first)


def _truth(text: str) -> bool:
    if text.lower() not in TRUE + FALSE:
        raise ValueError(text)
    return text.lower() in TRUE


_PARSERS: dict[type, Callable[[str], Any]] = {bool: _truth, int: int, float: float, str: str, Path: Path}


def _warn(message: str) -> None:
    warnings.warn(message, FutureWarning, stacklevel=3)

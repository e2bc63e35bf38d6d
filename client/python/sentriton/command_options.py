"""Makes a command's options from its settings."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from sentriton.client import SentenceEncoder
from sentriton.declaration import Setting, deprecation, resolve, settings_of
from sentriton.settings import ClientSettings

Command = Callable[..., None]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]

_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def takes_settings(cls: type, *fields: str, **defaults: Any) -> Callable[[Command], Command]:
    """Gives a command an option for each of the `fields` (default: all) of `cls`. Its parameter of type `cls` gets the
    values of flags and variables, the command's `defaults` and other defaults.
    """
    by_field = {declared.field: declared for declared in settings_of(cls)}
    chosen = [by_field[field] for field in fields or by_field]

    def decorate(function: Command) -> Command:
        hints = get_type_hints(function, include_extras=True)
        signature = inspect.signature(function)
        (place,) = [name for name in signature.parameters if hints[name] is cls]

        @functools.wraps(function)
        def command(**values: Any) -> None:
            former = {declared.field: values.pop(_former(declared), None) for declared in chosen}
            given = {declared.field: values.pop(declared.field) for declared in chosen}
            flags = {field: former[field] if value is None else value for field, value in given.items()}
            settings: Any = resolve(cls, flags=flags, defaults=defaults, warn=warn)
            function(**values, **{place: settings})

        kept = [
            parameter.replace(annotation=hints[name], kind=_KEYWORD)
            for name, parameter in signature.parameters.items()
            if name != place
        ]
        options = [option for declared in chosen for option in _options(declared, defaults)]
        command.__signature__ = signature.replace(parameters=[*kept, *options])  # type: ignore[attr-defined]
        command.__annotations__ = {option.name: option.annotation for option in (*kept, *options)}
        return command

    return decorate


def open_encoder(settings: ClientSettings) -> SentenceEncoder:
    return SentenceEncoder(**dataclasses.asdict(settings))


def warn(message: str) -> None:
    typer.echo(f"warning: {message}", err=True)


def _options(declared: Setting, defaults: dict[str, Any]) -> list[inspect.Parameter]:
    default = defaults.get(declared.field, declared.default)
    words = f"{'' if default is None else 'default: '}{declared.words_of(default)}"
    # On a separate line, so that a narrow terminal shows the whole name.
    help = f"{declared.help}\n\n${declared.variable}; {words}"
    # Both, so that a flag beats a variable.
    flag = f"{declared.flag}/--no-{declared.flag[2:]}" if declared.kind is bool else declared.flag
    shown = typer.Option(
        flag,
        help=help,
        metavar=declared.unit.upper() or None,
        rich_help_panel=declared.group,
        show_default=False,
        callback=_reader(declared, declared.flag),
    )
    options = [_parameter(declared, declared.field, shown)]
    if declared.former_flag is not None:
        hidden = typer.Option(declared.former_flag, hidden=True, callback=_reader(declared, declared.former_flag))
        options.append(_parameter(declared, _former(declared), hidden))
    return options


def _parameter(declared: Setting, name: str, option: Any) -> inspect.Parameter:
    # As text, since the declaration's error names flag and allowed values.
    kind = bool | None if declared.kind is bool else str | None
    return inspect.Parameter(name, _KEYWORD, default=None, annotation=Annotated[kind, option])


def _reader(declared: Setting, flag: str) -> Callable[[Any], Any]:

    def read(value: Any) -> Any:
        if value is None:
            return None
        if flag != declared.flag:
            warn(deprecation(flag, declared.flag))
        return value if isinstance(value, bool) else declared.parse(flag, value)

    return read


def _former(declared: Setting) -> str:
    return f"former_{declared.field}"

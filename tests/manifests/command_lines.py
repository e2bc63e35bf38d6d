"""Reads a `sentriton` command line with the command line's own parser, and runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer.main

from sentriton.cli import app
from sentriton.declaration import settings_of
from sentriton.settings import ClientSettings
from sentriton_gateway.settings import GatewaySettings
from sentriton_server.settings import ExportSettings, ServerSettings, ServeSettings

SETTINGS = (ExportSettings, GatewaySettings, ServerSettings, ServeSettings)
# Read where they are used, and no flag's.
_FURTHER_VARIABLES = {"SENTRITON_CACHE", "SENTRITON_DATA"}


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """The parameters of the command that `arguments` (without `sentriton`) name; raises the error that the command
    line would print.
    """
    group: Any = typer.main.get_command(app)
    context = group.make_context("sentriton", list(arguments))
    name, command, rest = group.resolve_command(context, list(arguments))
    parameters: dict[str, Any] = command.make_context(name, rest, parent=context).params
    return parameters


def known_variables(command: str) -> set[str]:
    """The environment variables that a command and the client read."""
    group: Any = typer.main.get_command(app)
    parameters = group.get_command(None, command).params
    names = {(parameter.name, getattr(parameter, "rich_help_panel", None)) for parameter in parameters}
    others = {parameter.envvar for parameter in parameters if parameter.envvar}
    settings = {each.variable for cls in SETTINGS for each in settings_of(cls) if (each.field, each.group) in names}
    client = {declared.variable for declared in settings_of(ClientSettings)}
    return settings | others | client | _FURTHER_VARIABLES

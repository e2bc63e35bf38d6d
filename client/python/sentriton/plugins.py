"""Finds the commands of other distributions by entry points.

`sentriton.commands`     NAME = "module:app": a typer app that has the command NAME
`sentriton.checkpoints`  read = "module:function": returns a checkpoint for `sentriton evaluate --checkpoint`
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from sentriton.errors import InvalidInput, SentritonError
from sentriton.requirements import GATEWAY, SERVER, how_to_install

COMMANDS = "sentriton.commands"
CHECKPOINTS = "sentriton.checkpoints"
KNOWN_COMMANDS = {**dict.fromkeys(("serve", "export", "train", "data", "cache"), SERVER), "gateway": GATEWAY}


class CommandGroup(TyperGroup):
    """The client's commands, then those of other distributions.

    A plug-in is imported for its own command or a list of all. A broken one breaks no other command.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return list(dict.fromkeys([*super().list_commands(ctx), *KNOWN_COMMANDS, *_plugins()]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        plugins = _plugins()
        if cmd_name in plugins:
            return _load(plugins[cmd_name])
        if distribution := KNOWN_COMMANDS.get(cmd_name):
            return _failing(cmd_name, f"Needs {distribution}.", _missing(f"sentriton {cmd_name}", distribution))
        # typer suggests similar names from these.
        self.commands.update({name: _load(plugin) for name, plugin in plugins.items()})
        return None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as raised:
            # For an unknown flag, click also suggests hidden ones, such as former names.
            error: Any = raised
            if similar := getattr(error, "possibilities", None):
                hidden = [each.opts for each in error.ctx.command.params if getattr(each, "hidden", False)]
                error.possibilities = [name for name in similar if [name] not in hidden]
            raise


def checkpoint_reader() -> Callable[[str], Any]:
    """The function that reads a checkpoint: its `fingerprint`, and as `model` a `SentenceTransformer`. Raises
    `InvalidInput` if no installed distribution has one.
    """
    for plugin in entry_points(group=CHECKPOINTS):
        if plugin.name == "read":
            return plugin.load()
    raise InvalidInput(_missing("--checkpoint"))


def _plugins() -> dict[str, EntryPoint]:
    """By name. The first on the path counts, as for modules."""
    found: dict[str, EntryPoint] = {}
    for plugin in entry_points(group=COMMANDS):
        found.setdefault(plugin.name, plugin)
    return found


def _load(plugin: EntryPoint) -> Any:
    try:
        return get_group(plugin.load()).commands[plugin.name]
    # Another distribution may fail in any way, but `sentriton --help` must list the others.
    except (Exception, SystemExit) as error:
        origin = f"{plugin.dist.name} {plugin.dist.version}" if plugin.dist else plugin.value
        message = (
            f"the command {plugin.name} of {origin} cannot be loaded: {type(error).__name__}: {error}; "
            "install that distribution again or remove it"
        )
        return _failing(plugin.name, f"Cannot be loaded from {origin}.", message)


def _missing(what: str, distribution: str = SERVER) -> str:
    remedy = how_to_install(distribution=distribution)
    return f"{what} needs the distribution {distribution}, which is not installed; {remedy}"


def _failing(name: str, short_help: str, message: str) -> Any:

    def fail() -> None:
        raise SentritonError(message)

    app = typer.Typer()
    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command(name, help=short_help, add_help_option=False, context_settings=settings)(fail)
    return get_group(app).commands[name]

"""The command line with the client's commands. plugins.py finds those of other distributions."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.table import Table

from sentriton import __version__
from sentriton.command_options import AsJson, open_encoder, takes_settings
from sentriton.connection import Connection, ask
from sentriton.deadline import Deadline
from sentriton.endpoints import Endpoint
from sentriton.errors import InvalidInput, Overloaded, SentritonError
from sentriton.evaluation.command import app as evaluate_command
from sentriton.files.columns import json_text
from sentriton.files.command import app as embed_command
from sentriton.files.heat_map import check_plot, draw_heat_map
from sentriton.golden import HEALTH_TIMEOUT_S, HealthReport
from sentriton.plugins import CommandGroup
from sentriton.questions import health_questions
from sentriton.requirements import SERVER, how_to_install_module
from sentriton.settings import CONNECTION_FIELDS, ClientSettings
from sentriton.terminal import print_table

_FLAGS = "|".join([*CONNECTION_FIELDS, "stall_timeout_s", "batch_size", "truncate_dim", "prompt_name"])
_ARGUMENT = re.compile(rf"^({_FLAGS}) is |(?<= )({_FLAGS})(?=[ ,]|$)(?!.*; )")

app = typer.Typer(
    name="sentriton",
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.registered_commands += embed_command.registered_commands
app.registered_commands += evaluate_command.registered_commands

Plot = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw a heat map into FILE.png, .svg or .pdf.")]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"sentriton {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Sentence embeddings over gRPC on NVIDIA Triton."""


@app.command()
@takes_settings(ClientSettings, *CONNECTION_FIELDS, "stall_timeout_s")
def similarity(
    settings: ClientSettings,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT…", help="Two or more sentences.")],
    as_json: AsJson = False,
    plot: Plot = None,
) -> None:
    """Score every sentence against every other by the model's similarity function."""
    if len(texts) < 2:
        raise InvalidInput("similarity got one sentence; give two or more")
    if plot is not None:
        check_plot(plot)
    with open_encoder(settings) as encoder:
        embeddings = encoder.encode(texts)
        scores = encoder.similarity(embeddings, embeddings)
    if plot is not None and not draw_heat_map(texts, scores, plot):
        typer.echo("no installed font has the letters of the sentences: the plot shows their numbers", err=True)
    if as_json:
        typer.echo(json_text({"sentences": texts, "similarity": scores.tolist()}))
        return
    table = Table()
    table.add_column("sentence")
    for number in range(1, len(texts) + 1):
        table.add_column(str(number), justify="right")
    for number, (text, row) in enumerate(zip(texts, scores, strict=True), start=1):
        table.add_row(f"{number} {text}", *(f"{score:.3f}" for score in row))
    print_table(table, soft_wrap=False)


@app.command()
@takes_settings(ClientSettings, *CONNECTION_FIELDS, timeout_s=HEALTH_TIMEOUT_S)
def info(settings: ClientSettings, as_json: AsJson = False) -> None:
    """Show the served model: name, dimension, max_seq_length, pooling, precision, fingerprint."""
    with open_encoder(settings) as encoder:
        manifest = encoder.manifest
    if as_json:
        typer.echo(manifest.to_json(), nl=False)
        return
    parity = manifest.parity
    rows = {
        "name": manifest.name,
        "dimension": manifest.dimension,
        "max_seq_length": manifest.max_seq_length,
        "pooling": " + ".join(manifest.pooling),
        "similarity": manifest.similarity,
        "precision": f"{manifest.precision} on {manifest.device}",
        "parity": f"cosine >= {parity['min_cosine']:.7f} to sentence-transformers on {parity['sentences']} sentences",
        "prompts": ", ".join(f"{name} ({prompt!r})" for name, prompt in manifest.prompts.items()) or "none",
        "max_batch_size": manifest.max_batch_size,
        "fingerprint": manifest.fingerprint,
        "exported by": f"sentriton {manifest.sentriton_version}",
    }
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in rows.items():
        table.add_row(name, str(value))
    print_table(table)


@app.command()
@takes_settings(ClientSettings, *CONNECTION_FIELDS, timeout_s=HEALTH_TIMEOUT_S)
def health(settings: ClientSettings) -> None:
    """Check a server. Exit code 0: it serves (its queue may be full), 1: it does not serve, 2: it is unreachable.

    With several servers, the exit code is the worst one.
    """
    each = [dataclasses.replace(settings, url=address) for address in settings.addresses]
    raise typer.Exit(max(map(_check_health, each)))


def check_canary(settings: ClientSettings, timeout_s: float = HEALTH_TIMEOUT_S) -> HealthReport:
    """Embed all golden sentences at the first server of `settings`. Raises as `SentenceEncoder.health`."""
    with closing(Connection(settings.addresses[0], settings)) as connection:
        deadline = Deadline(timeout_s, timeout_s, time.monotonic())
        return ask(health_questions(Endpoint(connection.address, connection), deadline))


def _check_health(settings: ClientSettings) -> int:
    timeout_s = settings.timeout_s or HEALTH_TIMEOUT_S
    try:
        with closing(Connection(settings.url, settings)) as connection:
            connection.is_ready(timeout_s)
    except SentritonError as error:
        typer.echo(f"unreachable: {_with_flags(error)}", err=True)
        return 2
    try:
        report = check_canary(settings, timeout_s)
    except Overloaded as error:
        typer.echo(f"serving, overloaded: {_with_flags(error)}")
    except SentritonError as error:
        typer.echo(f"not serving: {_with_flags(error)}", err=True)
        return 1
    else:
        typer.echo(f"serving {report.manifest.name} at {settings.url}, canary cosine {report.min_cosine:.6f}")
    return 0


def main() -> None:
    """Run the command line. An error is a sentence on standard error and a nonzero exit code."""
    if sys.stdout is None:
        _fail("standard output is closed; redirect it to a file or to /dev/null")
    if sys.stderr is None:  # print() would use stdout
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", errors="replace")
    # Its encoding may lack letters.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        # Without arguments, click prints its help.
        code = app(standalone_mode=len(sys.argv) < 2)
    except SentritonError as error:
        _fail(_with_flags(error))
    except OSError as error:
        _fail(f"{error.filename or 'cannot write the output'}: {error.strerror or error}")
    except ModuleNotFoundError as error:
        _fail(f"this command needs the package {error.name}; {how_to_install_module(str(error.name), SERVER)}")
    except Exception as raised:
        usage: Any = raised
        if not hasattr(usage, "format_message"):  # no error of click
            raise
        help = f"; see {usage.ctx.command_path} --help" if getattr(usage, "ctx", None) else ""
        _fail(f"{usage.format_message().rstrip('.')}{help}", usage.exit_code)
    raise SystemExit(code if isinstance(code, int) else 0)


def _with_flags(error: SentritonError) -> str:
    """The error's message, with flags for the arguments that it names."""
    return _ARGUMENT.sub(lambda name: f"--{name[0].replace('_', '-')}", str(error))


def _fail(message: str, code: int = 1) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    # After a full disk, Python must not write the rest at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise SystemExit(code)

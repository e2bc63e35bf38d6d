"""`sentriton embed`."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from sentriton.arguments import choice, whole_number
from sentriton.client import SentenceEncoder
from sentriton.command_options import open_encoder, takes_settings
from sentriton.declaration import source_of
from sentriton.errors import InvalidInput, SentritonError
from sentriton.files.embedding import Skipped, check_output, embed_to_file, embedded, fills_of
from sentriton.files.outputs import json_lines
from sentriton.files.rows import Reject
from sentriton.files.sources import SentenceSource, open_source
from sentriton.keywords import StreamArguments
from sentriton.quantization import STREAM_PRECISION
from sentriton.settings import CONNECTION_FIELDS, ClientSettings

app = typer.Typer()

Texts = Annotated[list[str] | None, typer.Argument(metavar="TEXT…", help="Sentences to embed.")]
Input = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A .txt, .jsonl, .csv, .tsv or .parquet file, or - for standard input. Empty lines are rows too.",
        allow_dash=True,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write FILE.npy, FILE.jsonl or FILE.parquet. If unset, print JSON lines."),
]
Column = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Column or field of the text. If unset: the only one, sentence or text."),
]
Encoding = Annotated[str, typer.Option(metavar="NAME", help="Encoding of the text, such as utf-8 or cp949.")]
OnError = Annotated[
    str,
    typer.Option(
        metavar="ACTION",
        help="fail, or skip: leave out rows without text, in another encoding, malformed or too long, and list them in "
        "FILE.skipped.txt.",
    ),
]
Normalize = Annotated[bool, typer.Option("--normalize", help="Scale every embedding to length 1.")]
TruncateDim = Annotated[
    int | None, typer.Option(metavar="N", help="Truncate every embedding to its first N dimensions.")
]
RowPrecision = Annotated[
    str,
    typer.Option(
        metavar="DATATYPE",
        help="Datatype of the rows: float32, or binary or ubinary (bits packed into bytes). The precision of the "
        "encoder is a setting of the server.",
    ),
]
Prompt = Annotated[str | None, typer.Option(metavar="TEXT", help="Text to prepend to every sentence.")]
PromptName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the model's prompt to prepend to every sentence.")
]
BatchSize = Annotated[
    int | None, typer.Option(metavar="N", help="Largest number of sentences in a request. If unset: the server's.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]
Restart = Annotated[bool, typer.Option("--restart", help="Replace the rows of an interrupted run.")]
ShowProgress = Annotated[
    bool | None, typer.Option(help="Show progress on standard error. If unset: only on a terminal.")
]
SummaryAsJson = Annotated[bool, typer.Option("--json", help="Print a summary as JSON: rows, seconds, output.")]
# Requests of the bulk lane wait while the server is busy with queries.
_STALL_TIMEOUT_S = 1800.0


@app.command()
@takes_settings(
    ClientSettings, *CONNECTION_FIELDS, "stall_timeout_s", "priority", "max_in_flight", stall_timeout_s=_STALL_TIMEOUT_S
)
def embed(
    settings: ClientSettings,
    texts: Texts = None,
    input: Input = None,
    output: Output = None,
    column: Column = None,
    encoding: Encoding = "utf-8",
    on_error: OnError = "fail",
    normalize: Normalize = False,
    truncate_dim: TruncateDim = None,
    precision: RowPrecision = "float32",
    prompt: Prompt = None,
    prompt_name: PromptName = None,
    batch_size: BatchSize = None,
    overwrite: Overwrite = False,
    restart: Restart = False,
    progress: ShowProgress = None,
    as_json: SummaryAsJson = False,
) -> None:
    """Embed sentences given as arguments, in a file or on standard input.

    The other columns of a file go to the output, except to .npy. Rows are saved every few seconds: if a run over a file
    is interrupted, run the same command to resume. Sentences of a file or of standard input go to the bulk lane unless
    the priority is set.
    """
    for flag, value in (("--batch-size", batch_size), ("--truncate-dim", truncate_dim)):
        if value is not None:
            whole_number(flag, value)
    choice("--on-error", on_error, ("fail", "skip"))
    carried = output is None or output.suffix.lower() != ".npy"
    source = open_source(texts, input, column, encoding, carried=carried)
    if output is not None:
        output = Path(os.path.realpath(output)) if output.is_symlink() else output  # a link keeps leading to its file
        check_output(output, source, overwrite=overwrite)
    elif as_json:
        raise InvalidInput("--json needs --output FILE; without it, rows are printed")
    options: StreamArguments = {
        "normalize_embeddings": normalize,
        "truncate_dim": truncate_dim,
        "precision": STREAM_PRECISION.check("--precision", precision),
        "prompt": prompt,
        "prompt_name": prompt_name,
        "batch_size": batch_size,
    }
    if source_of(settings, "priority") is None and not texts:
        settings = dataclasses.replace(settings, priority="bulk")
    with open_encoder(settings) as encoder, _stopping_at_once(encoder):
        if output is None:
            _print_rows(encoder, source, options, Skipped(None).add if on_error == "skip" else None)
            return
        shown = sys.stderr.isatty() if progress is None else progress
        summary = embed_to_file(
            encoder, source, output, options, column, on_error, overwrite=overwrite, restart=restart, progress=shown
        )
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(summary), ensure_ascii=False))
        return
    resumed = f", {summary.resumed:,} of them kept from before" if summary.resumed else ""
    skipped = f"; skipped {summary.skipped:,} rows, which {summary.skipped_list} lists" if summary.skipped else ""
    typer.echo(
        f"wrote {summary.rows:,} rows of {summary.dimension} {summary.dtype} to {summary.output} "
        f"in {summary.seconds:.1f} s ({summary.sentences_per_s:,.0f} sentences/s){resumed}{skipped}"
    )


def _print_rows(
    encoder: SentenceEncoder, source: SentenceSource, options: StreamArguments, reject: Reject | None
) -> None:
    encoder.encode([], **options)
    written = 0
    for rows, embeddings in embedded(encoder, source.read(reject, fills_of(encoder)), options):
        try:
            sys.stdout.buffer.write(json_lines(rows, embeddings))
            sys.stdout.buffer.flush()
        except OSError as error:
            raise SentritonError(f"cannot write to standard output after {written:,} rows: {error.strerror}") from error
        written += len(rows)


@contextmanager
def _stopping_at_once(encoder: SentenceEncoder) -> Iterator[None]:
    """SIGINT and SIGTERM end the command at once, with the signal's code."""
    received = []

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        received.append(number)
        # A second signal ends the process at once. Complete rows survive this too.
        for each in handled:
            signal.signal(each, signal.SIG_DFL)
        encoder.close()
        raise KeyboardInterrupt

    handled = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in handled}
    try:
        yield
    except KeyboardInterrupt as stopped:
        typer.echo(str(stopped) or "stopped", err=True)
        raise typer.Exit(128 + received[0] if received else 130) from stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

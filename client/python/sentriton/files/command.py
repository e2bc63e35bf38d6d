"""`sentriton embed`."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from sentriton.client import SentenceEncoder
from sentriton.errors import InvalidInput
from sentriton.files.embedding import check_output, check_precision, embed_to_file, embedded
from sentriton.files.outputs import json_lines
from sentriton.files.sources import Source, open_source
from sentriton.settings import ClientSettings
from sentriton.stream import CHUNK_SIZE

app = typer.Typer()

Texts = Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Sentences to embed.")]
Input = Annotated[
    Path | None,
    typer.Option(
        help="A .txt, .jsonl, .csv, .tsv or .parquet file, or - for standard input. Every line is a row, empty or not.",
        allow_dash=True,
    ),
]
Output = Annotated[
    Path | None, typer.Option(help="Write FILE.npy, FILE.jsonl or FILE.parquet; without it, JSON lines are printed.")
]
Column = Annotated[str | None, typer.Option(help="The column or field of the sentences: sentence or text if left out.")]
Normalize = Annotated[bool, typer.Option("--normalize", help="Scale every embedding to length 1.")]
TruncateDim = Annotated[int | None, typer.Option(help="Keep this many first dimensions.")]
Precision = Annotated[str, typer.Option(help="Of the rows: float32, or bits packed into bytes, binary or ubinary.")]
Prompt = Annotated[str | None, typer.Option(help="Put before every sentence.")]
PromptName = Annotated[str | None, typer.Option(help="The model's prompt of this name, put before every sentence.")]
BatchSize = Annotated[int | None, typer.Option(help="Most sentences of one request; the server's own if left out.")]
Priority = Annotated[
    str | None,
    typer.Option(envvar="SENTRITON_PRIORITY", help="query, or bulk, which waits behind: bulk for all but TEXT."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]
Restart = Annotated[bool, typer.Option("--restart", help="Begin anew where an interrupted run left rows.")]
Progress = Annotated[
    bool | None, typer.Option(help="Show progress on standard error: where that is a terminal, if left out.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a summary as JSON: rows, seconds, output.")]
Url = Annotated[
    str, typer.Option("--url", envvar="SENTRITON_URL", help="The server: host:port, or several with commas between.")
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", envvar="SENTRITON_TIMEOUT_S", help=f"Most seconds for each {CHUNK_SIZE} sentences, retries too."
    ),
]
StallTimeout = Annotated[
    float,
    typer.Option("--stall-timeout", envvar="SENTRITON_STALL_TIMEOUT_S", help="Most seconds without any answer."),
]


@app.command()
def embed(
    texts: Texts = None,
    input: Input = None,
    output: Output = None,
    column: Column = None,
    normalize: Normalize = False,
    truncate_dim: TruncateDim = None,
    precision: Precision = "float32",
    prompt: Prompt = None,
    prompt_name: PromptName = None,
    batch_size: BatchSize = None,
    priority: Priority = None,
    overwrite: Overwrite = False,
    restart: Restart = False,
    progress: Progress = None,
    as_json: AsJson = False,
    url: Url = ClientSettings.url,
    timeout_s: Timeout = None,
    stall_timeout_s: StallTimeout = 1800.0,
) -> None:
    """Embed sentences given as arguments, in a file or on standard input.

    A run over a file that was interrupted goes on where it stopped when the same command is given again.
    """
    source = open_source(texts, input, column)
    check_precision(precision)
    if output is not None:
        check_output(output, source, overwrite=overwrite)
    elif as_json:
        raise InvalidInput("--json prints the summary of a run that writes --output FILE; without it, rows are printed")
    options = {
        "normalize_embeddings": normalize,
        "truncate_dim": truncate_dim,
        "precision": precision,
        "prompt": prompt,
        "prompt_name": prompt_name,
        "batch_size": batch_size,
    }
    priority = priority or ("query" if texts else "bulk")
    settings: dict[str, Any] = {"timeout_s": timeout_s, "stall_timeout_s": stall_timeout_s, "priority": priority}
    with SentenceEncoder(url, **settings) as encoder, _stopping_at_once(encoder):
        if output is None:
            _print_rows(encoder, source, options)
            return
        shown = sys.stderr.isatty() if progress is None else progress
        summary = embed_to_file(encoder, source, output, options, column=column, restart=restart, progress=shown)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(summary), ensure_ascii=False))
        return
    resumed = f", {summary.resumed:,} of them kept from before" if summary.resumed else ""
    typer.echo(
        f"wrote {summary.rows:,} rows of {summary.dimension} {summary.dtype} to {summary.output} "
        f"in {summary.seconds:.1f} s{resumed}"
    )


def _print_rows(encoder: SentenceEncoder, source: Source, options: dict[str, Any]) -> None:
    encoder.encode([], **options)
    for sentences, embeddings in embedded(encoder, source.read(), options):
        sys.stdout.buffer.write(json_lines(sentences, embeddings))
        sys.stdout.buffer.flush()


@contextmanager
def _stopping_at_once(encoder: SentenceEncoder) -> Iterator[None]:
    """SIGINT and SIGTERM end the command, without awaiting the answers that are under way, with the signal's code."""
    received = []

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        received.append(number)
        # A second one ends the process as it is: whole rows survive that too.
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

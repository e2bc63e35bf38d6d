"""`sentriton evaluate`: the ten figures of a served model and of its checkpoint."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.table import Table

from sentriton.command_options import AsJson, open_encoder, takes_settings
from sentriton.evaluation.figures import FIGURES, measure
from sentriton.evaluation.pairs import ScoredPair, read_pairs
from sentriton.evaluation.plot import draw_evaluation
from sentriton.files.heat_map import check_plot
from sentriton.plugins import checkpoint_reader
from sentriton.requirements import check_module
from sentriton.settings import CONNECTION_FIELDS, ClientSettings, EvaluationSettings
from sentriton.similarity import score_pairs
from sentriton.terminal import print_table

app = typer.Typer()


class Encoder(Protocol):
    """A `SentenceEncoder` or a `SentenceTransformer`."""

    def encode(self, sentences: list[str], *, show_progress_bar: bool) -> Any: ...


@app.command()
@takes_settings(EvaluationSettings)
@takes_settings(ClientSettings, *CONNECTION_FIELDS, "stall_timeout_s")
def evaluate(
    settings: ClientSettings,
    own: EvaluationSettings,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Scored pairs: a .json (KLUE-STS), .jsonl, .csv, .tsv (KorSTS) or .parquet file with sentence1, "
            "sentence2 and score, or a hub data set as ID:CONFIG:SPLIT (klue/klue:sts:validation).",
        ),
    ],
    as_json: AsJson = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Plot human scores against the model's, and residuals by source, into FILE.png, .svg or .pdf.",
        ),
    ] = None,
) -> None:
    """Measure how well a served model agrees with human similarity scores: ten correlations."""
    if plot is not None:
        check_plot(plot)
    read_checkpoint = None if own.checkpoint is None else partial(checkpoint_reader(), own.checkpoint)
    pairs = read_scored(data)
    with open_encoder(settings) as encoder:
        manifest = encoder.manifest
        # First, so that a mistyped name is reported at once.
        checkpoint = None if read_checkpoint is None else read_checkpoint()
        if checkpoint is not None and checkpoint.fingerprint != manifest.fingerprint:
            typer.echo(f"note: {own.checkpoint} is another model than the served {manifest.name}", err=True)
        embeddings = _embed(encoder, pairs)
    scores = [pair.score for pair in pairs]
    figures = {"service": measure(*embeddings, scores)}
    if checkpoint is not None:
        figures["checkpoint"] = measure(*_embed(checkpoint.model, pairs), scores)
    title = f"{manifest.name} ({manifest.precision} on {manifest.device}), {len(pairs):,} pairs of {Path(data).name}"
    if plot is not None:
        draw_evaluation(pairs, score_pairs("cosine", *embeddings), title, plot)
    if as_json:
        about = {"model": manifest.name, "precision": manifest.precision, "fingerprint": manifest.fingerprint}
        result = {"data": data, "pairs": len(pairs), **about, **figures}
        typer.echo(json.dumps(result, ensure_ascii=False))
    else:
        print_table(figures_table(title, figures))


def read_scored(data: str) -> list[ScoredPair]:
    """`read_pairs`, after a check that scipy is installed."""
    check_module("scipy", "evaluate", "evaluate")
    return read_pairs(data)


def figures_table(title: str, columns: dict[str, dict[str, float]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for figure in FIGURES:
        table.add_row(figure, *(f"{figures[figure]:.4f}" for figures in columns.values()))
    return table


def _embed(encoder: Encoder, pairs: list[ScoredPair]) -> tuple[Any, Any]:
    """Embeddings [n, d] of the first and of the second sentences of n pairs, from one call."""
    sentences = [*(pair.sentence1 for pair in pairs), *(pair.sentence2 for pair in pairs)]
    embeddings = encoder.encode(sentences, show_progress_bar=len(sentences) > 5_000)
    return embeddings[: len(pairs)], embeddings[len(pairs) :]

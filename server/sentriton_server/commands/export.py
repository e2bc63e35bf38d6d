"""`sentriton export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sentriton.command_options import takes_settings
from sentriton.manifest import Manifest
from sentriton.terminal import print_table
from sentriton_server.commands.terminal import say, show
from sentriton_server.processor import int8_warning
from sentriton_server.settings import ExportSettings


@takes_settings(ExportSettings)
def export(
    settings: ExportSettings,
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A sentence-transformers folder or hub id.")],
    repository: Annotated[Path, typer.Argument(metavar="REPOSITORY", help="The folder to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an exported repository.")] = False,
    evaluate: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Scored pairs in a format of `sentriton evaluate`: measure the quality of every precision.",
        ),
    ] = None,
) -> None:
    """Write a deployable model repository and report how it compares with sentence-transformers."""
    from sentriton.evaluation.command import figures_table, read_scored
    from sentriton_server.export import export as export_checkpoint
    from sentriton_server.repository import read_operators

    pairs = None if evaluate is None else read_scored(evaluate)
    manifest = export_checkpoint(
        checkpoint,
        repository,
        precision=settings.precision,
        device=settings.device,
        check_on=settings.check_on,
        operators=settings.operators,
        overwrite=overwrite,
        max_seq_length=settings.max_seq_length,
        allow_pickle=settings.allow_pickle,
        say=say,
    )
    if warning := int8_warning(manifest.precision, read_operators(repository)):
        show(f"warning: {warning}")
    typer.echo(_summary(manifest, repository))
    if pairs is not None:
        from sentriton_server.quality import quality_by_precision

        figures = quality_by_precision(
            checkpoint, repository, manifest.device, pairs, say, allow_pickle=settings.allow_pickle
        )
        title = f"{manifest.name}, {len(pairs):,} pairs of {Path(str(evaluate)).name}"
        print_table(figures_table(title, figures))


def _summary(manifest: Manifest, repository: Path) -> str:
    from sentriton_server.parity import SMALLEST_PREFIX

    parity = manifest.parity
    return (
        f"exported {manifest.name} to {repository} ({manifest.precision} on {manifest.device})\n"
        f"parity with sentence-transformers on {parity['sentences']} sentences: minimum cosine "
        f"{parity['min_cosine']:.7f}, truncated to any dimension from {SMALLEST_PREFIX} "
        f"{parity['min_prefix_cosine']:.7f} (allowed {manifest.min_cosine}), largest difference "
        f"{parity['max_difference']:.2e}"
    )

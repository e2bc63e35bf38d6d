"""`sentriton train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sentriton.command_options import takes_settings
from sentriton_server.commands.terminal import catch_signals, say
from sentriton_server.settings import DataSettings, ExportSettings


@takes_settings(DataSettings)
@takes_settings(ExportSettings, "allow_pickle")
def train(
    settings: DataSettings,
    trust: ExportSettings,
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Name of a bundled recipe (bundled, klue-sts), or a .toml file.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder to write the checkpoint to. If unset: the recipe's name."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="CHECKPOINT", help="Start from this folder or hub id instead of the recipe's checkpoint."),
    ] = None,
) -> None:
    """Train a checkpoint from a recipe, and write it with a model card and its measured quality.

    If a run is interrupted, run the same command to resume.
    """
    from sentriton_server.hub import prepare_libraries
    from sentriton_server.imports import import_large

    prepare_libraries()
    import_large("sentence_transformers")
    from sentriton_server.data_sets import data_folder
    from sentriton_server.training import load_recipe
    from sentriton_server.training import train as train_recipe

    chosen = load_recipe(recipe, base)
    output = output or Path(chosen.name)
    interrupted = catch_signals()
    try:
        report = train_recipe(
            chosen,
            output=output,
            data_dir=settings.data or data_folder(),
            say=say,
            interrupted=interrupted,
            allow_pickle=trust.allow_pickle,
        )
    except KeyboardInterrupt:
        say("interrupted; the same command resumes from here")
        raise typer.Exit(130) from None
    typer.echo(
        f"trained {report.recipe.name} in {report.duration_s / 60:.1f} minutes; figures are in {output / 'README.md'}"
    )

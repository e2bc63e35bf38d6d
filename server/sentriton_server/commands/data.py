"""`sentriton data` lists and downloads the public data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sentriton.command_options import takes_settings
from sentriton.errors import InvalidInput
from sentriton_server.data_sets.catalogue import CATALOGUE
from sentriton_server.data_sets.fetch import fetch
from sentriton_server.data_sets.folder import data_folder
from sentriton_server.settings import DataSettings

EVERY = "all"


@takes_settings(DataSettings)
def data(
    settings: DataSettings,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME…|all]", help="Data sets to download. If none is given, list them."),
    ] = None,
) -> None:
    """Download public data sets by name, and verify their sha256."""
    folder = settings.data or data_folder()
    if not names:
        _list(folder)
        return
    for name in names:
        if name not in (*CATALOGUE, EVERY):
            raise InvalidInput(f"no data set {name!r}: must be {EVERY} or one of {', '.join(CATALOGUE)}")
    for data_set in CATALOGUE.values():
        if EVERY in names or data_set.name in names:
            typer.echo(f"{data_set.name}: {data_set.title}, {data_set.licence}, {data_set.homepage}")
            typer.echo(f"  {fetch(data_set, folder)}")


def _list(folder: Path) -> None:
    typer.echo(f"data sets in {folder}:")
    for data_set in CATALOGUE.values():
        state = "fetched" if (folder / data_set.file).is_file() else "missing"
        typer.echo(f"{data_set.name:15} {state}  {data_set.title}, {data_set.licence}, {data_set.homepage}")

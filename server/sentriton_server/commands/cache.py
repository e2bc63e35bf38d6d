"""`sentriton cache list` and `sentriton cache clear`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from sentriton.cache import cache_folder
from sentriton.errors import InvalidInput
from sentriton.terminal import print_table
from sentriton_server.export_cache import KINDS, entries, older_than, remove

app = typer.Typer(help="List and clear the cache: exports, operators, tokenizers and data sets.")


@app.command("list")
def list_entries() -> None:
    """List the entries of the cache, with sizes and the dates of the last use."""
    found = entries()
    table = Table(box=None, pad_edge=False)
    for name in ("kind", "name"):
        table.add_column(name, overflow="fold")
    table.add_column("MB", justify="right")
    table.add_column("last used")
    for entry in found:
        used = f"{datetime.fromtimestamp(entry.used):%Y-%m-%d %H:%M}"
        table.add_row(entry.kind, entry.path.name, f"{entry.size / 1e6:,.1f}", used)
    typer.echo(f"{cache_folder()}: {sum(entry.size for entry in found) / 1e6:,.1f} MB in {len(found):,} entries")
    if found:
        print_table(table)


@app.command()
def clear(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME…]", help="Entries to remove; none: all but the data sets.")
    ] = None,
    older_than_days: Annotated[
        float, typer.Option("--older-than-days", metavar="DAYS", help="Remove only entries unused for this time.")
    ] = 0.0,
) -> None:
    """Remove exports, operators and tokenizers. Sentriton recreates them when needed. Entries in use stay."""
    if not older_than_days >= 0:
        raise InvalidInput(f"--older-than-days is {older_than_days:g}; allowed are numbers from 0")
    found = entries()
    for name in names or ():
        if name not in [entry.path.name for entry in found]:
            raise InvalidInput(f"{name!r} is no entry of the cache; run `sentriton cache list` for their names")
    if names:
        chosen = [entry for entry in found if entry.path.name in names]
    else:
        chosen = [entry for entry in found if entry.kind != KINDS["data"]]
    size = 0
    for entry in older_than(older_than_days, chosen):
        if remove(entry):
            size += entry.size
            typer.echo(f"removed the {entry}")
        else:
            typer.echo(f"kept the {entry}: a server uses it", err=True)
    typer.echo(f"removed {size / 1e6:,.1f} MB")

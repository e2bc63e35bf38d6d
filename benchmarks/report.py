"""What every benchmark ends with: a table for people, one JSON line for programs, and a plot where one is wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def print_report(
    benchmark: str, title: str, rows: list[dict[str, Any]], *, plot: Path | None = None, bars: str = "sentences_per_s"
) -> None:
    """Print `rows`, all of the same keys, as a table under `title`, then everything as a line of JSON. `plot`: a file
    for the values of column `bars`, a bar for each row, named by the row's texts."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console(width=160).print(table)
    if plot is not None:
        save_bars(plot, title, rows, bars)
    print(json.dumps({"benchmark": benchmark, "title": title, "rows": rows}))


def save_bars(path: Path, title: str, rows: list[dict[str, Any]], column: str) -> None:
    """One horizontal bar a row that has a value, in the rows' order."""
    from matplotlib.figure import Figure  # the one thing that needs it

    rows = [row for row in rows if row[column] is not None]
    names = [", ".join(value for value in row.values() if isinstance(value, str)) for row in rows]
    figure = Figure(figsize=(9, 1.2 + 0.38 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(range(len(rows)), [row[column] for row in rows], color="#3b7dd8")
    axes.bar_label(bars, padding=3)
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.set_xlabel(column.replace("_per_s", " a second").replace("_", " "))
    axes.set_title(title, fontsize=9, wrap=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.savefig(path, dpi=120)

"""The report of every benchmark: a table, one JSON line for programs, and an optional plot."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.workload import hardware
from sentriton.files.columns import json_text


def print_report(
    benchmark: str,
    title: str,
    rows: list[dict[str, Any]],
    *,
    plot: Path | None = None,
    bars: str = "sentences_per_s",
    save: Path | None = None,
    device: str = "cpu",
) -> None:
    """Print `rows`, all of the same keys, as a table under `title`, then everything as a line of JSON, with processor,
    date and command. `plot`: a file for the values of column `bars`, a bar for each row, named by the row's texts.
    `save`: a file for the line of JSON, in a folder that is made (`benchmarks.tables`). The processor includes the GPU
    if `device` is gpu."""
    rows = json.loads(json_text(rows))  # NaN, such as the rate of no time, is null
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*("" if row[column] is None else str(row[column]) for column in rows[0]))
    Console(width=160).print(table)
    if plot is not None:
        save_bars(plot, title, rows, bars)
    result = {
        "benchmark": benchmark,
        "title": title,
        "processor": hardware(device),
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join([f"benchmarks.{benchmark}", *without_files(sys.argv[1:])]),
        "rows": rows,
    }
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        save.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


def without_files(arguments: list[str]) -> list[str]:
    """The arguments of a benchmark without its output files and folders."""
    places = [place for place, argument in enumerate(arguments) if argument in ("--plot", "--save", "--scratch")]
    left_out = {place + step for place in places for step in (0, 1)}
    return [argument for place, argument in enumerate(arguments) if place not in left_out]


def save_bars(path: Path, title: str, rows: list[dict[str, Any]], column: str) -> None:
    """One horizontal bar per row with a value, in order."""
    from matplotlib.figure import Figure  # imported only here

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

"""What every benchmark ends with: a table for people and one JSON line for programs."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table


def print_report(benchmark: str, title: str, rows: list[dict[str, Any]]) -> None:
    """Print `rows`, all of the same keys, as a table under `title`, then everything as a line of JSON."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console(width=140).print(table)
    print(json.dumps({"benchmark": benchmark, "title": title, "rows": rows}))

"""Tables on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def print_table(table: Table, *, soft_wrap: bool = True) -> None:
    """Print a table on standard output, without markup in its texts."""
    Console(soft_wrap=soft_wrap, markup=False, emoji=False).print(table)

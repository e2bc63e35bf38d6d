"""The figures of a run with the engine, as the table of benchmarks/README.md."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.workload import hardware

HEADER = ("image", "built in", "size", "healthy after", "stopped within", "")


@dataclass
class Figures:
    """The cells of each row, by the row's name and the column's."""

    rows: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def note(self, row: str, column: str, text: str) -> None:
        self.rows[row][column] = text

    def write(self, file: Path) -> None:
        """Write the table, below processor and date, and print it."""
        lines = [HEADER, ("---",) * len(HEADER)]
        lines += [(f"`{name}`", *(cells.get(column, "") for column in HEADER[1:])) for name, cells in self.rows.items()]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        text = f"{hardware()}, {time.strftime('%Y-%m-%d')}:\n\n{table}\n"
        file.write_text(text, encoding="utf-8")
        print(f"\n{text}")

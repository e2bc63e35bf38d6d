"""Writes benchmarks/results/README.md: a section per processor, from the results that lie there as JSON.

    .venv/bin/python -m benchmarks.tables

A benchmark saves its results there with `--save benchmarks/results/PROCESSOR/NAME.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
HEADING = """# Results

`python -m benchmarks.tables` writes this page from the JSON files in this folder. The
[benchmarks](../README.md) say how each figure is measured.
"""
_SENTRITON = "Sentriton, gRPC"


def read_results(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The results by their processor, in the order of their files' names."""
    results: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.rglob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        results.setdefault(result["processor"], []).append(result)
    return results


def page(results: dict[str, list[dict[str, Any]]]) -> str:
    """The whole page in Markdown."""
    return "\n".join([HEADING, *(section(processor, its) for processor, its in results.items())])


def section(processor: str, results: list[dict[str, Any]]) -> str:
    """A processor's results: offline's ratios first, then each table."""
    offline = [result for result in results if result["benchmark"] == "offline"]
    ratios = [row for result in offline for row in ratio_rows(result)]
    parts = [f"## {processor}\n"]
    if ratios:
        parts += ["### Sentriton and the best peer, sentences/s\n", markdown(ratios)]
    for result in results:
        parts += [
            f"### {result['benchmark']}: {result['title'].removesuffix(', ' + processor)}\n",
            f"{result['date']}, `{result['command']}`\n",
            markdown(result["rows"]),
        ]
    return "\n".join(parts)


def ratio_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """A row per precision of an offline result: Sentriton beside the fastest peer."""
    ran = [row for row in result["rows"] if row["sentences_per_s"] is not None]
    rows = []
    for ours in (row for row in ran if row["contender"] == _SENTRITON):
        peers = [row for row in ran if row["precision"] == ours["precision"] and row is not ours]
        if not peers:
            continue
        best = max(peers, key=lambda row: row["sentences_per_s"])
        rows.append(
            {
                "model": result["title"].split(" sentences")[0].rpartition(", ")[0],
                "precision": ours["precision"],
                "Sentriton": ours["sentences_per_s"],
                "best peer": f"{best['contender']}, batches of {best['batch']}",
                "its rate": best["sentences_per_s"],
                "times the best peer": ours["x_best_peer"],
                "times the best that is as close": ours["x_best_as_close"],
                "date": result["date"],
            }
        )
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table. Columns without a value are left out."""
    columns = [column for column in rows[0] if any(row[column] is not None for row in rows)]
    lines = [columns, ["---"] * len(columns), *([_cell(row[column]) for column in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, (int, float)) else str(value)


def main() -> None:
    (RESULTS / "README.md").write_text(page(read_results(RESULTS)), encoding="utf-8")


if __name__ == "__main__":
    main()

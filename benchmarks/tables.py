"""Writes benchmarks/results/README.md and a page per processor, from the results in JSON files.

    .venv/bin/python -m benchmarks.tables

A benchmark saves its results with `--save benchmarks/results/PROCESSOR/NAME.json`. `make docs` writes the table
in README.md from them (`summary`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
HEADING = """# Results

These tables compare Sentriton with the best peer, which is the fastest other system, at its best batch size. The page
of each processor lists all its rates, with the date and the command of each measurement. [Benchmarks](../README.md)
describes the conditions and the goals.

The last ratio of each row considers only peers whose vectors are as close to fp32 as those of Sentriton
([definition](../peers.md#goals-for-a-corpus)).
"""
PROCESSOR_HEADING = """# {processor}

This page shows the saved results for {name}. Each table follows its date and command.
[Columns](../../README.md#columns) explains the columns. [Results](../README.md) links to the other processors.
"""
_WRITTEN_BY = "`python -m benchmarks.tables` writes {pages}.\n"
# Limits of the results of a folder.
_NOTES = {
    "zen4": "These results are older than Sentriton's [C++ operators]({root}docs/decisions/encoder-operators.md).\n"
    "They use torch's operators and do not include CTranslate2.\n",
}
_SENTRITON = "Sentriton, gRPC"
# The names of columns on the pages, if they differ from those in the results.
_COLUMNS = {"contender": "system"}
# The rows of README's table, by the systems' names in the results.
_PEERS = {
    "sentence-transformers torch": "sentence-transformers with torch, in process",
    "sentence-transformers ONNX": "sentence-transformers with ONNX Runtime, in process",
    "sentence-transformers OpenVINO": "sentence-transformers with OpenVINO, in process",
    "CTranslate2": "CTranslate2, in process",
    _SENTRITON: "**Sentriton, over gRPC**",
}
_PRECISIONS = ("fp32", "bf16", "int8")
# The heading of a table, by its benchmark.
_HEADINGS = {
    "batches": "Token blocks",
    "clients": "Client libraries",
    "contention": "Busy processes",
    "gateway": "OpenAI's API",
    "limit": "Encoder and service rate",
    "offline": "Corpus rate",
    "single": "Concurrent callers",
    "text": "Text",
}
# The subject of a table, by its benchmark.
_SHOWN = {
    "batches": "The table shows the token blocks that the batches of a corpus fill, for several limits of a batch.",
    "clients": "The table compares the client libraries: one call with a list, and many callers with single sentences.",
    "contention": "The table shows the encoder alone and beside busy processes, for each number of spins.",
    "gateway": "The table compares OpenAI's API through the gateway with `encode` over gRPC.",
    "limit": "The table compares the matrix products alone, the encoder module, and the service over gRPC.",
    "offline": "The table compares Sentriton with its peers on a corpus. Peers run at several batch sizes. Sentriton "
    "chooses its own.",
    "single": "The table compares calls with single sentences, joined and not joined, with one call with a list.",
    "text": "The table compares `embed_text`, which tokenizes on the server, with `embed_tokens`.",
}

Result = dict[str, Any]


def read_results(folder: Path) -> dict[str, list[Result]]:
    """The results by their folder, in the order of their files' names."""
    results: dict[str, list[Result]] = {}
    for path in sorted(folder.rglob("*.json")):
        results.setdefault(path.parent.name, []).append(json.loads(path.read_text(encoding="utf-8")))
    return results


def pages(results: dict[str, list[Result]]) -> dict[str, str]:
    """The pages in Markdown by their paths: one of all processors, and one per processor."""
    index = [HEADING]
    found = {}
    for folder, its in results.items():
        index += [f"## {its[0]['processor']}\n", *_notes(folder, "../../")]
        if ratios := [row for result in its if result["benchmark"] == "offline" for row in ratio_rows(result)]:
            index += ["Rates are in sentences/s:\n", markdown(ratios)]
        else:
            index.append("No comparison with other systems ran on this processor.\n")
        index.append(f"[All results for {_name(folder)}]({folder}/README.md)\n")
        found[f"{folder}/README.md"] = processor_page(folder, its)
    index.append(_WRITTEN_BY.format(pages="these pages from JSON files"))
    return {"README.md": "\n".join(index), **found}


def processor_page(folder: str, results: list[Result]) -> str:
    """The results of the processor in `folder`: each table with its date and command."""
    processor = results[0]["processor"]
    parts = [PROCESSOR_HEADING.format(processor=processor, name=_name(folder)), *_notes(folder, "../../../")]
    for result in results:
        precisions = {row.get("precision") for row in result["rows"]} - {None}
        only = f", {precisions.pop()}" if len(precisions) == 1 else ""
        benchmark = result["benchmark"]
        model, *details = result["title"].removesuffix(", " + processor).split(", ")
        parts += [
            f"## {_HEADINGS.get(benchmark, benchmark)}: {model}{only}\n",
            *(f"{shown}\n" for name, shown in _SHOWN.items() if name == benchmark),
            f"{', '.join([result['date'], *details])}: `{result['command']}`\n",
            markdown(result["rows"]),
        ]
    parts.append(_WRITTEN_BY.format(pages="this page from the JSON files in its folder"))
    return "\n".join(parts)


def _name(folder: str) -> str:
    """The processor's name in a sentence: Zen 4 for zen4."""
    return re.sub(r"^zen", "Zen ", folder)


def _notes(folder: str, root: str) -> list[str]:
    return [_NOTES[folder].format(root=root)] if folder in _NOTES else []


def summary(results: dict[str, list[Result]]) -> str:
    """README's table: the newest results of RoBERTa-base with every peer, each at its best batch size."""
    measured = {
        folder: [result for result in its if result["benchmark"] == "offline" and "RoBERTa-base," in result["title"]]
        for folder, its in results.items()
    }
    folder = max(measured, key=lambda folder: max((result["date"] for result in measured[folder]), default=""))
    newest = measured[folder]
    ran = [row for result in newest for row in result["rows"] if row["sentences_per_s"] is not None]
    lines = [["", *_PRECISIONS], ["---"] * (1 + len(_PRECISIONS))]
    cosines = {}
    for contender, title in _PEERS.items():
        cells = []
        for precision in _PRECISIONS:
            rows = [row for row in ran if (row["contender"], row["precision"]) == (contender, precision)]
            best = max(rows, key=lambda row: row["sentences_per_s"], default=None)
            cells.append("" if best is None else f"{best['sentences_per_s']:.1f}")
            if best is not None and precision == "int8":
                cosines[contender.removeprefix("sentence-transformers ").removesuffix(", gRPC")] = best["min_cosine"]
        bold = "**" if contender == _SENTRITON else ""
        lines.append([title, *(cell and f"{bold}{cell}{bold}" for cell in cells)])
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    words = ", ".join(f"{name} {cosine:.4f}" for name, cosine in cosines.items())
    processor = f"{newest[0]['processor'].split(',')[0]}, {_name(folder)}"
    date = max(result["date"] for result in newest)
    return (
        f"[{processor}](benchmarks/results/{folder}/README.md), {date}:\n\n{table}\n"
        f"These are the smallest cosines to fp32 at int8: {words}.\n"
    )


def ratio_rows(result: Result) -> list[dict[str, Any]]:
    """A row per precision of an offline result: Sentriton and the fastest peer."""
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
                "rate of the best peer": best["sentences_per_s"],
                "relative to the best peer": ours["x_best_peer"],
                "relative to the best peer that is as close": ours["x_best_as_close"],
                "date": result["date"],
            }
        )
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table. Columns without a value are left out, and all numbers of a column have the same decimals."""
    columns = {
        _COLUMNS.get(column, column): _cells([row[column] for row in rows])
        for column in rows[0]
        if any(row[column] is not None for row in rows)
    }
    lines = [columns, ["---"] * len(columns), *zip(*columns.values(), strict=True)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(values: list[Any]) -> list[str]:
    decimals = max((len(str(value).partition(".")[2]) for value in values if isinstance(value, float)), default=0)
    return [
        "" if value is None else f"{value:,.{decimals}f}" if isinstance(value, (int, float)) else str(value)
        for value in values
    ]


def main() -> None:
    for name, text in pages(read_results(RESULTS)).items():
        (RESULTS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

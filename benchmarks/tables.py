"""Writes benchmarks/results/README.md and a page per processor, from the results in JSON files.

    .venv/bin/python -m benchmarks.tables

A benchmark saves its results with `--save benchmarks/results/PROCESSOR/NAME.json`. `make docs` writes the table
in README.md from them (`summary`).
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
HEADING = """# Results

The tables on this page show how fast Sentriton and other systems embed a corpus. Each row has the best peer, which is
the fastest other system at its best batch size. The last ratio considers only peers whose vectors are as close to fp32
as those of Sentriton ([definition](../peers.md#goals-for-a-corpus)).

Each processor also has its own page with all rates, dates and commands. [Benchmarks](../README.md) describes the
conditions and the goals.
"""
PROCESSOR_HEADING = """# Results for {name}

{comparison}These results are from `{processor}`.
Each table is one run, with its own sentences and its own number of calls in flight, so compare only the rows of one
table. Differences below 10 % are [noise](../../peers.md#rules-for-a-corpus). [Columns](../../columns.md)
explains the columns. [Results](../README.md) links to the other processors.
"""
_CHECKPOINTS = "`make bench-peers` makes the checkpoints in `build/bench`.\n"
_COMPARISON = """Sentriton embeds a corpus at {ratio} times the rate of the fastest other system. The table
shows the rates in sentences/s:

{table}"""
_WRITTEN_BY = "`python -m benchmarks.tables` writes {pages}.\n"
# Limits of the results of a folder.
_NOTES = {
    "zen3": "This processor has no instructions for products at bf16. Other systems are slow at bf16, or fail.\n"
    "For RoBERTa-base at int8, no other system has vectors as close to fp32 as those of Sentriton, so the last ratio\n"
    "is empty. With RoBERTa-large, only CTranslate2 was measured, the best peer with RoBERTa-base.\n",
}
_SENTRITON = "Sentriton, gRPC"
# The names of columns on the pages, if they differ from those in the results.
_COLUMNS = {
    "by": "client",
    "calls_per_s": "calls/s",
    "client_cpu_us": "client CPU µs",
    "contender": "system",
    "cpu_ms": "CPU ms per sentence",
    "cpu_x_best_peer": "CPU × best peer",
    "cpu_x_default": "CPU × default",
    "gflop_per_s": "GFLOP/s",
    "in_session": "session",
    "spins": "GOMP_SPINCOUNT",
    "list_cpu_us": "list, CPU µs",
    "list_per_s": "list, sentences/s",
    "min_cosine": "smallest cosine",
    "of_alone": "share of undisturbed rate",
    "of_embed_tokens": "share of embed_tokens",
    "of_grpc": "share of gRPC",
    "of_list": "share of list",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "rate_of": "part",
    "sentences_per_s": "sentences/s",
    "sentriton_gflop_per_s": "Sentriton, GFLOP/s",
    "server_cpu_us": "server CPU µs",
    "share_of_module": "share of module",
    "share_of_products": "share of products",
    "single_cpu_us": "single, CPU µs",
    "single_of_list": "single ÷ list",
    "single_per_s": "single, sentences/s",
    "tokens_per_s": "tokens/s",
    "torch_gflop_per_s": "torch, GFLOP/s",
    "x_best_as_close": "× best peer as close",
    "x_best_peer": "× best peer",
    "x_default": "× default",
    "x_torch": "× torch",
}
_COMMAND_WIDTH = 116
# Its values have different units, so each keeps its own decimals.
_MIXED_COLUMN = "value"
# The rows of README's table, by the systems' names in the results.
_PEERS = {
    "sentence-transformers torch": "sentence-transformers with torch, in process",
    "sentence-transformers ONNX": "sentence-transformers with ONNX Runtime, in process",
    "sentence-transformers OpenVINO": "sentence-transformers with OpenVINO, in process",
    "CTranslate2": "CTranslate2, in process",
    _SENTRITON: "**Sentriton, over gRPC**",
}
_PRECISIONS = ("fp32", "bf16", "int8")
# The heading of a table, by its benchmark, in the order of the pages.
_HEADINGS = {
    "offline": "Corpus rate",
    "limit": "Encoder and service rate",
    "single": "Concurrent callers",
    "clients": "Client libraries",
    "text": "Text",
    "gateway": "OpenAI's API",
    "contention": "Busy processes",
    "operators": "Operators",
    "batches": "Token blocks",
    "gpu": "GPU",
}
# The subject of a table, by its benchmark.
_SHOWN = {
    "batches": "The table shows the token blocks that the batches of a corpus fill, for several limits of a batch.",
    "clients": "The table shows the rates that each client library reaches: in one call with a list, and with many "
    "callers of single sentences.",
    "contention": "Other programs on the same cores slow the encoder down. The table shows the service and the encoder "
    "module, alone and beside 6 and 15 busy processes. These run in the session of the benchmark (`this`) or in one of "
    "their own (`another`). `GOMP_SPINCOUNT` hardly matters here: the threads of the C++ operators rarely wait.",
    "gateway": "`encode` calls the server over gRPC. `HTTP` calls the gateway with httpx, and `openai` with OpenAI's "
    "client.",
    "gpu": "The table compares the matrix products alone, the encoder module, the service, and two other systems. "
    "[GPU benchmark](../../gpu.md) describes the parts.",
    "limit": "`products` are the model's matrix products alone, computed by oneDNN unless the row names torch. "
    "`module` is the encoder in process, and `service` is the encoder over gRPC. Sentriton's C++ operators can be "
    "faster than oneDNN, so a share may exceed 1.",
    "offline": "Peers run at several batch sizes, and Sentriton chooses its own. `× default` compares a row with "
    "sentence-transformers with torch in batches of 32, and `× best peer` compares it with the fastest peer. "
    "`× best peer as close` considers only peers whose vectors are as close to fp32 as those of the row. A system "
    "without a row does not support the precision, or was not part of the run.",
    "operators": "The table compares [Sentriton's C++ operators](../../../docs/decisions/encoder-operators.md) with "
    "torch's, in the encoder module with random weights. `cosine` is the smallest between their token embeddings.",
    "single": "Each caller sends one sentence after another. The client "
    '[joins](../../../client/README.md#joined-requests) waiting calls into one request, except in the rows with "not '
    'joined". `share of list` compares a rate with one call with all sentences.',
    "text": "`embed_text` tokenizes on the server, and `embed_tokens` receives tokens. `embed_text` treats a request "
    "with more than 16 KiB of text as [bulk work](../../../docs/decisions/lanes.md#costs), which is slow beside "
    "shorter requests. To avoid this, `--lane bulk` sends all requests of 64 sentences as bulk work.",
}
# Words of the saved titles, and their form on the pages.
_WORDS = (
    (r"^roberta-(base|large)", r"RoBERTa-\1"),
    (r"^(\S+) (fp32|fp16|bf16|int8)$", r"\1, \2"),
    (r" sentences \(klue\)$", " sentences of KLUE-STS"),
    (r"^klue sentences$", "sentences of KLUE-STS"),
    (r"^mixture sentences$", "1,024 texts of 4 to 512 tokens"),
    (r"^(\d+) sentences of the mixture$", r"\1 texts of 4 to 512 tokens"),
    (r"^(\d)(\d{3}) ", r"\1,\2 "),
    (r"^(\d+) GiB$", r"\1 GiB of memory"),
    (r"^(\d+) s$", r"a run of \1 s"),
    (r"^1\.(\d\d) times their tokens in sorted batches of (\d+)$", r"\1 % more tokens in padded, sorted batches of \2"),
)

Result = dict[str, Any]


def read_results(folder: Path) -> dict[str, list[Result]]:
    """The results by their folder, in the order of the pages."""
    results: dict[str, list[Result]] = {}
    for path in sorted(folder.rglob("*.json")):
        results.setdefault(path.parent.name, []).append(json.loads(path.read_text(encoding="utf-8")))
    return {name: sorted(its, key=_place) for name, its in results.items()}


def _place(result: Result) -> tuple[int, str, int]:
    """The place of a result on its page: by benchmark, model and precision."""
    precision = next((row["precision"] for row in result["rows"] if row.get("precision") in _PRECISIONS), "fp32")
    return [*_HEADINGS].index(result["benchmark"]), result["title"].split(",")[0], _PRECISIONS.index(precision)


def pages(results: dict[str, list[Result]]) -> dict[str, str]:
    """The pages in Markdown by their paths: one of all processors, and one per processor."""
    index = [HEADING]
    for folder in sorted(results, key=_age, reverse=True):
        its = results[folder]
        index.append(f"## {_name(folder)}\n")
        if comparison := _comparison(folder, its):
            index.append(comparison)
        elif any(result["benchmark"] == "gpu" for result in its):
            index.append("The [GPU benchmark](../gpu.md) compares Sentriton with two other systems.\n")
        else:
            index.append("No comparison of a corpus with other systems ran on this processor.\n")
        index.append(f"[All results for {_name(folder)}]({folder}/README.md) are from `{its[0]['processor']}`.\n")
    index.append(_WRITTEN_BY.format(pages="these pages from JSON files"))
    return {
        "README.md": "\n".join(index),
        **{f"{folder}/README.md": processor_page(folder, its) for folder, its in results.items()},
    }


def processor_page(folder: str, results: list[Result]) -> str:
    """The results of the processor in `folder`: each table with its date and command."""
    processor = results[0]["processor"]
    comparison = _comparison(folder, results)
    parts = [
        PROCESSOR_HEADING.format(
            name=_name(folder), processor=processor, comparison=f"{comparison}\n" if comparison else ""
        )
    ]
    if any("build/bench" in result["command"] for result in results):
        parts.append(_CHECKPOINTS)
    shown = set()
    for result in results:
        precisions = {row.get("precision") for row in result["rows"]} - {None}
        only = f", {precisions.pop()}" if len(precisions) == 1 else ""
        benchmark = result["benchmark"]
        model, *details = map(_in_words, result["title"].removesuffix(", " + processor).split(", "))
        parts.append(f"## {_HEADINGS[benchmark]}: {model}{only}{_difference(result)}\n")
        if benchmark not in shown:
            parts.append(f"{_SHOWN[benchmark]}\n")
            shown.add(benchmark)
        parts += [
            markdown(result["rows"]),
            f"This command measured the table ({', '.join([result['date'], *details])}):\n",
            f"```console\n$ {_in_lines(_command(result))}\n```\n",
        ]
    parts.append(_WRITTEN_BY.format(pages="this page from the JSON files in its folder"))
    return "\n".join(parts)


def _command(result: Result) -> str:
    """The command line of a result. `make gpu` runs the benchmark of a GPU in an environment of its own."""
    program, _, options = result["command"].partition(" ")
    own = f'make gpu PYTHON=python3.12 GPU="{options}"'
    return own if program == "benchmarks.gpu" else f".venv/bin/python -m {result['command']}"


def _difference(result: Result) -> str:
    """The end of a heading, where a page has several tables of a benchmark and a model."""
    options = result["command"].split()
    return ", two encoders" if "--encoders" in options else ", long texts" if "mixture" in options else ""


def _ratios(results: list[Result]) -> list[dict[str, Any]]:
    return [row for result in results if result["benchmark"] == "offline" for row in ratio_rows(result)]


def _comparison(folder: str, results: list[Result]) -> str:
    """The corpus rates of Sentriton and the best peer, and their limits."""
    if not (rows := _ratios(results)):
        return ""
    ratios = sorted({f"{row['relative to the best peer']:.2f}" for row in rows}, key=float)
    comparison = _COMPARISON.format(ratio=" to ".join({ratios[0]: None, ratios[-1]: None}), table=markdown(rows))
    return "\n".join([comparison, *(note for name, note in _NOTES.items() if name == folder)])


def _in_words(part: str) -> str:
    for pattern, words in _WORDS:
        part = re.sub(pattern, words, part)
    return part


def _in_lines(command: str) -> str:
    lines = textwrap.wrap(command, _COMMAND_WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    return " \\\n".join(lines)


def _name(folder: str) -> str:
    """The processor's name in a sentence: Zen 4 for zen4."""
    return {"h100": "NVIDIA H100"}.get(folder, re.sub(r"^zen", "Zen ", folder))


def _age(folder: str) -> tuple[int, str]:
    """A key that sorts the folders by the age of their processors, such as zen4, zen5 and zen10."""
    return len(folder), folder


def summary(results: dict[str, list[Result]]) -> str:
    """README's table: the results of RoBERTa-base on the newest processor, with every peer at its best batch size."""
    measured = {
        folder: [result for result in its if result["benchmark"] == "offline" and "RoBERTa-base," in result["title"]]
        for folder, its in results.items()
    }
    folder = max((folder for folder in measured if measured[folder]), key=_age)
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
        _COLUMNS.get(column, column): _cells([row[column] for row in rows], alike=column != _MIXED_COLUMN)
        for column in rows[0]
        if any(row[column] is not None for row in rows)
    }
    lines = [columns, ["---"] * len(columns), *zip(*columns.values(), strict=True)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(values: list[Any], *, alike: bool) -> list[str]:
    """The values as text. `alike`: all numbers have the same decimals."""
    decimals = [len(str(value).partition(".")[2]) if isinstance(value, float) else 0 for value in values]
    if alike:
        decimals = [max(decimals)] * len(values)
    return [
        "" if value is None else f"{value:,.{its}f}" if isinstance(value, (int, float)) else str(value)
        for value, its in zip(values, decimals, strict=True)
    ]


def main() -> None:
    for name, text in pages(read_results(RESULTS)).items():
        (RESULTS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

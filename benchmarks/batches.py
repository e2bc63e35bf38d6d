"""How many token blocks of the encoder do the batches of a corpus fill?

    .venv/bin/python -m benchmarks.batches [--sentences 512] [--blocks 341 768] [--tokens 1024 2048] [--rows 64 128]
        [--save FILE.json]

A nearly empty block takes almost as long as a full one, since the weights are read from memory once per block. The
requests of `SentenceEncoder.encode` go through the scheduler of `embed_tokens`, four at a time, without computation.
`--tokens` and `--rows` are the limits of a batch. `least` is the number of blocks that the tokens could fill.
"""

from __future__ import annotations

import argparse
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import print_report
from benchmarks.workload import SENTENCES
from sentriton.requests import plan_requests
from sentriton.tokenization import TextTokenizer
from sentriton_server.resources import BUNDLED_CHECKPOINT, load_model_code

REQUEST_ROWS = 64
REQUESTS_IN_FLIGHT = 4
Request = load_model_code("embed_tokens", "request").Request
Scheduler = load_model_code("embed_tokens", "scheduler").Scheduler


def batches(sentences: list[str], most_tokens: int, most_rows: int) -> list[list[int]]:
    """The lengths of the rows of each batch."""
    tokenizer = TextTokenizer((BUNDLED_CHECKPOINT / "tokenizer.json").read_text(encoding="utf-8"))
    requests = [planned.tokens for planned in plan_requests(sentences, tokenizer, max_rows=REQUEST_ROWS)]
    scheduler = Scheduler(
        batch_tokens=most_tokens,
        batch_rows=most_rows,
        batches_in_flight=1,
        waiting_rows=len(sentences),
        on_expired=print,
        is_cancelled=lambda request: False,
        on_cancelled=print,
    )
    taken, in_flight = [], 0
    while requests or in_flight:
        while requests and in_flight < REQUESTS_IN_FLIGHT:
            tokens = requests.pop(0)
            pooled = np.ones(len(tokens.row), np.bool_)
            scheduler.add(Request(tokens.input_ids, pooled, tokens.row, deadline=math.inf, lane="bulk"))
            in_flight += 1
        batch = scheduler.take()
        in_flight -= len(batch.deliver(np.zeros((len(batch.rows), 1), np.float32)))
        scheduler.done(batch)
        taken.append(batch.lengths())
    return taken


def blocks(lengths: list[int], most_tokens: int) -> int:
    """The number of token blocks of a batch, which the encoder fills with whole rows, longest first."""
    count, left = 0, 0
    for length in sorted(lengths, reverse=True):
        if length > left:
            count, left = count + 1, most_tokens
        left -= length
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=512)
    parser.add_argument("--lengths", choices=SENTENCES, default="klue")
    parser.add_argument("--blocks", type=int, nargs="+", default=[341, 768])
    parser.add_argument("--tokens", type=int, nargs="+", default=[768, 1024, 1536, 2048])
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--save", type=Path, help="a file of benchmarks/results/ for the results")
    arguments = parser.parse_args()
    sentences = SENTENCES[arguments.lengths](arguments.sentences)
    rows: list[dict[str, Any]] = []
    for most_tokens, most_rows in itertools.product(arguments.tokens, arguments.rows):
        taken = batches(sentences, most_tokens, most_rows)
        row = {"most_tokens": most_tokens, "most_rows": most_rows, "batches": len(taken)}
        for size in arguments.blocks:
            row[f"blocks_of_{size}"] = sum(blocks(lengths, size) for lengths in taken)
            row[f"least_of_{size}"] = math.ceil(sum(map(sum, taken)) / size)
        rows.append(row)
    print_report("batches", f"{len(sentences)} sentences ({arguments.lengths})", rows, save=arguments.save)


if __name__ == "__main__":
    main()

"""How many sentences a second does a corpus take through the service, next to sentence-transformers in process?

    .venv/bin/python -m benchmarks.offline [--size large] [--sentences 256] [--rounds 2]

All contenders run in one process, one after the other, in rounds; the best round of each counts, since the machine may
be busy with something else. Vectors of every contender are compared with sentence-transformers' in fp32.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from benchmarks.checkpoints import SIZES, make_checkpoint
from benchmarks.workload import hardware, klue_sentences
from sentriton import SentenceEncoder
from sentriton_server.export import export
from sentriton_server.parity import compare
from sentriton_server.serving import ServerSettings, TritonServer

Encode = Callable[[list[str]], NDArray[np.float32]]
PRECISIONS = ("fp32", "bf16", "int8")


def serve(stack: ExitStack, checkpoint: Path, folder: Path, precision: str) -> Encode:
    """Start a server for a precision; it runs until the stack closes."""
    export(checkpoint, folder / precision, precision=precision, device="cpu")
    server = stack.enter_context(TritonServer(folder / precision, ServerSettings(grpc_port=0, metrics_port=0)))
    encoder = stack.enter_context(SentenceEncoder(server.url, timeout_s=3600, priority="bulk"))
    return lambda sentences: encoder.encode(sentences, batch_size=16)


def measure(contenders: dict[str, Encode], sentences: list[str], rounds: int) -> list[dict[str, object]]:
    """Best rate of each contender, and how its vectors compare with the first one's."""
    best = dict.fromkeys(contenders, 0.0)
    embeddings = {name: encode(sentences[:16]) for name, encode in contenders.items()}  # warm-up
    for _ in range(rounds):
        for name, encode in contenders.items():
            started = time.perf_counter()
            embeddings[name] = encode(sentences)
            best[name] = max(best[name], len(sentences) / (time.perf_counter() - started))
    first = next(iter(contenders))
    return [
        {
            "contender": name,
            "sentences_per_s": round(rate, 1),
            "times_sentence_transformers": round(rate / best[first], 2),
            "min_cosine": round(compare(embeddings[name], embeddings[first]).min_cosine, 6),
        }
        for name, rate in best.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="large")
    parser.add_argument("--sentences", type=int, default=256, help="how many of KLUE-STS dev's 1,038")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    sentences = klue_sentences()[: arguments.sentences]
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        checkpoint = make_checkpoint(arguments.size, folder)
        model = SentenceTransformer(str(checkpoint), device="cpu")
        in_bf16 = SentenceTransformer(str(checkpoint), device="cpu", model_kwargs={"dtype": torch.bfloat16})
        contenders: dict[str, Encode] = {
            "sentence-transformers fp32, in process": model.encode,
            "sentence-transformers bf16, in process": in_bf16.encode,
        }
        for precision in PRECISIONS:
            contenders[f"Sentriton {precision}, over gRPC"] = serve(stack, checkpoint, folder, precision)
        rows = measure(contenders, sentences, arguments.rounds)
    table = Table(title=f"RoBERTa-{arguments.size}, {len(sentences)} KLUE-STS sentences, {hardware()}")
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=140).print(table)
    print(json.dumps({"benchmark": "offline", "size": arguments.size, "hardware": hardware(), "rows": rows}))


if __name__ == "__main__":
    main()

"""How much of the encoder's rate reaches a caller through gRPC, and what does the client cost?

    .venv/bin/python -m benchmarks.chain [--checkpoint FOLDER] [--precision fp32] [--sentences 20000] [--rounds 3]

First the exported TorchScript module is called in a loop, on prepared tokens sorted by length, with every batch size.
Then `SentenceEncoder.encode` tokenizes the same sentences and sends them to a server on the same cores. All take turns
in rounds, and the best round of each counts, since other work may disturb a round.
"""

from __future__ import annotations

import argparse
import csv
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.products import finish
from benchmarks.report import print_report
from benchmarks.workload import cpu_seconds, hardware, public_data
from sentriton import SentenceEncoder
from sentriton.requests import cut
from sentriton.tokenization import PackedRows, TextTokenizer, pack_rows
from sentriton_server.encoder.operators import load_library
from sentriton_server.export import export
from sentriton_server.repository import read_key
from sentriton_server.resources import BUNDLED_CHECKPOINT
from sentriton_server.serving import ServerSettings, TritonServer

DIRECT_BATCH_SIZES = (16, 32, 64, 128, 256)


def short_sentences(count: int) -> list[str]:
    """`count` questions and answers of the chatbot data (MIT): 3 to 40 tokens each."""
    with public_data("chatbot").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row[column] for column in ("Q", "A") for row in rows][:count]


@dataclass
class BestRound:
    """The best round of one contender: its seconds, and the client's share of the CPU time."""

    seconds: float = float("inf")
    client_share: float | None = None


def token_batches(tokens: Sequence[Sequence[int]], max_rows: int, max_tokens: int) -> Iterator[PackedRows]:
    """The rows, longest first, in batches of at most `max_rows` rows and `max_tokens` tokens, or one row."""
    rows = sorted(tokens, key=len, reverse=True)
    for places in cut([len(row) for row in rows], max_rows, max_tokens):
        yield pack_rows([rows[place] for place in places])


def direct(
    repository: Path, sentences: list[str], batch_size: int, device: str = "cpu", max_tokens: int = 1 << 30
) -> Callable[[], None]:
    """A loop over the module on cpu or gpu, in batches of `batch_size` rows of similar length, or of `max_tokens`."""
    where = "cuda" if device == "gpu" else "cpu"
    load_library(repository / "encoder/1")
    module = torch.jit.load(str(repository / "encoder/1/model.pt"), map_location=where).eval()
    tokenizer = TextTokenizer((repository / "assets/1/tokenizer.json").read_text(encoding="utf-8"))
    batches = []
    for tokens in token_batches(tokenizer.tokenize(sentences), batch_size, max_tokens):
        key = np.full(len(tokens.row), read_key(repository))
        batches.append([torch.from_numpy(part[:, None]).to(where) for part in (tokens.input_ids, tokens.row, key)])

    def run() -> None:
        with torch.inference_mode():
            for batch in batches:
                module(*batch)
            finish(device)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--sentences", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    sentences = short_sentences(arguments.sentences)
    with tempfile.TemporaryDirectory() as scratch:
        repository = Path(scratch) / "repository"
        export(arguments.checkpoint, repository, precision=arguments.precision, device="cpu")
        torch._C._get_graph_executor_optimize(False)  # as in the repository's configuration
        runs: dict[str, Callable[[], Any]] = {
            f"module, batches of {size}": direct(repository, sentences, size) for size in DIRECT_BATCH_SIZES
        }
        with (
            TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)) as server,
            SentenceEncoder(server.url, timeout_s=600) as encoder,
        ):
            runs["encode over gRPC"] = lambda: encoder.encode(sentences)
            best = {name: BestRound() for name in runs}
            for _ in range(arguments.rounds):
                for name, run in runs.items():
                    whole, own = cpu_seconds(psutil.Process()), time.process_time()
                    started = time.perf_counter()
                    run()
                    seconds = time.perf_counter() - started
                    if seconds < best[name].seconds:
                        own, whole = time.process_time() - own, cpu_seconds(psutil.Process()) - whole
                        best[name] = BestRound(seconds, own / whole if "gRPC" in name else None)
    fastest = min(measured.seconds for name, measured in best.items() if "module" in name)
    rows = [
        {
            "contender": name,
            "sentences_per_s": round(len(sentences) / measured.seconds),
            "share_of_module": round(fastest / measured.seconds, 3),
            "client_cpu_share": None if measured.client_share is None else round(measured.client_share, 3),
        }
        for name, measured in best.items()
    ]
    title = f"{arguments.checkpoint.name} {arguments.precision}, {len(sentences):,} short sentences, {hardware()}"
    print_report("chain", title, rows)


if __name__ == "__main__":
    main()

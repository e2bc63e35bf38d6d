"""How fast is the encoder module by Sentriton's operators, compared with torch's?

    .venv/bin/python -m benchmarks.operators [--rounds 6] [--precisions fp32 bf16 int8] [--threads 2 1]
        [--save FILE.json]

Each case is a RoBERTa with random weights and a batch of rows of the given tokens. The two modules compute it in turn,
in one process. A rate is that of the fastest of the rounds, and counts only the matrix products. `cosine` is the
smallest cosine between the token embeddings of both modules.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import RobertaModel

from benchmarks.checkpoints import SIZES, VOCAB_SIZE, roberta_config
from benchmarks.products import operations_per_token
from benchmarks.report import print_report
from benchmarks.workload import hardware
from sentriton_server.cores import usable_cores
from sentriton_server.encoder import PRECISIONS, compile_encoder, precisions_of, read_encoder
from sentriton_server.encoder.operators import build_library, load_library

_RANDOM = random.Random(0)
_MIXTURE = [_RANDOM.randint(4, 200) for _ in range(128)]
# size, layers, tokens of each row
CASES = [
    ("base", 3, _MIXTURE),
    ("base", 2, [20]),
    ("base", 2, [9, 17, 25]),
    ("4x256", 4, [20]),
    ("4x256", 4, [9, 17, 25]),
    ("4x256", 4, [length // 4 + 1 for length in _MIXTURE]),
]


def module_of(encoder: RobertaModel, precision: str, *, operators: bool) -> Any:
    _, packed = read_encoder(encoder, None)
    return compile_encoder(packed, PRECISIONS[precision], operators=operators)


def batch_of(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, row numbers and token types [tokens, 1] of rows of these lengths."""
    row = torch.repeat_interleave(torch.arange(len(lengths), dtype=torch.int32), torch.tensor(lengths))[:, None]
    ids = torch.randint(2, VOCAB_SIZE, row.shape, dtype=torch.int32)
    return ids, row, torch.zeros_like(ids, dtype=torch.int64)


def measure(modules: dict[str, Any], batch: tuple[Tensor, Tensor, Tensor], rounds: int) -> dict[str, float]:
    """The seconds of each module's fastest round. A round of a small batch has several calls."""
    fastest = dict.fromkeys(modules, float("inf"))
    calls = max(1, 2000 // len(batch[0]))
    with torch.inference_mode(), torch.jit.optimized_execution(False):
        for _ in range(rounds):
            for name, module in modules.items():
                start = time.perf_counter()
                for _ in range(calls):
                    module(*batch)
                fastest[name] = min(fastest[name], (time.perf_counter() - start) / calls)
    return fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--precisions", nargs="+", default=precisions_of("cpu"), choices=precisions_of("cpu"))
    parser.add_argument("--threads", type=int, nargs="+", default=[usable_cores(), 1])
    parser.add_argument("--save", type=Path, help="a file of benchmarks/results/ for the results")
    arguments = parser.parse_args()
    load_library(build_library().parent)
    rows: list[dict[str, Any]] = []
    for size, layers, lengths in CASES:
        torch.manual_seed(0)
        _, hidden, _, intermediate = SIZES[size]
        encoder = RobertaModel(roberta_config(size, layers), add_pooling_layer=False).eval()
        batch = batch_of(lengths)
        gflop = operations_per_token(hidden, intermediate, layers) * len(batch[0]) / 1e9
        for precision in arguments.precisions:
            modules = {
                name: module_of(encoder, precision, operators=name == "sentriton") for name in ("torch", "sentriton")
            }
            with torch.inference_mode():
                by_torch, own = (module(*batch).double() for module in modules.values())
            for threads in arguments.threads:
                torch.set_num_threads(threads)
                seconds = measure(modules, batch, arguments.rounds)
                rows.append(
                    {
                        "model": f"{size}, {layers} layers",
                        "rows": len(lengths),
                        "tokens": len(batch[0]),
                        "precision": precision,
                        "threads": threads,
                        "torch_gflop_per_s": round(gflop / seconds["torch"], 1),
                        "sentriton_gflop_per_s": round(gflop / seconds["sentriton"], 1),
                        "x_torch": round(seconds["torch"] / seconds["sentriton"], 2),
                        "cosine": round(float(torch.cosine_similarity(by_torch, own).min()), 6),
                    }
                )
    print_report(
        "operators", f"encoder module, {torch.ops.sentriton.instructions()}, {hardware()}", rows, save=arguments.save
    )


if __name__ == "__main__":
    main()

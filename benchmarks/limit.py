"""What share of the processor's matrix rate reaches a caller?

    .venv/bin/python -m benchmarks.limit [--size large] [--layers 6] [--sentences 256] [--rounds 3] [--plot FILE.png]

Three rates for each precision, measured in turn in one run, in operations a second: the matrix products alone, on the
model's own shapes, by the kernels that the encoder uses (for fp32 also by `torch.nn.functional.linear`, which is what
sentence-transformers runs on); the exported TorchScript module in this process; and the service over gRPC. For module
and service only useful work counts: the projections of real tokens, no padding, no attention. Fewer layers than the
model has make a shorter run, and leave the shares as they are.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.chain import direct
from benchmarks.checkpoints import SIZES, make_checkpoint
from benchmarks.report import print_report
from benchmarks.workload import hardware, klue_sentences
from sentriton import SentenceEncoder
from sentriton_server.encoder.linear import OrderedLinear
from sentriton_server.encoder.packed import TOKENS_PER_STEP
from sentriton_server.export import export
from sentriton_server.serving import ServerSettings, TritonServer

PRECISIONS = ("fp32", "bf16", "int8")
DIRECT_BATCH_SIZE = 32


def products(hidden: int, intermediate: int) -> list[tuple[int, int]]:
    """Input and output width of the four matrix products of a layer."""
    return [(hidden, 3 * hidden), (hidden, hidden), (hidden, intermediate), (intermediate, hidden)]


def operations_per_token(hidden: int, intermediate: int, layers: int) -> int:
    return 2 * layers * sum(wide * high for wide, high in products(hidden, intermediate))


def int8_product(linear: nn.Linear) -> Callable[[Tensor], Tensor]:
    weight = torch.randint(-127, 128, linear.weight.shape, dtype=torch.int8)
    ordered = torch.ops.onednn.qlinear_prepack(weight, None)
    scales, zeros = torch.ones(len(weight)), torch.zeros(len(weight), dtype=torch.int64)

    def run(numbers: Tensor) -> Tensor:
        return torch.ops.onednn.qlinear_pointwise(
            numbers, 1.0, 0, ordered, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )

    return run


def layer_of_products(precision: str, hidden: int, intermediate: int) -> Callable[[], None]:
    """One layer's matrix products on a step of tokens; `torch` as precision: fp32 by torch's own linear."""
    calls = []
    for width, height in products(hidden, intermediate):
        linear, tokens = nn.Linear(width, height), torch.randn(TOKENS_PER_STEP, width)
        if precision == "int8":
            calls.append((int8_product(linear), torch.randint(0, 256, tokens.shape, dtype=torch.uint8)))
        elif precision == "torch":
            calls.append((linear, tokens))
        else:
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            calls.append((OrderedLinear(linear, dtype), tokens.to(dtype)))

    def run() -> None:
        with torch.inference_mode():
            for _ in range(8):
                for product, tokens in calls:
                    product(tokens)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="large")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--sentences", type=int, default=256, help="how many of KLUE-STS dev's 1,038")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    _, hidden, _, intermediate = SIZES[arguments.size]
    sentences = klue_sentences()[: arguments.sentences]
    torch._C._get_graph_executor_optimize(False)  # as the repository's configuration has it

    runs: dict[tuple[str, str], Callable[[], Any]] = {}
    work: dict[tuple[str, str], float] = {}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        checkpoint = make_checkpoint(arguments.size, Path(scratch), layers=arguments.layers)
        for precision in ("torch", *PRECISIONS):
            runs[precision, "products"] = layer_of_products(precision, hidden, intermediate)
            work[precision, "products"] = 8 * TOKENS_PER_STEP * operations_per_token(hidden, intermediate, 1)
        for precision in PRECISIONS:
            repository = Path(scratch) / precision
            export(checkpoint, repository, precision=precision, device="cpu")
            server = stack.enter_context(TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)))
            encoder = stack.enter_context(SentenceEncoder(server.url, timeout_s=3600))
            tokens = sum(map(len, encoder.tokenize(sentences)))
            runs[precision, "module"] = direct(repository, sentences, DIRECT_BATCH_SIZE)
            runs[precision, "service"] = lambda encoder=encoder: encoder.encode(sentences)
            for what in ("module", "service"):
                work[precision, what] = tokens * operations_per_token(hidden, intermediate, arguments.layers)
        best = dict.fromkeys(runs, float("inf"))
        for run in runs.values():
            run()
        for _ in range(arguments.rounds):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - started)
    rates = {name: work[name] / seconds / 1e9 for name, seconds in best.items()}
    rows = [
        {
            "precision": "fp32 by torch" if precision == "torch" else precision,
            "rate_of": what,
            "gflop_per_s": round(rate),
            "share_of_products": round(rate / rates[precision, "products"], 3),
            "share_of_module": round(rate / rates[precision, "module"], 3) if what == "service" else None,
        }
        for (precision, what), rate in sorted(rates.items(), key=lambda item: item[0][0])
    ]
    title = f"RoBERTa-{arguments.size}, {arguments.layers} layers, {len(sentences)} KLUE-STS sentences, {hardware()}"
    print_report("limit", title, rows, plot=arguments.plot, bars="gflop_per_s")


if __name__ == "__main__":
    main()

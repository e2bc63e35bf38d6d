"""What share of the processor's matrix rate reaches a caller?

    .venv/bin/python -m benchmarks.limit [--size large] [--layers LAYERS] [--sentences 512] [--lengths klue|mixture]
        [--rounds 3] [--device cpu|gpu] [--precisions fp32 bf16 int8] [--scratch FOLDER] [--prepare]
        [--plot FILE.png] [--save FILE.json]

Each precision has three rates in operations per second. Each has its own process, and all take turns in one run.
`products` are the matrix products alone, in the model's shapes: oneDNN computes them on a CPU, and cuBLAS on a GPU.
`module` is the exported TorchScript module, with the scheduler's batch size and the server's variables. `service` is
the same module over gRPC. On a CPU the products are also measured by `torch.nn.functional.linear` in fp32, which
sentence-transformers uses.

For module and service only useful work counts: the projections of real tokens, without padding and attention. A
smaller number of `--layers` makes the run shorter, and does not change the module's share of the products. The
service's share falls, because tokenization, requests and pooling take the same time beside less work.

`--scratch` keeps checkpoint and exports for the next run with the same size and layers. `--prepare` only makes them.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.chain import direct
from benchmarks.checkpoints import SIZES, export_once, make_checkpoint
from benchmarks.own_process import OwnProcess, seconds_per_call
from benchmarks.products import FP32_BY_TORCH, layers_of_products, operations_of_products, operations_per_token
from benchmarks.report import print_report
from benchmarks.workload import SENTENCES, hardware
from sentriton import SentenceEncoder
from sentriton_server.encoder import precisions_of
from sentriton_server.repository import read_config
from sentriton_server.serving import ServerSettings, TritonServer
from sentriton_server.serving.profile import read_profile

DEVICES = ("cpu", "gpu")
# Only the products are measured, since no encoder runs at this precision.
PRODUCTS_ONLY_PRECISION = {"cpu": FP32_BY_TORCH, "gpu": "bf16"}
_MIN_TURN_S = 3.0
_MOST_ROWS = 1 << 20  # of a batch: its tokens bound it


Turn: TypeAlias = Callable[[float], float]


@dataclass
class Measured:
    """One `turn`, which returns seconds, its operations and tokens, and the seconds of its best round."""

    turn: Turn
    operations: float
    tokens: int | None = None
    seconds: float = float("inf")

    def take_turn(self) -> None:
        # Products take milliseconds, so they are repeated for a turn as long as the others.
        self.seconds = min(self.seconds, self.turn(_MIN_TURN_S))

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds


def table(measured: dict[tuple[str, str], Measured]) -> list[dict[str, Any]]:
    """`measured` by precision and kind: products, module or service."""
    return [
        {
            "precision": precision,
            "rate_of": what,
            "gflop_per_s": round(its.rate / 1e9),
            "tokens_per_s": None if its.tokens is None else round(its.tokens / its.seconds),
            "share_of_products": round(its.rate / measured[precision, "products"].rate, 3),
            "share_of_module": round(its.rate / measured[precision, "module"].rate, 3) if what == "service" else None,
        }
        for (precision, what), its in measured.items()
    ]


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="large")
    parser.add_argument("--layers", type=int, help="this number of layers instead of the model's own")
    parser.add_argument("--sentences", type=int, default=512)
    parser.add_argument("--lengths", choices=SENTENCES, default="klue")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--precisions", nargs="+", help="default: all of the device's")
    parser.add_argument("--scratch", type=Path, help="a folder that keeps checkpoint and exports for the next run")
    parser.add_argument("--prepare", action="store_true", help="fill --scratch, and measure nothing")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--save", type=Path, help="a file of benchmarks/results/ for the results")
    return parser


def exports(size: str, layers: int, scratch: Path, precisions: list[str], device: str) -> dict[str, Path]:
    """A repository of each precision, made below `scratch` unless it is there."""
    folder = scratch / f"{size}-{layers}"
    checkpoint = folder / f"roberta-{size}"
    if not checkpoint.is_dir():
        make_checkpoint(size, folder, layers=layers)
    return {precision: export_once(checkpoint, folder, precision=precision, device=device) for precision in precisions}


def main() -> None:
    arguments = parser().parse_args()
    device, precisions = arguments.device, arguments.precisions or precisions_of(arguments.device)
    logging.disable(logging.WARNING)
    if arguments.prepare and arguments.scratch is None:
        raise SystemExit("--prepare needs a folder to fill; add --scratch FOLDER")
    all_layers, hidden, _, intermediate = SIZES[arguments.size]
    layers = arguments.layers or all_layers
    sentences = SENTENCES[arguments.lengths](arguments.sentences)
    measured: dict[tuple[str, str], Measured] = {}
    with ExitStack() as stack:
        scratch = arguments.scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        repositories = exports(arguments.size, layers, scratch, precisions, device)
        if arguments.prepare:
            return

        def in_own_process(
            make: Callable[..., Callable[[], Any]], *values: Any, **more: Any
        ) -> Callable[[float], float]:
            return stack.enter_context(closing(OwnProcess(make, *values, **more))).turn

        for precision in [*precisions, PRODUCTS_ONLY_PRECISION[device]]:
            turn = in_own_process(layers_of_products, precision, hidden, intermediate, device)
            measured[precision, "products"] = Measured(turn, operations_of_products(hidden, intermediate, device))
        for precision in precisions:
            repository = repositories[precision]
            server = stack.enter_context(TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)))
            encoder = stack.enter_context(SentenceEncoder(server.url, timeout_s=3600))
            tokens = sum(map(len, encoder.token_ids(sentences)))
            operations = tokens * operations_per_token(hidden, intermediate, layers)
            parameters = read_config(repository, "embed_tokens").parameters
            batch_tokens = int(parameters["MOST_BATCH_TOKENS"].string_value)
            loop = (direct, repository, sentences, _MOST_ROWS, device, batch_tokens)
            turn = in_own_process(*loop, variables=read_profile(device).environment)
            measured[precision, "module"] = Measured(turn, operations, tokens)
            turn = partial(seconds_per_call, partial(encoder.encode, sentences))
            measured[precision, "service"] = Measured(turn, operations, tokens)
        for each in measured.values():
            each.turn(0.0)
        for _ in range(arguments.rounds):
            for each in measured.values():
                each.take_turn()
    title = (
        f"RoBERTa-{arguments.size}, {layers} layers, {len(sentences)} sentences ({arguments.lengths}), "
        f"{hardware(device)}"
    )
    print_report("limit", title, table(measured), plot=arguments.plot, bars="gflop_per_s", save=arguments.save)


if __name__ == "__main__":
    main()

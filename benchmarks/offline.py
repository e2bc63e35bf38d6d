"""How many sentences a second does a corpus take through the service, next to sentence-transformers in process?

    .venv/bin/python -m benchmarks.offline [--size large] [--sentences 256] [--rounds 2] [--device cpu|gpu]
        [--plot FILE.png]

All contenders run in one process, one after the other, in rounds; the best round of each counts, since the machine may
be busy with something else. Where it is for long, compare the CPU time, of client and server together (with
OMP_WAIT_POLICY=PASSIVE, or the time that torch's threads wait counts). Vectors of every contender are compared with
sentence-transformers' in fp32.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from benchmarks.chain import cpu_seconds
from benchmarks.checkpoints import SIZES, make_checkpoint
from benchmarks.report import print_report
from benchmarks.workload import hardware, klue_sentences
from sentriton import SentenceEncoder
from sentriton_server.export import export
from sentriton_server.parity import compare
from sentriton_server.serving import ServerSettings, TritonServer

Encode = Callable[[list[str]], NDArray[np.float32]]
# What runs on each device: Sentriton's precisions, and those that torch has for sentence-transformers.
PRECISIONS = {"cpu": ("fp32", "bf16", "int8"), "gpu": ("fp32", "fp16")}
DTYPES = {
    "cpu": {"fp32": torch.float32, "bf16": torch.bfloat16},
    "gpu": {"fp32": torch.float32, "fp16": torch.float16},
}
BATCH_SIZES = (32, 8)  # sentence-transformers' default, and one that pads less


def serve(stack: ExitStack, checkpoint: Path, folder: Path, precision: str, device: str) -> Encode:
    """Start a server for a precision; it runs until the stack closes."""
    export(checkpoint, folder / precision, precision=precision, device=device)
    server = stack.enter_context(TritonServer(folder / precision, ServerSettings(grpc_port=0, metrics_port=0)))
    encoder = stack.enter_context(SentenceEncoder(server.url, timeout_s=3600, priority="bulk"))
    return encoder.encode


@dataclass
class Contender:
    precision: str
    encode: Encode
    rate: float = 0.0
    cpu_ms: float = float("inf")
    embeddings: NDArray[np.float32] | None = None


def in_process(checkpoint: Path, precision: str, batch_size: int, device: str) -> Contender:
    dtype = DTYPES[device][precision]
    place = "cuda" if device == "gpu" else "cpu"
    model = SentenceTransformer(str(checkpoint), device=place, model_kwargs={"dtype": dtype})
    return Contender(precision, lambda sentences: model.encode(sentences, batch_size=batch_size))


def measure(contenders: dict[str, Contender], sentences: list[str], rounds: int) -> list[dict[str, object]]:
    """Best rate of each contender, against sentence-transformers' default of the same precision (int8: bf16, its
    fastest), and how its vectors compare with the first one's."""
    for contender in contenders.values():
        contender.encode(sentences[:16])  # warm-up
    for _ in range(rounds):
        for contender in contenders.values():
            cpu, started = cpu_seconds(psutil.Process()), time.perf_counter()
            contender.embeddings = contender.encode(sentences)
            contender.rate = max(contender.rate, len(sentences) / (time.perf_counter() - started))
            cpu = cpu_seconds(psutil.Process()) - cpu
            contender.cpu_ms = min(contender.cpu_ms, 1000 * cpu / len(sentences))
    default: dict[str, Contender] = {}
    for contender in contenders.values():
        default.setdefault(contender.precision, contender)
    if "bf16" in default:
        default["int8"] = default["bf16"]
    first = default["fp32"]
    return [
        {
            "contender": name,
            "sentences_per_s": round(contender.rate, 1),
            "cpu_ms_per_sentence": round(contender.cpu_ms, 2),
            "times_sentence_transformers": round(contender.rate / default[contender.precision].rate, 2),
            "min_cosine": round(compare(contender.embeddings, first.embeddings).min_cosine, 6),
        }
        for name, contender in contenders.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="large")
    parser.add_argument("--layers", type=int, help="fewer layers than the model has, for a quick look")
    parser.add_argument("--sentences", type=int, default=256, help="how many of KLUE-STS dev's 1,038")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", choices=PRECISIONS, default="cpu")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    sentences = klue_sentences()[: arguments.sentences]
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        checkpoint = make_checkpoint(arguments.size, folder, layers=arguments.layers)
        contenders = {
            f"sentence-transformers {precision}, in process, batches of {batch_size}": in_process(
                checkpoint, precision, batch_size, arguments.device
            )
            for precision in DTYPES[arguments.device]
            for batch_size in BATCH_SIZES
        }
        for precision in PRECISIONS[arguments.device]:
            encode = serve(stack, checkpoint, folder, precision, arguments.device)
            contenders[f"Sentriton {precision}, over gRPC"] = Contender(precision, encode)
        rows = measure(contenders, sentences, arguments.rounds)
    layers = f", {arguments.layers} layers" if arguments.layers else ""
    title = f"RoBERTa-{arguments.size}{layers}, {len(sentences)} KLUE-STS sentences, {hardware()}"
    print_report("offline", title, rows, plot=arguments.plot)


if __name__ == "__main__":
    main()

"""Are the first calls after a start slower than later ones?

    .venv/bin/python -m benchmarks.first [--size base] [--layers 12] [--precisions fp32] [--lengths 64] [--plot F.png]

A server is started, and as soon as it is ready a single row of each of many lengths goes through it, one after the
other, in an order drawn at random: shapes that nobody has sent before. Then the same rows several times more: for each
length the 99th percentile of those calls is its steady time. Ratios are first call to steady p99 of the same length.
"""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.checkpoints import SIZES, make_checkpoint
from benchmarks.report import print_report
from benchmarks.workload import hardware
from sentriton.connection import Connection
from sentriton.protocol import tokens_request
from sentriton_server.export import export
from sentriton_server.resources import BUNDLED_CHECKPOINT
from sentriton_server.serving import ServerSettings, TritonServer

LONGEST = 512
STEADY_ROUNDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=(*SIZES, "bundled"), default="bundled")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "int8"])
    parser.add_argument("--lengths", type=int, default=64, help="how many lengths")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = BUNDLED_CHECKPOINT
        if arguments.size != "bundled":
            checkpoint = make_checkpoint(arguments.size, Path(scratch), layers=arguments.layers)
        for precision in arguments.precisions:
            repository = Path(scratch) / precision
            manifest = export(checkpoint, repository, precision=precision, device="cpu")
            longest = min(LONGEST, manifest.max_seq_length)
            lengths = [int(length) for length in np.linspace(1, longest, min(arguments.lengths, longest))]
            random.Random(0).shuffle(lengths)
            seconds = measure(repository, lengths)
            first, p99 = seconds[0], np.quantile(seconds[1:], 0.99, axis=0)
            rows.append(
                {
                    "precision": precision,
                    "first_call_ms": round(1e3 * first[0], 1),
                    "its_steady_p99_ms": round(1e3 * p99[0], 1),
                    "median_ratio": round(float(np.median(first / p99)), 2),
                    "largest_ratio": round(float(np.max(first / p99)), 2),
                    "at_length": lengths[int(np.argmax(first / p99))],
                    "above_twice": int((first > 2 * p99).sum()),
                    "lengths": len(lengths),
                }
            )
    title = f"RoBERTa-{arguments.size}, first calls of every length, up to {longest} tokens, {hardware()}"
    print_report("first", title, rows, plot=arguments.plot, bars="largest_ratio")


def measure(repository: Path, lengths: list[int]) -> np.ndarray:
    """Seconds [rounds, lengths] of calls to a server that has just become ready; round 0 has the first ones."""
    messages = [tokens_request(*np.full((2, 1, length), 1, np.int64)) for length in lengths]
    with TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)) as server:
        connection = Connection(server.url)
        seconds = np.empty((1 + STEADY_ROUNDS, len(lengths)))
        for around in seconds:
            for at, message in enumerate(messages):
                started = time.perf_counter()
                connection.infer(message, 60)
                around[at] = time.perf_counter() - started
        connection.close()
    return seconds


if __name__ == "__main__":
    main()

"""Are the first calls after a start slower than later ones?

    .venv/bin/python -m benchmarks.first [--size base] [--layers 12] [--precisions fp32] [--lengths 64] [--most-rows 1]
        [--operators auto] [--plot F.png]

A new server gets requests of many lengths, one after the other, in random order. Each has a new shape, of one row or of
a random number of rows. Then the same requests are repeated. The 99th percentile of the repetitions of a shape is its
steady time. Ratios are first call to steady p99 of the same shape. Each later round, compared with the others in the
same way, shows the machine's disturbances.
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
from sentriton.tokenization import pack_rows
from sentriton_server.encoder import precisions_of
from sentriton_server.export import export
from sentriton_server.resources import BUNDLED_CHECKPOINT
from sentriton_server.serving import ServerSettings, TritonServer
from sentriton_server.settings import OPERATORS

MAX_TOKENS = 512
STEADY_ROUNDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=(*SIZES, "bundled"), default="bundled")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--precisions", nargs="+", default=precisions_of("cpu"))
    parser.add_argument("--lengths", type=int, default=64, help="number of lengths")
    parser.add_argument("--most-rows", type=int, default=1, help="largest number of rows in a request")
    parser.add_argument("--operators", choices=OPERATORS, default="auto")
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
            manifest = export(checkpoint, repository, precision=precision, device="cpu", operators=arguments.operators)
            longest = min(MAX_TOKENS, manifest.max_seq_length)
            lengths = [int(length) for length in np.linspace(1, longest, min(arguments.lengths, longest))]
            drawn = random.Random(0)
            drawn.shuffle(lengths)
            shapes = [(drawn.randint(1, arguments.most_rows), length) for length in lengths]
            seconds = measure(repository, shapes)
            first, steady = seconds[0], p99(seconds[1:])
            ratio = first / steady
            later = [
                seconds[around] / p99(np.delete(seconds[1:], around - 1, axis=0)) for around in range(1, len(seconds))
            ]
            rows.append(
                {
                    "precision": precision,
                    "first_call_ms": round(1e3 * first[0], 1),
                    "its_steady_p99_ms": round(1e3 * steady[0], 1),
                    "median_ratio": round(float(np.median(ratio)), 2),
                    "largest_ratio": round(float(np.max(ratio)), 2),
                    "at_shape": "{} x {}".format(*shapes[int(np.argmax(ratio))]),
                    "above_twice": int((ratio > 2).sum()),
                    "shapes": len(shapes),
                    "largest_of_later_rounds": round(float(np.max(later)), 2),
                    "later_above_twice_a_round": round(float(np.mean(np.sum(np.array(later) > 2, axis=1))), 2),
                }
            )
    title = (
        f"RoBERTa-{arguments.size}, {arguments.operators} operators, first calls of shapes up to {arguments.most_rows} "
        f"x {longest} tokens, {hardware()}"
    )
    print_report("first", title, rows, plot=arguments.plot, bars="largest_ratio")


def p99(seconds: np.ndarray) -> np.ndarray:
    """The 99th percentile [shapes] of calls [rounds, shapes]."""
    return np.quantile(seconds, 0.99, axis=0)


def measure(repository: Path, shapes: list[tuple[int, int]]) -> np.ndarray:
    """Seconds [rounds, shapes] of calls to a new server, the first calls in round 0. A shape is the number of rows and
    the tokens of each.
    """
    messages = [tokens_request(pack_rows([[1] * length] * rows)) for rows, length in shapes]
    with TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)) as server:
        connection = Connection(server.url)
        seconds = np.empty((1 + STEADY_ROUNDS, len(shapes)))
        for around in seconds:
            for at, message in enumerate(messages):
                started = time.perf_counter()
                connection.infer(message, 60)
                around[at] = time.perf_counter() - started
        connection.close()
    return seconds


if __name__ == "__main__":
    main()

"""How many single sentences a second do many callers get, and how long does each wait?

    .venv/bin/python -m benchmarks.online [--size large] [--layers N] [--precision fp32] [--callers 1 8 64]
        [--seconds 15] [--processes 1] [--lengths klue|mixture] [--padded] [--plot FILE.png]

Every caller sends one sentence of tokens made beforehand, waits for its vector, and sends the next; callers share
`--processes` client processes on the same cores as the server. `--padded` measures the usual Triton repository beside
it, in turn: fp32, every sentence padded to the longest of the work load. With `--size 1x64`, a model that computes next
to nothing, the rate is what the chain itself can carry.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import multiprocessing
import random
import re
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks.checkpoints import SIZES, make_checkpoint
from benchmarks.padded import MODEL as PADDED
from benchmarks.padded import add_padded_model
from benchmarks.report import print_report
from benchmarks.workload import hardware, klue_sentences, mixture_lengths
from sentriton.protocol import EMBED_TOKENS, tokens_request
from sentriton.tokenization import TextTokenizer
from sentriton_server.export import export
from sentriton_server.serving import ServerSettings, TritonServer

WARM_UP_S = 2.0


async def call_in_turn(url: str, requests: Sequence[bytes], callers: int, seconds: float) -> list[float]:
    """Latencies in seconds of the calls that `callers` concurrent callers began after the warm-up."""
    latencies: list[float] = []
    turn = itertools.cycle(requests)
    async with grpc.aio.insecure_channel(url) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        begin = time.perf_counter() + WARM_UP_S
        end = begin + seconds

        async def caller() -> None:
            while (started := time.perf_counter()) < end:
                await infer(next(turn))
                if started >= begin:
                    latencies.append(time.perf_counter() - started)

        await asyncio.gather(*(caller() for _ in range(callers)))
    return latencies


def client(url: str, requests: Sequence[bytes], callers: int, seconds: float) -> list[float]:
    return asyncio.run(call_in_turn(url, requests, callers, seconds))


def counters(server: TritonServer) -> dict[str, float]:
    """The counters that give the mean batch: rows and steps of the scheduler, and of the padded model."""
    text = urllib.request.urlopen(server.metrics_url).read().decode()
    totals: dict[str, float] = {}
    for name, labels, value in re.findall(r"^(\w+)\{(.*?)\} (\S+)$", text, re.MULTILINE):
        if name in ("sentriton_rows_total", "sentriton_steps_total"):
            totals[name] = totals.get(name, 0) + float(value)
        elif f'model="{PADDED}"' in labels:
            totals[name] = float(value)
    return totals


def measure(
    pool: Any, server: TritonServer, model: str, requests: list[bytes], callers: int, processes: int, seconds: float
) -> dict[str, Any]:
    """One row of the table."""
    before = counters(server)
    shares = [callers // processes + (place < callers % processes) for place in range(processes)]
    parts = pool.starmap(client, [(server.url, requests, share, seconds) for share in shares if share])
    after = counters(server)
    rows, steps = (
        ("nv_inference_count", "nv_inference_exec_count")
        if model == PADDED
        else ("sentriton_rows_total", "sentriton_steps_total")
    )
    latencies = np.array([latency for part in parts for latency in part]) * 1000
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99])
    return {
        "contender": "padded repository" if model == PADDED else "Sentriton",
        "callers": callers,
        "requests_per_s": round(len(latencies) / seconds, 1),
        "p50_ms": round(p50, 1),
        "p95_ms": round(p95, 1),
        "p99_ms": round(p99, 1),
        "mean_batch": round((after[rows] - before[rows]) / (after[steps] - before[steps]), 1),
    }


def padded_to(tokens: list[int], length: int) -> tuple[np.ndarray, np.ndarray]:
    ids, mask = np.ones((1, length), np.int64), np.zeros((1, length), np.int64)
    ids[0, : len(tokens)], mask[0, : len(tokens)] = tokens, 1
    return ids, mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="large")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--lengths", choices=("klue", "mixture"), default="klue")
    parser.add_argument("--padded", action="store_true")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = make_checkpoint(arguments.size, Path(scratch), layers=arguments.layers)
        repository = Path(scratch) / "repository"
        export(checkpoint, repository, precision=arguments.precision, device="cpu")
        tokenizer = TextTokenizer((repository / "assets/1/tokenizer.json").read_text(encoding="utf-8"))
        tokens = tokenizer.tokenize(klue_sentences())
        if arguments.lengths == "mixture":
            random.seed(0)
            tokens = [random.choices(range(10, 30_000), k=length) for length in mixture_lengths(1000)]
        longest = max(map(len, tokens))
        work = {EMBED_TOKENS: [padded_to(row, len(row)) for row in tokens]}
        if arguments.padded:
            add_padded_model(repository, checkpoint, longest)
            work[PADDED] = [padded_to(row, longest) for row in tokens]
        with (
            multiprocessing.get_context("spawn").Pool(arguments.processes) as pool,
            TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)) as server,
        ):
            rows = [
                measure(pool, server, model, requests, callers, arguments.processes, arguments.seconds)
                for callers in arguments.callers
                for model, pairs in work.items()
                for requests in [[tokens_request(*pair, model=model).SerializeToString() for pair in pairs]]
            ]
    title = (
        f"RoBERTa-{arguments.size} {arguments.precision}, single sentences ({arguments.lengths}, up to {longest} "
        f"tokens), {hardware()}"
    )
    print_report("online", title, rows, plot=arguments.plot, bars="requests_per_s")


if __name__ == "__main__":
    main()

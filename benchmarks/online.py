"""How many single sentences per second do many callers embed, and with which latency?

    .venv/bin/python -m benchmarks.online [--size large] [--layers N] [--precision fp32] [--device cpu|gpu]
        [--callers 1 8 64 256] [--seconds 15] [--most-seconds 60] [--rounds 2] [--lengths klue|mixture]
        [--sentences 512] [--processes 1] [--padded] [--infinity torch optimum] [--plot FILE.png]

Every caller sends one sentence, waits for its vector, and sends the next. Requests are prepared: tokens, as from
Sentriton's client, or text for Infinity. Callers share `--processes` client processes on the same cores as the server.
A turn lasts `--seconds`, and longer until callers have two answers each, up to `--most-seconds`. A turn may reach only
a few of the sentences, so their order spreads the lengths evenly.

For each number of callers the peers take turns, and the best round of each counts. They are Sentriton, and the same
sentences as a corpus through `SentenceEncoder.encode` (`offline_per_s`). `--padded` adds the usual Triton repository,
fp32, with every sentence padded to the longest. `--infinity` adds Infinity's server over HTTP, after `make peers`.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.callers import Calls, call_from, rate_and_latencies
from benchmarks.checkpoints import SIZES, make_checkpoint
from benchmarks.peers import Job
from benchmarks.peers.older import write_older_checkpoint
from benchmarks.peers.process import wait_until_idle
from benchmarks.report import print_report
from benchmarks.targets import INFINITY, PADDED, SENTRITON, Service, infinity, triton
from benchmarks.workload import SENTENCES, hardware, spread_by_length
from sentriton import SentenceEncoder

IDLE_LIMIT_S = 120  # since a batch is computed completely even after its callers have left


def figures(label: str, number: int, calls: Calls, mean_batch: float | None = None) -> dict[str, Any]:
    """A row of the table, without its comparison with others."""
    rate, latencies = rate_and_latencies(calls)
    notes = [f"{calls.refused} refused"] if calls.refused else []
    percentiles: Any = [None] * 3
    if len(latencies) >= number:
        percentiles = np.round(1000 * np.percentile(latencies, [50, 95, 99]), 1).tolist()
    else:  # the answered calls are those with the shortest waits
        notes.append(f"{len(latencies) or 'no'} answers in {calls.end - calls.begin:.0f} s: raise --most-seconds")
    return {
        "contender": label,
        "callers": str(number),
        "requests_per_s": round(rate, 1) or None,
        "offline_per_s": None,
        "of_offline": None,
        "times_padded": None,
        **dict(zip(("p50_ms", "p95_ms", "p99_ms"), percentiles, strict=True)),
        "mean_batch": mean_batch,
        "note": "; ".join(notes) or None,
    }


def compare(rows: list[dict[str, Any]], offline_per_s: float) -> None:
    """Fill in the ratios of rows with the same number of callers: to the padded repository, and for Sentriton to its
    rate on a corpus.
    """
    padded = next((row["requests_per_s"] for row in rows if row["contender"] == PADDED), None)
    for row in rows:
        rate = row["requests_per_s"]
        if rate is not None and padded is not None:
            row["times_padded"] = round(rate / padded, 2)
        if row["contender"] == SENTRITON:
            row["offline_per_s"] = round(offline_per_s, 1)
            row["of_offline"] = None if rate is None else round(rate / offline_per_s, 3)


def call(pool: Any, service: Service, number: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One turn of `number` callers: a row."""
    before = service.batches() if service.batches else (0, 0)
    calls = call_from(pool, arguments.processes, service.target, number, arguments.seconds, arguments.most_seconds)
    wait_until_idle(IDLE_LIMIT_S)
    after = service.batches() if service.batches else (0, 0)
    rows, batches = after[0] - before[0], after[1] - before[1]
    return figures(service.label, number, calls, round(rows / batches, 1) if batches else None)


def corpus(encoder: SentenceEncoder, sentences: list[str], seconds: float) -> float:
    """Sentences per second of all passes over `sentences` that begin within `seconds`."""
    passages, started = 0, time.perf_counter()
    while (since := time.perf_counter() - started) < seconds:
        encoder.encode(sentences)
        passages += 1
    wait_until_idle(IDLE_LIMIT_S)
    return passages * len(sentences) / since


def compete(
    pool: Any,
    encoder: SentenceEncoder,
    sentences: list[str],
    services: list[Service],
    arguments: argparse.Namespace,
) -> list[dict[str, Any]]:
    """The table: the best round of each peer for each number of callers."""
    table = []
    for number in arguments.callers:
        best: dict[str, dict[str, Any]] = {}
        offline_per_s = 0.0
        for _ in range(arguments.rounds):
            offline_per_s = max(offline_per_s, corpus(encoder, sentences, arguments.seconds))
            for service in services:
                row = call(pool, service, number, arguments)
                known = best.setdefault(service.label, row)
                if (row["requests_per_s"] or 0) > (known["requests_per_s"] or 0):
                    best[service.label] = row
        rows = list(best.values())
        compare(rows, offline_per_s)
        table += rows
    return table


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="large")
    parser.add_argument("--layers", type=int, help="fewer layers, for a quick run")
    parser.add_argument("--precision", help="default: fp32 on a CPU, fp16 on a GPU")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--seconds", type=float, default=15, help="shortest turn")
    parser.add_argument("--most-seconds", type=float, default=60, help="longest turn if answers are slow")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--lengths", choices=SENTENCES, default="klue")
    parser.add_argument("--sentences", type=int, default=512)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--padded", action="store_true")
    parser.add_argument("--infinity", choices=INFINITY, nargs="+", default=[], help="its engines")
    parser.add_argument("--plot", type=Path)
    return parser


def main() -> None:
    arguments = parser().parse_args()
    if arguments.device == "gpu" and (arguments.padded or arguments.infinity):
        raise SystemExit("--padded and --infinity need --device cpu")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        checkpoint = make_checkpoint(arguments.size, folder, layers=arguments.layers)
        job = Job(
            checkpoint,
            write_older_checkpoint(checkpoint, folder / "older"),
            scratch=folder,
            precision=arguments.precision or ("fp16" if arguments.device == "gpu" else "fp32"),
            device=arguments.device,
            batch_sizes=(),
            options={},
            sentences=spread_by_length(SENTENCES[arguments.lengths](arguments.sentences)),
        )
        pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(arguments.processes))
        encoder, services = stack.enter_context(triton(job, arguments.padded))
        if arguments.infinity:
            services += stack.enter_context(infinity(job, arguments.infinity))
        longest = max(map(len, encoder.token_ids(job.sentences)))
        rows = compete(pool, encoder, job.sentences, services, arguments)
    layers = f", {arguments.layers} layers" if arguments.layers else ""
    title = (
        f"RoBERTa-{arguments.size}{layers}, {job.precision}, single sentences ({arguments.lengths}, up to {longest} "
        f"tokens), {hardware(arguments.device)}"
    )
    print_report("online", title, rows, plot=arguments.plot, bars="requests_per_s")


if __name__ == "__main__":
    main()

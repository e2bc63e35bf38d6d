"""The row cache: its savings for repeated sentences, and its cost for others.

    .venv/bin/python -m benchmarks.cache [--mib 64] [--callers 64] [--seconds 4] [--rounds 2]

Single sentences of the chatbot data go as text to two servers of the bundled checkpoint in turn. One of them has a
cache of `--mib`. One caller repeats one sentence. In a stream, the sentence of rank r is 1/r times as frequent as the
first (Zipf), and new to the server in every round. A third workload repeats no sentence. The report has rates and
latencies of the best round. Over all rounds, it has the server's CPU time per request and the share of cached requests.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import re
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import psutil

from benchmarks.callers import WARM_UP_S, Target, call_in_turn, rate_and_latencies
from benchmarks.chain import short_sentences
from benchmarks.report import print_report
from benchmarks.workload import cpu_seconds, hardware
from sentriton.protocol import text_request
from sentriton_server.serving import ServerSettings, TritonServer, prepare_repository

MAX_OVERTIME_S = 30.0  # of a turn whose callers still wait for answers
FREE_PORTS = ServerSettings(grpc_port=0, metrics_port=0)


def streams(sentences: list[str], this_round: int) -> dict[str, list[bytes]]:
    """The requests of a round by stream. Only the first stream repeats in other rounds."""
    new = [text_request([f"{this_round} {sentence}"]).SerializeToString() for sentence in sentences]
    often = [1 / rank for rank in range(1, len(new) + 1)]
    return {
        "one sentence": [text_request(sentences[:1]).SerializeToString()],
        "Zipf": random.Random(this_round).choices(new, often, k=len(new)),
        "never again": [text_request([f"{sentence} {this_round}"]).SerializeToString() for sentence in sentences],
    }


def totals(server: TritonServer) -> np.ndarray:
    """Requests, rows from the cache, and seconds of CPU time so far."""
    assert server.process is not None
    time.sleep(1.5)  # the server publishes its counts every second
    text = urllib.request.urlopen(server.metrics_url).read().decode()
    names = ("sentriton_requests_total", "sentriton_cached_rows_total")
    counts = [sum(map(float, re.findall(rf"^{name}{{.*}} (\S+)$", text, re.MULTILINE))) for name in names]
    return np.array([*counts, cpu_seconds(psutil.Process(server.process.pid))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    sentences = list(dict.fromkeys(short_sentences(24_000)))
    repository = prepare_repository(None, precision="fp32", device="cpu")
    best: dict[tuple[str, int], tuple[float, np.ndarray]] = {}  # the rate, and the latencies in seconds
    spent: dict[tuple[str, int], np.ndarray] = {}
    with ExitStack() as stack:
        servers = {
            mib: stack.enter_context(TritonServer(repository, replace(FREE_PORTS, row_cache_mib=mib)))
            for mib in (0, arguments.mib)
        }
        for this_round in range(arguments.rounds):
            for stream, requests in streams(sentences, this_round).items():
                callers = 1 if len(requests) == 1 else arguments.callers
                for mib, server in servers.items():
                    before = totals(server)
                    turn = call_in_turn(
                        Target(server.url, requests),
                        callers,
                        time.monotonic() + WARM_UP_S,
                        arguments.seconds,
                        arguments.seconds + MAX_OVERTIME_S,
                    )
                    measured = rate_and_latencies(asyncio.run(turn))
                    spent[stream, mib] = spent.get((stream, mib), np.zeros(3)) + totals(server) - before
                    best[stream, mib] = max(best.get((stream, mib), measured), measured, key=lambda each: each[0])
    rows = [
        {
            "stream": stream,
            "cache_mib": mib,
            "requests_per_s": round(rate),
            **{f"p{p}_ms": round(1e3 * np.percentile(latencies, p), 2) for p in (50, 99)},
            "cpu_us": round(1e6 * spent[stream, mib][2] / spent[stream, mib][0]),
            "from_cache": round(spent[stream, mib][1] / spent[stream, mib][0], 3),
        }
        for (stream, mib), (rate, latencies) in best.items()
    ]
    title = f"sentriton-ko-mini fp32, single sentences, one caller or {arguments.callers}, {hardware()}"
    print_report("cache", title, rows)


if __name__ == "__main__":
    main()

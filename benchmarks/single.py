"""What rate do callers of single sentences reach with one encoder, compared with one call with a list?

    .venv/bin/python -m benchmarks.single [--checkpoint FOLDER] [--precision fp32] [--threads 64] [--tasks 256]
        [--processes 8] [--lengths klue|mixture] [--sentences 1000] [--seconds 5] [--rounds 3] [--contenders WORD ...]
        [--save FILE.json]

Each caller embeds one sentence through `encode`, waits for its vector and embeds the next. One thread, many threads and
many asyncio tasks share an encoder. Processes with the same number of threads in all have an encoder each. Waiting
calls share requests, except with `batch_size=1` ("not joined"). All take turns in rounds, and the best round of each
counts. CPU time is that of all client processes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.report import print_report
from benchmarks.workload import SENTENCES, cpu_seconds, hardware, spread_by_length
from sentriton import AsyncSentenceEncoder, SentenceEncoder
from sentriton_server.resources import BUNDLED_CHECKPOINT
from sentriton_server.serving import ServerSettings, TritonServer, prepare_repository

WARM_UP_S = 1.0
LIST_TIMES = 10  # the sentences, in one call with a list
JOINED: dict[str, Any] = {}
NOT_JOINED = {"batch_size": 1}


@dataclass(frozen=True)
class Turn:
    """One measurement of a contender: calls that ended within `seconds`, their latencies, and CPU time."""

    sentences: int
    seconds: float
    latencies_s: list[float]
    client_cpu_s: float


class Clock:
    """Starts to count after the warm-up, and tells callers when to end."""

    def __init__(self, seconds: float) -> None:
        self.begin = time.monotonic() + WARM_UP_S
        self.end = self.begin + seconds
        self.latencies_s: list[float] = []

    def goes_on(self) -> bool:
        return time.monotonic() < self.end

    def note(self, started: float) -> None:
        """Record a call that `started` then and was answered now."""
        now = time.monotonic()
        if self.begin <= now < self.end:
            self.latencies_s.append(now - started)


def in_turn(sentences: list[str], caller: int) -> Iterator[str]:
    """The sentences in a cycle, with another start for each caller."""
    start = caller * 37 % len(sentences)
    return itertools.cycle([*sentences[start:], *sentences[:start]])


def call_in_threads(url: str, sentences: list[str], callers: int, options: dict[str, Any], seconds: float) -> Turn:
    """`callers` threads with one encoder."""
    with SentenceEncoder(url) as encoder, ThreadPoolExecutor(callers) as pool:
        clock = Clock(seconds)

        def call(caller: int) -> None:
            for sentence in in_turn(sentences, caller):
                if not clock.goes_on():
                    return
                started = time.monotonic()
                encoder.encode(sentence, **options)
                clock.note(started)

        running = [pool.submit(call, caller) for caller in range(callers)]
        cpu_s = _cpu_between(clock)
        for caller in running:
            caller.result()
    return Turn(len(clock.latencies_s), seconds, clock.latencies_s, cpu_s)


def call_in_tasks(url: str, sentences: list[str], callers: int, options: dict[str, Any], seconds: float) -> Turn:
    """`callers` asyncio tasks with one encoder."""

    async def run() -> Turn:
        async with AsyncSentenceEncoder(url) as encoder:
            clock = Clock(seconds)

            async def call(caller: int) -> None:
                for sentence in in_turn(sentences, caller):
                    if not clock.goes_on():
                        return
                    started = time.monotonic()
                    await encoder.encode(sentence, **options)
                    clock.note(started)

            measuring = asyncio.to_thread(_cpu_between, clock)
            cpu_s, *_ = await asyncio.gather(measuring, *(call(caller) for caller in range(callers)))
        return Turn(len(clock.latencies_s), seconds, clock.latencies_s, cpu_s)

    return asyncio.run(run())


def call_in_processes(
    url: str, sentences: list[str], processes: int, threads: int, options: dict[str, Any], seconds: float
) -> Turn:
    """`threads` threads in processes with one encoder each."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(time.sleep, [0.5] * processes)  # until all have finished their imports
        share = partial(call_in_threads, url, sentences, threads // processes, options, seconds)
        turns = [turn.get() for turn in [pool.apply_async(share) for _ in range(processes)]]
    latencies_s = [latency for turn in turns for latency in turn.latencies_s]
    return Turn(len(latencies_s), seconds, latencies_s, sum(turn.client_cpu_s for turn in turns))


def call_with_list(url: str, sentences: list[str]) -> Turn:
    """One call with all sentences, repeated `LIST_TIMES` times."""
    with SentenceEncoder(url) as encoder:
        encoder.encode(sentences)
        sentences = sentences * LIST_TIMES
        own, started = time.process_time(), time.monotonic()
        encoder.encode(sentences)
        return Turn(len(sentences), time.monotonic() - started, [], time.process_time() - own)


def _cpu_between(clock: Clock) -> float:
    """CPU time of this process while the clock counts."""
    time.sleep(max(0.0, clock.begin - time.monotonic()))
    own = time.process_time()
    time.sleep(max(0.0, clock.end - time.monotonic()))
    return time.process_time() - own


def contenders(url: str, arguments: argparse.Namespace) -> dict[str, Callable[[], Turn]]:
    """All contenders by name."""
    sentences = spread_by_length(SENTENCES[arguments.lengths](arguments.sentences))
    threads, tasks, processes, seconds = arguments.threads, arguments.tasks, arguments.processes, arguments.seconds
    found: dict[str, Callable[[], Turn]] = {"one call with a list": partial(call_with_list, url, sentences)}
    for options, suffix in ((JOINED, ""), (NOT_JOINED, ", not joined")):
        for number in (1, threads):
            name = f"{number} thread{'s' * (number > 1)}{suffix}"
            found[name] = partial(call_in_threads, url, sentences, number, options, seconds)
        found[f"{tasks} tasks{suffix}"] = partial(call_in_tasks, url, sentences, tasks, options, seconds)
        found[f"{processes} processes of {threads // processes} threads{suffix}"] = partial(
            call_in_processes, url, sentences, processes, threads, options, seconds
        )
    wanted = arguments.contenders
    return {name: turn for name, turn in found.items() if not wanted or any(word in name for word in wanted)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--tasks", type=int, default=256)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--lengths", choices=SENTENCES, default="klue")
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contenders", nargs="+", help="only those with one of these words in their names")
    parser.add_argument("--save", type=Path, help="a file of benchmarks/results/ for the results")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    repository = prepare_repository(arguments.checkpoint, precision=arguments.precision, device="cpu")
    best: dict[str, tuple[Turn, float]] = {}
    with TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)) as server:
        assert server.process is not None
        members = psutil.Process(server.process.pid)
        for _ in range(arguments.rounds):
            for name, measure in contenders(server.url, arguments).items():
                before = cpu_seconds(members)
                turn = measure()
                server_s = cpu_seconds(members) - before
                if name not in best or turn.sentences / turn.seconds > rate(best[name][0]):
                    best[name] = turn, server_s
    offline_per_s = rate(best["one call with a list"][0]) if "one call with a list" in best else None
    rows = [row(name, turn, offline_per_s) for name, (turn, _) in best.items()]
    title = f"{arguments.checkpoint.name} {arguments.precision}, single sentences through encode, {hardware()}"
    print_report("single", title, rows, save=arguments.save)


def rate(turn: Turn) -> float:
    return turn.sentences / turn.seconds


def row(name: str, turn: Turn, offline_per_s: float | None) -> dict[str, Any]:
    """A row of the table."""
    percentiles: list[Any] = [None, None]
    if turn.latencies_s:
        percentiles = np.round(1e3 * np.percentile(turn.latencies_s, [50, 99]), 2).tolist()
    return {
        "callers": name,
        "sentences_per_s": round(rate(turn)),
        "of_list": None if offline_per_s is None else round(rate(turn) / offline_per_s, 3),
        "p50_ms": percentiles[0],
        "p99_ms": percentiles[1],
        "client_cpu_us": round(1e6 * turn.client_cpu_s / max(1, turn.sentences)),
    }


if __name__ == "__main__":
    main()

"""Many callers of one server, each with one request in flight, and the figures of their calls."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

WARM_UP_S = 2.0
ANSWERS_PER_CALLER = 2
_POLL_S = 0.05
_BUSY_STATUSES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
_BUSY_HTTP_STATUSES = (429, 503)

Send = Callable[[bytes], Awaitable[bool]]  # false: the server was overloaded


@dataclass(frozen=True)
class Target:
    """Server and requests. `url` is host:port of a gRPC server, or an http:// address. `requests` are serialized
    messages or bodies of one sentence each.
    """

    url: str
    requests: list[bytes]


@dataclass(frozen=True)
class Calls:
    """The results of calls. `answered` float64 [calls, 2] has the start and the end of each call. `begin` and `end` are
    the measured window, without the warm-up. All are seconds of `time.monotonic`, which the processes of a machine
    share. `refused` is the number of calls that an overloaded server rejected.
    """

    answered: NDArray[np.float64]
    begin: float
    end: float
    refused: int


async def call_in_turn(target: Target, callers: int, begin: float, seconds: float, most_seconds: float) -> Calls:
    """Let `callers` call until the window has `ANSWERS_PER_CALLER` answers for each, for `seconds` to `most_seconds`.
    The window opens at `begin`, a time of `time.monotonic`, or up to `most_seconds` later if no answer has come by
    then. Calls in flight at the end are cancelled.
    """
    answered: list[tuple[float, float]] = []
    refused = 0
    turn = itertools.cycle(target.requests)
    async with (_http if target.url.startswith("http") else _grpc)(target.url) as send:

        async def caller() -> None:
            nonlocal refused
            while True:
                started = time.monotonic()
                if await send(next(turn)):
                    answered.append((started, time.monotonic()))
                else:
                    refused += 1

        tasks = [asyncio.create_task(caller()) for _ in range(callers)]
        try:
            begin = await _until(lambda: bool(answered), tasks, begin, begin + most_seconds)
            wanted = len(answered) + ANSWERS_PER_CALLER * callers
            end = await _until(lambda: len(answered) >= wanted, tasks, begin + seconds, begin + most_seconds)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return Calls(np.array(answered).reshape(-1, 2), begin, end, refused)


def call_from(pool: Any, processes: int, target: Target, callers: int, seconds: float, most_seconds: float) -> Calls:
    """`call_in_turn` after a warm-up, in this number of `processes` of a `multiprocessing` pool."""
    shares = [callers // processes + (place < callers % processes) for place in range(processes)]
    begin = time.monotonic() + WARM_UP_S
    turns = [(target, share, begin, seconds, most_seconds) for share in shares if share]
    return joined(pool.starmap(_call, turns, chunksize=1))


def _call(*turn: Any) -> Calls:
    return asyncio.run(call_in_turn(*turn))


def joined(parts: list[Calls]) -> Calls:
    """The calls of several processes, in the window in which all of them called."""
    return Calls(
        np.concatenate([part.answered for part in parts]),
        max(part.begin for part in parts),
        min(part.end for part in parts),
        sum(part.refused for part in parts),
    )


def rate_and_latencies(calls: Calls) -> tuple[float, NDArray[np.float64]]:
    """Answers per second within the window, and the latencies in seconds of the answered calls.

    Both ends of the window move back to the last answer before them, so that the result is the rate of whole batches.
    A server that computes batches answers many calls at once, and then none, possibly for longer than a window.
    """
    answered = calls.answered[calls.answered[:, 1].argsort()]
    ends = answered[:, 1]
    first, last = np.searchsorted(ends, (calls.begin, calls.end), side="right")
    if last <= first:
        return 0.0, np.empty(0)
    begin = ends[first - 1] if first else calls.begin
    return float((last - first) / (ends[last - 1] - begin)), np.diff(answered[first:last]).ravel()


async def _until(enough: Callable[[], bool], tasks: list[asyncio.Task[None]], earliest: float, latest: float) -> float:
    """Wait until `enough`, from `earliest` to `latest`, and return the time. Raises the error of a failed task."""
    while (now := time.monotonic()) < earliest or (now < latest and not enough()):
        ended, _ = await asyncio.wait(tasks, timeout=_POLL_S, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    return now


@asynccontextmanager
async def _grpc(url: str) -> AsyncIterator[Send]:
    async with grpc.aio.insecure_channel(url) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

        async def send(request: bytes) -> bool:
            try:
                await infer(request)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _BUSY_STATUSES:
                    raise
                return False
            return True

        yield send


@asynccontextmanager
async def _http(url: str) -> AsyncIterator[Send]:
    import aiohttp  # only for Infinity

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"Content-Type": "application/json"},
    ) as session:

        async def send(body: bytes) -> bool:
            async with session.post(url, data=body) as response:
                await response.read()
                if response.status in _BUSY_HTTP_STATUSES:
                    return False
                response.raise_for_status()
                return True

        yield send

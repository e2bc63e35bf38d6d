"""Many callers of one server, each with one request under way, and the figures of their calls."""

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

Send = Callable[[bytes], Awaitable[bool]]  # false: the server refused, being too busy


@dataclass(frozen=True)
class Target:
    """Callers' server and requests: `url` is host:port of a gRPC server, or an http:// address. `requests` are
    serialized messages, or bodies, of a sentence each."""

    url: str
    requests: list[bytes]


@dataclass(frozen=True)
class Calls:
    """The calls' results. `answered` float64 [calls, 2]: when each call began and was answered. `begin` and `end`: the
    window that is measured, warm-up left out. All are seconds of `time.monotonic`, which processes of one machine
    share. `refused`: calls that the server rejected because it was too busy."""

    answered: NDArray[np.float64]
    begin: float
    end: float
    refused: int


async def call_in_turn(target: Target, callers: int, begin: float, seconds: float, most_seconds: float) -> Calls:
    """Keep `callers` calling until the window holds `ANSWERS_PER_CALLER` answers for each, for `seconds` at least and
    `most_seconds` at most. It opens at `begin`, a time of `time.monotonic`, or up to `most_seconds` later where there
    is no answer by then. Calls under way at the end are cancelled."""
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
    """`call_in_turn` after a warm-up, shared by this number of `processes` of a `multiprocessing` pool."""
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
    """Answers a second within the window, and the latencies in seconds of the calls that were answered in it.

    Both ends of the window are moved back to the last answer before them. A server that computes batches answers many
    calls at once and then none for a while, for longer than a window may last. The result is the rate of whole batches,
    with any part of a pause cut off by the window's ends.
    """
    answered = calls.answered[calls.answered[:, 1].argsort()]
    ends = answered[:, 1]
    first, last = np.searchsorted(ends, (calls.begin, calls.end), side="right")
    if last <= first:
        return 0.0, np.empty(0)
    begin = ends[first - 1] if first else calls.begin
    return float((last - first) / (ends[last - 1] - begin)), np.diff(answered[first:last]).ravel()


async def _until(enough: Callable[[], bool], tasks: list[asyncio.Task[None]], earliest: float, latest: float) -> float:
    """Wait until `enough`, but not before `earliest` nor beyond `latest`; gives the time. Raises the error that ends
    one of `tasks`."""
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
    import aiohttp  # for Infinity alone

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

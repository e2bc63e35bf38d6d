"""Two servers behind one encoder, each at an address of its own: either may die, and nothing is lost. And a server that
is gone altogether.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sentriton import AsyncSentenceEncoder, SentenceEncoder, ServerUnavailable
from sentriton_server.serving import TritonServer
from tests.event_loop import InEventLoop
from tests.faults.proxy import FaultyProxy
from tests.ports import FREE_PORTS
from tests.server.conftest import RunningServer
from tests.server.name_server import NameServer

DISTINCT = [f"{number}번째 짧은 문장입니다" for number in range(500)]
SENTENCES = DISTINCT * 40
CLIENTS = {"sync": SentenceEncoder, "async": InEventLoop}


@pytest.fixture(scope="module")
def addresses(repository: Path) -> Iterator[list[TritonServer]]:
    """Two servers with the same port, on 127.0.0.1 and on 127.0.0.2."""
    first = TritonServer(repository, FREE_PORTS)
    second = TritonServer(repository, replace(first.settings, host="127.0.0.2", metrics_port=0))
    yield [first, second]
    for server in (first, second):
        server.kill()
        server.stop()  # releases the resources for a restart


@pytest.fixture
def servers(addresses: list[TritonServer]) -> list[TritonServer]:
    """Both servers. One that the previous test killed is restarted."""
    dead = [server for server in addresses if server.process is None]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(TritonServer.start, dead))
    return addresses


@pytest.fixture(scope="module")
def expected(server: RunningServer) -> NDArray[np.float32]:
    """The vectors of `DISTINCT`, from a running server."""
    with SentenceEncoder(server.url) as encoder:
        embeddings: NDArray[np.float32] = encoder.encode(DISTINCT)
    return embeddings


def embedded_tokens(server: TritonServer) -> float:
    return RunningServer(server.url, server.metrics_url).metric("nv_inference_count", model="encoder")


@contextmanager
def ended_under_way(
    server: TritonServer, end: Callable[[TritonServer], None] = TritonServer.kill, tokens: int = 5000
) -> Iterator[Callable[[], bool]]:
    """End a server after it has embedded some tokens of the calls in the block.

    By default it ends like a machine that loses its power. Gives a function that tells whether it has ended.
    """
    before, over = embedded_tokens(server), threading.Event()

    def wait_and_end() -> None:
        while embedded_tokens(server) < before + tokens:
            if over.wait(0.05):
                return
        end(server)

    ending = threading.Thread(target=wait_and_end)
    ending.start()
    try:
        yield lambda: server.process is None
    finally:
        over.set()
        ending.join()
    assert server.process is None, "all was done before the server had anything to do"


@pytest.mark.parametrize(("client", "victim"), [("sync", 0), ("async", 1)])
def test_either_server_may_die_and_nothing_is_lost(
    client: str, victim: int, servers: list[TritonServer], expected: NDArray[np.float32]
) -> None:
    urls = ",".join(server.url for server in servers)
    with closing(CLIENTS[client](urls, timeout_s=120)) as both:
        with ended_under_way(servers[victim]):
            embeddings = both.encode(SENTENCES)
        assert len(embeddings) == 20_000
        np.testing.assert_allclose(embeddings, np.tile(expected, (40, 1)), atol=1e-5)
        np.testing.assert_allclose(both.encode(DISTINCT), expected, atol=1e-5)


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_a_connection_that_falls_silent_delays_a_call_and_does_not_end_it(
    client: Any, servers: list[TritonServer], expected: NDArray[np.float32]
) -> None:
    first, second = servers
    with FaultyProxy(first.url) as proxy, closing(client(f"{proxy.url},{second.url}")) as both:
        both.encode(DISTINCT)
        stall = threading.Thread(target=proxy.stall, args=(30,), daemon=True)
        stall.start()
        np.testing.assert_allclose(both.encode(DISTINCT * 6), np.tile(expected, (6, 1)), atol=1e-5)
        assert stall.is_alive(), "the call waited for the silent connection"


@pytest.mark.parametrize("end", [TritonServer.kill, TritonServer.stop], ids=["killed", "stopped"])
def test_none_of_many_callers_loses_a_call(
    end: Callable[[TritonServer], None], servers: list[TritonServer], expected: NDArray[np.float32]
) -> None:
    async def call() -> None:
        urls = ",".join(server.url for server in servers)
        async with AsyncSentenceEncoder(urls, timeout_s=60) as both:
            with ended_under_way(servers[0], end, tokens=15_000) as ended:
                while not ended():
                    embeddings = await asyncio.gather(*map(both.encode, DISTINCT))
                    np.testing.assert_allclose(np.stack(embeddings), expected, atol=1e-5)

    asyncio.run(call())


def test_servers_behind_one_name(servers: list[TritonServer], expected: NDArray[np.float32]) -> None:
    first, second = servers
    before = list(map(embedded_tokens, servers))
    with NameServer([first.settings.host, second.settings.host]) as names:
        url = f"dns://{names.authority}/embed.test:{first.settings.grpc_port}"
        with SentenceEncoder(url) as encoder:
            encoder.encode(DISTINCT, batch_size=8)
            tokens = sum(map(len, encoder.token_ids(DISTINCT)))
        shares = [embedded_tokens(server) - count for server, count in zip(servers, before, strict=True)]
        assert sum(shares) == tokens
        assert min(shares) > 0.3 * tokens, "round robin over the name's addresses"
        # The name moves to another address when the server at the old one dies.
        names.addresses = [first.settings.host]
        with SentenceEncoder(url) as encoder:
            encoder.encode(DISTINCT)
            names.addresses = [second.settings.host]
            with ended_under_way(first):
                embeddings = encoder.encode(SENTENCES[:10_000])
    np.testing.assert_allclose(embeddings, np.tile(expected, (20, 1)), atol=1e-5)


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_with_the_only_server_gone_the_call_ends_in_time_and_says_how_far_it_got(
    client: Any, addresses: list[TritonServer]
) -> None:
    server = addresses[1]
    if server.process is None:
        server.start()
    with closing(client(server.url)) as encoder, ended_under_way(server):
        started = time.monotonic()
        with pytest.raises(ServerUnavailable, match=r"\([\d,]+ of 200,000 sentences were embedded\)$") as raised:
            encoder.encode(SENTENCES * 10, timeout_s=8)
        took = time.monotonic() - started
    assert "(0 of" not in str(raised.value)
    assert took < 9

"""Two servers behind one encoder: either may die; nothing is lost. And a server that is gone altogether."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from sentriton import SentenceEncoder, ServerUnavailable
from sentriton_server.serving import TritonServer, prepare_repository
from tests.server.conftest import FREE_PORTS, RunningServer

SENTENCES = [f"{number}번째 짧은 문장입니다" for number in range(20_000)]


@pytest.fixture
def two_servers() -> Iterator[tuple[TritonServer, TritonServer]]:
    repository = prepare_repository(None, precision="fp32", device="cpu")
    with TritonServer(repository, FREE_PORTS) as first, TritonServer(repository, FREE_PORTS) as second:
        yield first, second


def kill(server: TritonServer) -> None:
    """As a machine that loses its power: no drain, no goodbye."""
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def expected(server: RunningServer) -> NDArray[np.float32]:
    """The vectors of all sentences, from a server that lives."""
    with SentenceEncoder(server.url) as encoder:
        embeddings: NDArray[np.float32] = encoder.encode(SENTENCES)
    return embeddings


@pytest.mark.parametrize(("victim", "count"), [(0, len(SENTENCES)), (1, 5000)])
def test_either_server_may_die_and_nothing_is_lost(
    victim: int, count: int, two_servers: tuple[TritonServer, TritonServer], expected: NDArray[np.float32]
) -> None:
    urls = ",".join(server.url for server in two_servers)
    with SentenceEncoder(urls, timeout_s=120) as both:
        both.encode(SENTENCES[:200])
        served = [endpoint.address for endpoint in both._endpoints.all]
        assert len(served) == 2
        killer = threading.Timer(0.7, kill, [two_servers[victim]])
        killer.start()
        embeddings = both.encode(SENTENCES[:count])
        killer.join()
        assert two_servers[victim].process is not None
        assert two_servers[victim].process.wait() != 0
        np.testing.assert_allclose(embeddings, expected[:count], atol=1e-5)
        np.testing.assert_allclose(both.encode(SENTENCES[:500]), expected[:500], atol=1e-5)


def test_with_the_only_server_gone_the_call_ends_in_time_and_says_how_far_it_got() -> None:
    repository = prepare_repository(None, precision="fp32", device="cpu")
    with TritonServer(repository, FREE_PORTS) as server, SentenceEncoder(server.url) as encoder:
        encoder.encode(SENTENCES[:200])
        killer = threading.Timer(0.5, kill, [server])
        killer.start()
        started = time.monotonic()
        with pytest.raises(ServerUnavailable, match=r"\d+ of 200,000 sentences were embedded"):
            encoder.encode(SENTENCES * 10, timeout_s=8)
        assert time.monotonic() - started < 9
        killer.join()

"""Two servers behind one encoder: either may die; nothing is lost. And a server that is gone altogether."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from sentriton import SentenceEncoder, ServerUnavailable
from sentriton_server.serving import TritonServer, prepare_repository
from tests.server.conftest import FREE_PORTS

SENTENCES = [f"{number}번째 짧은 문장입니다" for number in range(6000)]


@pytest.fixture
def two_servers() -> Iterator[tuple[TritonServer, TritonServer]]:
    repository = prepare_repository(None, precision="fp32", device="cpu")
    with TritonServer(repository, FREE_PORTS) as first, TritonServer(repository, FREE_PORTS) as second:
        yield first, second


def kill(server: TritonServer) -> None:
    """As a machine that loses its power: no drain, no goodbye."""
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGKILL)


@pytest.mark.parametrize("victim", [0, 1])
def test_either_server_may_die_and_nothing_is_lost(
    victim: int, two_servers: tuple[TritonServer, TritonServer], encoder: SentenceEncoder
) -> None:
    expected = encoder.encode(SENTENCES)
    urls = ",".join(server.url for server in two_servers)
    with SentenceEncoder(urls, timeout_s=120) as both:
        both.encode(SENTENCES[:200])
        served = [endpoint.address for endpoint in both._endpoints.all]
        assert len(served) == 2
        killer = threading.Timer(0.7, kill, [two_servers[victim]])
        killer.start()
        embeddings = both.encode(SENTENCES)
        killer.join()
        assert two_servers[victim].process is not None
        assert two_servers[victim].process.wait() != 0
        np.testing.assert_allclose(embeddings, expected, atol=1e-5)
        np.testing.assert_allclose(both.encode(SENTENCES[:500]), expected[:500], atol=1e-5)


def test_with_the_only_server_gone_the_call_ends_in_time_and_says_how_far_it_got() -> None:
    repository = prepare_repository(None, precision="fp32", device="cpu")
    with TritonServer(repository, FREE_PORTS) as server, SentenceEncoder(server.url) as encoder:
        encoder.encode(SENTENCES[:200])
        killer = threading.Timer(0.5, kill, [server])
        killer.start()
        started = time.monotonic()
        with pytest.raises(ServerUnavailable, match=r"\d+ of 60,000 sentences were embedded"):
            encoder.encode(SENTENCES * 10, timeout_s=8)
        assert time.monotonic() - started < 9
        killer.join()

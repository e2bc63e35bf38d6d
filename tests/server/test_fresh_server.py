"""A server before its first caller: its warm-up, its canary, its privacy, and the clean-up after a kill."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from sentriton import SentenceEncoder
from sentriton.settings import ClientSettings
from sentriton_server.serving import TritonServer
from sentriton_server.serving.canary import Canary, OtherServer
from sentriton_server.serving.progress import read_work
from sentriton_server.serving.scratch import SHARED_MEMORY
from tests.ports import FREE_PORTS, check_ipv6
from tests.server.conftest import RunningServer
from tests.server.left_behind import python_instances, regions
from tests.servers import started
from tests.waiting import until


@pytest.fixture(scope="module")
def fresh(repository: Path) -> Iterator[TritonServer]:
    """A server without calls before the first of the tests below; the last of them kills it."""
    with TritonServer(repository, FREE_PORTS) as server:
        yield server


def test_rows_of_many_lengths_go_through_before_a_server_is_ready(fresh: TritonServer) -> None:
    assert fresh.process is not None
    server = RunningServer(fresh.url, fresh.metrics_url, fresh.process.canary_key)
    server.wait_for_counts()
    # Every eighth of 128 lengths, and the golden sentences, which are one request.
    assert server.metric("sentriton_request_seconds_count", lane="canary") >= 1 + 128 // 8
    assert not server.metric("sentriton_requests_total", lane="query")
    # The supervisor sees that each part works, and that the canary's rows left the queue.
    metrics = urlsplit(fresh.metrics_url)
    assert metrics.hostname is not None
    assert metrics.port is not None
    host, port = metrics.hostname, metrics.port
    until(lambda: all(read_work(host, port, 5).values()), 10)  # embed_text publishes its counts by itself


def test_a_canary_knows_its_own_server(fresh: TritonServer) -> None:
    assert fresh.check(0) > 0.999
    with pytest.raises(OtherServer, match=f"another server answers at {fresh.url}"):
        Canary(ClientSettings(fresh.url), 10, "the key of another").check(10)


def test_only_its_user_reads_a_servers_shared_memory(fresh: TritonServer) -> None:
    assert {path.stat().st_mode & 0o777 for path in regions(fresh)} == {0o600}


def test_a_killed_triton_leaves_nothing(repository: Path, fresh: TritonServer) -> None:
    assert fresh.process is not None
    mine, prefix = regions(fresh), fresh.process.shared_memory_prefix
    assert len(mine) == python_instances(repository)
    os.killpg(fresh.process.pid, signal.SIGKILL)
    fresh.stop()
    assert not [path for path in SHARED_MEMORY.iterdir() if path.name.startswith(prefix)]


@pytest.mark.parametrize("host", ["::1", "::"])
def test_a_server_listens_on_ipv6(repository: Path, host: str) -> None:
    check_ipv6()
    settings = replace(FREE_PORTS, host=host, metrics_host=host, http_port=0)
    with started(repository, settings) as server:
        assert server.url == f"[{host}]:{server.settings.grpc_port}"
        with SentenceEncoder(f"[::1]:{server.settings.grpc_port}") as encoder:
            assert encoder.health().min_cosine > 0.999
        assert httpx.get(f"http://[::1]:{server.settings.http_port}/v2/health/ready").status_code == 200
        assert "nv_inference_request_success" in httpx.get(server.metrics_url).text

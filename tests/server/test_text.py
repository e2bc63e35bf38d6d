"""Simultaneous requests for text are joined, and each caller gets its own answer."""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from sentriton import SentenceEncoder, protocol
from sentriton.connection import Connection
from sentriton.kserve import ModelInferRequest
from sentriton_server.repository import read_config, record_files
from sentriton_server.serving import prepare_repository
from tests.hanging import hanging_main_threads
from tests.server.conftest import RunningServer
from tests.servers import started

CALLERS = 200
OTHER_MODEL = "0" * 64
WAITING = 12  # fewer texts than leave together while others are away
HANG_S = 2.0  # of the encoder


def texts(number: int) -> list[str]:
    return [f"{number}번째 문장의 {row}번째 줄입니다. " * (1 + number % 5) for row in range(1 + number % 3)]


def request(number: int) -> ModelInferRequest:
    """Requests, some with another lane, deadline or model."""
    fingerprint = OTHER_MODEL if number % 10 == 9 else None
    priority = "bulk" if number % 7 == 6 else "query"
    return protocol.text_request(
        texts(number), protocol.parameters(priority=priority, fingerprint=fingerprint, timeout_s=20 + 10 * (number % 4))
    )


def check_answers(url: str) -> Counter[str]:
    """Send all requests at once and compare every vector. Returns the number of each status."""
    connection = Connection(url)
    calls = [connection.start_infer(request(number), 60) for number in range(CALLERS)]
    with SentenceEncoder(url) as encoder:
        for number, call in enumerate(calls):
            if call.code().name == "OK":
                found = protocol.read_sentence_embedding(call.result())
                np.testing.assert_allclose(found, encoder.encode(texts(number)), atol=1e-5)
            else:
                assert "fingerprint mismatch" in call.details()
    outcomes = Counter(call.code().name for call in calls)
    connection.close()
    return outcomes


def test_each_caller_gets_its_own_answer_and_counts_once(server: RunningServer) -> None:
    names = ("sentriton_requests_total", "sentriton_request_seconds_count")
    mismatches = sum(number % 10 == 9 for number in range(CALLERS))
    before = [server.published(name) for name in names]
    assert check_answers(server.url) == {"OK": CALLERS - mismatches, "INVALID_ARGUMENT": mismatches}
    encodes = CALLERS - mismatches  # each is compared with one call to embed_tokens
    grown = [server.published(name) - count for name, count in zip(names, before, strict=True)]
    # `published` sends invalid requests.
    assert grown[0] >= CALLERS + encodes
    assert grown[1] == CALLERS - mismatches + encodes


@pytest.fixture(scope="module")
def two_instances(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("two") / "repository"
    shutil.copytree(prepare_repository(None, precision="fp32", device="cpu"), repository)
    for model in ("embed_tokens", "embed_text"):
        path = repository / model / "config.pbtxt"
        path.write_text(re.sub(r"count: 1\b", "count: 2", path.read_text()))
        assert read_config(repository, model).instance_group[0].count == 2
    record_files(repository)
    with started(repository) as running:
        assert running.process is not None
        yield RunningServer(running.url, running.metrics_url, running.process.canary_key)


def test_the_wait_of_text_for_other_text_is_measured() -> None:
    """Autoscalers need it: text waits in embed_text until embed_tokens has answered the text before."""
    names = ("sentriton_row_wait_seconds_total", "sentriton_rows_total", "sentriton_request_seconds_sum")
    with started(prepare_repository(None, precision="fp32", device="cpu")) as running:
        assert running.process is not None
        server = RunningServer(running.url, running.metrics_url, running.process.canary_key)
        before = [server.published(name, lane="query") for name in names]
        stubs = psutil.Process(running.process.pid).children(recursive=True)
        encoders = [stub for stub in stubs if any("encoder_0" in argument for argument in stub.cmdline())]
        assert encoders
        connection = Connection(server.url)
        with hanging_main_threads(encoder.pid for encoder in encoders):
            requests = [protocol.text_request([f"{number}번째 문장"]) for number in range(WAITING)]
            calls = [connection.start_infer(request, 60) for request in requests]
            time.sleep(HANG_S)
        assert {call.code().name for call in calls} == {"OK"}
        connection.close()
        wait_s, rows, request_s = (
            server.published(name, lane="query") - count for name, count in zip(names, before, strict=True)
        )
    assert rows == WAITING
    assert wait_s > 2 * HANG_S  # the first texts leave at once
    assert request_s > 0.8 * HANG_S * WAITING


def test_two_processes_of_a_model_answer_as_one(two_instances: RunningServer) -> None:
    before = two_instances.metric("sentriton_rows_total", lane="query")
    outcomes = check_answers(two_instances.url)
    assert set(outcomes) == {"OK", "INVALID_ARGUMENT"}
    assert outcomes["OK"] > CALLERS / 2
    time.sleep(1.5)  # each process publishes its counts once per second
    rows = sum(len(texts(number)) for number in range(CALLERS) if number % 10 != 9 and number % 7 != 6)
    encoded = sum(len(texts(number)) for number in range(CALLERS) if number % 10 != 9)
    assert two_instances.metric("sentriton_rows_total", lane="query") == before + rows + encoded
    assert two_instances.metric("sentriton_waiting_rows") == 0
    for process in ("embed_tokens_0_0", "embed_tokens_0_1", "embed_text_0_1"):
        assert two_instances.metric("sentriton_process_resident_memory_bytes", process=process) > 0

"""Simultaneous requests for text are joined, and each caller gets its own answer."""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from sentriton import SentenceEncoder, protocol
from sentriton.connection import Connection
from sentriton.kserve import ModelInferRequest
from sentriton_server.repository import read_config, record_files
from sentriton_server.serving import TritonServer, prepare_repository
from tests.hanging import hanging_main_threads
from tests.server.conftest import RunningServer
from tests.servers import started
from tests.waiting import until

CALLERS = 200
OTHER_MODEL = "0" * 64
WAITING = 12  # fewer texts than leave together while others are away
HANG_S = 2.0  # of the encoder
SMALL_QUEUE = 16_000  # bytes of waiting text


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


def encoders_of(running: TritonServer) -> list[int]:
    """The process ids of a server's encoders."""
    assert running.process is not None
    stubs = psutil.Process(running.process.pid).children(recursive=True)
    found = [stub.pid for stub in stubs if any("encoder_0" in argument for argument in stub.cmdline())]
    assert found
    return found


def test_the_wait_of_text_for_other_text_is_measured() -> None:
    """Autoscalers need it: text waits in embed_text until embed_tokens has answered the text before. The rows count as
    waiting there.
    """
    names = ("sentriton_row_wait_seconds_total", "sentriton_rows_total", "sentriton_request_seconds_sum")
    with started(prepare_repository(None, precision="fp32", device="cpu")) as running:
        assert running.process is not None
        server = RunningServer(running.url, running.metrics_url, running.process.canary_key)
        before = [server.published(name, lane="query") for name in names]
        connection = Connection(server.url)
        encoders = encoders_of(running)
        requests = [protocol.text_request([f"{number}번째 문장"]) for number in range(len(encoders) + WAITING)]
        calls = []
        with hanging_main_threads(encoders):
            # One text occupies each encoder. Sent together, all texts might leave in one batch.
            for number in range(1, len(encoders) + 1):
                calls.append(connection.start_infer(requests[number - 1], 60))
                until(lambda number=number: server.metric(names[1], lane="query") == before[1] + number)
            calls += [connection.start_infer(request, 60) for request in requests[len(encoders) :]]
            until(lambda: server.metric("sentriton_waiting_rows", lane="query") > WAITING / 2)
            time.sleep(HANG_S)
        assert {call.code().name for call in calls} == {"OK"}
        connection.close()
        until(lambda: server.metric("sentriton_waiting_rows") == 0)
        wait_s, rows, request_s = (
            server.published(name, lane="query") - count for name, count in zip(names, before, strict=True)
        )
    assert rows == len(requests)
    assert wait_s > 2 * HANG_S  # the first texts leave at once
    assert request_s > 0.8 * HANG_S * WAITING


def test_text_that_embed_text_rejects_counts_once_by_its_reason(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(prepare_repository(None, precision="fp32", device="cpu"), repository)
    path = repository / "embed_text/config.pbtxt"
    path.write_text(path.read_text().replace('"8388608"', f'"{SMALL_QUEUE}"'))
    record_files(repository)
    with started(repository) as running:
        assert running.process is not None
        server = RunningServer(running.url, running.metrics_url, running.process.canary_key)
        connection = Connection(running.url)

        def counts() -> dict[str, float]:
            refused = {
                reason: server.metric("sentriton_refused_requests_total", reason=reason)
                for reason in ("invalid", "full", "expired", "cancelled", "failed")
            }
            return {**refused, "all": server.metric("sentriton_requests_total")}

        def start(text: str, timeout_s: float | None = None) -> Any:
            return connection.start_infer(protocol.text_request([text], protocol.parameters(timeout_s=timeout_s)), 60)

        server.wait_for_counts()
        before = counts()
        not_utf8 = protocol.text_request(["ab"])
        not_utf8.raw_input_contents[0] = not_utf8.raw_input_contents[0].replace(b"ab", b"\xffb")
        calls = [connection.start_infer(not_utf8, 60), start("x" * ((1 << 20) + 1))]
        assert [call.code().name for call in calls] == ["INVALID_ARGUMENT"] * 2
        encoders = encoders_of(running)
        with hanging_main_threads(encoders):
            busy = []
            for _ in encoders:
                tokenized = server.metric("sentriton_tokenized_rows_total")
                busy.append(start("leaves at once"))
                until(lambda seen=tokenized: server.metric("sentriton_tokenized_rows_total") > seen)
            expires, cancelled, waits = start("expires", 0.5), start("cancelled"), start("x" * (SMALL_QUEUE - 4000))
            time.sleep(0.2)  # Triton 24.10 can crash if a request is cancelled as it arrives
            cancelled.cancel()
            full = start("x" * 4000)
            assert (full.code().name, "lane is full of text" in full.details()) == ("UNAVAILABLE", True)
            time.sleep(0.5)
        assert [call.code().name for call in (*busy, waits)] == ["OK"] * (len(encoders) + 1)
        assert (expires.code().name, cancelled.code().name) == ("UNAVAILABLE", "CANCELLED")
        connection.close()
        grown = {"invalid": 2, "full": 1, "expired": 1, "cancelled": 1, "failed": 0, "all": 6 + len(encoders)}
        expected = {name: before[name] + count for name, count in grown.items()}
        with suppress(AssertionError):  # the next line names the counts
            until(lambda: counts() == expected, 5)
        assert counts() == expected


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

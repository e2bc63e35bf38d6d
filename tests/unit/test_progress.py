"""Telling slow from hung parts by the server's metrics."""

from __future__ import annotations

import socket
import threading

import pytest

from sentriton_server.serving.progress import parse_work, read_work, stalled

METRICS = """\
# HELP nv_inference_exec_count Number of model executions performed
nv_inference_exec_count{model="assets",version="1"} 100
sentriton_tokenized_rows_total 7
nv_inference_exec_count{model="embed_batch",version="1"} 3
nv_inference_exec_count{model="encoder",version="1"} 1.5e+3
nv_inference_exec_count{model="pooling",version="1"} 4
sentriton_rows_total{lane="query"} 20
sentriton_rows_total{lane="canary"} 1
"""
PARTS = ["embed_text", "embed_tokens", "encoder", "pooling"]
WORK = {"embed_text": 7.0, "embed_tokens": 24.0, "encoder": 1500.0, "pooling": 4.0, "canary": 1.0}


def test_the_work_of_each_part_is_read() -> None:
    assert parse_work(METRICS) == WORK
    assert set(parse_work("").values()) == {0.0}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_did_nothing_is_named(part: str) -> None:
    later = {name: work + (name != part) for name, work in WORK.items()}
    assert stalled(WORK, later) == [part]


def test_parts_that_all_worked_are_not_stalled() -> None:
    assert stalled(WORK, {name: work + 1 for name, work in WORK.items()}) == []


def test_without_metrics_every_part_counts_as_stalled() -> None:
    assert stalled(None, WORK) == stalled(WORK, None) == PARTS


def test_pooling_has_nothing_to_do_while_token_embeddings_keep_the_canary_waiting() -> None:
    busy = {name: work + (name in ("embed_text", "embed_tokens", "encoder")) for name, work in WORK.items()}
    assert stalled(WORK, busy) == []
    # The canary has left the queue, so its batch is in the encoder and then in pooling.
    assert stalled(WORK, {**busy, "canary": 2.0}) == ["pooling"]
    idle = {**WORK, "canary": 2.0}
    assert "pooling" in stalled(WORK, idle)


@pytest.mark.parametrize("answer", [b"sentriton_tokenized_rows_total 1e.+\n", b"\xff\xfe", b""])
def test_metrics_that_cannot_be_read_are_no_answer(answer: bytes) -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) if answer else b"no HTTP\r\n\r\n"
            connection.sendall(head + answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        with pytest.raises(OSError, match=r"no metrics from 127\.0\.0\.1"):
            read_work("127.0.0.1", listener.getsockname()[1], 5)
        server.join()

"""A client with the manifest of another server of the model, whose requests have more rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import grpc
import numpy as np
import pytest

from sentriton import SentenceEncoder, protocol
from sentriton.connection import Connection
from sentriton.protocol import asset_request, read_asset
from tests.event_loop import InEventLoop
from tests.server.conftest import RunningServer
from tests.small_server import SmallServer

ROWS = 256  # of a server with a GPU
SENTENCES = [f"{number}번째 문장" for number in range(600)]


@pytest.fixture
def larger(server: RunningServer) -> Iterator[SmallServer]:
    """A server of the same model with larger requests, which stops as soon as a client has read its manifest."""

    def leave(number: int, context: Any) -> None:
        context.abort(grpc.StatusCode.UNAVAILABLE, "the server stops")

    connection = Connection(server.url)
    small = SmallServer()
    manifest = json.loads(read_asset(connection.infer(asset_request("manifest.json"), 10)))
    small.manifest = {**manifest, "max_batch_size": ROWS}
    small.tokenizer = read_asset(connection.infer(asset_request("tokenizer.json"), 10))
    connection.close()
    small.refuse = leave
    with small:
        yield small


@pytest.mark.parametrize("client", [SentenceEncoder, InEventLoop])
def test_a_roll_out_to_a_server_with_smaller_requests(
    client: Any, server: RunningServer, encoder: SentenceEncoder, larger: SmallServer
) -> None:
    expected = encoder.encode(SENTENCES)
    with closing(client(f"{larger.url},{server.url}")) as rolled_out:
        assert rolled_out.manifest.max_batch_size == ROWS > encoder.manifest.max_batch_size
        np.testing.assert_allclose(rolled_out.encode(SENTENCES), expected, atol=1e-5)
        np.testing.assert_allclose(np.vstack(list(rolled_out.encode_stream(SENTENCES))), expected, atol=1e-5)


def test_text_of_a_client_with_larger_requests(server: RunningServer, encoder: SentenceEncoder) -> None:
    sentences = SENTENCES[:ROWS]
    connection = Connection(server.url)
    response = connection.infer(protocol.text_request(sentences), 30)
    connection.close()
    np.testing.assert_allclose(protocol.read_sentence_embedding(response), encoder.encode(sentences), atol=1e-5)

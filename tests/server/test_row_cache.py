"""With the row cache, a repeated sentence is not computed again. All checks of requests still apply."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sentriton import SentenceEncoder, protocol
from sentriton.connection import Connection
from sentriton.errors import ContractMismatch, Overloaded
from sentriton.tokenization import pack_rows
from tests.ports import FREE_PORTS
from tests.server.conftest import RunningServer, serving

SENTENCES = ["숙소가 역에서 가까워요.", "지하철역 근처에 있는 숙소라서 다니기가 편했어요.", "내일 비가 오나요?"]


@pytest.fixture(scope="module")
def cached_server() -> Iterator[RunningServer]:
    with serving(None, settings=replace(FREE_PORTS, row_cache_mib=16)) as running:
        yield running


@pytest.fixture
def connection(cached_server: RunningServer) -> Iterator[Connection]:
    connection = Connection(cached_server.url)
    yield connection
    connection.close()


def embed(connection: Connection, texts: list[str], lane: str = "query", **parameters: Any) -> NDArray[np.float32]:
    request = protocol.text_request(texts, protocol.parameters(priority=lane, **parameters))
    return protocol.read_sentence_embedding(connection.infer(request, 30))


def rows(server: RunningServer, *lanes: str) -> list[float]:
    """For each lane, the numbers of computed rows and of cached rows."""
    server.wait_for_counts()
    names = ("sentriton_rows_total", "sentriton_cached_rows_total")
    return [server.metric(name, lane=lane) for lane in lanes for name in names]


def test_repeats_are_the_same_to_the_last_bit_whoever_asks_and_are_not_computed(
    cached_server: RunningServer, connection: Connection
) -> None:
    first = embed(connection, SENTENCES)
    computed, found = rows(cached_server, "bulk")
    assert np.array_equal(embed(connection, SENTENCES, "bulk"), first)
    with SentenceEncoder(cached_server.url, priority="bulk") as encoder:
        tokens = encoder.token_ids(SENTENCES)
    request = protocol.tokens_request(pack_rows(tokens[::-1]), protocol.parameters(priority="bulk"))
    assert np.array_equal(protocol.read_sentence_embedding(connection.infer(request, 30)), first[::-1])
    assert rows(cached_server, "bulk") == [computed, found + 6]
    assert 3 * first.shape[1] * 4 < cached_server.metric("sentriton_row_cache_bytes") < 1 << 20


def test_known_and_unknown_rows_of_a_request_each_get_their_own(
    cached_server: RunningServer, connection: Connection
) -> None:
    known = embed(connection, SENTENCES)
    texts = ["처음 보는 문장입니다.", SENTENCES[2], SENTENCES[0], "이것도 처음 보는 조금 더 긴 문장입니다."]
    mixed = embed(connection, texts)
    assert np.array_equal(mixed[[2, 1]], known[[0, 2]])
    np.testing.assert_allclose(mixed, embed(connection, texts, canary_key=cached_server.canary_key), atol=1e-5)


def test_a_row_that_is_known_has_no_turn_to_wait_for(cached_server: RunningServer, connection: Connection) -> None:
    def embed_at_once(texts: list[str]) -> NDArray[np.float32]:
        with SentenceEncoder(cached_server.url) as encoder:
            rows = pack_rows(encoder.token_ids(texts))
        request = protocol.tokens_request(rows, protocol.parameters(timeout_s=1e-6))
        return protocol.read_sentence_embedding(connection.infer(request, 30))

    known = embed(connection, SENTENCES)
    assert np.array_equal(embed_at_once(SENTENCES), known)
    with pytest.raises(Overloaded, match="Request timeout expired"):
        embed_at_once([*SENTENCES, "기다릴 시간이 없는 새 문장."])


def test_a_row_that_is_known_is_not_for_those_who_mean_another_model(connection: Connection) -> None:
    embed(connection, SENTENCES)
    with pytest.raises(ContractMismatch, match="fingerprint mismatch"):
        embed(connection, SENTENCES, fingerprint="0" * 64)


def test_the_canary_is_always_computed_and_leaves_nothing(cached_server: RunningServer, connection: Connection) -> None:
    only_the_canary = "카나리아만 보내는 문장."
    embed(connection, SENTENCES)
    before = rows(cached_server, "canary", "query")
    embed(connection, [*SENTENCES, only_the_canary], canary_key=cached_server.canary_key)
    embed(connection, [only_the_canary])
    assert np.subtract(rows(cached_server, "canary", "query"), before).tolist() == [4, 0, 1, 0]


def test_without_a_cache_there_is_no_metric_of_it(server: RunningServer) -> None:
    with pytest.raises(AssertionError, match="no metric sentriton_cached_rows_total"):
        server.metric("sentriton_cached_rows_total")

"""Requests of many callers are batched: equal results, real batches, no padding."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from sentriton import SentenceEncoder
from tests.bounds import is_quiet
from tests.server.conftest import RunningServer

WORDS = "한국어 문장을 서로 다른 길이로 보내면 함께 계산되고 결과는 혼자 보낸 것과 같다".split()


@pytest.fixture(scope="module")
def mixed_sentences() -> list[str]:
    """256 sentences of 1 to 60 words."""
    lengths = np.random.default_rng(0).integers(1, 60, size=256)
    return [" ".join(WORDS[place % len(WORDS)] for place in range(start, start + n)) for start, n in enumerate(lengths)]


def test_64_callers_get_in_batches_what_single_calls_get(server: RunningServer, mixed_sentences: list[str]) -> None:
    with SentenceEncoder(server.url) as encoder, ThreadPoolExecutor(64) as pool:
        alone = np.stack([encoder.encode(sentence) for sentence in mixed_sentences])
        server.wait_for_counts()
        rows, batches = (server.metric(f"sentriton_{kind}_total", lane="query") for kind in ("rows", "batches"))
        together = np.stack(list(pool.map(encoder.encode, mixed_sentences * 4)))
        server.wait_for_counts()
        rows = server.metric("sentriton_rows_total", lane="query") - rows
        batches = server.metric("sentriton_batches_total", lane="query") - batches
        assert server.metric("sentriton_steps_total") == server.metric("sentriton_batches_total"), "its old name"
    print(f"\nmean encoder batch {rows / batches:.1f}")
    assert rows == 4 * len(mixed_sentences)
    assert rows / batches > (4 if is_quiet() else 2)  # on a busy machine, callers send only a few at a time
    np.testing.assert_allclose(together, np.tile(alone, (4, 1)), atol=1e-5)


def test_rows_of_many_lengths_leave_in_batches_of_like_length(
    server: RunningServer, mixed_sentences: list[str]
) -> None:
    def counts() -> NDArray[np.float64]:
        """Tokens and padding by embed_tokens's count, and tokens that the encoder got."""
        server.wait_for_counts()
        places = [server.metric("sentriton_positions_total", kind=kind) for kind in ("token", "padding")]
        return np.array([*places, server.metric("sentriton_encoder_elements_total", model="encoder")])

    with SentenceEncoder(server.url) as encoder, ThreadPoolExecutor(64) as pool:
        tokens = sum(map(len, encoder.token_ids(mixed_sentences)))
        before = counts()
        list(pool.map(encoder.encode, mixed_sentences))
        computed, padding, executed = counts() - before
    assert computed == tokens
    assert executed == tokens, "no padding travels"
    assert padding <= 0.2 * (tokens + padding)


def test_a_request_of_many_rows_equals_its_rows_alone(encoder: SentenceEncoder, mixed_sentences: list[str]) -> None:
    together = encoder.encode(mixed_sentences, batch_size=64)
    alone = np.stack([encoder.encode(sentence) for sentence in mixed_sentences])
    np.testing.assert_allclose(together, alone, atol=1e-5)

"""`SentenceEncoder` against `SentenceTransformer`: the same call, the same result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from sentriton import DeadlineExceeded, InvalidInput, SentenceEncoder, ServerUnavailable
from tests.checkpoints import make_checkpoint
from tests.server.conftest import load_reference, serving

SENTENCES = [
    "숙소가 역에서 가까워서 편했어요.",
    "",
    "지하철역과 가까운 숙소였습니다.",
    "아주 긴 문장 " * 100,
    "A sentence in English.",
    "👍🏽 좋아요 🎉",
]


def close(ours: Any, theirs: Any) -> None:
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize(
    "options",
    [{}, {"normalize_embeddings": True}, {"truncate_dim": 16}, {"truncate_dim": 16, "normalize_embeddings": True}],
    ids=str,
)
def test_encode_equals_sentence_transformers(
    options: dict[str, Any], encoder: SentenceEncoder, reference: SentenceTransformer
) -> None:
    close(encoder.encode(SENTENCES, batch_size=4, **options), reference.encode(SENTENCES, **options))


def test_one_string_gives_one_vector(encoder: SentenceEncoder, reference: SentenceTransformer) -> None:
    close(encoder.encode(SENTENCES[0]), reference.encode(SENTENCES[0]))


def test_no_sentence_gives_no_row(encoder: SentenceEncoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.manifest.dimension)


def test_order_is_kept_over_many_requests(encoder: SentenceEncoder, reference: SentenceTransformer) -> None:
    sentences = [f"{number}번째 문장 " + "이다 " * (number % 17) for number in range(150)]
    close(encoder.encode(iter(sentences), batch_size=8), reference.encode(sentences))


def test_similarity_equals_sentence_transformers(encoder: SentenceEncoder, reference: SentenceTransformer) -> None:
    embeddings = encoder.encode(SENTENCES)
    np.testing.assert_allclose(
        encoder.similarity(embeddings, embeddings[:3]), reference.similarity(embeddings, embeddings[:3]), atol=1e-5
    )
    np.testing.assert_allclose(
        encoder.similarity_pairwise(embeddings, embeddings[::-1]),
        reference.similarity_pairwise(embeddings, embeddings[::-1].copy()),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"sentences": None}, "sentences is None"),
        ({"sentences": ["fine", 3]}, r"sentences\[1\] is 3 \(int\)"),
        ({"sentences": "x", "batch_size": 0}, "batch_size is 0"),
        ({"sentences": "x", "prompt_name": "qury"}, "prompt_name is 'qury'"),
        ({"sentences": "x", "truncate_dim": 0}, "truncate_dim is 0; allowed are 1 to"),
        ({"sentences": "x", "truncate_dim": 10**6}, "truncate_dim is 1000000; allowed are 1 to"),
    ],
    ids=str,
)
def test_wrong_arguments_name_themselves(arguments: dict[str, Any], says: str, encoder: SentenceEncoder) -> None:
    with pytest.raises(InvalidInput, match=says):
        encoder.encode(**arguments)


def test_a_deadline_too_short_is_its_own_error(encoder: SentenceEncoder) -> None:
    with pytest.raises(DeadlineExceeded):
        encoder.encode(SENTENCES * 50, timeout_s=0.001)


def test_nobody_there_is_its_own_error() -> None:
    with pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:9"):
        SentenceEncoder("127.0.0.1:9", timeout_s=5)


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SentenceEncoder, SentenceTransformer]]:
    """A checkpoint with everything at once: prompts left out of pooling, two poolings side by side, Dense,
    Normalize.
    """
    folder = tmp_path_factory.mktemp("prompted")
    checkpoint = make_checkpoint(
        folder,
        pooling=("mean", "max"),
        include_prompt=False,
        further_modules=[Dense(64, 24)],
        normalize=True,
        architecture="bert",
    )
    model = SentenceTransformer(str(checkpoint), prompts={"query": "the quick ", "passage": "a fox "}, device="cpu")
    model.default_prompt_name = "passage"
    model.save(str(checkpoint), create_model_card=False)
    with serving(Path(checkpoint)) as server, SentenceEncoder(server.url) as encoder:
        yield encoder, load_reference(checkpoint)


@pytest.mark.parametrize(
    "options", [{}, {"prompt_name": "query"}, {"prompt": "home and back "}, {"prompt": ""}], ids=str
)
def test_prompts_equal_sentence_transformers(
    options: dict[str, Any], prompted: tuple[SentenceEncoder, SentenceTransformer]
) -> None:
    encoder, reference = prompted
    sentences = ["a brown fox runs", "한국 어 문장", "", "again " * 40]
    close(encoder.encode(sentences, **options), reference.encode(sentences, **options))

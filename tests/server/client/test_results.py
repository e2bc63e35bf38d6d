"""The same calls of `SentenceEncoder`, `AsyncSentenceEncoder` and `SentenceTransformer` have the same results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from tests.checkpoints import make_checkpoint
from tests.server.client.sentences import MANY, SENTENCES, close
from tests.server.conftest import load_reference, serving


@pytest.mark.parametrize(
    "options",
    [{}, {"normalize_embeddings": True}, {"truncate_dim": 16}, {"truncate_dim": 16, "normalize_embeddings": True}],
    ids=str,
)
def test_encode_equals_sentence_transformers(
    options: dict[str, Any], encoder: Any, reference: SentenceTransformer
) -> None:
    close(encoder.encode(SENTENCES, batch_size=4, **options), reference.encode(SENTENCES, **options))


@pytest.mark.parametrize("options", [{}, {"convert_to_numpy": False}, {"convert_to_tensor": True}], ids=str)
@pytest.mark.parametrize("sentences", [SENTENCES, SENTENCES[:1], SENTENCES[0]], ids=["many", "one", "string"])
@pytest.mark.parametrize("output_value", ["sentence_embedding", "token_embeddings"])
def test_types_are_those_of_sentence_transformers(
    output_value: Any, sentences: Any, options: dict[str, Any], encoder: Any, reference: SentenceTransformer
) -> None:
    ours, theirs = (model.encode(sentences, output_value=output_value, **options) for model in (encoder, reference))
    assert type(ours) is type(theirs)
    assert len(ours) == len(theirs)
    for our_row, their_row in zip(ours, theirs, strict=True):
        assert type(our_row) is type(their_row)
        assert our_row.shape == their_row.shape
        np.testing.assert_allclose(np.asarray(our_row), np.asarray(their_row), atol=5e-5)


@pytest.mark.parametrize("output_value", ["sentence_embedding", "token_embeddings"])
@pytest.mark.parametrize("precision", [None, "int8", "uint8", "binary", "ubinary"])
def test_precisions_equal_sentence_transformers(
    precision: Any, output_value: Any, encoder: Any, reference: SentenceTransformer
) -> None:
    ours, theirs = (
        model.encode(MANY, precision=precision, output_value=output_value) for model in (encoder, reference)
    )
    assert type(ours) is type(theirs)
    assert type(ours[0]) is type(theirs[0])
    ours, theirs = np.concatenate([*map(np.atleast_2d, ours)]), np.concatenate([*map(np.atleast_2d, theirs)])
    assert ours.dtype == theirs.dtype
    if precision is None:
        close(ours, theirs)
    elif precision.endswith("int8"):
        # A value at the edge of a step may fall to either side.
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
        assert (ours == theirs).mean() > 0.99
    else:
        bits = np.unpackbits(ours.view(np.uint8)) == np.unpackbits(theirs.view(np.uint8))
        assert bits.mean() > 0.999


@pytest.mark.parametrize(
    "as_input",
    [np.array, iter, tuple, lambda sentences: Dataset.from_dict({"text": sentences})["text"]],
    ids=["array", "iterator", "tuple", "datasets column"],
)
def test_any_iterable_of_strings(as_input: Any, encoder: Any, reference: SentenceTransformer) -> None:
    close(encoder.encode(as_input(SENTENCES)), reference.encode(SENTENCES))


def test_no_sentence_gives_no_row(encoder: Any) -> None:
    assert encoder.encode([]).shape == (0, encoder.manifest.dimension)
    assert encoder.encode([], precision="binary", truncate_dim=12).shape == (0, 2)
    assert encoder.encode([], convert_to_tensor=True).shape == (0, encoder.manifest.dimension)
    assert encoder.encode([], output_value="token_embeddings") == []


def test_order_is_kept_over_many_requests(encoder: Any, reference: SentenceTransformer) -> None:
    close(encoder.encode(iter(MANY), batch_size=8), reference.encode(MANY))


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
@pytest.mark.parametrize(
    "given", [np.asarray, torch.from_numpy, lambda rows: list(torch.from_numpy(rows))], ids=["array", "tensor", "list"]
)
def test_similarity_equals_sentence_transformers(
    given: Any, name: Any, encoder: Any, reference: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "similarity_fn_name", name)
    encoder.similarity_fn_name = name
    rows = encoder.encode(SENTENCES)
    first, second = given(rows), given(rows[::-1].copy())
    for ours, theirs in (
        (encoder.similarity(first, second[:3]), reference.similarity(first, second[:3])),
        (encoder.similarity(first[0], second), reference.similarity(first[0], second)),
        (encoder.similarity_pairwise(first, second), reference.similarity_pairwise(first, second)),
    ):
        assert isinstance(ours, np.ndarray if given is np.asarray else torch.Tensor)
        # sentence-transformers computes distances by a matrix product, which loses digits near zero.
        np.testing.assert_allclose(ours, theirs, atol=5e-3 if name == "euclidean" else 2e-4)


def test_info_is_the_manifest_and_health_the_canary(encoder: Any) -> None:
    report = encoder.health()
    assert encoder.info() == encoder.manifest == report.manifest
    assert encoder.manifest.min_cosine - 1e-6 <= report.min_cosine <= 1 + 1e-6


@pytest.fixture(scope="module")
def prompted_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, SentenceTransformer]]:
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
    with serving(Path(checkpoint)) as server:
        yield server.url, load_reference(checkpoint)


@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
@pytest.mark.parametrize(
    "options",
    [{}, {"prompt_name": "query"}, {"prompt": "home and back "}, {"prompt": ""}, {"prompt": "a ", "prompt_name": "?"}],
    ids=str,
)
def test_prompts_equal_sentence_transformers(
    options: dict[str, Any],
    method: str,
    connect: Callable[..., Any],
    prompted_server: tuple[str, SentenceTransformer],
) -> None:
    url, reference = prompted_server
    sentences = ["a brown fox runs", "한국 어 문장", "", "again " * 40]
    with closing(connect(url)) as encoder:
        close(getattr(encoder, method)(sentences, **options), getattr(reference, method)(sentences, **options))
        tokens = getattr(encoder, method)(sentences, output_value="token_embeddings", **options)
        expected = getattr(reference, method)(sentences, output_value="token_embeddings", **options)
        for ours, theirs in zip(tokens, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=5e-5)

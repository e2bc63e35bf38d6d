"""sentence-transformers' own evaluators and utilities, unchanged, on a `SentenceEncoder` and on a
`SentenceTransformer` of the same checkpoint: the same figures.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer, SimilarityFunction, util
from sentence_transformers.sentence_transformer.evaluation import (
    BinaryClassificationEvaluator,
    EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator,
    TripletEvaluator,
)

from sentriton import SentenceEncoder
from tests.conftest import public_data

PAIRS = 80
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def pairs() -> list[dict[str, Any]]:
    """Pairs of KLUE-STS dev with their labels."""
    loaded: list[dict[str, Any]] = json.loads(public_data("klue-sts-dev").read_text(encoding="utf-8"))
    return loaded[:PAIRS]


@pytest.fixture(scope="module")
def firsts(pairs: list[dict[str, Any]]) -> list[str]:
    return [pair["sentence1"] for pair in pairs]


@pytest.fixture(scope="module")
def seconds(pairs: list[dict[str, Any]]) -> list[str]:
    return [pair["sentence2"] for pair in pairs]


@pytest.fixture(scope="module")
def labels(pairs: list[dict[str, Any]]) -> list[float]:
    return [pair["labels"]["real-label"] / 5 for pair in pairs]


@pytest.mark.parametrize("precision", [None, "float32", "int8", "uint8", "binary", "ubinary"])
def test_embedding_similarity(
    precision: Any,
    encoder: SentenceEncoder,
    reference: SentenceTransformer,
    firsts: list[str],
    seconds: list[str],
    labels: list[float],
) -> None:
    def evaluate(model: Any) -> dict[str, float]:
        evaluator = EmbeddingSimilarityEvaluator(
            firsts,
            seconds,
            labels,
            similarity_fn_names=["cosine", "dot", "euclidean", "manhattan"],
            name="klue-sts",
            precision=precision,
            write_csv=False,
        )
        figures = evaluator(model)
        assert model.model_card_data.eval_results_dict[evaluator] == figures
        return figures

    # A difference of 1e-7 may move a value at the edge of a step or of a bit to the next one.
    tolerance = TOLERANCE if precision in (None, "float32") else 1e-3
    assert evaluate(encoder) == pytest.approx(evaluate(reference), abs=tolerance)


@pytest.mark.parametrize("truncate_dim", [None, 64])
def test_the_similarity_is_the_model_s(
    truncate_dim: int | None,
    encoder: SentenceEncoder,
    reference: SentenceTransformer,
    firsts: list[str],
    seconds: list[str],
    labels: list[float],
) -> None:
    def evaluate(model: Any) -> dict[str, float]:
        evaluator = EmbeddingSimilarityEvaluator(firsts, seconds, labels, truncate_dim=truncate_dim, write_csv=False)
        figures = evaluator(model)
        assert evaluator.primary_metric == "spearman_cosine"
        return figures

    assert evaluate(encoder) == pytest.approx(evaluate(reference), abs=TOLERANCE)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_information_retrieval(
    similarity: str,
    encoder: SentenceEncoder,
    reference: SentenceTransformer,
    firsts: list[str],
    seconds: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queries = {f"q{place}": sentence for place, sentence in enumerate(firsts)}
    corpus = {f"d{place}": sentence for place, sentence in enumerate(seconds)}
    relevant = {f"q{place}": {f"d{place}"} for place in range(PAIRS)}

    def evaluate(model: Any) -> dict[str, float]:
        monkeypatch.setattr(model, "similarity_fn_name", SimilarityFunction(similarity))
        return InformationRetrievalEvaluator(queries, corpus, relevant, corpus_chunk_size=64, write_csv=False)(model)

    theirs = evaluate(reference)
    assert evaluate(encoder) == pytest.approx(theirs, abs=TOLERANCE)
    assert theirs[f"{similarity}_recall@10"] > 0.5  # so that the comparison is meaningful


def test_further_evaluators(
    encoder: SentenceEncoder, reference: SentenceTransformer, firsts: list[str], seconds: list[str]
) -> None:
    others = [*seconds[1:], seconds[0]]
    alike = [1] * PAIRS + [0] * PAIRS
    for evaluator in (
        TripletEvaluator(firsts, seconds, others, write_csv=False),
        BinaryClassificationEvaluator(firsts * 2, seconds + others, alike, write_csv=False),
    ):
        assert evaluator(encoder) == pytest.approx(evaluator(reference), abs=TOLERANCE)


@pytest.mark.parametrize("options", [{}, {"convert_to_tensor": True}], ids=["arrays", "tensors"])
def test_semantic_search(
    options: dict[str, Any],
    encoder: SentenceEncoder,
    reference: SentenceTransformer,
    firsts: list[str],
    seconds: list[str],
) -> None:
    def search(model: Any) -> list[list[dict[str, Any]]]:
        return util.semantic_search(model.encode(firsts, **options), model.encode(seconds, **options), top_k=3)

    for ours, theirs in zip(search(encoder), search(reference), strict=True):
        assert [hit["score"] for hit in ours] == pytest.approx([hit["score"] for hit in theirs], abs=TOLERANCE)
        assert ours[0]["corpus_id"] == theirs[0]["corpus_id"]


def test_paraphrase_mining(encoder: SentenceEncoder, reference: SentenceTransformer, firsts: list[str]) -> None:
    sentences = list(dict.fromkeys(firsts))
    ours, theirs = (util.paraphrase_mining(model, sentences, max_pairs=50, top_k=5) for model in (encoder, reference))
    assert [score for score, *_ in ours] == pytest.approx([score for score, *_ in theirs], abs=TOLERANCE)
    assert {(first, second) for _, first, second in ours[:20]} == {(first, second) for _, first, second in theirs[:20]}


def test_community_detection(
    encoder: SentenceEncoder, reference: SentenceTransformer, firsts: list[str], seconds: list[str]
) -> None:
    sentences = firsts + seconds
    ours, theirs = (
        util.community_detection(model.encode(sentences, convert_to_tensor=True), threshold=0.8, min_community_size=2)
        for model in (encoder, reference)
    )
    assert len(theirs) > 3
    assert [sorted(community) for community in ours] == [sorted(community) for community in theirs]

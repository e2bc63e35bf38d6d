"""Correlations of cosine, Manhattan, Euclidean and dot similarity with human scores of sentence pairs."""

from __future__ import annotations

from collections.abc import Sequence

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

from sentriton.evaluation import SIMILARITIES
from sentriton_server.training.data import Record, require_correlation, scored_pairs


def similarity_evaluator(name: str, records: Sequence[Record]) -> EmbeddingSimilarityEvaluator:
    """sentence-transformers' evaluator of all four similarities; cosine's Spearman is the main figure."""
    require_correlation(records)
    sentences1, sentences2, scores = zip(*scored_pairs(records), strict=True)
    return EmbeddingSimilarityEvaluator(
        list(sentences1),
        list(sentences2),
        list(scores),
        name=name,
        main_similarity="cosine",
        similarity_fn_names=list(SIMILARITIES),
        batch_size=64,
        write_csv=False,
    )


def measure_model(model: SentenceTransformer, records: Sequence[Record]) -> dict[str, float]:
    """The ten correlations of a model on scored pairs, by name: "pearson_cosine" … "spearman_dot", "…_max"."""
    figures: dict[str, float] = similarity_evaluator("", records)(model)
    return {name: float(value) for name, value in figures.items()}

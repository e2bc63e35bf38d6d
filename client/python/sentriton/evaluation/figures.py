"""The ten figures of sentence-transformers' `EmbeddingSimilarityEvaluator`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentriton.errors import InvalidInput
from sentriton.similarity import score_pairs

SIMILARITIES = ("cosine", "manhattan", "euclidean", "dot")
CORRELATIONS = ("pearson", "spearman")
FIGURES = tuple(f"{correlation}_{similarity}" for similarity in (*SIMILARITIES, "max") for correlation in CORRELATIONS)


def require_scores(scores: Sequence[float]) -> None:
    if (different := len(set(scores))) < 2:
        raise InvalidInput(f"{len(scores)} pairs have {different} different scores; correlation needs two or more")


def measure(embeddings1: NDArray[Any], embeddings2: NDArray[Any], scores: Sequence[float]) -> dict[str, float]:
    """All of `FIGURES` for embeddings [n, d] of n pairs and n human scores, on any scale. "..._max" is the best
    similarity's. Raises `InvalidInput` if a correlation is undefined.
    """
    from scipy.stats import pearsonr, spearmanr

    require_scores(scores)
    figures: dict[str, float] = {}
    for similarity in SIMILARITIES:
        predicted = score_pairs(similarity, embeddings1, embeddings2)
        spread = np.ptp(predicted)
        if not 0 < spread < np.inf:
            given = "an infinite" if spread else f"all {len(scores)} pairs the same"
            raise InvalidInput(f"the model gives {given} {similarity} similarity, so no correlation exists")
        figures[f"pearson_{similarity}"] = float(pearsonr(scores, predicted).statistic)
        figures[f"spearman_{similarity}"] = float(spearmanr(scores, predicted).statistic)
    for correlation in CORRELATIONS:
        figures[f"{correlation}_max"] = max(figures[f"{correlation}_{similarity}"] for similarity in SIMILARITIES)
    return figures

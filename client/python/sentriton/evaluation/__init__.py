"""Correlates a model's similarities with human scores of sentence pairs. Needs scipy, but no torch."""

from sentriton.evaluation.figures import CORRELATIONS, FIGURES, SIMILARITIES, measure, require_scores
from sentriton.evaluation.pairs import ScoredPair, read_pairs, read_rows

__all__ = [
    "CORRELATIONS",
    "FIGURES",
    "SIMILARITIES",
    "ScoredPair",
    "measure",
    "read_pairs",
    "read_rows",
    "require_scores",
]

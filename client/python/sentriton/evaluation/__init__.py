"""How well a model's similarities rank sentence pairs as people did. Needs scipy alone: no torch."""

from sentriton.evaluation.figures import CORRELATIONS, FIGURES, SIMILARITIES, measure
from sentriton.evaluation.pairs import ScoredPair, read_pairs, read_rows

__all__ = ["CORRELATIONS", "FIGURES", "SIMILARITIES", "ScoredPair", "measure", "read_pairs", "read_rows"]

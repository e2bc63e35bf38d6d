"""How well a model's similarities rank sentence pairs as people did. Needs scipy alone: no torch."""

from sentriton_server.evaluation.figures import CORRELATIONS, FIGURES, SIMILARITIES, measure
from sentriton_server.evaluation.pairs import ScoredPair, read_pairs

__all__ = ["CORRELATIONS", "FIGURES", "SIMILARITIES", "ScoredPair", "measure", "read_pairs"]

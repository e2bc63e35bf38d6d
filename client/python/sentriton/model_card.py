"""The place where sentence-transformers' evaluators note their figures on a model."""

from __future__ import annotations

from collections.abc import Mapping


class ModelCardData:
    """Takes the figures of sentence-transformers' evaluators; `eval_results_dict` has the last ones."""

    def __init__(self) -> None:
        self.eval_results_dict: dict[object, dict[str, float]] = {}

    def set_evaluation_metrics(
        self, evaluator: object, metrics: Mapping[str, float], epoch: int = 0, step: int = 0
    ) -> None:
        """Keep a copy of `metrics`. `epoch` and `step` are a training's: not used here."""
        self.eval_results_dict[evaluator] = dict(metrics)

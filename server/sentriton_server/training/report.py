"""What a training did and how good its checkpoint is: all that the model card says in numbers."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sentriton_server.training.recipe import Recipe, Stage


@dataclass(frozen=True)
class StageReport:
    """What one stage read (sentences or pairs) and its wall time."""

    stage: Stage
    examples: int
    duration_s: float


@dataclass(frozen=True)
class TrainingReport:
    """A training's outcome, measured on the saved files.

    `figures` holds ten correlations by data set title, then by name ("spearman_cosine"); `left_out` the records
    dropped for sharing a sentence with KLUE-STS dev, by data set; `example_similarities` the card's cosine matrix.
    """

    recipe: Recipe
    stages: tuple[StageReport, ...]
    left_out: dict[str, int]
    cpus: int
    parameters: int
    vocab_size: int
    dimension: int
    max_seq_length: int
    figures: dict[str, dict[str, float]]
    example_similarities: list[list[float]]

    @property
    def duration_s(self) -> float:
        """Wall time of all stages."""
        return sum(stage.duration_s for stage in self.stages)


def available_cpus() -> int:
    """The CPU cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""The record of a training and the quality of its checkpoint: the figures of the model card."""

from __future__ import annotations

from dataclasses import dataclass, field

from sentriton_server.training.recipe import Recipe, Stage


@dataclass(frozen=True)
class LogRow:
    """The state of a stage after `step` batches: training loss, and Spearman correlation on its `best_on` set."""

    step: int
    epoch: float
    loss: float | None
    spearman: float | None


@dataclass(frozen=True)
class StageReport:
    """The data that one stage read (sentences or pairs), its wall time, its log, and the records left out."""

    stage: Stage
    examples: int
    duration_s: float
    log: tuple[LogRow, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingReport:
    """A training's outcome, measured on the saved files.

    `figures` holds ten correlations by data set title, then by name ("spearman_cosine"). `left_out` has the records
    dropped for sharing a sentence with KLUE-STS dev, by data set. `gpu` is the name of the GPU, if one was used, and
    `autocast` the 16-bit type of its products, if any.
    `example_similarities` is the card's cosine matrix.
    """

    recipe: Recipe
    stages: tuple[StageReport, ...]
    left_out: dict[str, int]
    cpus: int
    gpu: str | None
    autocast: str | None
    parameters: int
    vocab_size: int
    dimension: int
    max_seq_length: int
    figures: dict[str, dict[str, float]]
    example_similarities: list[list[float]]

    @property
    def duration_s(self) -> float:
        """Wall-clock time of all stages."""
        return sum(stage.duration_s for stage in self.stages)

"""Distillation: a model learns the vectors of a teacher and the cosines between them. Their dimensions may differ."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from torch.nn.functional import cosine_similarity, mse_loss, normalize
from transformers import TrainerCallback

PROJECTION_FILE = "projection.pt"
SIMILARITY_WEIGHT = 10.0  # both terms fall by similar amounts then


class DistillationLoss(nn.Module):
    """1 - cosine of the projected embeddings and the teacher's vectors, plus the error of the cosines in a batch.

    The second term is the mean squared error of the cosines between all sentences of a batch against the teacher's:
    Park et al., Relational Knowledge Distillation, 2019 (arXiv:1904.05068), with cosines as the relation. Alone it
    learns slower (bundled.toml). The projection is linear, learned with the model and not a part of it.

    `teacher` has the teacher's vectors, float32 (sentences, teacher's dimension), each of length 1. The labels of a
    batch are the rows of its sentences.
    """

    def __init__(self, model: SentenceTransformer, teacher: torch.Tensor) -> None:
        super().__init__()
        self.model = model
        self.vectors = nn.Buffer(teacher, persistent=False)
        self.projection = nn.Linear(int(model.get_embedding_dimension() or 0), teacher.shape[1])

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: torch.Tensor) -> torch.Tensor:
        (features,) = sentence_features
        embeddings = self.model(features)["sentence_embedding"]
        others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)  # the cosine with itself is 1
        # In bfloat16, autocast's rounding of a cosine is a tenth of the error that remains.
        with torch.autocast(labels.device.type, enabled=False):
            embeddings, taught = embeddings.float(), self.vectors[labels]
            learned = normalize(embeddings, dim=1)
            vectors = 1 - cosine_similarity(self.projection(embeddings), taught).mean()
            if len(labels) == 1:
                return vectors
            similarities = mse_loss((learned @ learned.T)[others], (taught @ taught.T)[others])
            return vectors + SIMILARITY_WEIGHT * similarities


class SaveProjection(TrainerCallback):  # type: ignore[misc]
    """Keeps the projection of a `DistillationLoss` in the trainer's checkpoints, which hold the model alone."""

    def __init__(self, loss: DistillationLoss, last_checkpoint: str | None) -> None:
        self._projection = loss.projection
        if last_checkpoint is not None:
            self._projection.load_state_dict(torch.load(Path(last_checkpoint) / PROJECTION_FILE, weights_only=True))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        torch.save(self._projection.state_dict(), folder / PROJECTION_FILE)

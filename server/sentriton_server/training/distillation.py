"""Distillation: a model learns the cosines that a teacher finds between sentences, so their sizes need not agree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from torch.nn.functional import mse_loss, normalize


class SimilarityDistillationLoss(nn.Module):
    """The mean squared error of the cosines between all sentences of a batch, against the teacher's cosines.

    `teacher` has the teacher's vectors, float32 (sentences, teacher's dimension), each of length 1. The labels of a
    batch are the rows of its sentences. The loss learns no weights of its own, so a checkpoint needs the model alone.
    Source: Park et al., Relational Knowledge Distillation, 2019 (arXiv:1904.05068), with cosines as the relation.
    """

    def __init__(self, model: SentenceTransformer, teacher: torch.Tensor) -> None:
        super().__init__()
        self.model = model
        self.vectors = nn.Buffer(teacher, persistent=False)

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: torch.Tensor) -> torch.Tensor:
        (features,) = sentence_features
        embeddings = self.model(features)["sentence_embedding"]
        others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)  # the cosine with itself is 1
        # In bfloat16, autocast's rounding of a cosine is a tenth of what is left to learn.
        with torch.autocast(labels.device.type, enabled=False):
            learned, taught = normalize(embeddings.float(), dim=1), self.vectors[labels]
            return mse_loss((learned @ learned.T)[others], (taught @ taught.T)[others])

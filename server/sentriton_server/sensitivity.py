"""Which linear layers of an encoder 8 bits change most: a few with outliers may make up most of the difference."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sentriton_server.encoder import PackedEncoder
from sentriton_server.encoder.linear import Int8Linear


def sensitive_linears(encoder: PackedEncoder, rows: list[list[int]]) -> list[str]:
    """The names of the layers' linear layers, the most sensitive first. The measure is the mean cosine of the rows'
    mean token embeddings, with 8 bits in this linear layer alone, to those without. The encoder is as `read_encoder`
    makes it.
    """
    expected = _row_means(encoder, rows)
    cosines: dict[str, float] = {}
    for layer_name, layer in encoder.layers.named_children():
        for name, linear in list(layer.named_children()):
            if not isinstance(linear, nn.Linear):
                continue
            setattr(layer, name, Int8Linear(linear))
            found = _row_means(encoder, rows)
            setattr(layer, name, linear)
            cosines[f"layers.{layer_name}.{name}"] = float(torch.cosine_similarity(found, expected).mean())
    return sorted(cosines, key=cosines.__getitem__)


def _row_means(encoder: PackedEncoder, rows: list[list[int]]) -> Tensor:
    """The mean of each row's token embeddings, [rows, hidden]."""
    ids = torch.tensor([[token] for row in rows for token in row], dtype=torch.int32)
    number = torch.tensor([[at] for at, row in enumerate(rows) for _ in row], dtype=torch.int32)
    with torch.inference_mode():
        embeddings: Tensor = encoder(ids, number, torch.full_like(ids, encoder.key, dtype=torch.int64))
    lengths = [len(row) for row in rows]
    return torch.stack([of_row.double().mean(dim=0) for of_row in embeddings.split(lengths)])

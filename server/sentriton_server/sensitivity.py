"""Finds the linear layers that 8 bits change most. A few layers with outliers may cause most of the deviation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sentriton_server.encoder import PackedEncoder
from sentriton_server.encoder.linear import Int8Linear


def sensitive_linears(encoder: PackedEncoder, rows: list[list[int]]) -> list[str]:
    """The names of the linear layers, most sensitive first. Each is measured with 8 bits in this layer alone, by the
    mean cosine of the rows' mean token embeddings to the originals. `encoder` comes from `read_encoder`.
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

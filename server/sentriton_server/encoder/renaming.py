"""Converts the weights of a transformers module to the names and fused weights of a packed encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sentriton_server.encoder.families import Family
from sentriton_server.encoder.shape import EncoderShape


def packed_state(model: nn.Module, family: Family, shape: EncoderShape) -> dict[str, Tensor]:
    """The state of a `PackedEncoder` of this shape. The names of the model's weights have no prefix such as `roberta.`.

    A missing bias becomes 0, which leaves the result unchanged. So all linear layers and norms have the same weights.
    """
    state: dict[str, Any] = model.state_dict()
    packed = _embeddings(state, family, shape)
    names: dict[str, tuple[str, ...]] = {"embedding_norm": (family.embedding_norm,)}
    for number in range(len(shape.layers)):
        source, target = f"{family.layer.prefix}.{number}", f"layers.{number}"
        names |= {
            f"{target}.query_key_value": tuple(f"{source}.{name}" for name in family.layer.query_key_value),
            f"{target}.attention_output": (f"{source}.{family.layer.attention_output}",),
            f"{target}.attention_norm": (f"{source}.{family.layer.attention_norm}",),
            f"{target}.intermediate": tuple(f"{source}.{name}" for name in family.layer.intermediate),
            f"{target}.output": (f"{source}.{family.layer.output}",),
            f"{target}.output_norm": (f"{source}.{family.layer.output_norm}",),
        }
        if not shape.layers[number].norm:
            del names[f"{target}.attention_norm"]
    if shape.norm_first:
        names["last_norm"] = ("final_norm",)
    if shape.embedding_size != shape.hidden_size:
        names["projection.linear"] = ("embeddings_project",)
    for target, sources in names.items():
        weights = [state[f"{name}.weight"] for name in sources]
        biases = [
            state.get(f"{name}.bias", weight.new_zeros(weight.size(0)))
            for name, weight in zip(sources, weights, strict=True)
        ]
        packed[f"{target}.weight"] = weights[0] if len(weights) == 1 else torch.cat(weights)
        packed[f"{target}.bias"] = biases[0] if len(biases) == 1 else torch.cat(biases)
    return packed


def _embeddings(state: dict[str, Any], family: Family, shape: EncoderShape) -> dict[str, Tensor]:
    words = state[f"{family.word_embeddings}.weight"]
    types = state.get("embeddings.token_type_embeddings.weight")
    # Every token has type 0, so the position embeddings include its embedding.
    of_type = words.new_zeros(shape.embedding_size) if types is None else types[0]
    if shape.num_positions == 0:
        return {"word_embeddings.weight": words, "position_embeddings.weight": of_type}
    positions = state["embeddings.position_embeddings.weight"]
    return {
        "word_embeddings.weight": words,
        "position_embeddings.weight": positions if types is None else positions + of_type,
    }


def rotary_state(model: nn.Module, sets: list[str]) -> dict[str, Tensor]:
    """The frequencies of rotary positions, as transformers computes them. `sets`: the types of layers with their own
    frequencies, or one empty name.
    """
    rotary: Any = model.rotary_emb
    prefixes = [f"{name}_" if name else "" for name in sets]
    scales = [float(getattr(rotary, f"{prefix}attention_scaling")) for prefix in prefixes]
    return {
        "rotary.frequencies": torch.stack([getattr(rotary, f"{prefix}inv_freq").float() for prefix in prefixes]),
        "rotary.scales": torch.tensor(scales),
    }


def distance_state(model: nn.Module, far: int) -> dict[str, Tensor]:
    """The attention bias of an MPNetModel for each head and each distance from -far to far."""
    encoder: Any = model.encoder
    buckets = encoder.relative_position_bucket(torch.arange(-far, far + 1))
    return {"distance_bias": encoder.relative_attention_bias.weight.detach()[buckets].T.contiguous()}

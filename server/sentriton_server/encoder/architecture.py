"""Which Hugging Face encoders can be packed, and where their weights lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sentriton.errors import SentritonError
from sentriton_server.encoder.packed import ACTIVATIONS, PackedEncoder

# How each model type numbers its positions. RoBERTa counts the tokens that are not padding and starts behind the
# padding id (`create_position_ids_from_input_ids` in transformers); BERT counts places from zero.
_POSITIONS_FOLLOW_PADDING_ID = {"bert": False, "roberta": True, "xlm-roberta": True}


class UnsupportedEncoder(SentritonError, ValueError):
    """The checkpoint's encoder is one that Sentriton cannot pack."""


@dataclass(frozen=True)
class EncoderSpec:
    """The numbers that fix an encoder's shape; `max_seq_length` counts tokens, special ones included."""

    model_type: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    pad_token_id: int
    max_seq_length: int
    activation: str
    layer_norm_eps: float

    @property
    def positions_follow_padding_id(self) -> bool:
        return _POSITIONS_FOLLOW_PADDING_ID[self.model_type]


def read_encoder(model: nn.Module, max_seq_length: int | None) -> tuple[EncoderSpec, PackedEncoder]:
    """Copy a BertModel, RobertaModel or XLMRobertaModel into a `PackedEncoder` (float32, CPU, eval mode).

    `max_seq_length` is the checkpoint's own limit in tokens; None, or one beyond the position table, becomes the
    table's. Raises `UnsupportedEncoder` naming what the checkpoint has and what is supported.
    """
    config: Any = model.config
    _refuse_unsupported(config)
    first_position = config.pad_token_id + 1 if _POSITIONS_FOLLOW_PADDING_ID[config.model_type] else 0
    longest = config.max_position_embeddings - first_position
    spec = EncoderSpec(
        model_type=config.model_type,
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        pad_token_id=config.pad_token_id,
        max_seq_length=min(max_seq_length or longest, longest),
        activation=config.hidden_act,
        layer_norm_eps=config.layer_norm_eps,
    )
    packed = PackedEncoder(
        vocab_size=spec.vocab_size,
        hidden_size=spec.hidden_size,
        intermediate_size=config.intermediate_size,
        num_layers=spec.num_layers,
        num_heads=spec.num_heads,
        num_positions=config.max_position_embeddings,
        max_seq_length=spec.max_seq_length,
        pad_token_id=spec.pad_token_id,
        positions_follow_padding_id=spec.positions_follow_padding_id,
        activation=spec.activation,
        layer_norm_eps=spec.layer_norm_eps,
    )
    packed.load_state_dict(packed_state(model.state_dict(), spec.num_layers))
    return spec, packed.float().eval()


def packed_state(state: dict[str, Any], num_layers: int) -> dict[str, Any]:
    """Rename and fuse the weights of a Hugging Face BERT-like module (no `roberta.` or `bert.` prefix)."""
    # Every token has type 0, so its embedding is part of every position's.
    positions = state["embeddings.position_embeddings.weight"] + state["embeddings.token_type_embeddings.weight"][0]
    packed = {
        "word_embeddings.weight": state["embeddings.word_embeddings.weight"],
        "position_embeddings.weight": positions,
    }
    names = {"embedding_norm": "embeddings.LayerNorm"}
    for number in range(num_layers):
        source, target = f"encoder.layer.{number}", f"layers.{number}"
        for kind in ("weight", "bias"):
            parts = [state[f"{source}.attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            packed[f"{target}.query_key_value.{kind}"] = torch.cat(parts)
        names |= {
            f"{target}.attention_output": f"{source}.attention.output.dense",
            f"{target}.attention_norm": f"{source}.attention.output.LayerNorm",
            f"{target}.intermediate": f"{source}.intermediate.dense",
            f"{target}.output": f"{source}.output.dense",
            f"{target}.output_norm": f"{source}.output.LayerNorm",
        }
    for target, source in names.items():
        for kind in ("weight", "bias"):
            packed[f"{target}.{kind}"] = state[f"{source}.{kind}"]
    return packed


def _refuse_unsupported(config: Any) -> None:
    if config.model_type not in _POSITIONS_FOLLOW_PADDING_ID:
        raise UnsupportedEncoder(
            f"the checkpoint's encoder is of type {config.model_type!r}; "
            f"supported are {', '.join(sorted(_POSITIONS_FOLLOW_PADDING_ID))}"
        )
    if config.hidden_act not in ACTIVATIONS:
        raise UnsupportedEncoder(
            f"the encoder's hidden_act is {config.hidden_act!r}; supported are {', '.join(ACTIVATIONS)}"
        )
    position_type = getattr(config, "position_embedding_type", None) or "absolute"
    if position_type != "absolute":
        raise UnsupportedEncoder(
            f"the encoder's position_embedding_type is {position_type!r}; supported is 'absolute' alone"
        )
    if getattr(config, "is_decoder", False):
        raise UnsupportedEncoder("the checkpoint is a decoder (is_decoder: true); supported are encoders alone")

"""Which Hugging Face encoders can be packed, and where their weights lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import nn

from sentriton.errors import SentritonError
from sentriton_server.encoder.packed import ACTIVATION_FUNCTIONS, PackedEncoder

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
    """Make a `PackedEncoder` (float32, CPU, eval mode) of a BertModel, RobertaModel or XLMRobertaModel. It shares the
    weights that it does not fuse.

    `max_seq_length` is the checkpoint's own limit in tokens; None, or one beyond the position table, becomes the
    table's. Raises `UnsupportedEncoder` naming what the checkpoint has and what is supported.
    """
    config: Any = model.config
    check_config(config)
    longest = config.max_position_embeddings - _first_position(config)
    if max_seq_length is not None and not is_count(max_seq_length):
        raise UnsupportedEncoder(
            f"the checkpoint's max_seq_length is {max_seq_length!r}; allowed are integers from 1 to {longest}, "
            "or null for the longest"
        )
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
    with torch.device("meta"):  # no memory for weights that others replace
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
    packed.load_state_dict(packed_state(model.state_dict(), spec.num_layers), assign=True)
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


def check_config(config: Any) -> None:
    """Raises `UnsupportedEncoder` where a transformers configuration describes an encoder that cannot be packed."""
    if config.model_type not in _POSITIONS_FOLLOW_PADDING_ID:
        raise UnsupportedEncoder(
            f"the checkpoint's encoder is of type {config.model_type!r}; "
            f"supported are {', '.join(sorted(_POSITIONS_FOLLOW_PADDING_ID))}"
        )
    if config.hidden_act not in ACTIVATION_FUNCTIONS:
        raise UnsupportedEncoder(
            f"the encoder's hidden_act is {config.hidden_act!r}; supported are {', '.join(ACTIVATION_FUNCTIONS)}"
        )
    position_type = getattr(config, "position_embedding_type", None) or "absolute"
    if position_type != "absolute":
        raise UnsupportedEncoder(
            f"the encoder's position_embedding_type is {position_type!r}; supported is 'absolute' alone"
        )
    if getattr(config, "is_decoder", False):
        raise UnsupportedEncoder("the checkpoint is a decoder (is_decoder: true); supported are encoders alone")
    _check_sizes(config)


def count_parameters(config: Any) -> int:
    """How many weights an encoder of this configuration has, without its pooler."""
    hidden, inner = config.hidden_size, config.intermediate_size
    embeddings = (config.vocab_size + config.max_position_embeddings + config.type_vocab_size + 2) * hidden
    layer = 4 * hidden * (hidden + 1) + 2 * hidden * inner + inner + 5 * hidden
    return int(embeddings + config.num_hidden_layers * layer)


def _check_sizes(config: Any) -> None:
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    for name in (*sizes, "max_position_embeddings", "type_vocab_size"):
        if not is_count(getattr(config, name)):
            raise UnsupportedEncoder(
                f"the encoder's {name} is {getattr(config, name)!r}; allowed are positive integers"
            )
    if config.hidden_size % config.num_attention_heads != 0:
        raise UnsupportedEncoder(
            f"the encoder's hidden_size is {config.hidden_size} with {config.num_attention_heads} attention heads; "
            "hidden_size must be a multiple of num_attention_heads"
        )
    padding = config.pad_token_id
    if not (padding == 0 or is_count(padding)) or padding >= config.vocab_size:
        raise UnsupportedEncoder(
            f"the encoder's pad_token_id is {padding!r}; allowed are integers from 0 to {config.vocab_size - 1}; "
            "set it to the id of the tokenizer's padding token"
        )
    if config.max_position_embeddings <= _first_position(config):
        raise UnsupportedEncoder(
            f"the encoder's max_position_embeddings is {config.max_position_embeddings}, and its first "
            f"{_first_position(config)} positions are padding's; none is left for tokens"
        )
    if not 0 <= config.layer_norm_eps < math.inf:
        raise UnsupportedEncoder(
            f"the encoder's layer_norm_eps is {config.layer_norm_eps!r}; allowed are numbers from 0"
        )


def _first_position(config: Any) -> int:
    return int(config.pad_token_id) + 1 if _POSITIONS_FOLLOW_PADDING_ID[config.model_type] else 0


def is_count(value: Any) -> TypeGuard[int]:
    """Whether a value of a configuration is a positive integer."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0

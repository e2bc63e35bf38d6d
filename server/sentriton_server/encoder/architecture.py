"""The Hugging Face encoders that can be packed, and their shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from sentriton.errors import SentritonError
from sentriton_server.encoder.activations import ACTIVATION_FUNCTIONS
from sentriton_server.encoder.families import FAMILIES, Family
from sentriton_server.encoder.packed import PackedEncoder
from sentriton_server.encoder.renaming import distance_state, packed_state, rotary_state
from sentriton_server.encoder.shape import EncoderShape, LayerShape

# Prefixes of the model types of decoders that are common as embedding models.
_DECODERS = (
    "bloom",
    "falcon",
    "gemma",
    "gpt",
    "llama",
    "mistral",
    "ministral",
    "opt",
    "phi",
    "qwen",
    "embedding_gemma",
)
# Rotary frequencies that depend on the length of the text.
_CHANGING_ROTATIONS = ("dynamic", "longrope")


class UnsupportedEncoder(SentritonError, ValueError):
    """Sentriton cannot pack the checkpoint's encoder."""


@dataclass(frozen=True)
class EncoderSpec:
    """The sizes of an encoder. `max_seq_length` counts tokens, including special ones. `further` has the other
    settings that affect the vectors, for encoders unlike BERT.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    pad_token_id: int
    max_seq_length: int
    activation: str
    layer_norm_eps: float
    # Outside repr, which is part of every fingerprint. So the fingerprints of BERT-like encoders stay the same.
    further: str = field(default="", repr=False)

    @property
    def positions_follow_padding_id(self) -> bool:
        return FAMILIES[self.model_type].positions == "behind padding"


def read_encoder(
    model: nn.Module, max_seq_length: int | None, layer_weights: Tensor | None = None
) -> tuple[EncoderSpec, PackedEncoder]:
    """Make a `PackedEncoder` (float32, CPU, eval mode) from an encoder of transformers, such as a BertModel. The two
    share all weights that are not fused.

    `max_seq_length` is the checkpoint's limit in tokens. If it is None or exceeds the position table, the size of the
    table is the limit.
    `layer_weights` [layers + 1] mixes the outputs of the embeddings and the layers (WeightedLayerPooling). Raises
    `UnsupportedEncoder`, which names the checkpoint's value and the supported values.
    """
    config: Any = model.config
    check_config(config)
    family = FAMILIES[config.model_type]
    longest = config.max_position_embeddings - _first_position(config, family)
    if max_seq_length is not None and not is_count(max_seq_length):
        raise UnsupportedEncoder(
            f"the checkpoint's max_seq_length is {max_seq_length!r}; allowed are integers from 1 to {longest}, "
            "or null for the longest"
        )
    # Rotary positions have no table, and so no limit of their own.
    bounded = longest if family.positions != "rotary" or max_seq_length is None else max_seq_length
    shape = _shape(config, min(max_seq_length or longest, bounded))
    spec = EncoderSpec(
        model_type=config.model_type,
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_layers=len(shape.layers),
        num_heads=shape.num_heads,
        pad_token_id=shape.pad_token_id,
        max_seq_length=shape.max_seq_length,
        activation=family.setting(config, "hidden_act"),
        layer_norm_eps=shape.layer_norm_eps,
        further=repr(shape.layers) if family.window else "",
    )
    state = packed_state(model, family, shape)
    if shape.num_rotations:
        state |= rotary_state(model, _rotations(config, family))
    if shape.bias_distance:
        state |= distance_state(model, shape.bias_distance)
    if layer_weights is not None:
        state["mix.weights"] = layer_weights / layer_weights.sum()
    with torch.device("meta"):  # without memory, since the checkpoint's weights replace these
        packed = PackedEncoder(shape, mixes_layers=layer_weights is not None)
    packed.load_state_dict(state, assign=True)
    return spec, packed.float().eval()


def _shape(config: Any, max_seq_length: int) -> EncoderShape:
    family = FAMILIES[config.model_type]
    return EncoderShape(
        vocab_size=config.vocab_size,
        embedding_size=_embedding_size(config),
        hidden_size=config.hidden_size,
        intermediate_size=family.setting(config, "intermediate_size"),
        num_heads=config.num_attention_heads,
        layers=_layers(config, family),
        num_positions=0 if family.positions == "rotary" else config.max_position_embeddings,
        positions_follow_padding_id=family.positions == "behind padding",
        pad_token_id=family.setting(config, "pad_token_id"),
        max_seq_length=max_seq_length,
        activation=family.setting(config, "hidden_act"),
        layer_norm_eps=family.setting(config, "layer_norm_eps"),
        num_rotations=len(_rotations(config, family)),
        bias_distance=family.bias_distance,
        gated=family.gated,
        norm_first=family.norm_first,
    )


def _layers(config: Any, family: Family) -> tuple[LayerShape, ...]:
    """The shape of each layer. If layers have types, the local ones have a window, and each type has its rotation."""
    rotations = _rotations(config, family)
    if family.window is None:
        return (LayerShape(rotation=0 if rotations else None),) * int(config.num_hidden_layers)
    return tuple(
        LayerShape(
            window=getattr(config, family.window) if kind == "sliding_attention" else None,
            rotation=rotations.index(kind),
            norm=number > 0 or not family.norm_first,  # the norm of the embeddings precedes the first layer
        )
        for number, kind in enumerate(config.layer_types)
    )


def _rotations(config: Any, family: Family) -> list[str]:
    """The names of the sets of rotary frequencies: no set, one set named "", or one set for each type of layer."""
    if family.positions != "rotary":
        return []
    return sorted(set(config.layer_types)) if family.window else [""]


def check_config(config: Any) -> None:
    """Raises `UnsupportedEncoder` if a transformers configuration describes an encoder that cannot be packed."""
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise UnsupportedEncoder(_other_type(config.model_type))
    activation = family.setting(config, "hidden_act")
    if activation not in ACTIVATION_FUNCTIONS:
        name = family.settings.get("hidden_act", "hidden_act")
        raise UnsupportedEncoder(
            f"the encoder's {name} is {activation!r}; supported are {', '.join(ACTIVATION_FUNCTIONS)}; take a "
            "checkpoint that was trained with one of these"
        )
    position_type = getattr(config, "position_embedding_type", None) or "absolute"
    # Rotary encoders of transformers ignore this field, which other code wrote into their configurations.
    if position_type != "absolute" and family.positions != "rotary":
        raise UnsupportedEncoder(
            f"the encoder's position_embedding_type is {position_type!r}; supported is 'absolute' alone; "
            "use a checkpoint that was trained with absolute positions"
        )
    if getattr(config, "is_decoder", False):
        raise UnsupportedEncoder(
            "the checkpoint is a decoder (is_decoder: true), whose tokens do not attend to later tokens; supported "
            "are encoders alone; use an embedding model of an encoder"
        )
    _check_sizes(config, family)
    if family.positions == "rotary":
        _check_rotation(config, family)


def check_model_type(config: Mapping[str, Any]) -> None:
    """Raises `UnsupportedEncoder` if a config.json does not name a supported encoder. transformers would ask for
    another release of itself, or for permission to run code.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise UnsupportedEncoder(
            f"config.json has the model_type {model_type!r}; supported are {', '.join(sorted(FAMILIES))}; save the "
            "encoder again with save_pretrained of transformers"
        )
    if model_type not in FAMILIES:
        of_code = "auto_map" in config
        raise UnsupportedEncoder(
            _other_type(model_type)
            + ("; the code that comes with it (auto_map in config.json) is never run" if of_code else "")
        )


def _other_type(model_type: str) -> str:
    supported = f"supported are {', '.join(sorted(FAMILIES))}"
    if model_type.startswith(_DECODERS) or model_type.endswith("decoder"):
        return (
            f"the checkpoint's encoder is of type {model_type!r}, a decoder: its layers (causal attention, heads that "
            "share keys, RMSNorm) are not those of an encoder, and its size asks for a server of decoders on a GPU; "
            f"{supported}; use an embedding model of one of these, such as bge-m3 or multilingual-e5"
        )
    return (
        f"the checkpoint's encoder is of type {model_type!r}; {supported}; use an embedding model of one of these, "
        "or distil this one into one with sentence-transformers' MSELoss"
    )


def _check_rotation(config: Any, family: Family) -> None:
    head_size = config.hidden_size // config.num_attention_heads
    if head_size % 2 or getattr(config, "head_dim", None) not in (None, head_size):
        raise UnsupportedEncoder(
            f"the encoder's heads are of {getattr(config, 'head_dim', None) or head_size} elements with rotary "
            "positions; supported are an even number, and hidden_size / num_attention_heads"
        )
    parameters = config.rope_parameters
    for name in _rotations(config, family):
        kind = (parameters[name] if name else parameters).get("rope_type", "default")
        if (
            kind in _CHANGING_ROTATIONS
            or (parameters[name] if name else parameters).get("partial_rotary_factor", 1) != 1
        ):
            raise UnsupportedEncoder(
                f"the encoder's rope_parameters are {parameters}; supported are frequencies that stay the same for "
                "texts of any length and turn whole heads; set rope_type to 'default' if no text is longer than those "
                "of the training"
            )


def count_parameters(config: Any) -> int:
    """The number of weights of an encoder without its pooler, to within 1 %: biases of gated layers are not counted."""
    family = FAMILIES[config.model_type]
    hidden, inner, width = config.hidden_size, family.setting(config, "intermediate_size"), _embedding_size(config)
    positions = 0 if family.positions == "rotary" else config.max_position_embeddings
    embeddings = (config.vocab_size + positions + (family.setting(config, "type_vocab_size") or 0) + 2) * width
    projection = 0 if width == hidden else (width + 1) * hidden
    if family.gated:  # without biases, since only some of these encoders have them
        layer = 4 * hidden * hidden + 3 * hidden * inner
    else:
        layer = 4 * hidden * (hidden + 1) + 2 * hidden * inner + inner + 5 * hidden
    return int(embeddings + projection + config.num_hidden_layers * layer)


def _embedding_size(config: Any) -> int:
    """The width of the embeddings. Only in ELECTRA does it differ from the width of the layers."""
    return int(config.embedding_size if config.model_type == "electra" else config.hidden_size)


def _check_sizes(config: Any, family: Family) -> None:
    sizes = ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"]
    sizes += ["max_position_embeddings"]
    sizes += ["embedding_size"] if config.model_type == "electra" else []
    for name in sizes:
        value = family.setting(config, name)
        if not is_count(value):
            raise UnsupportedEncoder(f"the encoder's {name} is {value!r}; allowed are positive integers")
    types = family.setting(config, "type_vocab_size")
    without = "type_vocab_size" in family.constants or (types == 0 and family.positions == "rotary")
    if not without and not is_count(types):
        raise UnsupportedEncoder(f"the encoder's type_vocab_size is {types!r}; allowed are positive integers")
    if config.hidden_size % config.num_attention_heads != 0:
        raise UnsupportedEncoder(
            f"the encoder's hidden_size is {config.hidden_size} with {config.num_attention_heads} attention heads; "
            "hidden_size must be a multiple of num_attention_heads"
        )
    padding = family.setting(config, "pad_token_id")
    if not (padding == 0 or is_count(padding)) or padding >= config.vocab_size:
        raise UnsupportedEncoder(
            f"the encoder's pad_token_id is {padding!r}; allowed are integers from 0 to {config.vocab_size - 1}; "
            "set it to the id of the tokenizer's padding token"
        )
    if config.max_position_embeddings <= _first_position(config, family):
        raise UnsupportedEncoder(
            f"the encoder's max_position_embeddings is {config.max_position_embeddings}, and its first "
            f"{_first_position(config, family)} positions are padding's; none is left for tokens"
        )
    eps = family.setting(config, "layer_norm_eps")
    if not 0 <= eps < math.inf:
        raise UnsupportedEncoder(f"the encoder's layer_norm_eps is {eps!r}; allowed are numbers from 0")


def _first_position(config: Any, family: Family) -> int:
    return int(family.setting(config, "pad_token_id")) + 1 if family.positions == "behind padding" else 0


def is_count(value: Any) -> TypeGuard[int]:
    """Whether a value of a configuration is a positive integer."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0

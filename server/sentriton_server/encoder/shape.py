"""The shape of a packed encoder: everything except its weights."""

from __future__ import annotations

from dataclasses import dataclass

from sentriton_server.encoder.activations import OPERATOR_ACTIVATIONS


@dataclass(frozen=True)
class LayerShape:
    """The differences between layers. `window`: the largest distance between key and query, if limited. `rotation`: the
    index of the layer's rotary frequencies, if any. `norm`: whether a pre-norm layer has a norm before attention.
    """

    window: int | None = None
    rotation: int | None = None
    norm: bool = True


@dataclass(frozen=True)
class EncoderShape:
    """`num_positions`: rows of the position table, 0 for an encoder without one. `num_rotations`: number of sets of
    rotary frequencies. `bias_distance`: distance from which the attention bias is constant, 0 without this bias.
    `gated`: the intermediate layer has twice the outputs, and the second half scales the first. `norm_first`: norms
    precede attention and feed-forward, and one follows the last layer.
    """

    vocab_size: int
    embedding_size: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    layers: tuple[LayerShape, ...]
    num_positions: int
    positions_follow_padding_id: bool
    pad_token_id: int
    max_seq_length: int
    activation: str
    layer_norm_eps: float
    num_rotations: int = 0
    bias_distance: int = 0
    gated: bool = False
    norm_first: bool = False

    @property
    def beyond_operators(self) -> str:
        """The reason why Sentriton's own operators cannot compute the layers, or an empty string."""
        if self.norm_first:
            return "the norms are in front of attention"
        if self.gated:
            return "the feed-forward layers are gated"
        if self.num_rotations:
            return "the positions are rotary"
        if self.activation not in OPERATOR_ACTIVATIONS:
            return f"the activation is {self.activation}"
        return ""

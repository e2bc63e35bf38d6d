"""The transformer layers of a packed encoder. The shape of a layer determines its parts."""

from __future__ import annotations

from torch import Tensor, nn

from sentriton_server.encoder.activations import Activation, GatedActivation
from sentriton_server.encoder.attention import Layout
from sentriton_server.encoder.distances import AttentionAnywhere, AttentionByDistance, DistanceBias, LocalWindow
from sentriton_server.encoder.positions import NoRotation, Rotation
from sentriton_server.encoder.shape import EncoderShape, LayerShape


class PackedLayer(nn.Module):
    """One transformer layer, post-norm as in BERT, with the three attention projections fused."""

    def __init__(self, shape: EncoderShape, of_layer: LayerShape) -> None:
        super().__init__()
        hidden, inner, eps = shape.hidden_size, shape.intermediate_size, shape.layer_norm_eps
        self.query_key_value = nn.Linear(hidden, 3 * hidden)
        self.rotation = NoRotation() if of_layer.rotation is None else Rotation(of_layer.rotation)
        self.attention = _attention(shape, of_layer)
        self.attention_output = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=eps) if of_layer.norm else nn.Identity()
        self.intermediate = nn.Linear(hidden, 2 * inner if shape.gated else inner)
        self.activation = GatedActivation(shape.activation) if shape.gated else Activation(shape.activation)
        self.output = nn.Linear(inner, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=eps)

    def for_operators(self) -> list[Tensor]:
        """The layer's parameters as `sentriton::layers` takes them."""
        # compile_encoder has replaced the linear layers by those of linear.py.
        parameters: list[Tensor] = self.query_key_value.for_operators  # type: ignore[assignment]
        parameters = parameters + self.attention_output.for_operators  # type: ignore[operator]
        parameters += self.intermediate.for_operators + self.output.for_operators  # type: ignore[operator]
        parameters += [self.attention_norm.weight, self.attention_norm.bias]  # type: ignore[list-item]
        parameters += [self.output_norm.weight, self.output_norm.bias]
        return parameters

    def forward(self, hidden: Tensor, layout: Layout, rotations: Tensor, distance_bias: Tensor) -> Tensor:
        """Compute the layer's output, with the shape of `hidden` [tokens and filling, hidden]. `rotations` come from
        `Rotary`; `distance_bias` is that of `DistanceBias`.
        """
        hidden = self.attention_norm(hidden + self.attend(hidden, layout, rotations, distance_bias))
        normalized: Tensor = self.output_norm(hidden + self.feed_forward(hidden))
        return normalized

    def attend(self, hidden: Tensor, layout: Layout, rotations: Tensor, distance_bias: Tensor) -> Tensor:
        query_key_value = self.rotation(self.query_key_value(hidden), rotations, layout.heads)
        attended: Tensor = self.attention_output(self.attention(query_key_value, layout, distance_bias))
        return attended

    def feed_forward(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.output(self.activation(self.intermediate(hidden)))
        return output


class NormFirstLayer(PackedLayer):
    """A pre-norm layer: the norms precede attention and feed-forward, as in ModernBERT."""

    def forward(self, hidden: Tensor, layout: Layout, rotations: Tensor, distance_bias: Tensor) -> Tensor:
        """See `PackedLayer.forward`."""
        hidden = hidden + self.attend(self.attention_norm(hidden), layout, rotations, distance_bias)
        return hidden + self.feed_forward(self.output_norm(hidden))


def make_layers(shape: EncoderShape) -> nn.ModuleList:
    """The layers of an encoder of this shape."""
    kind = NormFirstLayer if shape.norm_first else PackedLayer
    return nn.ModuleList(kind(shape, of_layer) for of_layer in shape.layers)


def _attention(shape: EncoderShape, of_layer: LayerShape) -> nn.Module:
    if of_layer.window is not None:
        return AttentionByDistance(LocalWindow(of_layer.window), of_layer.window, even_tokens=of_layer.window + 1)
    if shape.bias_distance:
        return AttentionByDistance(DistanceBias(), shape.max_seq_length, even_tokens=0)
    return AttentionAnywhere()

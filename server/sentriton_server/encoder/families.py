"""The supported encoders of transformers. Each model type is described by its differences from BERT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# Positions in a table start at 0, or at the padding id plus 1 (`create_position_ids_from_input_ids` in transformers).
# Rotary positions have no table.
Positions = Literal["from 0", "behind padding", "rotary"]


@dataclass(frozen=True)
class LayerNames:
    """The names of a layer's weights, after `prefix` and the layer's number. The weights of a tuple of names are
    concatenated in this order.
    """

    prefix: str
    query_key_value: tuple[str, ...]
    attention_output: str
    attention_norm: str
    intermediate: tuple[str, ...]
    output: str
    output_norm: str


@dataclass(frozen=True)
class Family:
    """One model type. `known`: popular checkpoints of this type, for the documentation.

    `settings`: the names of settings that differ from BERT's. `constants`: settings that the configuration lacks.
    `window`: the setting with the largest distance of a key in layers of local attention. `bias_distance`: the
    distance from which the attention bias is constant.
    """

    model_type: str
    title: str
    known: str
    layer: LayerNames
    positions: Positions = "from 0"
    word_embeddings: str = "embeddings.word_embeddings"
    embedding_norm: str = "embeddings.LayerNorm"
    settings: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    gated: bool = False
    norm_first: bool = False
    window: str | None = None
    bias_distance: int = 0

    @property
    def operators(self) -> str:
        """The operators of its layers on a CPU with AVX-512 or AVX2, for the documentation."""
        return "torch" if self.gated or self.norm_first or self.positions == "rotary" else "sentriton"

    def setting(self, config: Any, name: str) -> Any:
        """A setting of a configuration by BERT's name, or None."""
        return self.constants[name] if name in self.constants else getattr(config, self.settings.get(name, name), None)


def _jina_names(intermediate: tuple[str, ...], output: str) -> LayerNames:
    return LayerNames(
        prefix="layers",
        query_key_value=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        attention_output="self_attn.o_proj",
        attention_norm="post_attention_layernorm",
        intermediate=intermediate,
        output=output,
        output_norm="post_mlp_layernorm",
    )


_BERT = LayerNames(
    prefix="encoder.layer",
    query_key_value=("attention.self.query", "attention.self.key", "attention.self.value"),
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    intermediate=("intermediate.dense",),
    output="output.dense",
    output_norm="output.LayerNorm",
)
_GATED = _jina_names(("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj")
_DISTILBERT = LayerNames(
    prefix="transformer.layer",
    query_key_value=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    intermediate=("ffn.lin1",),
    output="ffn.lin2",
    output_norm="output_layer_norm",
)
_MPNET = LayerNames(
    prefix="encoder.layer",
    query_key_value=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
    attention_output="attention.attn.o",
    attention_norm="attention.LayerNorm",
    intermediate=("intermediate.dense",),
    output="output.dense",
    output_norm="output.LayerNorm",
)
_MODERNBERT = LayerNames(
    prefix="layers",
    query_key_value=("attn.Wqkv",),
    attention_output="attn.Wo",
    attention_norm="attn_norm",
    intermediate=("mlp.Wi",),
    output="mlp.Wo",
    output_norm="mlp_norm",
)

FAMILIES: Mapping[str, Family] = {
    family.model_type: family
    for family in (
        Family("bert", "BERT", "LaBSE, all-MiniLM-L6-v2, bge-*-en-v1.5", _BERT),
        Family("roberta", "RoBERTa", "all-distilroberta-v1, ko-sroberta-multitask", _BERT, "behind padding"),
        Family("xlm-roberta", "XLM-RoBERTa", "multilingual-e5-*, bge-m3", _BERT, "behind padding"),
        Family("camembert", "CamemBERT", "sentence-camembert-*", _BERT, "behind padding"),
        Family("electra", "ELECTRA", "KoELECTRA, electra-*-discriminator", _BERT),
        Family(
            "distilbert",
            "DistilBERT",
            "multi-qa-distilbert-*, msmarco-distilbert-*",
            _DISTILBERT,
            settings={"intermediate_size": "hidden_dim", "hidden_act": "activation"},
            constants={"layer_norm_eps": 1e-12, "type_vocab_size": None},
        ),
        Family(
            "mpnet",
            "MPNet",
            "all-mpnet-base-v2, multi-qa-mpnet-*",
            _MPNET,
            "behind padding",
            constants={"pad_token_id": 1, "type_vocab_size": None},  # fixed in transformers
            bias_distance=128,
        ),
        Family(
            "modernbert",
            "ModernBERT",
            "gte-modernbert-base, modernbert-embed-base",
            _MODERNBERT,
            "rotary",
            word_embeddings="embeddings.tok_embeddings",
            embedding_norm="embeddings.norm",
            settings={"hidden_act": "hidden_activation", "layer_norm_eps": "norm_eps"},
            constants={"type_vocab_size": None},
            gated=True,
            norm_first=True,
            window="sliding_window",
        ),
        Family("nomic_bert", "Nomic BERT", "nomic-embed-text-v1.5", _GATED, "rotary", gated=True),
        Family("gte", "GTE", "alibaba-nlp-community/gte-multilingual-base", _GATED, "rotary", gated=True),
        Family(
            "jina_embeddings_v3",
            "Jina embeddings v3",
            "jina-embeddings-v3-hf",
            _jina_names(("mlp.fc1",), "mlp.fc2"),
            "rotary",
        ),
    )
}

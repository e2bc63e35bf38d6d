"""A tiny checkpoint of every supported kind of encoder, its weights deliberately uneven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from sentriton_server.encoder import FAMILIES
from tests.encoders import tokenizers

# Of sizes that Sentriton's operators take as well, where they know the layers.
HIDDEN, HEADS, INTERMEDIATE, LAYERS = 64, 2, 96, 3
LONGEST = 160  # longer than the rows whose attention is computed by products
KIND_OF_TOKENIZER = {
    "bert": "WordPiece",
    "electra": "WordPiece, cased",
    "distilbert": "WordPiece",
    "nomic_bert": "WordPiece",
    "mpnet": "WordPiece of MPNet",
    "roberta": "byte-level BPE",
    "modernbert": "byte-level BPE of ModernBERT",
    "xlm-roberta": "Unigram",
    "camembert": "Unigram",
    "gte": "Unigram",
    "jina_embeddings_v3": "Unigram",
}


def make_config(model_type: str, tokenizer: PreTrainedTokenizerFast, **changed: Any) -> Any:
    """The configuration of a tiny encoder of this type, for the vocabulary of `tokenizer`."""
    family = FAMILIES[model_type]
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": LONGEST + 2,
        "type_vocab_size": 2,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.08,
        **({"embedding_size": HIDDEN // 2} if model_type == "electra" else {}),
        **({"local_attention": 16} if model_type == "modernbert" else {}),
        **changed,
    }
    for name in ("bos", "eos", "cls", "sep"):  # of ModernBERT's own vocabulary, unless set
        settings[f"{name}_token_id"] = tokenizer.cls_token_id
    named = {family.settings.get(name, name): value for name, value in settings.items() if name not in family.constants}
    return AutoConfig.for_model(model_type, **named)


def make_encoder(config: Any, seed: int = 0) -> Any:
    """A random encoder. No bias is 0. Two elements of each norm are three times as large as the others, as in
    trained encoders.
    """
    torch.manual_seed(seed)
    model = AutoModel.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            if "norm" in name.lower() and name.endswith("weight"):
                parameter[torch.randint(len(parameter), [2])] *= 3
    return model


def make_checkpoint(
    folder: Path, model_type: str, *, tokenizer: PreTrainedTokenizerFast | None = None, **changed: Any
) -> Path:
    """Write a sentence-transformers checkpoint, and its encoder alone beside it; returns the former."""
    tokenizer = tokenizer or tokenizers.make(KIND_OF_TOKENIZER[model_type])
    encoder = make_encoder(make_config(model_type, tokenizer, **changed))
    encoder.save_pretrained(folder / "encoder")
    tokenizer.save_pretrained(folder / "encoder")
    transformer = Transformer(str(folder / "encoder"), max_seq_length=LONGEST)
    model = SentenceTransformer(modules=[transformer, Pooling(HIDDEN)], device="cpu")
    model.save(str(folder / "checkpoint"), create_model_card=False)
    return folder / "checkpoint"

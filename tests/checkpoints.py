"""Makes sentence-transformers checkpoints on the spot: any architecture, random weights, a tokenizer of the tests'
own.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

ARCHITECTURES: dict[str, tuple[Any, Any]] = {
    "bert": (BertConfig, BertModel),
    "roberta": (RobertaConfig, RobertaModel),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
}
SPECIAL = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
WORDS = "한국 어 문장 을 바로 빠르 게 보내 요 비 가 온다 the a quick brown fox runs home and back again".split()


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of a few words and all letters that the tests use; [PAD] is 1, as in RoBERTa."""
    letters = sorted({letter for word in WORDS for letter in word})
    pieces = [*SPECIAL, *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="[CLS]",
        pad_token="[PAD]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        mask_token="[MASK]",
    )


def make_checkpoint(folder: Path, *, further_modules: Sequence[Any] = (), **options: Any) -> Path:
    """Write a sentence-transformers checkpoint, the one of these options (see `_write_checkpoint`), to a folder in
    `folder`, and its encoder alone beside it.
    """
    if further_modules:  # with weights of the caller's own
        return _write_checkpoint(folder, further_modules=further_modules, **options)
    pooling = options.get("pooling", "mean")
    options["pooling"] = pooling if isinstance(pooling, str) else tuple(pooling)
    made = _plain_checkpoint(**options)
    shutil.copytree(made.parent, folder, dirs_exist_ok=True)
    return folder / made.name


_plain_checkpoints = TemporaryDirectory(prefix="checkpoints-")


@cache
def _plain_checkpoint(**options: Any) -> Path:
    """One of each kind per process: to load and save a model takes ten times as long as to copy its files."""
    return _write_checkpoint(Path(mkdtemp(dir=_plain_checkpoints.name)), **options)


def _write_checkpoint(
    folder: Path,
    *,
    architecture: str = "roberta",
    pooling: str | Sequence[str] = "mean",
    include_prompt: bool = True,
    further_modules: Sequence[Any] = (),
    normalize: bool = False,
    max_seq_length: int = 32,
    seed: int = 0,
    **config: Any,
) -> Path:
    """`config` overrides the encoder's (2 layers of 32 by default; one is compiled in half the time)."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    config_class, model_class = ARCHITECTURES[architecture]
    values = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": max_seq_length + 2,
        "pad_token_id": 1,
        "type_vocab_size": 1,
        # Larger than usual, so that mistakes show in the vectors.
        "initializer_range": 0.3,
        **config,
    }
    encoder = model_class(config_class(**values), add_pooling_layer=False)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name.endswith("bias") or "LayerNorm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    encoder.save_pretrained(folder / "encoder")
    tokenizer.save_pretrained(folder / "encoder")
    transformer = Transformer(str(folder / "encoder"), max_seq_length=max_seq_length)
    mode = pooling if isinstance(pooling, str) else tuple(pooling)
    head = Pooling(values["hidden_size"], pooling_mode=mode, include_prompt=include_prompt)
    modules = [transformer, head, *further_modules, *([Normalize()] if normalize else [])]
    model = SentenceTransformer(modules=modules, device="cpu")
    model.save(str(folder / "checkpoint"), create_model_card=False)
    return folder / "checkpoint"

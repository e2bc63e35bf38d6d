"""A WordPiece tokenizer of klue/roberta's kind: BERT's, cased, with special ids that RoBERTa expects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")  # in the order of their ids, 0 to 4


def train_tokenizer(sentences: Iterable[str], vocab_size: int, max_seq_length: int) -> Any:
    """Train a fast tokenizer on sentences; `[PAD]` has id 1, as RobertaModel's positions assume."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        sentences,
        trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), show_progress=True),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 0), ("[SEP]", 2)],
    )
    cls_token, pad_token, sep_token, unk_token, mask_token = SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token=cls_token,
        pad_token=pad_token,
        sep_token=sep_token,
        unk_token=unk_token,
        mask_token=mask_token,
        model_max_length=max_seq_length,
        model_input_names=["input_ids", "attention_mask"],
    )

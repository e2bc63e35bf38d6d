"""Tokenizers of each kind that encoders have, made of the parity sentences: small, and with the normalizers, special
tokens and post-processors of the real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from sentriton_server.parity_texts import parity_sentences

MOST_PIECES = 600
BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def _wordpiece(lowercase: bool, special: tuple[str, ...] = BERT_SPECIAL) -> Tokenizer:
    unknown = next(token for token in special if "unk" in token.lower())
    tokenizer = Tokenizer(models.WordPiece(unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=MOST_PIECES, special_tokens=list(special), show_progress=False)
    return _trained(tokenizer, trainer, special)


def _byte_level(special: tuple[str, ...], add_prefix_space: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MOST_PIECES,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return _trained(tokenizer, trainer, special)


def _unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=MOST_PIECES, special_tokens=list(ROBERTA_SPECIAL), unk_token="<unk>", show_progress=False
    )
    return _trained(tokenizer, trainer, ROBERTA_SPECIAL)


def _trained(tokenizer: Tokenizer, trainer: Any, special: tuple[str, ...]) -> Tokenizer:
    tokenizer.train_from_iterator(parity_sentences(), trainer)
    first, last = ("[CLS]", "[SEP]") if "[CLS]" in special else ("<s>", "</s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (first, last)],
    )
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "WordPiece": lambda: _wordpiece(lowercase=True),
    "WordPiece, cased": lambda: _wordpiece(lowercase=False),
    "WordPiece of MPNet": lambda: _wordpiece(lowercase=True, special=ROBERTA_SPECIAL),
    "byte-level BPE": lambda: _byte_level(ROBERTA_SPECIAL),
    "byte-level BPE of ModernBERT": lambda: _byte_level(BERT_SPECIAL),
    "Unigram": _unigram,
}


def make(kind: str, **settings: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of transformers, with two added tokens: one special, one not and taken within words."""
    tokenizer = KINDS[kind]()
    tokenizer.add_tokens([AddedToken("새단어", normalized=True)])
    tokenizer.add_special_tokens(["<task>"])
    bert = tokenizer.token_to_id("[CLS]") is not None
    names = BERT_SPECIAL if bert else ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
    pad, unknown, first, last, mask = names
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        unk_token=unknown,
        cls_token=first,
        sep_token=last,
        mask_token=mask,
        **settings,
    )

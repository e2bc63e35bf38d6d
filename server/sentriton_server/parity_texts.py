"""The texts for the check of every export."""

from __future__ import annotations

from tokenizers import Tokenizer

from sentriton_server.resources import PARITY_SENTENCES

# Bounded, since attention takes quadratic time.
_MAX_LONG_TOKENS = 2048
_RARE_TOKENS = 200


def parity_sentences() -> list[str]:
    """Korean and English texts, short and long, with difficult cases. The last one joins all others."""
    lines = PARITY_SENTENCES.read_text(encoding="utf-8").splitlines()
    return [*lines, "", "   ", " ".join(lines)]


def long_texts(tokenizer: Tokenizer, sentences: list[str], max_seq_length: int) -> list[str]:
    """A text of `max_seq_length` tokens, at most 2,048, unless the last of `sentences` is as long. It shows errors that
    grow with the place of a token, such as those of rotary positions.
    """
    tokens = min(max_seq_length, _MAX_LONG_TOKENS)
    whole = sentences[-1]
    return [] if len(tokenizer.encode(whole).ids) >= tokens else [_filled(whole, tokenizer, tokens)]


def hard_texts(tokenizer: Tokenizer, sentences: list[str], max_seq_length: int) -> list[str]:
    """Texts of `max_seq_length` tokens, at most 2,048: joined `sentences`, repeated words and signs, and the rarest
    tokens of the vocabulary, which have the highest ids.
    """
    tokens = min(max_seq_length, _MAX_LONG_TOKENS)
    vocabulary = tokenizer.get_vocab_size()
    rarest = range(max(0, vocabulary - _RARE_TOKENS), vocabulary)
    rare = " ".join(tokenizer.decode([token], skip_special_tokens=True) for token in rarest)
    whole = " ".join(sentences)
    return [_filled(text, tokenizer, tokens) for text in (whole, "the", "하", "!", rare) if text.strip()]


def _filled(text: str, tokenizer: Tokenizer, tokens: int) -> str:
    """`text` repeated until it has at least this number of tokens."""
    own = max(1, len(tokenizer.encode(text, add_special_tokens=False).ids))
    return " ".join([text] * -(-tokens // own))

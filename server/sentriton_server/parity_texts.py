"""The texts that every export is checked on."""

from __future__ import annotations

from tokenizers import Tokenizer

from sentriton_server.resources import PARITY_SENTENCES

# Attention takes the square of a row's length.
_MAX_LONG_TOKENS = 2048
_RARE_TOKENS = 200


def parity_sentences() -> list[str]:
    """Korean and English, short and long, with texts that often fail; the last is all of them as one text."""
    lines = PARITY_SENTENCES.read_text(encoding="utf-8").splitlines()
    return [*lines, "", "   ", " ".join(lines)]


def long_texts(tokenizer: Tokenizer, sentences: list[str], max_seq_length: int) -> list[str]:
    """A text as long as a row may be, or 2,048 tokens; none where the last of `sentences` is as long. Errors that grow
    with the place of a token, such as those of rotary positions, are small in short texts.
    """
    tokens = min(max_seq_length, _MAX_LONG_TOKENS)
    whole = sentences[-1]
    return [] if len(tokenizer.encode(whole).ids) >= tokens else [_filled(whole, tokenizer, tokens)]


def hard_texts(tokenizer: Tokenizer, sentences: list[str], max_seq_length: int) -> list[str]:
    """Texts of `max_seq_length` tokens, at most 2,048: `sentences` joined, single words and a sign repeated, and the
    rarest tokens of the vocabulary. Tokenizers give these the highest ids.
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

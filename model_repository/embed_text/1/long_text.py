"""Shortens texts that far exceed max_seq_length, without a change of their tokens. Plain functions, no Triton.

The tokenizers library processes the whole text before it truncates. Some tokenizers split text at spaces first and
process each word by itself, as WordPiece, BPE and Unigram do. Then a prefix that ends at a space has the same tokens as
the whole text. The last word may be an exception, since its neighbour is missing.
"""

from __future__ import annotations

from typing import Any

# Pre-tokenizers that split at every space.
_SPLIT_AT_SPACES = {"BertPreTokenizer", "ByteLevel", "Metaspace", "Whitespace", "WhitespaceSplit"}
# Normalizers that change each character, or cluster of characters, by itself, and keep spaces between words.
_LOCAL_NORMALIZERS = {
    *("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend"),
    *("Strip", "StripAccents"),
}
_SEVERAL_SPACES = {"Regex": " {2,}"}


def beginning_decides(description: dict[str, Any]) -> bool:
    """Whether the tokenizer of a tokenizer.json processes each word by itself and truncates at the end. False if this
    is uncertain.
    """
    truncation = description.get("truncation") or {}
    return (
        truncation.get("direction") == "Right"
        and _splits_at_spaces(description.get("pre_tokenizer"))
        and all(
            _is_local(each, _spaces(description["pre_tokenizer"]))
            for each in _members(description.get("normalizer"), "normalizers")
        )
        and not any(map(_has_space, description.get("added_tokens") or []))
    )


def beginning(text: str, characters: int) -> tuple[str, int]:
    """The first words of `text`, at most `characters`, and the number of their characters with certain tokens.

    The certain part is half of them, so that each of its words has its neighbours. It is 0 if the words are too long.
    """
    end = text.rfind(" ", 0, characters)
    if end < 0:
        return "", 0
    middle = end // 2
    # With two spaces in the second half, a complete word is between the certain part and the last word.
    certain = text.find(" ", middle, end) >= 0
    return text[:end], middle if certain else 0


def _splits_at_spaces(pre_tokenizer: dict[str, Any] | None) -> bool:
    first = next(iter(_members(pre_tokenizer, "pretokenizers")), {})
    switched_off = first.get("split") is False or first.get("use_regex") is False
    return first.get("type") in _SPLIT_AT_SPACES and not switched_off


def _spaces(pre_tokenizer: dict[str, Any]) -> set[str]:
    """The characters at which a pre-tokenizer certainly splits."""
    return {" ", *(each.get("replacement", " ") for each in _members(pre_tokenizer, "pretokenizers")[:1])}


def _is_local(normalizer: dict[str, Any], spaces: set[str]) -> bool:
    if normalizer["type"] == "Replace":
        pattern = normalizer.get("pattern") or {}
        if pattern in (_SEVERAL_SPACES, {"String": " "}):
            return normalizer.get("content") in spaces  # otherwise it would join words
        return len(pattern.get("String", "")) == 1
    return normalizer["type"] in _LOCAL_NORMALIZERS


def _has_space(token: dict[str, Any]) -> bool:
    return any(character.isspace() for character in token["content"])


def _members(part: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """The parts of a sequence of normalizers or pre-tokenizers."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [member for each in part[name] for member in _members(each, name)]

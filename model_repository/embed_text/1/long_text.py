"""Text that is far longer than the model reads: its beginning alone decides its tokens. Plain functions, no Triton.

A tokenizer of the tokenizers library reads all of a text before it truncates. Some split text at spaces first, and
handle each word by itself. Then a beginning that ends at a space has the tokens of the whole text. The last word may be
an exception, since its neighbour is missing. WordPiece, BPE and Unigram are all applied to one word at a time.
"""

from __future__ import annotations

from typing import Any

# Pre-tokenizers that split at every space.
_SPLIT_AT_SPACES = {"BertPreTokenizer", "ByteLevel", "Metaspace", "Whitespace", "WhitespaceSplit"}
# Normalizers that turn each character, or cluster of characters, by itself, and keep spaces between words.
_LOCAL_NORMALIZERS = {
    *("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend"),
    *("Strip", "StripAccents"),
}
_SEVERAL_SPACES = {"Regex": " {2,}"}


def beginning_decides(description: dict[str, Any]) -> bool:
    """Whether a tokenizer, as its tokenizer.json describes it, handles words by themselves and keeps the first of them.
    False where that is not certain.
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
    """The first words of `text`, at most `characters`, and how many characters of them are certain.

    Every word that begins in the certain part, up to half of the beginning, has its neighbours. 0 where words are too
    long for that.
    """
    end = text.rfind(" ", 0, characters)
    if end < 0:
        return "", 0
    middle = end // 2
    # Two spaces behind the middle: a word that is not the last begins and ends there.
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
            return normalizer.get("content") in spaces  # words without a space between them would be one
        return len(pattern.get("String", "")) == 1
    return normalizer["type"] in _LOCAL_NORMALIZERS


def _has_space(token: dict[str, Any]) -> bool:
    return any(character.isspace() for character in token["content"])


def _members(part: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """The normalizers, or pre-tokenizers, that make up one of them."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [member for each in part[name] for member in _members(each, name)]

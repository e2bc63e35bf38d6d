"""The beginning of a text that far exceeds the model's limit has the same tokens as the whole text."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from sentriton_server.resources import BUNDLED_CHECKPOINT, load_model_code

code = load_model_code("embed_text", "tokenization")
long_text = load_model_code("embed_text", "long_text")

LONGEST = 8
FEW_CHARACTERS = 16 * LONGEST
CORPUS = [
    "숙소가 지하철역에서 가까워서 편했어요. 내일 비가 오나요?",
    "the quick brown fox doesn't jump over 3.14 lazy dogs, unhappiness and Ünïcödé",
    "東京タワー는 ½ 높이 ﬁ",
] * 8
# Characters that separate words, and characters that a tokenizer may join with their neighbours.
PIECES = [
    *(" ", "  ", "\n", "\t", "\u3000", "\xa0", "\u200b", "\x00", "\u0600", "\u0301", "\u00b4", "\ufdfa"),
    *(
        "숙소가",
        "역에서",
        "fox",
        "dogs",
        "don't",
        ".",
        "1234",
        "東京",
        "é",
        "Σ",
        "👩\u200d👧",
        "[MASK]",
        "<mask>",
        "▁",
        "_",
    ),
    *("a" * 120, "unhappiness" * 3, "the quick brown fox ", "편했어요. " * 3),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=120).map("".join)


def bundled() -> Tokenizer:
    return Tokenizer.from_file(str(BUNDLED_CHECKPOINT / "tokenizer.json"))


def byte_level_bpe() -> Tokenizer:
    """As RoBERTa's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>", AddedToken("<mask>", lstrip=True)]
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return tokenizer


def unigram() -> Tokenizer:
    """As XLM-RoBERTa's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, rstrip=True)]
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    return tokenizer


def stripping_word_piece() -> Tokenizer:
    tokenizer = bundled()
    tokenizer.normalizer = normalizers.Sequence([normalizers.BertNormalizer(), normalizers.Strip()])
    tokenizer.add_special_tokens([AddedToken("dogs", single_word=True)])
    return tokenizer


def without_spaces() -> Tokenizer:
    """As of languages that have none."""
    tokenizer = bundled()
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(" ", "")])
    return tokenizer


KINDS = {each.__name__: each for each in (bundled, byte_level_bpe, unigram, stripping_word_piece, without_spaces)}


@cache
def pair(kind: str) -> tuple[Any, Tokenizer]:
    """The server's tokenizer, and the library's own."""
    whole = KINDS[kind]()
    whole.enable_truncation(LONGEST)
    return code.TextTokenizer(whole.to_str()), whole


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(TEXTS, min_size=1, max_size=3))
def test_ids_are_those_of_the_whole_text(kind: str, texts: list[str]) -> None:
    ours, whole = pair(kind)
    assert ours.ids(texts) == [encoding.ids for encoding in whole.encode_batch_fast(texts)]


def test_words_that_a_normalizer_joins_are_read_whole() -> None:
    ours, whole = pair("without_spaces")
    for text in ("a b c d e f g " * count for count in (20, 40, 100)):
        assert ours.ids([text]) == [whole.encode(text).ids]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "without_spaces"])
def test_little_of_a_long_text_is_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, whole = pair(kind)
    read: list[int] = []
    monkeypatch.setattr(code, "beginning", lambda text, most: read.append(most) or long_text.beginning(text, most))
    text = "숙소가 the fox, 역에서 dogs. " * 4000
    assert ours.ids([text, "short"]) == [whole.encode(text).ids, whole.encode("short").ids]
    assert read == [FEW_CHARACTERS]


def test_words_that_are_too_long_are_read_whole() -> None:
    ours, whole = pair("byte_level_bpe")
    for text in ("a" * 10_000, "a" * 5_000 + " fox" * 1000, "fox " + "a" * 10_000 + " dogs"):
        assert ours.ids([text]) == [whole.encode(text).ids]


@pytest.mark.parametrize(
    "change",
    [
        {"truncation": {"direction": "Left", "max_length": LONGEST, "strategy": "LongestFirst", "stride": 0}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": ".. "}, "behavior": "Isolated", "invert": False}},
        {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}},
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "x.*y"}, "content": "z"}},
        {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": ""}},
        {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}},
        {"normalizer": {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": ""}},
        {"added_tokens": [{"id": 9, "content": "two words"}]},
    ],
    ids=str,
)
def test_a_tokenizer_that_may_look_further_reads_all(change: dict[str, Any]) -> None:
    _, whole = pair("bundled")
    description = json.loads(whole.to_str())
    assert long_text.beginning_decides(description)
    assert not long_text.beginning_decides({**description, **change})

"""The client's tokenizer gives the ids of the one that was exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.modules import Transformer
from tokenizers.processors import TemplateProcessing

from sentriton.tokenization import TextTokenizer
from sentriton_server.checkpoint import read_tokenizer
from tests.checkpoints import make_checkpoint, make_tokenizer
from tests.unit.conftest import LONGEST

TEXTS = [
    "",
    "   ",
    "한국어 문장을 바로 빠르게 보내요",
    "the quick brown fox runs home and back again",
    " the  fox ",
    "unknown ☃ words",
    "[SEP] in the [MASK] middle",
    "a" * 200,
]


def test_texts_get_the_ids_of_the_tokenizer_that_was_exported(
    text_tokenizer: TextTokenizer, transformers_tokenizer: Any
) -> None:
    expected = transformers_tokenizer(TEXTS, truncation=True, max_length=LONGEST)["input_ids"]
    assert text_tokenizer.tokenize(TEXTS) == expected
    assert max(map(len, expected)) == LONGEST


@given(st.text(max_size=40))
def test_any_text_gets_the_same_ids_alone_and_in_a_batch(text: str) -> None:
    tokenizer = TextTokenizer(read_tokenizer(make_tokenizer(), LONGEST).to_str())
    assert tokenizer.tokenize([text, "the quick brown fox"])[0] == tokenizer.tokenize([text])[0]


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Transformer:
    folder = make_checkpoint(tmp_path_factory.mktemp("prompts"), max_seq_length=LONGEST)
    return Transformer(str(folder), max_seq_length=LONGEST)


@pytest.mark.parametrize("template", ["[CLS] $A [SEP]", "[CLS] $A", "$A"])
@pytest.mark.parametrize(
    "prompt", ["query: ", "the fox", "한국어", "the quick brown fox runs home and back", "a [SEP]"]
)
def test_prompt_length_equals_sentence_transformers(prompt: str, template: str, transformer: Transformer) -> None:
    transformer.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[("[CLS]", 0), ("[SEP]", 2)]
    )
    transformer._prompt_length_mapping.clear()
    ours = TextTokenizer(read_tokenizer(transformer.tokenizer, LONGEST).to_str())
    assert ours.prompt_length(prompt) == transformer._get_prompt_length(prompt)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"

"""A client's token ids are those of `SentenceTransformer.tokenize`, with tokenizers of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer

from sentriton.tokenization import TextTokenizer
from sentriton_server.checkpoint import read_checkpoint
from sentriton_server.parity_texts import parity_sentences
from sentriton_server.resources import load_model_code
from tests.checkpoint_changes import edit_json
from tests.encoders import tokenizers
from tests.encoders.shapes import make_checkpoint
from tests.polyglot.generate import SPECIAL

SETTINGS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "truncation in front": {"truncation_side": "left"},
    "special tokens as text": {"split_special_tokens": True},
}


def typed() -> list[str]:
    """Texts in which special and added tokens occur, also within words and in other letters."""
    special = {*tokenizers.BERT_SPECIAL, *tokenizers.ROBERTA_SPECIAL, "<task>", "새단어"}
    return [
        text for token in sorted(special) for text in (token, f"a{token}b", f" {token} {token.lower()} ", token * 3)
    ]


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("kind", tokenizers.KINDS)
def test_ids_are_those_of_sentence_transformers(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "bert", tokenizer=tokenizers.make(kind))
    edit_json(folder / "tokenizer_config.json", **settings)
    exported = read_checkpoint(folder).tokenizer.to_str()
    model = SentenceTransformer(str(folder), device="cpu")
    texts = [*(text * times for text, times in SPECIAL.values()), *parity_sentences(), *typed()]
    features = model.preprocess(texts)
    expected = [
        ids[mask.bool()].tolist() for ids, mask in zip(features["input_ids"], features["attention_mask"], strict=True)
    ]
    assert TextTokenizer(exported).tokenize(texts) == expected
    server = load_model_code("embed_text", "tokenization").TextTokenizer(exported)
    assert server.ids(texts) == expected
    assert any(len(ids) == model.max_seq_length for ids in expected), "a truncated text is among them"

"""A setting of tokenization is supported, or rejected by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from transformers import ByT5Tokenizer

from sentriton_server.checkpoint import CheckpointError, read_tokenizer, read_unserved, refusals_of
from tests.checkpoint_changes import (
    Change,
    edit,
    edit_json,
    equals_sentence_transformers,
    refused,
)
from tests.checkpoints import make_checkpoint

NO_FILE = "which cannot be converted to the tokenizer.json that clients need; no further package helps: use an embed"


def japanese(words: str) -> Change:
    """A `BertJapaneseTokenizer` that splits words by MeCab, for example. It reads no tokenizer.json."""
    tokens = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

    def change(folder: Path) -> None:
        (folder / "vocab.txt").write_text("\n".join(tokens))
        names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
        settings = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": words, "model_max_length": 64}
        (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **dict(zip(names, tokens, strict=True))}))

    return change


TOKENIZERS: dict[str, tuple[Change, str]] = {
    "query_length": (edit("sentence_bert_config.json", query_length=8), "query_length 8, so that encode_query()"),
    "document_length": (edit("sentence_bert_config.json", document_length=8), "document_length 8, so that"),
    "query_expansion": (
        edit("sentence_bert_config.json", query_expansion={"strategy": "fixed", "length": 16}),
        "query_expansion {'strategy': 'fixed'",
    ),
    "split_special_tokens, processing_kwargs": (
        edit("sentence_bert_config.json", processing_kwargs={"text": {"split_special_tokens": True}}),
        'processing_kwargs {"text": {"split_special_tokens": true}} are not supported',
    ),
    "add_special_tokens": (
        edit("sentence_bert_config.json", processing_kwargs={"text": {"add_special_tokens": False}}),
        'processing_kwargs {"text": {"add_special_tokens": false}} are not supported',
    ),
    "max_length": (
        edit("sentence_bert_config.json", processing_kwargs={"common": {"max_length": 8}}),
        "processing_kwargs",
    ),
    "truncation": (
        edit("sentence_bert_config.json", processing_kwargs={"text": {"truncation": False}}),
        "processing_kwargs",
    ),
    "padding": (
        edit("sentence_bert_config.json", processing_kwargs={"text": {"padding": False}}),
        "cannot load checkpoint",
    ),
    "attention_mask": (edit("tokenizer_config.json", model_input_names=["input_ids"]), "makes no attention_mask"),
    "token types": (
        edit(
            "tokenizer.json",
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 1}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [0], "tokens": ["[CLS]"]}},
            },
        ),
        "types other than 0",
    ),
    "a panic of the tokenizers library": (
        edit(
            "tokenizer.json",
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {},
            },
        ),
        "PanicException",
    ),
    "no padding token": (edit("tokenizer_config.json", pad_token=None), "has no padding token"),
    "ids beyond the embeddings": (
        lambda folder: edit_json(
            folder / "tokenizer.json",
            added_tokens=[
                *json.loads((folder / "tokenizer.json").read_text())["added_tokens"],
                {
                    "id": 200,
                    "content": "<new>",
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": False,
                },
            ],
        ),
        "has the token '<new>' with id",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "has no vocabulary of a tokenizer"),
    "a SentencePiece model alone": (
        lambda folder: (folder / "tokenizer.json").rename(folder / "sentencepiece.bpe.model"),
        "only sentencepiece.bpe.model, which transformers converts with the package sentencepiece; install that, or ",
    ),
    "MeCab": (japanese("mecab"), f"is Python code (You need to install fugashi to use MecabTokenizer), {NO_FILE}"),
    "Sudachi": (
        japanese("sudachi"),
        f"is Python code (You need to install sudachipy to use SudachiTokenizer), {NO_FILE}",
    ),
    "Python without a package": (japanese("basic"), f"is Python code (BertJapaneseTokenizer), {NO_FILE}"),
    "a tokenizer of no class": (
        edit("tokenizer.json", model={"type": "Nonsense"}),
        "tokenizer.json is not a tokenizer of the tokenizers library",
    ),
}


@pytest.mark.parametrize(("change", "named"), TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_setting_that_a_tokenizer_file_cannot_hold_is_named(change: Change, named: str, tmp_path: Path) -> None:
    # Two token types, so that the encoder accepts either.
    folder = make_checkpoint(tmp_path, type_vocab_size=2)
    if "types other" in named:
        edit_json(folder / "tokenizer_config.json", model_input_names=["input_ids", "token_type_ids", "attention_mask"])
    change(folder)
    assert named in refused(folder)


def test_a_teacher_may_need_a_package(tmp_path: Path) -> None:
    """A teacher runs in sentence-transformers, which needs no tokenizer.json."""
    folder = make_checkpoint(tmp_path, architecture="bert")
    japanese("mecab")(folder)
    with pytest.raises(
        CheckpointError, match=r"You need to install fugashi to use MecabTokenizer.*; install this package$"
    ):
        read_unserved(folder)


def test_a_tokenizer_with_a_converter_is_no_python_code() -> None:
    class BertTokenizer(ByT5Tokenizer):  # type: ignore[misc]
        """One without the vocabulary that its converter reads."""

    with pytest.raises(CheckpointError, match=r"^its tokenizer BertTokenizer is a slow one .*; save the checkpoint "):
        read_tokenizer(BertTokenizer(), 64)


IMPORT_ERRORS: dict[str, tuple[ImportError, bool]] = {
    "no module": (ModuleNotFoundError("No module named 'fugashi'", name="fugashi"), True),
    "no package of a tokenizer": (ImportError("You need to install sacremoses to use XLMTokenizer."), True),
    "no library": (ImportError("XLNet requires the SentencePiece library but it was not found in your env"), True),
    "no dictionary": (ModuleNotFoundError("The ipadic dictionary is not installed."), True),
    "another version": (ImportError("cannot import name 'Tagger' from 'fugashi'", name="fugashi"), False),
    "no shared library": (ImportError("libmecab.so.2: cannot open shared object file"), False),
    "a module of transformers": (ModuleNotFoundError("Could not import module 'BertModel'."), False),
}


@pytest.mark.parametrize(("error", "missing"), IMPORT_ERRORS.values(), ids=IMPORT_ERRORS)
def test_only_a_missing_package_is_to_be_installed(error: ImportError, missing: bool) -> None:
    with pytest.raises(CheckpointError) as raised, refusals_of("model"):
        raise error
    assert str(raised.value).endswith("; install this package") == missing
    assert ("; repair it so that " in str(raised.value)) == (not missing)


def test_a_damaged_package_of_a_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_checkpoint(tmp_path / "model", architecture="bert")
    japanese("mecab")(folder)
    (tmp_path / "fugashi.py").write_text("raise ImportError('libmecab.so.2: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fugashi", raising=False)
    message = refused(folder)
    assert "no further package helps" not in message
    assert message.endswith("repair it so that SentenceTransformer can load it and encode with it")


@pytest.mark.parametrize("place", ["tokenizer_config.json", "processing_kwargs"])
def test_padding_in_front_is_refused_where_it_moves_positions(place: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, architecture="bert")
    if place == "processing_kwargs":
        edit_json(folder / "sentence_bert_config.json", processing_kwargs={"text": {"padding_side": "left"}})
    else:
        edit_json(folder / place, padding_side="left")
    message = refused(folder)
    assert "padding_side 'left', so that sentence-transformers' vectors depend on the other texts" in message
    assert "allowed for bert with pad_token_id 1 is 'right'" in message


HONOURED: dict[str, Change] = {
    "padding in front where positions count": edit("tokenizer_config.json", padding_side="left"),
    "truncation in front": edit("tokenizer_config.json", truncation_side="left"),
    "do_lower_case": edit("sentence_bert_config.json", do_lower_case=True),
    "a lower limit": edit("tokenizer_config.json", model_max_length=9),
    "split_special_tokens": edit("tokenizer_config.json", split_special_tokens=True),
    "split_special_tokens, tokenizer_args": edit(
        "sentence_bert_config.json", tokenizer_args={"split_special_tokens": True}
    ),
    "a prefix space": edit("tokenizer_config.json", add_prefix_space=True),
    "padding to the limit": edit("sentence_bert_config.json", processing_kwargs={"text": {"padding": "max_length"}}),
    "a chat template": edit("tokenizer_config.json", chat_template="{{ messages[0].content }}"),
}


@pytest.mark.parametrize("change", HONOURED.values(), ids=HONOURED)
def test_a_setting_that_a_tokenizer_file_can_hold_is_honoured(change: Change, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "made", num_hidden_layers=1)
    change(folder)
    equals_sentence_transformers(folder, tmp_path / "exported")

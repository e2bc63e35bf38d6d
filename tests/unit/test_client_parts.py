"""The parts of the client that need no server."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import util
from sentence_transformers.sentence_transformer.modules import Transformer
from tokenizers.processors import TemplateProcessing

from sentriton import cache
from sentriton.errors import InvalidInput
from sentriton.manifest import Manifest
from sentriton.requests import cut, plan_requests
from sentriton.similarity import PAIRWISE, SIMILARITY, normalize
from sentriton.tokenization import TextTokenizer, pack_rows
from sentriton_server.checkpoint import read_tokenizer
from tests.checkpoints import make_checkpoint, make_tokenizer
from tests.manifest import make_manifest

LONGEST = 8
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


# Which sentences travel together


@given(st.lists(st.integers(1, 600), max_size=60), st.integers(1, 20), st.integers(1, 2000))
def test_every_row_travels_once_within_both_limits(lengths: list[int], max_rows: int, max_tokens: int) -> None:
    falling = sorted(lengths, reverse=True)
    runs = list(cut(falling, max_rows, max_tokens))
    assert [place for run in runs for place in run] == list(range(len(falling)))
    tokens = [sum(falling[place] for place in run) for run in runs]
    for run, size in zip(runs, tokens, strict=True):
        assert 1 <= len(run) <= max_rows
        assert len(run) == 1 or size <= max_tokens
    # Rows are packed: none is left to the next request that has room in this one.
    for run, following, size in zip(runs, runs[1:], tokens, strict=False):
        assert len(run) == max_rows or size + falling[following.start] > max_tokens


def test_a_plan_holds_every_sentence_once_longest_first(text_tokenizer: TextTokenizer) -> None:
    texts = ["fox " * (1 + 7 * number % 9) for number in range(1300)]
    plan = list(plan_requests(texts, text_tokenizer, max_rows=32))
    assert sorted(index for rows in plan for index in rows.indices) == list(range(len(texts)))
    lengths = [np.bincount(rows.tokens.row).tolist() for rows in plan]
    assert [len(each) for each in lengths] == [len(rows.indices) for rows in plan]
    assert lengths[0][0] == max(map(max, lengths))
    assert lengths[-1][-1] == min(map(min, lengths))
    alike = sum(len(each) * max(each) - sum(each) for each in lengths)
    assert alike < 0.05 * sum(map(sum, lengths))


def test_a_plan_is_made_as_it_is_taken(text_tokenizer: TextTokenizer) -> None:
    tokenized: list[str] = []

    class Counting:
        def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
            tokenized.extend(texts)
            return text_tokenizer.tokenize(texts)

    next(plan_requests(["fox"] * 5000, Counting(), max_rows=8))
    assert len(tokenized) < 1000


def test_a_text_without_a_token_is_named() -> None:
    class Silent:
        def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
            return [[5] * len(text) for text in texts]

    with pytest.raises(InvalidInput, match=r"sentences\[1\] is '', which has no token for this model's tokenizer"):
        list(plan_requests(["fox", "", "a"], Silent(), max_rows=8))


def test_rows_are_packed_one_behind_the_other() -> None:
    packed = pack_rows([[5, 6, 7], [8]])
    assert packed.input_ids.tolist() == [5, 6, 7, 8]
    assert packed.row.tolist() == [0, 0, 0, 1]
    assert packed.pooled.all()
    assert packed.input_ids.dtype == packed.row.dtype == np.int32
    assert packed.pooled.dtype == np.bool_


@pytest.mark.parametrize(("not_pooled", "expected"), [(2, [0, 0, 1, 0]), (9, [0, 0, 0, 0])])
def test_the_prompt_is_attended_and_not_pooled(not_pooled: int, expected: list[int]) -> None:
    assert pack_rows([[5, 6, 7], [8]], not_pooled=not_pooled).pooled.tolist() == expected


# Tokenizer


@pytest.fixture(scope="module")
def transformers_tokenizer() -> Any:
    return make_tokenizer()


@pytest.fixture(scope="module")
def text_tokenizer(transformers_tokenizer: Any) -> TextTokenizer:
    return TextTokenizer(read_tokenizer(transformers_tokenizer, LONGEST).to_str())


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


# Manifest


MANIFEST = make_manifest()


def test_a_manifest_comes_back_as_it_was_written() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST
    assert Manifest.from_json(MANIFEST.to_json().encode()) == MANIFEST


def test_fields_of_a_newer_server_are_left_out() -> None:
    assert Manifest.from_json(json.dumps({**dataclasses.asdict(MANIFEST), "newer": 1})) == MANIFEST


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Manifest)])
def test_a_missing_field_is_named(name: str) -> None:
    values = dataclasses.asdict(MANIFEST)
    del values[name]
    with pytest.raises(ValueError, match=f"the manifest lacks {name}$"):
        Manifest.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', "3"])
def test_what_is_not_a_manifest_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are json's where it is no JSON
        Manifest.from_json(text)


# Cache


CONTENT = b"content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_kept_is_found(folder: Path) -> None:
    assert cache.find(SHA256) is None
    cache.keep(SHA256, CONTENT)
    assert cache.find(SHA256) == CONTENT
    assert [path.name for path in folder.rglob("*") if path.is_file()] == [SHA256]


def test_a_corrupted_file_is_not_found_and_can_be_kept_anew(folder: Path) -> None:
    cache.keep(SHA256, CONTENT)
    (folder / "assets" / SHA256).write_bytes(b"corrupted")
    assert cache.find(SHA256) is None
    cache.keep(SHA256, CONTENT)
    assert cache.find(SHA256) == CONTENT


def test_content_with_another_sha256_is_refused_and_not_kept(folder: Path) -> None:
    found = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(ValueError, match=f"sha256 {found}, announced was {SHA256}"):
        cache.keep(SHA256, b"other")
    assert not folder.exists()


def test_a_cache_that_cannot_be_written_keeps_nothing_and_harms_nobody(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    cache.keep(SHA256, CONTENT)
    assert cache.find(SHA256) is None


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SENTRITON_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"SENTRITON_CACHE": "", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/sentriton"),
        ({"SENTRITON_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/sentriton"),
    ],
)
def test_the_cache_lies_where_the_environment_says(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache.cache_folder() == Path(expected)


# Similarity


def embeddings(rows: int, seed: int) -> Any:
    values = np.random.default_rng(seed).normal(size=(rows, 6)).astype(np.float32)
    values[0] = 0
    return values


def assert_scores(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_every_similarity_of_single_vectors_is_there() -> None:
    names = {function.value for function in util.SimilarityFunction if "maxsim" not in function.value}
    assert set(SIMILARITY) == set(PAIRWISE) == names


@pytest.mark.parametrize("name", SIMILARITY)
def test_similarity_equals_sentence_transformers(name: str) -> None:
    first, second = embeddings(4, seed=0), embeddings(3, seed=1)
    assert_scores(SIMILARITY[name](first, second), util.SimilarityFunction.to_similarity_fn(name)(first, second))


@pytest.mark.parametrize("name", PAIRWISE)
def test_pairwise_similarity_equals_sentence_transformers(name: str) -> None:
    first, second = embeddings(4, seed=0), embeddings(4, seed=1)
    expected = util.SimilarityFunction.to_similarity_pairwise_fn(name)(first, second)
    assert_scores(PAIRWISE[name](first, second), expected)


@pytest.mark.parametrize("name", SIMILARITY)
def test_no_embeddings_have_no_scores(name: str) -> None:
    assert SIMILARITY[name](embeddings(1, seed=0)[:0], embeddings(3, seed=1)).shape == (0, 3)


def test_normalize_scales_rows_to_length_1_and_leaves_zeros() -> None:
    lengths = np.linalg.norm(normalize(embeddings(4, seed=0)), axis=1)
    np.testing.assert_allclose(lengths, [0, 1, 1, 1], rtol=1e-6)

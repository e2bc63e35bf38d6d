"""An export gives the vectors of sentence-transformers, or fails with an error that names the deviation."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Pooling

from sentriton.tokenization import TextTokenizer, pack_rows
from sentriton_server.encoder import PRECISIONS
from sentriton_server.export import (
    ParityError,
    _require_parity,
    export,
)
from sentriton_server.parity import ExportedModel, ParityReport, compare
from sentriton_server.parity_texts import parity_sentences
from sentriton_server.repository import read_key
from sentriton_server.resources import load_model_code
from tests.checkpoints import ARCHITECTURES, make_checkpoint
from tests.exports import HIDDEN, SENTENCES, read_manifest, reference


@pytest.mark.parametrize(
    ("architecture", "pooling"),
    [
        *[("roberta", mode) for mode in Pooling.POOLING_MODES],
        *[(architecture, "mean") for architecture in ARCHITECTURES if architecture != "roberta"],
        ("bert", Pooling.POOLING_MODES),
    ],
    ids=str,
)
def test_every_architecture_and_pooling_gives_the_vectors_of_sentence_transformers(
    architecture: str, pooling: Any, tmp_path: Path, target: Path
) -> None:
    folder = make_checkpoint(tmp_path, architecture=architecture, pooling=pooling, type_vocab_size=2)
    manifest = export(folder, target, device="cpu")
    assert manifest.parity["min_cosine"] > 0.999999
    found = ExportedModel(target, "cpu").encode(SENTENCES)
    # Ten roundings of float32 or so; a sum divided by the root of its length is several times as large as a mean.
    assert manifest.parity["max_difference"] < 1e-6 * np.abs(found).max()
    np.testing.assert_allclose(found, reference(folder), atol=1e-5)


def test_dense_and_normalize_give_the_vectors_of_sentence_transformers(checkpoint: Path, repository: Path) -> None:
    found = ExportedModel(repository, "cpu").encode(SENTENCES)
    assert found.shape == (len(SENTENCES), 12)
    np.testing.assert_allclose(found, reference(checkpoint), atol=1e-6)


@pytest.mark.parametrize("prompt", ["the query ", "한국어 문장: "])
def test_a_client_that_keeps_the_prompt_out_of_pooling_gets_the_same_vectors(
    prompt: str, checkpoint: Path, repository: Path
) -> None:
    manifest = read_manifest(repository)
    assert manifest.include_prompt is False
    tokenizer = TextTokenizer((repository / "assets/1/tokenizer.json").read_text(encoding="utf-8"))
    rows = tokenizer.tokenize([prompt + sentence for sentence in SENTENCES])
    packed = pack_rows(rows, not_pooled=tokenizer.prompt_length(prompt))
    key = np.full(len(packed.row), read_key(repository))
    encoder = torch.jit.load(str(repository / "encoder/1/model.pt"))
    with torch.inference_mode(), torch.jit.optimized_execution(False):
        token_embeddings = encoder(*(torch.from_numpy(part[:, None]) for part in (packed.input_ids, packed.row, key)))
    head = load_model_code("pooling", "head").load_head(repository / "pooling/1")
    found = head.embed(token_embeddings.numpy(), packed.pooled, packed.row)
    np.testing.assert_allclose(found, reference(checkpoint, prompt=prompt), atol=1e-6)
    assert np.abs(found - reference(checkpoint)).max() > 1e-3


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_compact_precisions_reach_their_bound_and_keep_the_fingerprint(
    precision: str, checkpoint: Path, repository: Path, target: Path
) -> None:
    manifest = export(checkpoint, target, precision=precision, device="cpu")
    assert manifest.precision == precision
    assert PRECISIONS[precision].min_cosine <= manifest.parity["min_cosine"] < 0.999999
    assert PRECISIONS[precision].min_cosine <= manifest.parity["min_prefix_cosine"] <= manifest.parity["min_cosine"]
    assert manifest.fingerprint == read_manifest(repository).fingerprint
    assert manifest.files["model.pt"] != read_manifest(repository).files["model.pt"]


def vectors(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def test_comparison_finds_the_worst_sentence_and_the_worst_element() -> None:
    report = compare(vectors([3, 4], [0, 2]), vectors([3, 4], [2, 0]))
    assert report == ParityReport(sentences=2, min_cosine=0.0, max_difference=2.0, min_prefix_cosine=0.0)


def test_comparison_finds_the_worst_dimension_to_truncate_to() -> None:
    """Every one from 32 on: 39 is the one that shows the difference most, since much follows behind it."""
    theirs = np.ones((2, 64), dtype=np.float32)
    theirs[:, 39:] = 30
    ours = theirs.copy()
    ours[1, 32:39] = 0
    report = compare(ours, theirs)
    assert report.min_prefix_cosine == pytest.approx(32 / math.sqrt(32 * 39))
    assert report.min_cosine > 0.999


def test_prefixes_that_are_shorter_than_32_count_for_nothing() -> None:
    theirs = np.ones((1, 64), dtype=np.float32)
    theirs[:, 31:] = 100
    ours = theirs.copy()
    ours[:, :31] = -1
    assert compare(ours, theirs).min_prefix_cosine > 0.99
    assert compare(ours[:, :20], theirs[:, :20]).min_prefix_cosine == pytest.approx(-1)


def test_a_prefix_of_zeros_equals_zeros_alone() -> None:
    theirs = np.zeros((1, 64), dtype=np.float32)
    theirs[:, 40:] = 100
    ours = theirs.copy()
    assert compare(ours, theirs).min_prefix_cosine == pytest.approx(1)
    ours[:, 0] = 1e-3
    assert compare(ours, theirs).min_prefix_cosine == 0
    assert compare(ours, theirs).min_cosine > 0.999


@pytest.mark.parametrize(
    ("ours", "theirs", "cosine"),
    [([1, 2], [1, 2], 1), ([0, 0], [0, 0], 1), ([0, 0], [1, 0], 0), ([1, 0], [0, 0], 0), ([1, 0], [-1, 0], -1)],
)
def test_rows_of_zeros_count_as_equal_to_each_other_alone(ours: list[float], theirs: list[float], cosine: int) -> None:
    assert compare(vectors([1, 1], ours), vectors([1, 1], theirs)).min_cosine == pytest.approx(cosine)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([math.nan, math.nan], [1, 2]),
        ([1, math.nan], [1, 2]),
        ([1, 2], [math.nan, 2]),
        ([math.nan, 1], [math.nan, 1]),
        ([math.inf, 2], [1, 2]),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_vectors_that_are_not_finite_never_pass(ours: list[float], theirs: list[float]) -> None:
    parity = compare(vectors([1, 1], ours), vectors([1, 1], theirs))
    with pytest.raises(ParityError):
        _require_parity(parity, PRECISIONS["fp32"])


@pytest.mark.parametrize(
    ("precision", "advice"),
    [
        ("fp32", "no precision is higher; the checkpoint computes something that Sentriton does not"),
        ("bf16", "choose a higher precision (fp32)"),
        ("int8", "choose a higher precision (fp32 or bf16)"),
        ("fp16", "choose a higher precision (fp32)"),
    ],
)
def test_a_worse_cosine_than_the_precision_allows_is_refused_in_numbers(precision: str, advice: str) -> None:
    bound = PRECISIONS[precision].min_cosine
    _require_parity(ParityReport(1, bound, 0.1, bound), PRECISIONS[precision])
    named = re.escape(f"over 7 sentences, {precision} allows {bound}; {advice}")
    with pytest.raises(ParityError, match=named):
        _require_parity(ParityReport(7, bound - 1e-6, 0.1, bound - 1e-6), PRECISIONS[precision])
    with pytest.raises(ParityError, match=rf"minimum cosine 0\.\d+ over 7 sentences, {precision} allows {bound}"):
        _require_parity(ParityReport(7, 1.0, 0.1, bound - 1e-6), PRECISIONS[precision])


def test_another_checkpoints_vectors_do_not_pass(repository: Path, tmp_path: Path) -> None:
    torch.manual_seed(4)
    other = make_checkpoint(tmp_path, further_modules=[Dense(HIDDEN, 12)], normalize=True)
    sentences = parity_sentences()
    parity = compare(ExportedModel(repository, "cpu").encode(sentences), reference(other, sentences))
    with pytest.raises(ParityError):
        _require_parity(parity, PRECISIONS["int8"])

"""The head against sentence-transformers' modules, by numpy, and by torch as for token embeddings on a GPU."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn

from sentriton_server.checkpoint import read_head
from sentriton_server.resources import load_model_code

head_code = load_model_code("pooling", "head")

HIDDEN = 16
MODES = Pooling.POOLING_MODES
COMBINATIONS = [("mean", "max"), ("cls", "lasttoken"), MODES, MODES[::-1]]
MASKS = {
    "full": [[1, 1, 1, 1, 1]] * 3,
    "right padding": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]],
    "left padding": [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]],
    "mixed padding": [[0, 1, 1, 1, 0], [1, 1, 1, 1, 0], [0, 0, 1, 0, 0]],
}
every_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)


def token_embeddings(rows: int = 3, length: int = 5, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, length, HIDDEN)).astype(np.float32) * 3


def load(modules: Sequence[Any], folder: Path) -> Any:
    """The head of these modules as an export writes it and Triton reads it."""
    described, weights = read_head(list(modules))
    description = {"fingerprint": "f", "vocab_size": 9, "max_seq_length": 5, "modules": described}
    (folder / "head.json").write_text(json.dumps(description))
    np.savez(folder / "head.npz", **weights)
    return head_code.load_head(folder)


def reference(
    modules: Sequence[Any], tokens: NDArray[Any], mask: Sequence[Sequence[int]], prompt_length: int | None = None
) -> NDArray[Any]:
    features: dict[str, Any] = {"token_embeddings": torch.from_numpy(tokens), "attention_mask": torch.tensor(mask)}
    if prompt_length is not None:
        features["prompt_length"] = prompt_length
    with torch.inference_mode():
        for module in modules:
            features = module(features)
    return features["sentence_embedding"].numpy()


def embed(head: Any, tokens: NDArray[Any], mask: Any, pooled: Any = None) -> Any:
    """`head.embed` of the packed rows that `tokens` [rows, length, hidden] have where `mask` [rows, length] is 1.

    Tensors of torch, which Triton hands out as DLPack where they are on a GPU, give the same.
    """
    attended = np.asarray(mask) > 0
    row = np.repeat(np.arange(len(attended), dtype=np.int32), attended.sum(axis=1))
    counted = np.ones(len(row), np.bool_) if pooled is None else np.asarray(pooled)[attended]
    by_numpy = head.embed(tokens[attended], counted, row)
    by_torch = head.embed(torch.from_dlpack(tokens[attended]), counted, row)
    assert (type(by_torch), by_torch.dtype) == (np.ndarray, np.float32)
    np.testing.assert_allclose(by_torch, by_numpy, rtol=1e-6, atol=1e-6)
    return by_numpy


def assert_equal(
    modules: Sequence[Any], folder: Path, tokens: NDArray[Any], mask: Sequence[Sequence[int]], tolerance: float = 1e-5
) -> None:
    found = embed(load(modules, folder), tokens, mask)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference(modules, tokens, mask), rtol=tolerance, atol=tolerance)


@every_mask
@pytest.mark.parametrize("modes", [*MODES, *COMBINATIONS], ids=str)
def test_pooling_equals_sentence_transformers(modes: Any, mask: list[list[int]], tmp_path: Path) -> None:
    assert_equal([Pooling(HIDDEN, pooling_mode=modes)], tmp_path, token_embeddings(), mask)


@pytest.mark.parametrize("prompt_length", [1, 2])
@pytest.mark.parametrize("modes", [*MODES, MODES], ids=str)
def test_a_prompt_is_left_out_of_pooling(modes: Any, prompt_length: int, tmp_path: Path) -> None:
    modules, tokens = [Pooling(HIDDEN, pooling_mode=modes, include_prompt=False)], token_embeddings()
    mask = [[1] * length + [0] * (5 - length) for length in (5, 4, 3)]
    pooled = np.tile(np.arange(5) >= prompt_length, (3, 1))
    expected = reference(modules, tokens, mask, prompt_length)
    np.testing.assert_allclose(embed(load(modules, tmp_path), tokens, mask, pooled), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_a_row_of_nothing_but_prompt_equals_sentence_transformers(mode: str, tmp_path: Path) -> None:
    modules, tokens = [Pooling(HIDDEN, pooling_mode=mode, include_prompt=False)], token_embeddings(1)
    found = embed(load(modules, tmp_path), tokens, [[1] * 5], [[False] * 5])
    np.testing.assert_allclose(found, reference(modules, tokens, [[1] * 5], prompt_length=5), rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_a_row_gets_the_same_to_the_last_bit_whatever_its_neighbours_are(mode: str, tmp_path: Path) -> None:
    head, tokens, mask = (
        load([Pooling(HIDDEN, pooling_mode=mode)], tmp_path),
        token_embeddings(),
        MASKS["right padding"],
    )
    together = embed(head, tokens, mask)
    for row in range(3):
        np.testing.assert_array_equal(embed(head, tokens[[row]], [mask[row]]), together[[row]])


@pytest.mark.parametrize("mode", MODES)
def test_float16_token_embeddings_are_pooled_in_float32(mode: str, tmp_path: Path) -> None:
    tokens, mask = token_embeddings().astype(np.float16), np.array(MASKS["right padding"])
    head = load([Pooling(HIDDEN, pooling_mode=mode)], tmp_path)
    found = embed(head, tokens, mask)
    np.testing.assert_array_equal(found, embed(head, tokens.astype(np.float32), mask))
    expected = reference([Pooling(HIDDEN, pooling_mode=mode)], tokens, mask.tolist())
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_the_mean_of_a_long_float16_row_does_not_overflow(tmp_path: Path) -> None:
    tokens = np.full((1, 512, HIDDEN), 1000, dtype=np.float16)
    found = embed(load([Pooling(HIDDEN, pooling_mode="mean")], tmp_path), tokens, np.ones((1, 512)))
    np.testing.assert_array_equal(found, np.full((1, HIDDEN), 1000, dtype=np.float32))


@pytest.mark.parametrize("name", head_code.ACTIVATIONS)
def test_every_activation_of_dense_equals_torch(name: str, tmp_path: Path) -> None:
    modules = [Pooling(HIDDEN), Dense(HIDDEN, 8, activation_function=getattr(nn, name)())]
    assert_equal(modules, tmp_path, token_embeddings(), MASKS["right padding"])


@pytest.mark.parametrize("out_features", [HIDDEN, 7])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("use_residual", [True, False])
def test_dense_equals_sentence_transformers(out_features: int, bias: bool, use_residual: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    modules = [Pooling(HIDDEN), Dense(HIDDEN, out_features, bias=bias, use_residual=use_residual)]
    assert_equal(modules, tmp_path, token_embeddings(), MASKS["right padding"])


def test_several_modules_run_in_their_order(tmp_path: Path) -> None:
    torch.manual_seed(0)
    modules = [
        Pooling(HIDDEN, pooling_mode=("cls", "mean")),
        Normalize(),
        Dense(2 * HIDDEN, 8, activation_function=nn.GELU()),
        Dense(8, 5, use_residual=True),
        Normalize(),
    ]
    assert_equal(modules, tmp_path, token_embeddings(), MASKS["left padding"])


def test_normalize_leaves_a_row_of_zeros_as_it_is(tmp_path: Path) -> None:
    tokens = token_embeddings()
    tokens[1] = 0
    assert_equal([Pooling(HIDDEN), Normalize()], tmp_path, tokens, MASKS["full"])


@pytest.mark.parametrize("name", head_code.ACTIVATIONS)
def test_activations_stand_large_values(name: str) -> None:
    values = np.array([[-1e4, -100, -1, 0, 1, 100, 1e4]], dtype=np.float32)
    expected = getattr(nn, name)()(torch.from_numpy(values)).numpy()
    for given in (values, torch.from_numpy(values)):
        found = head_code.ACTIVATIONS[name](given, head_code.arrays_of(given))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_bfloat16_token_embeddings_are_pooled_in_float32_where_they_are(mode: str, tmp_path: Path) -> None:
    """numpy has no bfloat16, so such token embeddings only come from a GPU."""
    tokens = torch.from_numpy(token_embeddings()).flatten(0, 1).bfloat16()
    row, pooled = np.repeat(np.arange(3, dtype=np.int32), 5), np.ones(15, np.bool_)
    head = load([Pooling(HIDDEN, pooling_mode=mode)], tmp_path)
    found = head.embed(tokens, pooled, row)
    np.testing.assert_allclose(found, head.embed(tokens.float().numpy(), pooled, row), rtol=1e-6, atol=1e-6)

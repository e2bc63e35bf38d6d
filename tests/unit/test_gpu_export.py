"""Exports for a GPU on a machine without a GPU: the repository, the overflow check, the parity check on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tritonclient.grpc.model_config_pb2 import TYPE_FP16, TYPE_FP32, ModelInstanceGroup

from sentriton_server.checkpoint import read_checkpoint
from sentriton_server.encoder import PRECISIONS
from sentriton_server.export import Overflow, _require_finite, export
from sentriton_server.gpu_sizes import gpu_sizes
from sentriton_server.overflow import largest_magnitude, overflows
from sentriton_server.parity import ExportedModel
from sentriton_server.parity_texts import hard_texts, parity_sentences
from sentriton_server.repository import MANIFEST, check_repository, read_config
from sentriton_server.request_rows import accepted_rows, announced_rows
from tests.checkpoints import make_checkpoint
from tests.exports import SENTENCES, read_manifest, reference

GPU_PRECISIONS = [name for name, precision in PRECISIONS.items() if "gpu" in precision.devices]
GIB = 1 << 30


def export_for_a_gpu(checkpoint: Path, target: Path, **options: Any) -> tuple[Any, list[str]]:
    said: list[str] = []
    manifest = export(checkpoint, target, device="gpu", check_on="cpu", say=said.append, **options)
    return manifest, said


def parameters(repository: Path, model: str) -> dict[str, str]:
    return {name: value.string_value for name, value in read_config(repository, model).parameters.items()}


@pytest.mark.parametrize("precision", GPU_PRECISIONS)
def test_an_export_for_a_gpu_is_whole_and_says_that_a_cpu_checked_it(
    precision: str, checkpoint: Path, target: Path
) -> None:
    manifest, said = export_for_a_gpu(checkpoint, target, precision=precision)
    assert check_repository(target) == manifest
    assert (manifest.device, manifest.precision) == ("gpu", precision)
    assert json.loads((target / MANIFEST).read_bytes())["checked_on"] == "cpu"
    assert "comparing with sentence-transformers on a CPU" in said
    encoder = read_config(target, "encoder")
    assert [group.kind for group in encoder.instance_group] == [ModelInstanceGroup.KIND_GPU]
    assert encoder.output[0].data_type == (TYPE_FP16 if precision == "fp16" else TYPE_FP32)
    assert parameters(target, "pooling") == {"FORCE_CPU_ONLY_INPUT_TENSORS": "no"}
    found = ExportedModel(target, "cpu").encode(SENTENCES)
    np.testing.assert_allclose(found, reference(checkpoint), atol={"fp32": 1e-5, "fp16": 2e-3, "bf16": 2e-2}[precision])


def test_an_export_that_its_own_device_checks_says_so(repository: Path) -> None:
    assert json.loads((repository / MANIFEST).read_bytes())["checked_on"] == "cpu"
    assert "FORCE_CPU_ONLY_INPUT_TENSORS" not in parameters(repository, "pooling")
    assert parameters(repository, "embed_text")["BULK_TOKENIZED"] == "1"


def test_batches_for_a_gpu_are_large_and_of_any_lengths(checkpoint: Path, target: Path) -> None:
    manifest, _ = export_for_a_gpu(checkpoint, target)
    found = parameters(target, "embed_tokens")
    tokens = int(found["BATCH_TOKENS"])
    assert tokens == int(found["MOST_BATCH_TOKENS"]) == read_config(target, "encoder").max_batch_size == 32768
    assert (found["ALIKE_ROWS"], found["BLOCK_TOKENS"], found["BATCHES_IN_FLIGHT"]) == ("0", "1", "3")
    assert manifest.max_batch_size == 256
    text = parameters(target, "embed_text")
    assert (text["GROUP_ROWS"], text["BULK_TOKENIZED"]) == ("256", "4")


def test_a_gpu_and_a_cpu_accept_equally_many_rows(checkpoint: Path, target: Path, repository: Path) -> None:
    """Otherwise clients would fail that have the manifest of the other server."""
    manifest, _ = export_for_a_gpu(checkpoint, target)
    of_cpu = read_manifest(repository)
    assert manifest.fingerprint == of_cpu.fingerprint
    assert manifest.max_batch_size > of_cpu.max_batch_size
    for path in (target, repository):
        assert int(parameters(path, "embed_tokens")["REQUEST_ROWS"]) == manifest.max_batch_size
        assert read_config(path, "embed_text").max_batch_size == manifest.max_batch_size
        assert read_config(path, "embed_tokens").max_batch_size == manifest.max_batch_size * manifest.max_seq_length


@pytest.fixture(scope="module")
def large_numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose second layer sees numbers up to some hundred thousand, and whose vectors are ordinary."""
    folder = make_checkpoint(tmp_path_factory.mktemp("large"))
    (file,) = folder.rglob("model.safetensors")
    weights = load_file(file)
    (name,) = [name for name in weights if name.endswith("layer.0.output.dense.bias")]
    weights[name][0] = 300_000
    save_file(weights, file, metadata={"format": "pt"})
    return folder


def test_a_checkpoint_that_overflows_in_fp16_becomes_bf16(large_numbers: Path, target: Path) -> None:
    manifest, said = export_for_a_gpu(large_numbers, target)
    assert manifest.precision == "bf16"
    assert any("precision bf16 (auto: the encoder's numbers overflow in fp16: on long," in message for message in said)


def test_fp16_that_was_asked_for_is_refused_where_it_overflows(large_numbers: Path, target: Path) -> None:
    with pytest.raises(Overflow, match=r"reach 300,\d+, and the limit is 65,504; export with --precision bf16"):
        export_for_a_gpu(large_numbers, target, precision="fp16")


@pytest.mark.parametrize(
    ("magnitude", "may", "does"), [(30_000.0, False, False), (40_000.0, True, False), (70_000.0, True, True)]
)
def test_numbers_close_to_the_largest_count_unless_fp16_was_asked_for(magnitude: float, may: bool, does: bool) -> None:
    assert overflows(magnitude, certainly=False) == may
    assert overflows(magnitude, certainly=True) == does
    assert overflows(float("nan"), certainly=True)


def test_vectors_that_are_not_finite_are_called_an_overflow_with_the_remedy() -> None:
    vectors = np.ones((5, 3), np.float32)
    _require_finite(vectors)
    vectors[2, 1], vectors[4, 0] = np.nan, np.inf
    with pytest.raises(Overflow, match=r"overflows in fp16 on 2 of 5 sentences: .* export with --precision bf16"):
        _require_finite(vectors)


def test_hard_texts_are_long_repeated_and_rare(checkpoint: Path) -> None:
    read = read_checkpoint(checkpoint)
    sentences = parity_sentences()
    texts = hard_texts(read.tokenizer, sentences, read.encoder_spec.max_seq_length)
    lengths = [len(read.tokenizer.encode(text).ids) for text in texts]
    assert min(lengths) >= read.encoder_spec.max_seq_length
    assert any(len(set(text.split())) == 1 for text in texts)
    rows = [read.tokenizer.encode(text).ids for text in texts]
    assert largest_magnitude(read.encoder, rows) > 0


@pytest.mark.parametrize(
    ("model", "memory", "tokens"),
    [
        ((1024, 4096, 512, 2), 16 * GIB, 8192),
        ((256, 1024, 512, 2), 80 * GIB, 32768),
        ((768, 3072, 512, 2), 80 * GIB, 10240),
        ((1024, 4096, 512, 4), 2 * GIB, 4096),
        ((4096, 16384, 512, 4), 80 * GIB, 8192),
    ],
)
def test_batches_follow_the_models_width_and_the_gpus_memory(
    model: tuple[int, int, int, int], memory: int, tokens: int
) -> None:
    sizes = gpu_sizes(*model, memory)
    assert sizes.batch_tokens == tokens
    assert sizes.batch_rows >= accepted_rows(model[2])


@pytest.mark.parametrize(
    ("longest", "rows", "of_cpu"), [(512, 256, 64), (8192, 127, 64), (1 << 15, 31, 31), (1 << 21, 1, 1)]
)
def test_requests_stay_within_the_largest_batch_dimension(longest: int, rows: int, of_cpu: int) -> None:
    assert accepted_rows(longest) == announced_rows(longest, "gpu") == rows
    assert announced_rows(longest, "cpu") == of_cpu

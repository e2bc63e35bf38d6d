"""The files of an export: configurations, manifest, tokenizer, golden vectors."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig

from sentriton.manifest import Manifest
from sentriton_server.checkpoint import read_checkpoint
from sentriton_server.export import export
from sentriton_server.gpu_sizes import GpuSizes
from sentriton_server.parity import ExportedModel
from sentriton_server.repository import MODELS, check_repository, read_key, write_batching, write_configs
from sentriton_server.request_rows import accepted_rows
from sentriton_server.resources import MODEL_REPOSITORY
from tests.checkpoints import make_checkpoint
from tests.exports import HIDDEN, SENTENCES, files, read_manifest, reference


def read_config(repository: Path, model: str) -> Any:
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), ModelConfig())


def tensors(repository: Path, name: str) -> list[tuple[str, Any]]:
    configs = [read_config(repository, model) for model in MODELS]
    return [
        (config.name, tensor) for config in configs for tensor in (*config.input, *config.output) if tensor.name == name
    ]


def test_every_configuration_parses_and_carries_its_folders_name(repository: Path) -> None:
    assert {path.name for path in repository.iterdir()} == set(MODELS)
    assert [read_config(repository, model).name for model in MODELS] == list(MODELS)


@pytest.mark.parametrize(
    ("tensor", "models", "dims"),
    [
        ("token_embeddings", ["embed_tokens", "encoder", "pooling"], [HIDDEN]),
        ("sentence_embedding", ["embed_text", "embed_tokens", "embed_batch", "pooling"], [12]),
    ],
)
def test_configurations_have_the_checkpoints_dimensions(
    tensor: str, models: list[str], dims: list[int], repository: Path
) -> None:
    found = tensors(repository, tensor)
    assert [model for model, _ in found] == models
    assert all(list(described.dims) == dims for _, described in found)
    assert all(described.data_type == model_config_pb2.TYPE_FP32 for _, described in found)


@pytest.mark.parametrize(("device", "kind"), [("cpu", "KIND_CPU"), ("gpu", "KIND_GPU")])
def test_half_precision_changes_the_inner_token_embeddings_and_the_device_the_encoder_alone(
    device: str, kind: str, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 8, "dimension": 4, "max_seq_length": 16}
    write_configs(tmp_path, **sizes, token_embeddings_dtype="TYPE_FP16", device=device)
    dtypes = {model: found.data_type for model, found in tensors(tmp_path, "token_embeddings")}
    assert dtypes.pop("embed_tokens") == model_config_pb2.TYPE_FP32
    assert set(dtypes.values()) == {model_config_pb2.TYPE_FP16}
    assert {found.data_type for _, found in tensors(tmp_path, "sentence_embedding")} == {model_config_pb2.TYPE_FP32}
    kinds = {
        model: {group.kind for group in read_config(tmp_path, model).instance_group}
        for model in MODELS
        if not read_config(tmp_path, model).platform
    }
    assert kinds.pop("encoder") == {model_config_pb2.ModelInstanceGroup.Kind.Value(kind)}
    assert set.union(*kinds.values()) == {model_config_pb2.ModelInstanceGroup.KIND_CPU}


@pytest.mark.parametrize("model", MODELS)
def test_no_dimension_is_left_open_to_callers(model: str, repository: Path) -> None:
    """Triton 24.10 multiplies sizes modulo 2^64 when it compares them with the received bytes."""
    config = read_config(repository, model)
    assert all(size > 0 for tensor in config.input for size in tensor.dims)
    assert config.max_batch_size < 2**20


def test_a_batch_of_tokens_has_room_for_every_request_and_every_row(tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "dimension": 4, "token_embeddings_dtype": "TYPE_FP32", "device": "cpu"}
    write_configs(tmp_path, **sizes, max_seq_length=4096, single_threaded_encoders=2)
    found = {model: read_config(tmp_path, model).max_batch_size for model in MODELS}
    assert found["embed_tokens"] == found["embed_text"] * 4096
    assert {found[model] for model in ("embed_batch", "encoder", "pooling")} == {4096}


def test_the_checked_in_limit_of_rows_is_that_of_an_export() -> None:
    limit = read_config(MODEL_REPOSITORY, "embed_tokens").parameters["REQUEST_ROWS"].string_value
    assert read_config(MODEL_REPOSITORY, "embed_text").max_batch_size == int(limit) == accepted_rows(512)


@pytest.mark.parametrize(
    ("settings", "tokens", "rows"),
    [
        ({}, ("1024", "2048"), "128"),
        ({"single_threaded_encoders": 2}, ("1024", "1024"), "64"),
        ({"gpu": GpuSizes(batch_tokens=8192, batch_rows=1024)}, ("8192", "8192"), "1024"),
    ],
)
def test_a_batch_has_a_fixed_size_or_one_by_the_processors_rate(
    settings: dict[str, Any], tokens: tuple[str, str], rows: str, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 8, "dimension": 4, "token_embeddings_dtype": "TYPE_FP32", "device": "cpu"}
    write_configs(tmp_path, **sizes, max_seq_length=64, **settings)
    write_batching(tmp_path, 341, alike=True)
    parameters = {name: value.string_value for name, value in read_config(tmp_path, "embed_tokens").parameters.items()}
    assert (parameters["BATCH_TOKENS"], parameters["MOST_BATCH_TOKENS"]) == tokens
    assert (parameters["BLOCK_TOKENS"], parameters["BATCH_ROWS"]) == ("341", rows)
    assert read_config(tmp_path, "encoder").max_batch_size == int(tokens[1])


def test_two_exports_have_two_keys_and_one_fingerprint(checkpoint: Path, repository: Path, target: Path) -> None:
    manifest = export(checkpoint, target, precision="fp32", device="cpu")
    assert manifest.fingerprint == read_manifest(repository).fingerprint
    assert read_key(target) != read_key(repository)


def test_a_small_encoder_is_there_once_for_each_core_that_its_server_gets(
    checkpoint: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    export(checkpoint, target, precision="fp32", device="cpu")
    (group,) = read_config(target, "encoder").instance_group
    assert group.count == 3


def test_many_cores_share_the_limits_of_a_small_encoders_queues(tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "dimension": 4, "token_embeddings_dtype": "TYPE_FP32", "device": "cpu"}
    found = {}
    for cores in (None, 2, 16):
        repository = tmp_path / str(cores)
        write_configs(repository, **sizes, max_seq_length=16, single_threaded_encoders=cores)
        for model in ("embed_tokens", "embed_text"):
            config = read_config(repository, model)
            parameters = {name: int(value.string_value) for name, value in config.parameters.items()}
            found[model, cores] = config.instance_group[0].count, parameters
    for model, waiting, away, batches in (
        ("embed_tokens", "WAITING_ROWS", "BATCHES_IN_FLIGHT", [2, 3, 5]),
        ("embed_text", "WAITING_BYTES", "GROUPS_AWAY", [1, 2, 4]),
    ):
        counts = {cores: found[model, cores][0] for cores in (None, 2, 16)}
        assert counts == {None: 1, 2: 1, 16: 4}
        assert [found[model, cores][1][away] for cores in (None, 2, 16)] == batches
        assert found[model, 16][1][waiting] * 4 == found[model, 2][1][waiting] == found[model, None][1][waiting]


@pytest.mark.parametrize("cores", [68, 256])
def test_every_lane_of_text_has_a_thread_however_many_cores_there_are(tmp_path: Path, cores: int) -> None:
    sizes = {"hidden_size": 8, "dimension": 4, "token_embeddings_dtype": "TYPE_FP32", "device": "cpu"}
    write_configs(tmp_path, **sizes, max_seq_length=16, single_threaded_encoders=cores)
    parameters = read_config(tmp_path, "embed_text").parameters
    for lane in ("CANARY", "QUERY", "BULK"):
        assert int(parameters[f"{lane}_REQUESTS"].string_value) >= 1


def test_the_manifest_describes_the_model_and_its_files(checkpoint: Path, repository: Path) -> None:
    manifest = check_repository(repository)
    assert manifest == read_manifest(repository)
    assert (manifest.dimension, manifest.max_seq_length, manifest.pooling) == (12, 32, ("mean",))
    assert (manifest.precision, manifest.device, manifest.similarity) == ("fp32", "cpu", "cosine")
    assert manifest.fingerprint == read_checkpoint(checkpoint).fingerprint
    places = {"model.pt": "encoder/1/model.pt"}
    for name, sha256 in manifest.files.items():
        assert files(repository)[places.get(name, f"assets/1/{name}")] == sha256


def test_the_manifest_has_the_operators_and_the_fields_that_older_clients_require(repository: Path) -> None:
    content = json.loads((repository / "assets/1/manifest.json").read_bytes())
    assert content.keys() - {field.name for field in fields(Manifest)} == {"checked_on", "operators", "pad_token_id"}
    assert content["pad_token_id"] == 1


def test_prompts_go_to_the_manifest_and_not_into_the_vectors(tmp_path: Path, target: Path) -> None:
    folder = make_checkpoint(tmp_path)
    path = folder / "config_sentence_transformers.json"
    prompts = {"query": "the query: ", "document": ""}
    changed = {"prompts": prompts, "default_prompt_name": "query", "similarity_fn_name": "dot"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    manifest = export(folder, target, device="cpu")
    assert (manifest.prompts, manifest.default_prompt_name, manifest.similarity) == (prompts, "query", "dot")
    np.testing.assert_allclose(ExportedModel(target, "cpu").encode(SENTENCES), reference(folder), atol=1e-5)


def test_client_and_server_get_the_same_tokenizer(repository: Path) -> None:
    written = files(repository)
    assert written["assets/1/tokenizer.json"] == written["embed_text/1/tokenizer.json"]


def test_golden_vectors_are_sentence_transformers_own(checkpoint: Path, repository: Path) -> None:
    golden = json.loads((repository / "assets/1/golden.json").read_text(encoding="utf-8"))
    expected = reference(checkpoint, golden["sentences"])
    np.testing.assert_allclose(golden["sentence_embedding"], expected, atol=1e-6)
    assert len(golden["sentences"]) == 8


def test_the_repository_is_readable_by_others(repository: Path) -> None:
    assert repository.stat().st_mode & 0o777 == 0o755

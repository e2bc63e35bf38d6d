"""Writes the deployable model repository: the checked-in models, with the checkpoint's dimensions, dtypes and files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup

from sentriton.errors import SentritonError
from sentriton.manifest import Manifest
from sentriton_server.resources import MODEL_REPOSITORY, hash_files

MODELS = ("embed_text", "embed_tokens", "tokenizer", "embed_batch", "encoder", "pooling", "assets")

FILES = (
    "encoder/1/model.pt",
    "embed_tokens/1/contract.json",
    "pooling/1/head.json",
    "pooling/1/key.json",
    "tokenizer/1/tokenizer.json",
    "assets/1/manifest.json",
)


class RepositoryError(SentritonError, ValueError):
    """A folder that is not an exported model repository, or cannot become one."""


def read_config(repository: Path, model: str) -> Any:
    """The configuration of a model in a repository, as a `ModelConfig` message."""
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), ModelConfig())


def read_key(repository: Path) -> int:
    """The key by which the encoder of a repository knows embed_tokens."""
    key: int = json.loads((repository / "embed_tokens/1/contract.json").read_text())["key"]
    return key


def write_configs(
    repository: Path,
    *,
    hidden_size: int,
    dimension: int,
    max_seq_length: int,
    token_embeddings_dtype: str,
    device: str,
    single_threaded_encoders: int | None = None,
    step_tokens: int = 1024,
) -> None:
    """Copy models and write their configurations for one checkpoint. `token_embeddings_dtype`: Triton's TYPE_FP32 or
    TYPE_FP16; `device`: cpu or gpu, where the encoder runs. `single_threaded_encoders`: so many instances of the
    encoder with one thread each; None: one instance with all threads. `step_tokens`: what embed_tokens sends to it at
    once. Where rows are packed, `max_batch_size` counts tokens."""
    for model in MODELS:
        shutil.copytree(
            MODEL_REPOSITORY / model, repository / model, ignore=shutil.ignore_patterns(".gitkeep", "__pycache__")
        )
        config = read_config(MODEL_REPOSITORY, model)
        for tensor in _tensors(config, "token_embeddings"):
            tensor.dims[-1] = hidden_size
            if model != "embed_tokens":  # callers get float32
                tensor.data_type = DataType.Value(token_embeddings_dtype)
        for tensor in _tensors(config, "sentence_embedding"):
            tensor.dims[-1] = dimension
        if model == "encoder" and device == "gpu":
            for group in config.instance_group:
                group.kind = ModelInstanceGroup.KIND_GPU
        if model == "encoder" and single_threaded_encoders is not None:
            config.instance_group[0].count = single_threaded_encoders
            config.parameters["INTRA_OP_THREAD_COUNT"].string_value = "1"
        if model == "embed_tokens":
            # One more than are computed at once, so that the next is there when an instance is free.
            config.parameters["STEPS_IN_FLIGHT"].string_value = str((single_threaded_encoders or 1) + 1)
            config.parameters["STEP_TOKENS"].string_value = str(step_tokens)
            config.max_batch_size = int(config.parameters["REQUEST_ROWS"].string_value) * max_seq_length
        if model in ("embed_batch", "encoder", "pooling"):
            config.max_batch_size = max(step_tokens, max_seq_length)
        (repository / model / "config.pbtxt").write_text(text_format.MessageToString(config))


def check_repository(folder: Path) -> Manifest:
    """The manifest of an exported repository. Raises `RepositoryError` that names the first thing wrong with
    `folder`.
    """
    for model in MODELS:
        if not (folder / model / "config.pbtxt").is_file():
            raise RepositoryError(f"{folder} is not an exported model repository: {model}/config.pbtxt is missing")
    for file in FILES:
        if not (folder / file).is_file():
            raise RepositoryError(f"the model repository {folder} is broken: {file} is missing; export it again")
    try:
        manifest = Manifest.from_json((folder / "assets/1/manifest.json").read_bytes())
    except ValueError as error:
        raise RepositoryError(
            f"the model repository {folder} is broken: assets/1/manifest.json: {error}; export it again"
        ) from error
    check_weights(folder, manifest)
    return manifest


def check_weights(folder: Path, manifest: Manifest) -> None:
    """Raises `RepositoryError` where model.pt, which is code as well as weights, is not the file that was exported."""
    if hash_files([folder / "encoder/1/model.pt"]) != manifest.files["model.pt"]:
        raise RepositoryError(
            f"the model repository {folder} is broken: encoder/1/model.pt is not the file that was exported "
            "(its sha256 differs from the manifest's); export it again"
        )


def _tensors(config: Any, name: str) -> Iterable[Any]:
    return (tensor for tensor in (*config.input, *config.output) if tensor.name == name)

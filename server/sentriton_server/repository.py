"""Writes the model repository: the checked-in models with the checkpoint's dimensions, dtypes and files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup

from sentriton.errors import SentritonError
from sentriton.manifest import Manifest
from sentriton_server.gpu_sizes import GpuSizes
from sentriton_server.request_rows import accepted_rows, announced_rows
from sentriton_server.resources import MODEL_REPOSITORY, hash_files

MODELS = ("embed_text", "embed_tokens", "embed_batch", "encoder", "pooling", "assets")

MANIFEST = "assets/1/manifest.json"
CHECKSUMS = "assets/1/checksums.sha256"
BYTECODE = "__pycache__"
REQUIRED_FILES = (
    "encoder/1/model.pt",
    "embed_tokens/1/contract.json",
    "pooling/1/head.json",
    "pooling/1/key.json",
    "embed_text/1/tokenizer.json",
    "embed_text/1/key.json",
    MANIFEST,
)

# A Python process takes 0.13 ms per request, on one core. About five cores with small encoders embed short sentences
# fast enough to use all of its time.
_CORES_PER_SCHEDULING_INSTANCE = 4
_SHARED_LIMITS = {
    "embed_tokens": ("WAITING_ROWS", "TOKEN_EMBEDDINGS_MIB"),
    "embed_text": ("WAITING_BYTES", "QUERY_REQUESTS", "BULK_REQUESTS"),
}


class RepositoryError(SentritonError, ValueError):
    """The folder is not an exported model repository, or cannot become one."""


def read_config(repository: Path, model: str) -> Any:
    """The configuration of a model in a repository, as a `ModelConfig` message."""
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), ModelConfig())


def read_key(repository: Path) -> int:
    """The key by which a repository's encoder recognizes embed_tokens."""
    key: int = json.loads((repository / "embed_tokens/1/contract.json").read_text())["key"]
    return key


def read_operators(repository: Path) -> str:
    """The operators of a repository's encoder: sentriton or torch."""
    operators: str = json.loads((repository / MANIFEST).read_bytes()).get("operators", "torch")
    return operators


def read_in_bf16(repository: Path) -> list[str]:
    """The linear layers of an int8 repository's encoder that stay in bf16."""
    in_bf16: list[str] = json.loads((repository / MANIFEST).read_bytes()).get("in_bf16", [])
    return in_bf16


def write_configs(
    repository: Path,
    *,
    hidden_size: int,
    dimension: int,
    max_seq_length: int,
    token_embeddings_dtype: str,
    device: str,
    single_threaded_encoders: int | None = None,
    gpu: GpuSizes | None = None,
) -> None:
    """Copy the models and write their configurations for a checkpoint.

    `token_embeddings_dtype` is Triton's TYPE_FP32 or TYPE_FP16. `device` of the encoder is cpu or gpu.
    `single_threaded_encoders` is the number of encoder instances with one thread each (None: one instance with all
    threads). `gpu` has the sizes for a GPU. The size of a full batch adapts to the processor's rate, within the bounds
    of the checked-in configuration. For several instances or a GPU it is fixed. For packed rows, `max_batch_size`
    counts tokens.
    """
    least_batch_tokens = gpu.batch_tokens if gpu else _checked_in("BATCH_TOKENS")
    # A larger batch would leave other instances without rows.
    is_fixed = gpu or single_threaded_encoders
    most_batch_tokens = least_batch_tokens if is_fixed else _checked_in("MOST_BATCH_TOKENS")
    instances = _scheduling_instances(single_threaded_encoders)
    accepted, announced = accepted_rows(max_seq_length), announced_rows(max_seq_length, device)
    for model in MODELS:
        shutil.copytree(
            MODEL_REPOSITORY / model, repository / model, ignore=shutil.ignore_patterns(".gitkeep", "__pycache__")
        )
        config = read_config(MODEL_REPOSITORY, model)
        for tensor in _tensors(config, "token_embeddings"):
            tensor.dims[-1] = hidden_size
            if model != "embed_tokens":  # whose callers get float32
                tensor.data_type = DataType.Value(token_embeddings_dtype)
        for tensor in _tensors(config, "sentence_embedding"):
            tensor.dims[-1] = dimension
        if model == "encoder" and device == "gpu":
            for group in config.instance_group:
                group.kind = ModelInstanceGroup.KIND_GPU
        if model == "pooling" and device == "gpu":
            # Token embeddings stay on the GPU that computed them.
            config.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value = "no"
        if model == "encoder" and single_threaded_encoders is not None:
            config.instance_group[0].count = single_threaded_encoders
            config.parameters["INTRA_OP_THREAD_COUNT"].string_value = "1"
        if model in _SHARED_LIMITS:
            _set_instances(config, model, instances, computed=single_threaded_encoders or 1)
        if model == "embed_tokens":
            config.parameters["REQUEST_ROWS"].string_value = str(accepted)
            config.parameters["BATCH_TOKENS"].string_value = str(least_batch_tokens)
            config.parameters["MOST_BATCH_TOKENS"].string_value = str(most_batch_tokens)
            if single_threaded_encoders:
                config.parameters["BATCH_ROWS"].string_value = str(announced)
            if gpu:
                _set_gpu_sizes(config, gpu)
            config.max_batch_size = accepted * max_seq_length
        if model == "embed_text":
            config.max_batch_size = accepted
            config.parameters["GROUP_ROWS"].string_value = str(announced)
            if gpu:
                config.parameters["BULK_TOKENIZED"].string_value = str(gpu.bulk_tokenized)
        if model in ("embed_batch", "encoder", "pooling"):
            config.max_batch_size = max(most_batch_tokens, max_seq_length)
        (repository / model / "config.pbtxt").write_text(text_format.MessageToString(config))


def write_batching(repository: Path, block_tokens: int, *, alike: bool) -> None:
    """Configure the batches of embed_tokens: whole token blocks of this size, with similar lengths if `alike`."""
    config = read_config(repository, "embed_tokens")
    config.parameters["BLOCK_TOKENS"].string_value = str(block_tokens)
    config.parameters["ALIKE_ROWS"].string_value = str(int(alike))
    (repository / "embed_tokens/config.pbtxt").write_text(text_format.MessageToString(config))


def _scheduling_instances(single_threaded_encoders: int | None) -> int:
    """The number of processes of embed_tokens and embed_text. One is enough for a larger, slower encoder."""
    return max(1, (single_threaded_encoders or 1) // _CORES_PER_SCHEDULING_INSTANCE)


def _set_instances(config: Any, model: str, instances: int, computed: int) -> None:
    """Configure `instances` processes of a model. They share its limits and the batches `computed` at once."""
    config.instance_group[0].count = instances
    if model == "embed_tokens":
        # One more, so that a batch is ready when an instance of the encoder is free.
        config.parameters["BATCHES_IN_FLIGHT"].string_value = str(-(-(computed + 1) // instances))
    else:
        config.parameters["GROUPS_AWAY"].string_value = str(-(-computed // instances))
    for name in _SHARED_LIMITS[model]:
        config.parameters[name].string_value = str(-(-int(config.parameters[name].string_value) // instances))


def _set_gpu_sizes(config: Any, gpu: GpuSizes) -> None:
    for name, value in (
        ("BATCH_ROWS", gpu.batch_rows),
        ("BATCHES_IN_FLIGHT", gpu.batches_in_flight),
        ("WAITING_ROWS", gpu.waiting_rows),
    ):
        config.parameters[name].string_value = str(value)


def _checked_in(parameter: str) -> int:
    """A parameter of the checked-in embed_tokens."""
    return int(read_config(MODEL_REPOSITORY, "embed_tokens").parameters[parameter].string_value)


def record_files(repository: Path) -> None:
    """Write the sha256 of every file to `CHECKSUMS`, in the format of sha256sum, at the end of an export."""
    lines = [f"{hash_files([repository / name])}  {name}\n" for name in sorted(_files(repository))]
    (repository / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an exported repository. Raises `RepositoryError` for another or an incomplete folder."""
    for model in MODELS:
        if not (folder / model / "config.pbtxt").is_file():
            raise RepositoryError(f"{folder} is not an exported model repository: {model}/config.pbtxt is missing")
    for file in (*REQUIRED_FILES, CHECKSUMS):
        if not (folder / file).is_file():
            raise _broken(folder, f"{file} is missing")
    try:
        return Manifest.from_json((folder / MANIFEST).read_bytes())
    except ValueError as error:
        raise _broken(folder, f"{MANIFEST}: {error}") from error


def check_repository(folder: Path) -> Manifest:
    """Check that all files are those of the export, since Triton runs every file that it finds. Returns the manifest.

    Raises `RepositoryError` that names the first fault.
    """
    manifest = read_manifest(folder)
    exported = _read_checksums(folder)
    found = _files(folder)
    for name in sorted(exported.keys() - found):
        raise _broken(folder, f"{name} is missing")
    for name in sorted(found - exported.keys()):
        raise _broken(folder, f"{name} does not belong to the export; remove it")
    for name, sha256 in exported.items():
        if not (folder / name).is_file():
            raise _broken(folder, f"{name} is not a regular file")
        if hash_files([folder / name]) != sha256:
            raise _broken(folder, f"{name} is not the file that was exported (its sha256 differs)")
    return manifest


def remove_bytecode(repository: Path) -> None:
    """Remove Python's bytecode files, which would run in place of the models and have no checksums. Raises
    `RepositoryError` if one cannot be removed.
    """
    for model in MODELS:
        bytecode = repository / model / "1" / BYTECODE
        if bytecode.exists():
            try:
                shutil.rmtree(bytecode)
            except FileNotFoundError:  # another server was first
                continue
            except OSError as error:
                name = bytecode.relative_to(repository)
                raise _broken(
                    repository, f"{name} cannot be removed ({error.strerror}) and does not belong to the export"
                ) from error


def _broken(folder: Path, why: str) -> RepositoryError:
    again = " or export it again" if why.endswith("remove it") else "; export it again"
    return RepositoryError(f"the model repository {folder} is broken: {why}{again}")


def _read_checksums(folder: Path) -> dict[str, str]:
    """The sha256 of each file, by its path in the repository."""
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except ValueError as error:
        raise _broken(folder, f"{CHECKSUMS} is no text") from error
    pairs = [line.split("  ", 1) for line in lines]
    if any(len(pair) != 2 for pair in pairs):
        raise _broken(folder, f"{CHECKSUMS} has a line that is not a sha256 and a path")
    return {name: sha256 for sha256, name in pairs}


def _files(repository: Path) -> set[str]:
    """The paths of files, links and unexpected empty folders in a repository, except `CHECKSUMS` and bytecode."""
    found: set[str] = set()
    versions = {f"{model}/1" for model in MODELS}
    for folder, folders, files in os.walk(repository):
        inside = Path(folder).relative_to(repository)
        if inside.as_posix() in versions and BYTECODE in folders:
            folders.remove(BYTECODE)
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        found.update((inside / name).as_posix() for name in (*files, *links))
        if not any(Path(folder).iterdir()):
            found.add(inside.as_posix())
    return found - {CHECKSUMS} - versions


def _tensors(config: Any, name: str) -> Iterable[Any]:
    return (tensor for tensor in (*config.input, *config.output) if tensor.name == name)

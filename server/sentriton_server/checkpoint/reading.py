"""Reads a sentence-transformers checkpoint, and names the part of it that cannot be served."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sentriton.errors import InvalidInput
from sentriton_server.checkpoint.errors import CheckpointError, refusals_of
from sentriton_server.checkpoint.files import ModuleFiles, check_order, paths_in, read_modules, refuse_adapter
from sentriton_server.checkpoint.tokenizer import check_tokenizer, read_tokenizer, require_loadable
from sentriton_server.checkpoint.weights import DEFAULT_ATTENTION, check_weights
from sentriton_server.encoder import (
    EncoderSpec,
    PackedEncoder,
    read_encoder,
)
from sentriton_server.hub import download
from sentriton_server.resources import hash_files, load_model_code

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_SAYS_LITTLE = re.compile(r"models?|best|best_model|final|output|snapshots|checkpoint-\d+|[0-9a-f]{40}", re.IGNORECASE)
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_LAYER_POOLING = "WeightedLayerPooling"


@dataclass
class Checkpoint:
    """The parts of a sentence-transformers model that the export needs.

    `model` and `encoder` share their weights. The export releases each of them after its last use.
    """

    name: str
    model: SentenceTransformer  # float32 on the CPU, the reference for the export's vectors
    encoder_spec: EncoderSpec
    encoder: PackedEncoder
    tokenizer: Tokenizer
    head_modules: list[dict[str, Any]]  # for head.json
    head_weights: dict[str, NDArray[np.float32]]  # for head.npz
    fingerprint: str
    defaults: str  # the modules that sentence-transformers adds if the checkpoint is only an encoder, else empty
    adapters: list[str]  # folders of adapters, which sentence-transformers does not load either


def read_checkpoint(source: str | Path, *, allow_pickle: bool = False, max_seq_length: int | None = None) -> Checkpoint:
    """Load a sentence-transformers folder or hub id. `allow_pickle` permits pickled weights. Code of the checkpoint is
    never run. `max_seq_length` replaces the checkpoint's limit. Raises `CheckpointError`, which names the module, the
    value and the allowed values.
    """
    located = locate_checkpoint(source, allow_pickle=allow_pickle)
    return read_located(source, *located, allow_pickle=allow_pickle, max_seq_length=max_seq_length)


def read_unserved(source: str | Path, *, allow_pickle: bool = False) -> SentenceTransformer:
    """Load a sentence-transformers folder or hub id, perhaps of a kind that Sentriton cannot serve. The checks of the
    weights are those of `read_checkpoint`. The weights keep their type. Raises `CheckpointError`.
    """
    _, folder = locate_checkpoint(source, allow_pickle=allow_pickle)
    with refusals_of(source, task="load"):
        _, model = _load_checked(folder, allow_pickle, served=False)
        if model.truncate_dim is not None:
            _describe_truncation(model.truncate_dim)
    return model


def read_located(
    source: str | Path, name: str, folder: Path, *, allow_pickle: bool = False, max_seq_length: int | None = None
) -> Checkpoint:
    """`read_checkpoint` for a known name and folder. It sends no request to the hub, which may have a newer version."""
    with refusals_of(source):
        return _read(name, folder, allow_pickle, max_seq_length)


def _load_checked(folder: Path, allow_pickle: bool, *, served: bool) -> tuple[list[ModuleFiles], SentenceTransformer]:
    # Without its progress bar and load report, which are for interactive use.
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    modules = read_modules(folder, served=served)
    check_weights(folder, modules, allow_pickle=allow_pickle, served=served)
    return modules, _load(folder, modules[0].path, allow_pickle, served)


def _read(name: str, folder: Path, allow_pickle: bool, max_seq_length: int | None) -> Checkpoint:
    modules, model = _load_checked(folder, allow_pickle, served=True)
    check_order([type(module).__name__ for module in model])
    transformer, *others = model
    _require_plain_text(transformer)
    layer_weights = _layer_weights(transformer, others.pop(0)) if type(others[0]).__name__ == _LAYER_POOLING else None
    limit = transformer.max_seq_length if max_seq_length is None else max_seq_length
    encoder_spec, encoder = read_encoder(transformer.auto_model, limit, layer_weights)
    if max_seq_length is not None and encoder_spec.max_seq_length < max_seq_length:
        raise CheckpointError(
            f"max_seq_length {max_seq_length} is more than the encoder has positions for; allowed are 1 to "
            f"{encoder_spec.max_seq_length}"
        )
    # The reference needs the same limit, because it fails on texts beyond the position table.
    transformer.max_seq_length = encoder_spec.max_seq_length
    tokenizer = read_tokenizer(transformer.tokenizer, encoder_spec.max_seq_length)
    check_tokenizer(model, tokenizer, encoder_spec)
    head_modules, head_weights = read_head(others, model.truncate_dim)
    return Checkpoint(
        name=name,
        model=model,
        encoder_spec=encoder_spec,
        encoder=encoder,
        tokenizer=tokenizer,
        head_modules=head_modules,
        head_weights=head_weights,
        fingerprint=fingerprint(encoder_spec, encoder, tokenizer, head_modules, head_weights, model),
        defaults="" if len(modules) > 1 else f"pooling {', '.join(head_modules[0]['modes'])}",
        adapters=sorted(path.parent.name for path in modules[0].folder.glob("*/adapter_config.json")),
    )


def read_head(
    modules: list[Any], truncate_dim: int | None = None
) -> tuple[list[dict[str, Any]], dict[str, NDArray[np.float32]]]:
    """Describe the modules after the encoder (Pooling, then any of `HEAD_MODULES`) for head.json. Their vectors are
    truncated to `truncate_dim` at the end.
    """
    described: list[dict[str, Any]] = []
    weights: dict[str, NDArray[np.float32]] = {}
    for place, module in enumerate(modules):
        kind = type(module).__name__
        if kind == "Pooling":
            modes = module.pooling_mode
            modes = [modes] if isinstance(modes, str) else list(modes)
            described.append({"type": "pooling", "modes": modes, "include_prompt": bool(module.include_prompt)})
        elif kind == "Dense":
            described.append(_describe_dense(module, f"dense_{place}"))
            weights |= _dense_weights(module, f"dense_{place}")
        elif kind == "LayerNorm":
            described.append({"type": "layer_norm", "weights": f"norm_{place}", "eps": module.norm.eps})
            weights |= _norm_weights(module.norm, f"norm_{place}")
        elif kind == "Normalize":
            _require_sentence_embedding(module)
            described.append({"type": "normalize"})
    if truncate_dim is not None:
        described.append(_describe_truncation(truncate_dim))
    return described, weights


def fingerprint(
    spec: EncoderSpec,
    encoder: PackedEncoder,
    tokenizer: Tokenizer,
    head_modules: list[dict[str, Any]],
    head_weights: dict[str, NDArray[np.float32]],
    model: SentenceTransformer,
) -> str:
    """sha256 of everything that determines the vector of a text, except precision and device.

    It includes the prompts of `model`, since clients put them before texts. Empty prompts change no text.
    """
    digest = hashlib.sha256()
    described = [repr(spec) + spec.further, tokenizer.to_str(), json.dumps(head_modules, sort_keys=True)]
    if prompts := {name: prompt for name, prompt in model.prompts.items() if prompt}:
        described.append(json.dumps([prompts, model.default_prompt_name], sort_keys=True))
    for text in described:
        digest.update(text.encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().data)
    for name, values in sorted(head_weights.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def locate_checkpoint(source: str | Path, *, allow_pickle: bool = False) -> tuple[str, Path]:
    """The name and the folder of a checkpoint. `source` is a sentence-transformers folder or a hub id, which is
    downloaded to the hub's cache. `allow_pickle` permits pickled weights.

    Raises `CheckpointError` if the checkpoint does not exist.
    """
    folder = Path(source)
    with refusals_of(source):
        # sentence-transformers loads a folder without modules.json as an encoder.
        if (folder / "modules.json").is_file() or (folder / "config.json").is_file():
            return name_of_folder(folder), folder
        refuse_adapter(folder)
        exists = folder.exists()
    if exists:
        raise CheckpointError(
            f"{source} is not a checkpoint: it has neither modules.json (of sentence-transformers) nor config.json (of "
            "transformers); give the folder that has one of them"
        )
    if not HUB_ID.fullmatch(str(source)):
        raise CheckpointError(f"no checkpoint at {source}; give a sentence-transformers folder or a hub id")
    try:
        return str(source), download(str(source), allow_pickle=allow_pickle)
    except InvalidInput as error:
        raise CheckpointError(str(error)) from error


def name_of_folder(folder: Path) -> str:
    """The name of a checkpoint: that of its folder, or of a parent if the folder's name is generic. Examples are
    my-encoder/model, my-encoder/checkpoint-300 and the hub's cache.
    """
    own = folder.resolve()
    for above in (own, *own.parents):
        if above.name.startswith("models--"):
            return above.name.removeprefix("models--").replace("--", "/")
        if above.name and not _SAYS_LITTLE.fullmatch(above.name):
            number = own.name.removeprefix("checkpoint-") if own.name.startswith("checkpoint-") else ""
            return f"{above.name}-{number}" if number and above != own else above.name
    return own.name


def _load(folder: Path, transformer_path: str, allow_pickle: bool, served: bool) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    # None prefers safetensors, if any.
    use_safetensors = None if allow_pickle else True
    own = {"trust_remote_code": False, "local_files_only": True}
    dtype = torch.float32 if served else "auto"
    try:
        return SentenceTransformer(
            str(folder),
            device="cpu",
            model_kwargs={"dtype": dtype, "use_safetensors": use_safetensors, **DEFAULT_ATTENTION},
            **own,
        )
    except Exception:
        # Its error for an unloadable tokenizer has no reason.
        require_loadable(folder, transformer_path, served=served, **own)
        raise


def _require_plain_text(transformer: Any) -> None:
    """Raises `CheckpointError` unless the Transformer module encodes only plain text to token embeddings."""
    forward = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    if transformer.modality_config != forward or transformer.module_output_name != "token_embeddings":
        raise CheckpointError(
            f"the Transformer module has modality_config {transformer.modality_config} for "
            f"{transformer.module_output_name!r}; supported is {forward} for 'token_embeddings' alone"
        )
    for setting in ("query_length", "document_length", "query_expansion"):
        value = getattr(transformer, setting, None)
        if value is not None:
            raise CheckpointError(
                f"the Transformer module has {setting} {value!r}, so that encode_query() and encode_document() "
                "tokenize otherwise than encode(); allowed is null; remove the setting if max_seq_length may hold for "
                "every text"
            )


def _layer_weights(transformer: Any, pooling: Any) -> torch.Tensor | None:
    """The weights of the outputs of the embeddings and the layers, [layers + 1]. None if the encoder does not return
    these outputs, so that the module has no effect.
    """
    config = transformer.auto_model.config
    if not config.output_hidden_states:
        return None
    weights, start = pooling.layer_weights.detach().float(), pooling.layer_start
    layers = int(config.num_hidden_layers) + 1
    if not 0 <= start < layers or len(weights) != layers - start:
        raise CheckpointError(
            f"module {_LAYER_POOLING} has {len(weights)} weights from layer_start {start} on; it must have one for "
            f"each of the encoder's {layers} outputs from there on; save the checkpoint again"
        )
    if not bool(torch.isfinite(weights).all()) or float(weights.sum()) == 0:
        raise CheckpointError(
            f"module {_LAYER_POOLING} has weights {weights.tolist()}; allowed are finite numbers whose sum is not 0"
        )
    return torch.nn.functional.pad(weights, [start, 0])


def _describe_truncation(dimension: Any) -> dict[str, Any]:
    if not isinstance(dimension, int) or isinstance(dimension, bool) or dimension < 1:
        raise CheckpointError(
            f"config_sentence_transformers.json has truncate_dim {dimension!r}; allowed are integers from 1, or null"
        )
    return {"type": "truncate", "dimension": dimension}


def _describe_dense(module: Any, name: str) -> dict[str, Any]:
    _require_sentence_embedding(module)
    activation = type(module.activation_function).__name__
    allowed = load_model_code("pooling", "head").ACTIVATIONS
    if activation not in allowed:
        raise CheckpointError(f"module Dense has activation_function {activation}; supported are {', '.join(allowed)}")
    return {"type": "dense", "activation": activation, "weights": name, "residual": bool(module.use_residual)}


def _dense_weights(module: Any, name: str) -> dict[str, NDArray[np.float32]]:
    tensors = {f"{name}.weight": module.linear.weight, f"{name}.bias": module.linear.bias}
    if hasattr(module, "residual"):
        tensors[f"{name}.residual"] = module.residual.weight
    weights = {key: tensor.detach().float().numpy() for key, tensor in tensors.items() if tensor is not None}
    if not all(np.isfinite(values).all() for values in weights.values()):
        raise CheckpointError(
            "module Dense has weights that are not finite numbers; use an earlier checkpoint of the training"
        )
    return weights


def _norm_weights(norm: Any, name: str) -> dict[str, NDArray[np.float32]]:
    weights = {f"{name}.weight": norm.weight, f"{name}.bias": norm.bias}
    return {key: tensor.detach().float().numpy() for key, tensor in weights.items()}


def _require_sentence_embedding(module: Any) -> None:
    for attribute in ("module_input_name", "module_output_name"):
        value = getattr(module, attribute, "sentence_embedding")
        if value != "sentence_embedding":
            raise CheckpointError(
                f"module {type(module).__name__} has {attribute} {value!r}; supported is 'sentence_embedding' alone"
            )


def content_key(folder: Path) -> str:
    """sha256 over the names, sizes and contents of a checkpoint's files."""
    with refusals_of(folder):
        files = [path for path in sorted(paths_in(folder)) if path.is_file()]
        names = "\n".join(f"{path.stat().st_size} {str(path.relative_to(folder))!r}" for path in files)
        return hashlib.sha256(f"{names}\n{hash_files(files)}".encode()).hexdigest()

"""Checks that the weights of a checkpoint fit its configuration and are finite."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from sentriton_server.checkpoint.errors import CheckpointError
from sentriton_server.checkpoint.files import ModuleFiles, read_object, transformer_settings
from sentriton_server.encoder import check_config, count_parameters, is_count

# Loads a checkpoint with the default attention of transformers. Its configuration may name one that needs a GPU, or a
# hub repository with kernels, whose code would run.
DEFAULT_ATTENTION = {"attn_implementation": None}
_SHOWN_NAMES = 3
# Weights of other programs: ONNX Runtime, OpenVINO, llama.cpp, TensorFlow, Flax.
_CONVERTED = ("*.onnx", "openvino*.xml", "*.gguf", "*.h5", "*.msgpack")
# Sentence embeddings do not use the encoder's own pooler.
_POOLER_WEIGHTS = re.compile(r"(^|\.)pooler\.")
# Heads of other tasks and constant buffers, which a file may have in addition to the encoder.
_HEAD_WEIGHTS = re.compile(
    r"^((bert|roberta|distilbert|electra|mpnet|model|nomic_bert|gte)\.)?"
    r"(pooler|lm_head|cls|classifier|pre_classifier|qa_outputs|head|decoder|vocab_(transform|layer_norm|projector)"
    r"|(discriminator|generator)_(predictions|lm_head))\.|(^|\.)(position|token_type)_ids$"
)
# The sizes whose product is the number of a module's weights.
_MODULE_SIZES = {"Dense": ("in_features", "out_features"), "LayerNorm": ("dimension",)}
_WITHOUT_WEIGHTS = ("BoW", "Dropout", "Normalize", "Pooling", "WordWeights")
_PLAIN_OPTIONS = {"add_pooling_layer", "attn_implementation", "dtype", "torch_dtype", "use_safetensors"}


def check_weights(folder: Path, modules: list[ModuleFiles], *, allow_pickle: bool, served: bool = True) -> None:
    """Raises `CheckpointError` for weights that are missing, do not fit the configuration, are not finite, or are
    pickled without `allow_pickle`. The check of sizes comes before the allocation of memory. Without `served`, the
    encoder may be one that Sentriton cannot serve.
    """
    for module in modules:
        if module.kind == "Transformer":
            files = _weight_files(module.folder, "*.safetensors", "*.bin", allow_pickle)
            _check_encoder(folder, module, files, allow_pickle, served)
        elif module.kind not in _WITHOUT_WEIGHTS:
            files = _weight_files(module.folder, "model.safetensors", "*.bin", allow_pickle)
            _check_module(module, files)


def _weight_files(folder: Path, safe: str, pickled: str, allow_pickle: bool) -> list[Path]:
    files = [path for path in folder.glob(safe) if path.is_file()]
    if not files and allow_pickle:
        files = [path for path in folder.glob(pickled) if path.is_file()]
    if not files:
        raise CheckpointError(f"{folder} has no weights in a .safetensors file{_others(folder, pickled, allow_pickle)}")
    return files


def _others(folder: Path, pickled: str, allow_pickle: bool) -> str:
    """The end of the error message: other files with weights, and the remedy."""
    converted = sorted(path.name for pattern in _CONVERTED for path in folder.rglob(pattern))
    if converted and not any(folder.glob(pickled)):
        return f", but {_some(converted)}, made from them for another program; take the checkpoint that they come from"
    if allow_pickle:
        return " or a .bin file; copy or download the checkpoint again"
    return (
        "; pickled weights are refused, since reading them may run code; trust them with --allow-pickle, or save the "
        "checkpoint with safe_serialization=True"
    )


def _check_encoder(folder: Path, module: ModuleFiles, files: list[Path], allow_pickle: bool, served: bool) -> None:
    """Check the encoder by the loading report of transformers, loading it like sentence-transformers."""
    from transformers import AutoConfig, AutoModel

    settings = transformer_settings(module.folder) if (folder / "modules.json").is_file() else {}
    options = _options(settings, "model_args", "model_kwargs")
    unknown = sorted(options.keys() - _PLAIN_OPTIONS)
    if unknown:
        raise CheckpointError(
            f"the Transformer module's model_args have {', '.join(unknown)}; allowed are "
            f"{', '.join(sorted(_PLAIN_OPTIONS))}; save the model as it is loaded with these options"
        )
    if settings.get("tokenizer_name_or_path") is not None:
        raise CheckpointError(
            f"its tokenizer is elsewhere (tokenizer_name_or_path: {settings['tokenizer_name_or_path']!r}); "
            "save the checkpoint with its tokenizer"
        )
    if elsewhere := [
        name for name in _options(settings, "tokenizer_args", "processor_kwargs") if name.endswith("_file")
    ]:
        raise CheckpointError(
            f"the Transformer module's tokenizer_args name files of their own ({', '.join(elsewhere)}); save the "
            "checkpoint with its tokenizer"
        )
    fixed = {"subfolder": module.path, "trust_remote_code": False, "local_files_only": True}
    config = AutoConfig.from_pretrained(str(folder), **{**_options(settings, "config_args", "config_kwargs"), **fixed})
    if served:
        check_config(config)
    named = getattr(config, "transformers_weights", None)  # transformers prefers this file to model.safetensors
    if named is not None and not str(named).endswith((".safetensors", ".safetensors.index.json")):
        raise CheckpointError(
            f"its transformers_weights is {named!r}; allowed are .safetensors files and their indices, since other "
            "files are read as pickles; save the checkpoint with safe_serialization=True"
        )
    if getattr(config, "quantization_config", None) is not None:
        raise CheckpointError(
            "its weights are quantized (quantization_config in config.json); use the checkpoint before quantization"
        )
    if served:
        _require_room(count_parameters(config), files, "config.json describes an encoder")
    model, info = AutoModel.from_pretrained(
        str(folder),
        config=copy.deepcopy(config),
        **{
            **options,
            **fixed,
            **DEFAULT_ATTENTION,
            "dtype": torch.float32 if served else "auto",
            "use_safetensors": None if allow_pickle else True,
            "ignore_mismatched_sizes": True,
            "output_loading_info": True,
        },
    )
    if any(str(name).endswith("EncoderModel") for name in config.architectures or []):
        # Of a T5, for example, sentence-transformers uses the encoder alone.
        info["missing_keys"] = [name for name in info["missing_keys"] if not name.startswith("decoder.")]
    _require_all_loaded(info, of_code=hasattr(config, "auto_map"))
    _require_numbers(model)


def _options(settings: dict[str, Any], old_name: str, name: str) -> dict[str, Any]:
    """A group of the Transformer module's settings, by its current or former name."""
    return dict(settings.get(old_name, settings.get(name)) or {})


def _require_all_loaded(info: dict[str, Any], *, of_code: bool) -> None:
    missing = [name for name in info["missing_keys"] if not _POOLER_WEIGHTS.search(name)]
    shapes = [f"{name} is {list(found)}, not {list(wanted)}" for name, found, wanted in info["mismatched_keys"]]
    unused = [name for name in info["unexpected_keys"] if not _HEAD_WEIGHTS.search(name)]
    faults = []
    if missing:
        faults.append(f"{len(missing)} missing ({_some(missing)})")
    if shapes:
        faults.append(f"{len(shapes)} of another shape ({_some(shapes)})")
    if unused:
        faults.append(f"{len(unused)} unused ({_some(unused)})")
    if faults:
        raise CheckpointError(
            f"its weights do not fit config.json: {', '.join(faults)}; only a pooler may be missing, and only heads of "
            "other tasks may be unused; "
            + (
                "the code that comes with it (auto_map in config.json) is never run: take the checkpoint in the native "
                "form of transformers"
                if of_code
                else "save the checkpoint again from the trained model"
            )
        )


def _require_numbers(model: torch.nn.Module) -> None:
    broken = [name for name, weight in model.state_dict().items() if not bool(torch.isfinite(weight).all())]
    if broken:
        raise CheckpointError(
            f"weights are not finite numbers: {_some(broken)}; use an earlier checkpoint of the training"
        )


def _check_module(module: ModuleFiles, files: list[Path]) -> None:
    config = read_object(module.folder / "config.json")
    names = _MODULE_SIZES.get(module.kind, ())
    sizes: list[Any] = [config.get(name) for name in names]
    if not all(is_count(size) for size in sizes):
        described = " and ".join(f"{name} {size!r}" for name, size in zip(names, sizes, strict=True))
        raise CheckpointError(f"module {module.kind} has {described}; allowed are positive integers")
    if module.kind == "Dense":
        _check_activation(config)
    _require_room(math.prod(sizes), files, f"{module.folder / 'config.json'} describes a {module.kind} layer")


def _check_activation(config: dict[str, Any]) -> None:
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if not isinstance(activation, str) or not activation.startswith("torch."):
        raise CheckpointError(
            f"module Dense has activation_function {activation!r}, which is not torch's own, and other code is never "
            "run; supported are modules of torch.nn"
        )


def _require_room(parameters: int, files: list[Path], described: str) -> None:
    """Raises `CheckpointError` if the files are too small for these weights. A weight takes at least one byte."""
    held = sum(path.stat().st_size for path in files)
    if parameters > held:
        raise CheckpointError(
            f"{described} of {parameters:,} weights, but its files have only {held:,} bytes; "
            "correct the sizes, or download the weights again"
        )


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    shown = ", ".join(ordered[:_SHOWN_NAMES])
    return shown if len(ordered) <= _SHOWN_NAMES else f"{shown}, …"

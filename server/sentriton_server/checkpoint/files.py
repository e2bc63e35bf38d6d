"""The JSON files of a checkpoint, checked before any weights are loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tokenizers import Tokenizer

from sentriton_server.checkpoint.errors import CheckpointError
from sentriton_server.encoder import check_model_type
from sentriton_server.imports import import_large

# Allowed after Pooling, in any order.
HEAD_MODULES = ("Dense", "Dropout", "LayerNorm", "Normalize")
_SUPPORTED = f"Transformer, perhaps WeightedLayerPooling, Pooling, then any of {', '.join(HEAD_MODULES)}"
_MODULES = ("Transformer", "WeightedLayerPooling", "Pooling", *HEAD_MODULES)
# Not served. Each reads its weights by the same strict loader of sentence-transformers as Dense.
_FURTHER_MODULES = ("BoW", "CNN", "LSTM", "StaticEmbedding", "WordEmbeddings", "WordWeights")
_ONLY_DENSE = "supported are SentenceTransformer checkpoints, which have one dense vector per text"
_CROSS_ENCODER = "a cross-encoder: it scores pairs of texts and has no sentence embeddings"
_SPARSE_ENCODER = "a sparse encoder: its vectors have one dimension per vocabulary entry or latent"
_MULTI_VECTOR_ENCODER = "a multi-vector encoder: it has one vector per token"
_MODEL_TYPES = {
    "CrossEncoder": _CROSS_ENCODER,
    "SparseEncoder": _SPARSE_ENCODER,
    "MultiVectorEncoder": _MULTI_VECTOR_ENCODER,
}
_OTHER_MODULES = {
    "LogitScore": _CROSS_ENCODER,
    "MLMTransformer": _SPARSE_ENCODER,
    "SpladePooling": _SPARSE_ENCODER,
    "SparseAutoEncoder": _SPARSE_ENCODER,
    "SparseStaticEmbedding": _SPARSE_ENCODER,
    "IDF": _SPARSE_ENCODER,
    "MultiVectorMask": _MULTI_VECTOR_ENCODER,
    "TokenPooling": _MULTI_VECTOR_ENCODER,
}
_TASKS = {
    "sequence-classification": _CROSS_ENCODER,
    "text-generation": _CROSS_ENCODER,
    "any-to-any": _CROSS_ENCODER,
    "fill-mask": _SPARSE_ENCODER,
    "retrieval": _MULTI_VECTOR_ENCODER,
}
# Architectures with the output of a head. …ForMaskedLM is not among them, since embedding models leave its head out.
_CLASSIFIERS = (
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
    "ForNextSentencePrediction",
)
# transformers reads these as JSON, and its errors do not name the file.
_TRANSFORMER_FILES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "processor_config.json",
    "preprocessor_config.json",
)
# transformers makes lists of these lengths before it reads any weights.
_LENGTHS = ("num_hidden_layers", "num_labels")
_LONGEST = 100_000
_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model")
# The remedy for each module of sentence-transformers that is not supported.
_WAYS_OUT = {
    "StaticEmbedding": "its vectors are looked up and need no server: use SentenceTransformer itself",
    "Router": "save the modules of one route as a checkpoint of its own",
    "Asym": "save the modules of one route as a checkpoint of its own",
    "CLIPModel": "use an embedding model of texts alone",
}
_OTHER_WAY_OUT = "take or train an embedding model without it"


@dataclass(frozen=True)
class ModuleFiles:
    """One entry of modules.json."""

    kind: str  # Transformer, Pooling, Dense and so on
    path: str  # relative to the checkpoint, "" for its root
    folder: Path


def read_modules(folder: Path, *, served: bool = True) -> list[ModuleFiles]:
    """The modules of a checkpoint, whose files are checked as well: see `list_modules`."""
    modules = list_modules(folder, served=served)
    for module in modules:
        if module.kind == "Transformer":
            _check_transformer(module.folder, served)
        elif module.kind not in ("Dropout", "Normalize", *_FURTHER_MODULES):
            _require(module.folder, "config.json")
            read_object(module.folder / "config.json")
    return modules


def list_modules(folder: Path, *, served: bool = True) -> list[ModuleFiles]:
    """The modules of a checkpoint. A plain transformers folder has only the module Transformer. It does not import
    sentence-transformers, which takes seconds.

    Raises `CheckpointError` for a damaged file, or for a model of another kind. Without `served`, encoders and modules
    may be ones that Sentriton cannot serve.
    """
    _refuse_special_files(folder)
    _check_model_config(folder)
    for path in paths_in(folder):
        if path.name.endswith(".index.json"):
            _check_index(path)
    if os.path.lexists(folder / "modules.json"):
        return _listed_modules(folder, served)
    return [ModuleFiles("Transformer", "", folder)]


def check_order(kinds: list[str]) -> None:
    """Raises `CheckpointError` if the order of the modules is not supported."""
    first = ["Transformer", "WeightedLayerPooling"] if "WeightedLayerPooling" in kinds else ["Transformer"]
    behind = len(first) + 1
    if kinds[:behind] != [*first, "Pooling"] or not set(kinds[behind:]) <= set(HEAD_MODULES):
        raise CheckpointError(
            f"the checkpoint's modules are {', '.join(kinds) or 'none'}; supported are {_SUPPORTED}; save the "
            "checkpoint with its modules in this order"
        )


def refuse_adapter(folder: Path) -> None:
    """Raises `CheckpointError` if the folder has a PEFT adapter, perhaps beside the weights of its model."""
    merge = (
        "merge it first, with peft's PeftModel.from_pretrained(base, adapter).merge_and_unload(), and save the merged "
        "model"
    )
    if os.path.lexists(folder / "adapter_config.json"):
        base = read_object(folder / "adapter_config.json").get("base_model_name_or_path")
        raise CheckpointError(f"it is a PEFT adapter (adapter_config.json) of {base!r} and not a whole model; {merge}")
    # sentence-transformers would load the base model alone, without a word.
    own = read_object(folder / "config.json").get("transformers_weights")
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        if name != own and os.path.lexists(folder / name):
            raise CheckpointError(
                f"it has the weights of a PEFT adapter ({name}) without adapter_config.json; {merge}, or remove {name}"
            )


def paths_in(folder: Path) -> Iterator[Path]:
    """All paths in a checkpoint. It follows links to folders, and visits each folder once."""
    seen = set()
    for inside, folders, files in os.walk(folder, followlinks=True):
        status = Path(inside).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link may lead back
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        yield from (Path(inside) / name for name in (*folders, *files))


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file, empty if the file is missing. Raises `CheckpointError` that names the file."""
    content = _read_json(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} has a JSON {type(content).__name__}; allowed is an object")
    return content


def transformer_settings(folder: Path) -> dict[str, Any]:
    """The Transformer module's settings, from sentence_bert_config.json or the file's name in older releases."""
    import_large("sentence_transformers")
    from sentence_transformers.base.modules import Transformer

    for path in sorted(folder.glob("sentence_*_config.json")):
        read_object(path)
    settings: dict[str, Any] = Transformer.load_config(str(folder))
    return settings


def _read_json(path: Path) -> Any:
    if not os.path.lexists(path):
        return {}
    _require_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except RecursionError as error:
        raise CheckpointError(f"{path} is nested too deeply for a configuration") from error
    except ValueError as error:  # also for invalid UTF-8
        raise CheckpointError(f"{path} is not JSON: {error}") from error


def _refuse_special_files(folder: Path) -> None:
    """Raises `CheckpointError` for pipes and devices, since reading them may never end."""
    for path in paths_in(folder):
        if path.exists() and not path.is_file() and not path.is_dir():
            raise CheckpointError(f"{path} is neither a file nor a folder; remove it")


def _check_model_config(folder: Path) -> None:
    config = read_object(folder / "config_sentence_transformers.json")
    model_type = config.get("model_type", "SentenceTransformer")
    if model_type != "SentenceTransformer":
        kind = _MODEL_TYPES.get(str(model_type), "of another kind")
        raise CheckpointError(
            f"config_sentence_transformers.json has model_type {model_type!r}, so the checkpoint is {kind}; "
            f"{_ONLY_DENSE}"
        )
    prompts = config.get("prompts", {})
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str | None) for prompt in prompts.values()):
        raise CheckpointError(
            f"config_sentence_transformers.json has prompts {prompts!r}; allowed is an object of strings"
        )
    try:
        json.dumps(prompts, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(
            f"config_sentence_transformers.json has prompts {prompts!a} with a lone surrogate, half of a character; "
            "write the whole character"
        ) from error


def _listed_modules(folder: Path, served: bool) -> list[ModuleFiles]:
    entries = _read_json(folder / "modules.json")
    keys = ("type", "path", "name")
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in keys) for entry in entries
    ):
        raise CheckpointError(
            f"{folder / 'modules.json'} is not a list of modules with {', '.join(keys)}; save the checkpoint again"
        )
    modules = [_listed_module(folder, entry["type"], entry["path"], served) for entry in entries]
    if served:
        check_order([module.kind for module in modules])
    return modules


def _listed_module(folder: Path, module_type: str, path: str, served: bool) -> ModuleFiles:
    package, _, kind = module_type.rpartition(".")
    if kind in _OTHER_MODULES:
        raise CheckpointError(f"module {kind} makes the checkpoint {_OTHER_MODULES[kind]}; {_ONLY_DENSE}")
    supported = _SUPPORTED if served else ", ".join((*_MODULES, *_FURTHER_MODULES))
    if package.split(".")[0] != "sentence_transformers":
        raise CheckpointError(
            f"module {module_type} does not belong to sentence-transformers, and other code is never run; "
            f"supported are {supported}"
        )
    if kind not in _MODULES and (served or kind not in _FURTHER_MODULES):
        raise CheckpointError(
            f"module {kind} of the checkpoint is not supported; supported are {supported}; "
            f"{_WAYS_OUT.get(kind, _OTHER_WAY_OUT)}"
        )
    if not _is_inside(path):
        raise CheckpointError(f"module {kind} has the path {path!r}; allowed are paths inside the checkpoint")
    return ModuleFiles(kind, path, folder / path)


def _is_inside(path: str) -> bool:
    return not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts


def _check_index(path: Path) -> None:
    """Transformers reads weights from any path in an index, and `content_key` covers the checkpoint's own files. In
    every index, it takes a name without .safetensors at its end for a pickle.
    """
    files = read_object(path).get("weight_map", {})
    if not isinstance(files, dict) or not all(isinstance(file, str) and _is_inside(file) for file in files.values()):
        raise CheckpointError(
            f"{path} has a weight_map that is no object of paths inside the checkpoint; copy the files of all weights "
            "into the checkpoint and name them there"
        )
    others = [file for file in files.values() if not file.endswith(".safetensors")]
    if others and path.name.endswith(".safetensors.index.json"):
        raise CheckpointError(
            f"{path} names {others[0]!r}; allowed are .safetensors files, since other files are read as pickles; save "
            "the checkpoint with safe_serialization=True"
        )


def _check_transformer(folder: Path, served: bool) -> None:
    refuse_adapter(folder)
    _require(folder, "config.json")
    config = read_object(folder / "config.json")
    architectures = config.get("architectures") or []
    for architecture in architectures if isinstance(architectures, list) else [architectures]:
        if str(architecture).endswith(_CLASSIFIERS):
            raise CheckpointError(
                f"config.json has the architecture {architecture}, so the checkpoint is a classifier or "
                f"{_CROSS_ENCODER}; {_ONLY_DENSE}"
            )
    if served:
        check_model_type(config)
    for name in _LENGTHS:
        if isinstance(length := config.get(name), int | float) and length > _LONGEST:
            raise CheckpointError(f"config.json has {name} {length:,}; allowed are at most {_LONGEST:,}")
    for name in _TRANSFORMER_FILES:
        read_object(folder / name)
    # transformers makes some tokenizers without a vocabulary, for which every word is unknown.
    if not any(path.is_file() for pattern in _VOCABULARIES for path in folder.glob(pattern)):
        raise CheckpointError(
            f"{folder} has no vocabulary of a tokenizer (tokenizer.json); save the checkpoint with its tokenizer"
        )
    _check_tokenizer_file(folder / "tokenizer.json")
    task = transformer_settings(folder).get("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        kind = _TASKS.get(str(task), "of another kind")
        raise CheckpointError(f"its transformer_task is {task!r}, so the checkpoint is {kind}; {_ONLY_DENSE}")


def _check_tokenizer_file(path: Path) -> None:
    """Raises `CheckpointError` for a damaged tokenizer.json, since the error of transformers does not name the file."""
    if not os.path.lexists(path):
        return
    _require_file(path)
    try:
        Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower class
        raise CheckpointError(f"{path} is not a tokenizer of the tokenizers library: {error}") from error


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; expected a JSON file")


def _require(folder: Path, name: str) -> None:
    if not os.path.lexists(folder / name):
        raise CheckpointError(f"{folder / name} is missing; copy or download the checkpoint again")

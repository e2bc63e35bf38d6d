"""Exports a sentence-transformers checkpoint to a model repository, and compares their vectors."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Collection
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentriton import __version__
from sentriton.manifest import Manifest
from sentriton_server.allocation import return_freed_memory
from sentriton_server.checkpoint import Checkpoint, CheckpointError, content_key, locate_checkpoint, read_located
from sentriton_server.checkpoint.errors import refusals_of
from sentriton_server.choices import (
    WIDER_THAN_FP16,
    Choices,
    ExportError,
    gpu_memory,
    resolve_choices,
    resolve_operators,
)
from sentriton_server.cores import usable_cores
from sentriton_server.encoder import PRECISIONS, Precision, compile_encoder
from sentriton_server.encoder.linear import operators_suit
from sentriton_server.encoder.operators import LIBRARY, EncoderSizes
from sentriton_server.encoder.precision import has_kernel
from sentriton_server.export_target import check_target, draft_of
from sentriton_server.gpu_sizes import GpuSizes, gpu_sizes
from sentriton_server.module_file import save_module
from sentriton_server.overflow import LARGEST_FP16, largest_magnitude, overflows
from sentriton_server.parity import ExportedModel, ParityReport, compare
from sentriton_server.parity_texts import hard_texts, long_texts, parity_sentences
from sentriton_server.repository import (
    MANIFEST,
    record_files,
    write_batching,
    write_configs,
)
from sentriton_server.repository_files import write_contract, write_golden, write_head, write_json, write_tokenizer
from sentriton_server.request_rows import announced_rows
from sentriton_server.resources import hash_files
from sentriton_server.sensitivity import sensitive_linears

# Each instance has its own weights, which take 100 MB in fp32 at this size.
SMALL_ENCODER_PARAMETERS = 25_000_000


# Shares of the linear layers that may stay in bf16 at int8. The smallest share within the precision's bound is used.
BF16_SHARES = (1 / 16, 1 / 8, 1 / 4)
# The number of sentences for measuring sensitive layers: the shortest of every second one.
_SHORT_ROWS = 24


class ParityError(ExportError):
    """The exported model deviates more from sentence-transformers than its precision allows."""


class Overflow(ParityError):
    """The encoder's numbers exceed the range of the precision."""


def export(
    source: str | Path,
    repository: Path,
    *,
    precision: str | None = None,
    device: str = "auto",
    check_on: str = "auto",
    operators: str = "auto",
    overwrite: bool = False,
    max_seq_length: int | None = None,
    allow_pickle: bool = False,
    content: str | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Manifest:
    """Write a deployable model repository for a checkpoint (folder or hub id). `say` gets a message per stage.

    `check_on` is the device that compares the export with sentence-transformers. cpu permits an export for a GPU on a
    machine without a GPU. `operators` are sentriton, torch or auto. auto uses sentriton's if they can be compiled, suit
    the encoder and keep the precision's bound. At int8, sensitive linear layers stay in bf16, as few as the bound
    permits. `max_seq_length` [tokens] replaces the checkpoint's limit.

    `allow_pickle` permits pickled weights, which may run code, if the checkpoint has no safetensors. `content` is the
    `content_key` that the checkpoint must keep until the end (None: the current one).

    The export is written to a folder beside `repository` and moved at the end, so a failed export leaves no files.
    Raises `CheckpointError`, `RepositoryError` (the folder is taken, possibly only at the end), `ExportError`
    (precision, device, operators, a folder that is not writable) and `ParityError`.
    """
    return_freed_memory()
    choices = resolve_choices(precision, device, say, check_on)
    if operators != "auto":
        resolve_operators(operators, choices.device, sizes=None)  # before any work, which may take minutes
    check_target(repository, overwrite)
    name, folder = locate_checkpoint(source, allow_pickle=allow_pickle)
    content = content or content_key(folder)
    read = partial(read_located, source, name, folder, allow_pickle=allow_pickle, max_seq_length=max_seq_length)
    say(f"reading checkpoint {source}")
    checkpoint = read()
    if checkpoint.defaults:
        say(f"{checkpoint.defaults} (the default of sentence-transformers for an encoder without modules.json)")
    if checkpoint.adapters:
        say(f"adapters {', '.join(checkpoint.adapters)} are not applied, as in SentenceTransformer: merge one")
    # An OSError comes from the repository, not from the checkpoint.
    with draft_of(repository, overwrite) as draft, refusals_of(source, passing=(OSError,)):
        given, shares, share = operators, iter(BF16_SHARES if choices.precision.name == "int8" else ()), 0.0
        sensitive: list[str] = []
        while True:
            if share and not sensitive:
                say("looking for the linear layers that 8 bits change most")
                sensitive = sensitive_linears(checkpoint.encoder, _short_rows(checkpoint))
            in_bf16 = sensitive[: math.ceil(share * len(sensitive))]
            try:
                try:
                    manifest = _write(checkpoint, draft, choices, operators, in_bf16, say)
                except ExportError:
                    _require_content(source, folder, content)  # since weights are read from their file until the end
                    raise
                _require_content(source, folder, content)
                return manifest
            except Overflow as error:
                if not choices.is_default or choices.precision == WIDER_THAN_FP16:
                    raise
                choices = dataclasses.replace(choices, precision=WIDER_THAN_FP16)
                say(f"precision {WIDER_THAN_FP16.name} (auto: {error})")
            except ParityError as error:
                if not share and operators == "auto" and (draft / "encoder/1" / LIBRARY).is_file():
                    # The last bit of a sum affects roundings, so a checkpoint near the bound may pass with torch's.
                    operators = "torch"
                    say(f"operators torch (auto: with sentriton's, {error})")
                else:
                    share = next(shares, 0.0)
                    if not share:
                        raise
                    operators = given
                    say(f"{share:.0%} of the linear layers in bf16 (auto: {error})")
            shutil.rmtree(draft, ignore_errors=True)
            del checkpoint  # its encoder is used up
            checkpoint = read()


def _require_content(source: str | Path, folder: Path, content: str) -> None:
    """Raises `CheckpointError` if files have changed, since the export may be a mixture that the cache would keep."""
    if content_key(folder) != content:
        raise CheckpointError(f"the files of {source} changed while they were exported; wait until all are written")


def _write(
    checkpoint: Checkpoint,
    repository: Path,
    choices: Choices,
    operators: str,
    in_bf16: Collection[str],
    say: Callable[[str], None],
) -> Manifest:
    precision, device, spec = choices.precision, choices.device, checkpoint.encoder_spec
    short = parity_sentences()
    long = (hard_texts if device == "gpu" else long_texts)(checkpoint.tokenizer, short, spec.max_seq_length)
    sentences = short + long
    choice = resolve_operators(operators, device, EncoderSizes.of(checkpoint.encoder))
    if choice.reason:
        say(f"operators {choice.name} (auto: {choice.reason})")
    if precision.name == "fp16":
        say("looking for numbers that fp16 cannot hold")
        _require_fp16(checkpoint, sentences, certainly=not choices.is_default)
    say(f"embedding {len(sentences)} sentences with sentence-transformers")
    # With an empty prompt, since the models in the repository add no default prompt. A long text has a batch of its
    # own, since all texts of a batch are padded to its length.
    reference = np.concatenate(
        [
            checkpoint.model.encode(texts, prompt="", batch_size=batch_size, show_progress_bar=False)
            for texts, batch_size in ((short, 8), (long, 1))
            if texts
        ]
    )
    checkpoint.model.to("meta")  # releases its weights, since compiling needs the memory
    if not np.isfinite(reference).all():
        raise CheckpointError("sentence-transformers' own vectors of it are not finite numbers; check its weights")
    dimension = int(reference.shape[1])
    sizes = _gpu_sizes(checkpoint, precision) if device == "gpu" else None
    write_configs(
        repository,
        hidden_size=spec.hidden_size,
        dimension=dimension,
        max_seq_length=spec.max_seq_length,
        token_embeddings_dtype=precision.output_dtype,
        device=device,
        single_threaded_encoders=_single_threaded_encoders(checkpoint, device),
        gpu=sizes,
    )
    write_tokenizer(checkpoint, repository)
    write_head(checkpoint, repository)
    write_contract(checkpoint, repository)
    write_golden(sentences, reference, repository)
    library = choice.library
    if library is not None:
        # Only for these operators, since a server loads every library that it finds.
        shutil.copyfile(library, repository / "encoder/1" / LIBRARY)
    say(f"compiling the encoder ({precision.name}, {device})")
    _write_encoder(checkpoint, repository, choices, library is not None, in_bf16)
    say(f"comparing with sentence-transformers{'' if choices.checked_on == device else ' on a CPU'}")
    embeddings = ExportedModel(repository, choices.checked_on).encode(sentences)
    if precision.name == "fp16":
        _require_finite(embeddings)
    parity = compare(embeddings, reference)
    _require_parity(parity, precision)
    manifest = _manifest(checkpoint, repository, precision, device, dimension, parity)
    more: dict[str, Any] = {"operators": choice.name, "checked_on": choices.checked_on, **_old_fields(checkpoint)}
    more |= {"in_bf16": sorted(in_bf16)} if in_bf16 else {}
    write_json(repository / MANIFEST, {**json.loads(manifest.to_json()), **more})
    record_files(repository)
    return manifest


def _gpu_sizes(checkpoint: Checkpoint, precision: Precision) -> GpuSizes:
    spec, intermediate_size = checkpoint.encoder_spec, checkpoint.encoder.intermediate_size
    bytes_per_value = int(precision.bytes_per_weight)
    return gpu_sizes(spec.hidden_size, intermediate_size, spec.max_seq_length, bytes_per_value, gpu_memory())


def _require_fp16(checkpoint: Checkpoint, sentences: list[str], *, certainly: bool) -> None:
    """Raises `Overflow` if the encoder exceeds the range of float16 or, without `certainly`, may exceed it."""
    longest = checkpoint.encoder_spec.max_seq_length
    rows = [row[:longest] for row in _rows(checkpoint, sentences)]
    largest = largest_magnitude(checkpoint.encoder, [row for row in rows if row])
    if overflows(largest, certainly=certainly):
        raise Overflow(
            f"the encoder's numbers overflow in fp16: on long, repeated or rare text they reach {largest:,.0f}, and "
            f"the limit is {LARGEST_FP16:,.0f}; export with --precision {WIDER_THAN_FP16.name}"
        )


def _single_threaded_encoders(checkpoint: Checkpoint, device: str) -> int | None:
    """One instance per core for a small encoder on a CPU, whose threads would mostly wait for each other. Else None."""
    parameters = sum(weight.numel() for weight in checkpoint.encoder.parameters())
    small = device == "cpu" and parameters <= SMALL_ENCODER_PARAMETERS
    return usable_cores() if small else None


def _short_rows(checkpoint: Checkpoint) -> list[list[int]]:
    return sorted(filter(None, _rows(checkpoint, parity_sentences()[::2])), key=len)[:_SHORT_ROWS]


def _rows(checkpoint: Checkpoint, texts: list[str]) -> list[list[int]]:
    """The token ids of texts, without the padding that some tokenizers add."""
    encodings = checkpoint.tokenizer.encode_batch(texts)
    return [list(compress(encoding.ids, encoding.attention_mask)) for encoding in encodings]


def _write_encoder(
    checkpoint: Checkpoint, repository: Path, choices: Choices, operators: bool, in_bf16: Collection[str]
) -> None:
    """Compile the checkpoint's encoder into model.pt, and remove it from the checkpoint to free its memory."""
    # Saved on the CPU, even for a GPU. The process that loads the file chooses the device.
    module = compile_encoder(
        checkpoint.encoder, choices.precision, choices.device, operators=operators, in_bf16=in_bf16
    )
    encoder = checkpoint.encoder
    # A GPU's kernel and the operators need neither whole token blocks nor rows of similar length.
    packs_any_rows = has_kernel(encoder) or (encoder.operators and operators_suit(encoder.weights, encoder.mixed))
    write_batching(repository, 1 if packs_any_rows else encoder.block_tokens, alike=not packs_any_rows)
    del encoder
    del checkpoint.encoder
    save_module(module, repository / "encoder/1/model.pt")


def _old_fields(checkpoint: Checkpoint) -> dict[str, Any]:
    """Fields of the manifest that clients of release 0.1 require but do not read. The next release drops them."""
    return {"pad_token_id": checkpoint.encoder_spec.pad_token_id}


def _require_finite(embeddings: NDArray[np.float32]) -> None:
    """Raises `Overflow` if a vector in fp16 is not finite."""
    overflown = int((~np.isfinite(embeddings).all(axis=1)).sum())
    if overflown:
        raise Overflow(
            f"the encoder overflows in fp16 on {overflown} of {len(embeddings)} sentences: their vectors are not "
            f"finite; export with --precision {WIDER_THAN_FP16.name}"
        )


def _require_parity(parity: ParityReport, precision: Precision) -> None:
    min_cosine = min(parity.min_cosine, parity.min_prefix_cosine)
    if not min_cosine >= precision.min_cosine:
        raise ParityError(
            f"the exported model differs from sentence-transformers: minimum cosine {min_cosine:.7f} over "
            f"{parity.sentences} sentences, {precision.name} allows {precision.min_cosine}; {_advice(precision)}"
        )


def _advice(precision: Precision) -> str:
    """The remedy for vectors below the precision's bound."""
    higher = [
        choice.name
        for choice in PRECISIONS.values()
        if choice.bytes_per_weight > precision.bytes_per_weight and set(choice.devices) & set(precision.devices)
    ]
    if higher:
        return f"choose a higher precision ({' or '.join(higher)})"
    return "no precision is higher; the checkpoint computes something that Sentriton does not, so please report it"


def _manifest(
    checkpoint: Checkpoint,
    repository: Path,
    precision: Precision,
    device: str,
    dimension: int,
    parity: ParityReport,
) -> Manifest:
    model, spec = checkpoint.model, checkpoint.encoder_spec
    files = {name: repository / "assets/1" / name for name in ("tokenizer.json", "golden.json")}
    files["model.pt"] = repository / "encoder/1/model.pt"
    return Manifest(
        name=checkpoint.name,
        fingerprint=checkpoint.fingerprint,
        dimension=dimension,
        max_seq_length=spec.max_seq_length,
        vocab_size=spec.vocab_size,
        max_batch_size=announced_rows(spec.max_seq_length, device),
        pooling=tuple(checkpoint.head_modules[0]["modes"]),
        include_prompt=checkpoint.head_modules[0]["include_prompt"],
        prompts={name: prompt for name, prompt in model.prompts.items() if prompt is not None},
        default_prompt_name=model.default_prompt_name,
        similarity=str(model.similarity_fn_name),
        precision=precision.name,
        device=device,
        min_cosine=precision.min_cosine,
        parity=parity.as_dict(),
        files={name: hash_files([path]) for name, path in files.items()},
        sentriton_version=__version__,
    )

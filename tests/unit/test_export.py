"""From a checkpoint to a model repository, and the proof that both give the same vectors."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig

from sentriton.errors import SentritonError
from sentriton.manifest import Manifest
from sentriton.tokenization import TextTokenizer, pack_rows
from sentriton_server.checkpoint import CheckpointError, read_checkpoint
from sentriton_server.encoder import PRECISIONS
from sentriton_server.export import (
    ExportError,
    ParityError,
    _require_parity,
    export,
    parity_sentences,
    resolve_device,
    resolve_precision,
)
from sentriton_server.parity import ExportedModel, ParityReport, compare
from sentriton_server.repository import MODELS, RepositoryError, check_repository, read_key, write_configs
from sentriton_server.resources import load_model_code
from sentriton_server.serving.source import prepare_repository
from tests.checkpoints import ARCHITECTURES, make_checkpoint

HIDDEN = 32
SENTENCES = ["한국어 문장을 바로 보내요", "the quick brown fox runs home", "", "the " * 50, "비가 온다"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RoBERTa, mean pooling that leaves the prompt out, Dense, Normalize."""
    torch.manual_seed(3)
    dense = Dense(HIDDEN, 12, activation_function=nn.GELU())
    return make_checkpoint(
        tmp_path_factory.mktemp("checkpoint"), include_prompt=False, further_modules=[dense], normalize=True
    )


@pytest.fixture(scope="module")
def repository(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "repository"
    export(checkpoint, folder, device="cpu")
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """A folder that an export may write, alone in its parent folder: nothing else may be there afterwards."""
    parent = tmp_path / "target"
    parent.mkdir()
    yield parent / "repository"
    assert {path.name for path in parent.iterdir()} <= {"repository"}


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def reference(checkpoint: Path, sentences: list[str] = SENTENCES, prompt: str = "") -> NDArray[np.float32]:
    model = SentenceTransformer(str(checkpoint), device="cpu")
    return model.encode(sentences, prompt=prompt, show_progress_bar=False)


def read_manifest(repository: Path) -> Manifest:
    return Manifest.from_json((repository / "assets/1/manifest.json").read_bytes())


# Parity


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


# What is written


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
    """Triton 24.10 multiplies sizes modulo 2^64 when it compares them with the bytes that came."""
    config = read_config(repository, model)
    assert all(size > 0 for tensor in config.input for size in tensor.dims)
    assert config.max_batch_size < 2**20


def test_a_batch_of_tokens_has_room_for_every_request_and_every_row(tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "dimension": 4, "token_embeddings_dtype": "TYPE_FP32", "device": "cpu"}
    write_configs(tmp_path, **sizes, max_seq_length=4096, batch_tokens=1024)
    found = {model: read_config(tmp_path, model).max_batch_size for model in MODELS}
    assert found["embed_tokens"] == found["embed_text"] * 4096
    assert {found[model] for model in ("embed_batch", "encoder", "pooling")} == {4096}


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


def test_the_manifest_describes_the_model_and_its_files(checkpoint: Path, repository: Path) -> None:
    manifest = check_repository(repository)
    assert manifest == read_manifest(repository)
    assert (manifest.dimension, manifest.max_seq_length, manifest.pooling) == (12, 32, ("mean",))
    assert (manifest.precision, manifest.device, manifest.similarity) == ("fp32", "cpu", "cosine")
    assert manifest.fingerprint == read_checkpoint(checkpoint).fingerprint
    places = {"model.pt": "encoder/1/model.pt"}
    for name, sha256 in manifest.files.items():
        assert files(repository)[places.get(name, f"assets/1/{name}")] == sha256


def test_the_manifest_has_the_fields_that_older_clients_require(repository: Path) -> None:
    content = json.loads((repository / "assets/1/manifest.json").read_bytes())
    assert content.keys() - {field.name for field in fields(Manifest)} == {"pad_token_id"}
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


# What is refused


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"precision": "fp8"}, "precision 'fp8' is not available on cpu; allowed are fp32, bf16, int8"),
        ({"precision": "fp16", "device": "cpu"}, "precision 'fp16' is not available on cpu; allowed are fp32, bf16"),
        ({"device": "tpu"}, "device 'tpu' is unknown; allowed are auto, cpu, gpu"),
    ],
)
def test_what_the_device_cannot_do_is_refused_before_anything_is_read(
    options: dict[str, Any], named: str, target: Path
) -> None:
    with pytest.raises(ExportError, match=named):
        export("/no/such/checkpoint", target, **{"device": "cpu", **options})


@pytest.mark.parametrize(("device", "allowed"), [("cpu", {"fp32", "bf16", "int8"}), ("gpu", {"fp32", "fp16"})])
def test_each_device_has_its_precisions(device: str, allowed: set[str]) -> None:
    assert {name for name in PRECISIONS if device in PRECISIONS[name].devices} == allowed
    for name in allowed:
        assert resolve_precision(name, device).name == name
    for name in PRECISIONS.keys() - allowed:
        with pytest.raises(ExportError, match=f"'{name}' is not available on {device}"):
            resolve_precision(name, device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ExportError, match="no CUDA GPU here; use --device cpu or auto"):
        resolve_device("gpu")


def test_a_folder_that_is_not_ours_is_left_alone(checkpoint: Path, target: Path) -> None:
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(RepositoryError, match=f"{target} exists and is not an exported model repository"):
        export(checkpoint, target, device="cpu", overwrite=True)
    assert (target / "thesis.txt").read_text() == "years of work"


def test_a_file_in_the_place_of_the_repository_is_left_alone(checkpoint: Path, target: Path) -> None:
    target.write_text("years of work")
    with pytest.raises(RepositoryError, match="exists and is not an exported model repository"):
        export(checkpoint, target, device="cpu", overwrite=True)
    assert target.read_text() == "years of work"


def test_an_existing_export_is_replaced_only_when_asked(checkpoint: Path, tmp_path: Path, target: Path) -> None:
    target.mkdir()
    first = export(checkpoint, target, device="cpu")
    other = make_checkpoint(tmp_path, seed=9)
    with pytest.raises(RepositoryError, match="already holds an exported model; use --overwrite"):
        export(other, target, device="cpu")
    assert check_repository(target) == first
    second = export(other, target, device="cpu", overwrite=True)
    assert check_repository(target) == second != first


def test_a_failed_export_leaves_nothing_behind(checkpoint: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unreachable = replace(PRECISIONS["fp32"], min_cosine=1.1)
    monkeypatch.setitem(PRECISIONS, "fp32", unreachable)
    with pytest.raises(ParityError):
        export(checkpoint, target, device="cpu")
    assert list(target.parent.iterdir()) == []


def test_a_failed_export_leaves_no_new_parent_folder_behind(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRECISIONS, "fp32", replace(PRECISIONS["fp32"], min_cosine=1.1))
    with pytest.raises(ParityError):
        export(checkpoint, tmp_path / "new/deeper/repository", device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_one_before_as_it_was(
    checkpoint: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(checkpoint, target, device="cpu")
    before = files(target)
    monkeypatch.setitem(PRECISIONS, "int8", replace(PRECISIONS["int8"], min_cosine=1.1))
    with pytest.raises(ParityError):
        export(checkpoint, target, precision="int8", device="cpu", overwrite=True)
    assert files(target) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_exports_at_once_the_second_replaces_the_first_only_when_asked(
    overwrite: bool, checkpoint: Path, target: Path
) -> None:
    def export_the_first(step: str) -> None:
        if step.startswith("comparing"):
            export(checkpoint, target, device="cpu")
            keys.append(read_key(target))

    keys: list[int] = []
    if overwrite:
        export(checkpoint, target, device="cpu", overwrite=True, say=export_the_first)
    else:
        with pytest.raises(RepositoryError, match="already holds an exported model; use --overwrite"):
            export(checkpoint, target, device="cpu", say=export_the_first)
    check_repository(target)
    assert (read_key(target) == keys[0]) is not overwrite


def test_an_export_that_cannot_be_put_in_place_leaves_the_one_before_as_it_was(
    checkpoint: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename_all_but_the_draft(path: Path, to: Path) -> Path:
        if path.parent.name.startswith(".export-") and path.name == "repository":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, to)

    export(checkpoint, target, device="cpu")
    before = files(target)
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", rename_all_but_the_draft)
    with pytest.raises(ExportError, match=f"cannot write {target}: Input/output error"):
        export(checkpoint, target, device="cpu", overwrite=True)
    assert files(target) == before


def test_a_checkpoint_that_cannot_be_read_leaves_nothing_behind(target: Path) -> None:
    with pytest.raises(CheckpointError):
        export("/no/such/checkpoint", target)
    assert list(target.parent.iterdir()) == []


def test_a_checkpoint_with_a_broken_weight_is_refused(tmp_path: Path, target: Path) -> None:
    folder = make_checkpoint(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.0.output.dense.weight"][0, 0] = math.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SentritonError):
        export(folder, target, device="cpu")
    assert list(target.parent.iterdir()) == []


# Repositories


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("embed_text/config.pbtxt", "is not an exported model repository: embed_text/config.pbtxt is missing"),
        ("encoder/1/model.pt", "is broken: encoder/1/model.pt is missing; export it again"),
        ("pooling/1/head.json", "is broken: pooling/1/head.json is missing"),
        ("assets/1/manifest.json", "is broken: assets/1/manifest.json is missing"),
    ],
)
def test_a_repository_without_a_file_is_broken(missing: str, named: str, checkpoint: Path, target: Path) -> None:
    export(checkpoint, target, device="cpu")
    (target / missing).unlink()
    with pytest.raises(RepositoryError, match=named):
        check_repository(target)


@pytest.mark.parametrize(
    ("damaged", "named"),
    [("encoder/1/model.pt", "not the file that was exported"), ("assets/1/manifest.json", "manifest.json: Expecting")],
)
def test_a_repository_with_a_damaged_file_is_broken(damaged: str, named: str, checkpoint: Path, target: Path) -> None:
    export(checkpoint, target, device="cpu")
    (target / damaged).write_bytes(b"damaged")
    with pytest.raises(RepositoryError, match=named):
        check_repository(target)


# What `serve` is given


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_repository_is_served_as_it_is(repository: Path, cache: Path) -> None:
    assert prepare_repository(str(repository), precision=None, device="auto") == repository
    assert not cache.exists()


@pytest.mark.parametrize("options", [{"precision": "int8", "device": "auto"}, {"precision": None, "device": "cpu"}])
def test_a_repositorys_precision_and_device_cannot_be_changed(options: dict[str, Any], repository: Path) -> None:
    with pytest.raises(RepositoryError, match="fixed by the export"):
        prepare_repository(str(repository), **options)


@pytest.mark.usefixtures("cache")
def test_a_checkpoint_is_exported_once_for_its_content(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    said: list[str] = []
    first = prepare_repository(str(folder), precision="fp32", device="cpu", say=said.append)
    assert check_repository(first).name == "checkpoint"
    assert "using" not in " ".join(said)
    assert prepare_repository(str(folder), precision="fp32", device="cpu", say=said.append) == first
    assert said[-1] == f"using the export in {first}"
    make_checkpoint(tmp_path / "checkpoint", seed=1)
    assert prepare_repository(str(folder), precision="fp32", device="cpu") != first


@pytest.mark.usefixtures("cache")
def test_of_two_exports_at_once_for_serve_the_first_is_kept(tmp_path: Path) -> None:
    def export_the_first(step: str) -> None:
        said.append(step)
        if step.startswith("comparing"):
            kept = prepare_repository(str(folder), precision="fp32", device="cpu")
            before.update(files(kept))

    folder = make_checkpoint(tmp_path / "checkpoint")
    said: list[str] = []
    before: dict[str, str] = {}
    found = prepare_repository(str(folder), precision="fp32", device="cpu", say=export_the_first)
    # A server runs from the first: the second has another key.
    assert files(found) == before != {}
    assert said[-1] == f"using the export in {found}"
    assert [path.name for path in found.parent.iterdir()] == [found.name]

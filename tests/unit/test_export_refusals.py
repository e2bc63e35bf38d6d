"""A rejected or failed export changes no file."""

from __future__ import annotations

import errno
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sentriton.errors import SentritonError
from sentriton_server.checkpoint import CheckpointError
from sentriton_server.choices import ExportError, resolve_check, resolve_device, resolve_precision
from sentriton_server.encoder import PRECISIONS
from sentriton_server.export import ParityError, export
from sentriton_server.repository import RepositoryError, check_repository, read_key
from tests.checkpoints import make_checkpoint
from tests.exports import files


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


@pytest.mark.parametrize(("device", "allowed"), [("cpu", {"fp32", "bf16", "int8"}), ("gpu", {"fp32", "bf16", "fp16"})])
def test_each_device_has_its_precisions(device: str, allowed: set[str]) -> None:
    assert {name for name in PRECISIONS if device in PRECISIONS[name].devices} == allowed
    for name in allowed:
        assert resolve_precision(name, device).name == name
    for name in PRECISIONS.keys() - allowed:
        with pytest.raises(ExportError, match=f"'{name}' is not available on {device}"):
            resolve_precision(name, device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        ExportError, match="no CUDA GPU on this machine; use --check-on cpu to export for a GPU and check"
    ):
        resolve_device("gpu")
    assert resolve_device("gpu", "cpu") == "gpu"


def test_an_export_for_a_cpu_is_checked_on_a_cpu() -> None:
    with pytest.raises(ExportError, match="cannot be checked on a GPU; use --check-on cpu or auto"):
        resolve_check("gpu", "cpu")
    with pytest.raises(ExportError, match="check_on 'tpu' is unknown; allowed are auto, cpu, gpu"):
        resolve_check("tpu", "cpu")


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
    with pytest.raises(RepositoryError, match="already contains an exported model; use --overwrite"):
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
        with pytest.raises(RepositoryError, match="already contains an exported model; use --overwrite"):
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

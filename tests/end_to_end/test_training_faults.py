"""Trainings that diverge, are interrupted as they save, or resume with other data."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from sentriton.errors import InvalidInput, SentritonError
from sentriton_server.checkpoint import CheckpointError
from sentriton_server.training import TrainingReport, load_recipe, train
from sentriton_server.training.checkpoint import full_disk_named, save_checkpoint
from sentriton_server.training.distillation import DistillationLoss
from sentriton_server.training.progress import Progress
from sentriton_server.training.teacher import teacher_vectors
from tests.end_to_end.training import WORDS, InterruptedAfter, distillation


def resumable(more: Path, base: Path, data_dir: Path, looks: int = 1) -> Path:
    """Interrupt a training after its first batches. Returns its output, which does not exist yet."""
    more.write_text(more.read_text(encoding="utf-8").replace("'x'", f"'{base}'"), encoding="utf-8")
    output = more.with_name("more")
    with pytest.raises(KeyboardInterrupt):
        train(load_recipe(str(more)), output=output, data_dir=data_dir, interrupted=InterruptedAfter(looks))
    return output


@pytest.fixture
def own_data(data_dir: Path, tmp_path: Path) -> Path:
    """A copy of the data that a test may change."""
    return Path(shutil.copytree(data_dir, tmp_path / "data"))


def test_a_training_that_diverges_ends_with_an_error(
    data_dir: Path, trained: tuple[Path, TrainingReport], more: Path
) -> None:
    text = more.read_text(encoding="utf-8").replace("'x'", f"'{trained[0]}'").replace('best_on = "korsts-dev"', "")
    more.write_text(text.replace("1e-3", "4e9").replace("epochs = 1", "epochs = 100"), encoding="utf-8")
    output = more.with_name("more")
    with pytest.raises(InvalidInput, match=r"learning_rate = 4e\+09: the training diverged by batch \d+, .* smaller"):
        train(load_recipe(str(more)), output=output, data_dir=data_dir)
    assert not output.exists()


def test_a_base_or_teacher_without_finite_weights_is_refused(
    data_dir: Path, trained: tuple[Path, TrainingReport], more: Path
) -> None:
    model = SentenceTransformer(str(trained[0]), device="cpu")
    with torch.no_grad():
        next(model.parameters())[0, 0] = torch.nan
    model.save(str(more.with_name("broken")))
    with pytest.raises(CheckpointError, match=r"cannot serve checkpoint .*broken: weights are not finite numbers"):
        train(load_recipe(str(more), str(more.with_name("broken"))), output=more.with_name("more"), data_dir=data_dir)
    recipe, said = distillation(more, trained[0], str(more.with_name("broken")), max_steps=1), list[str]()
    with pytest.raises(CheckpointError, match=r"cannot load checkpoint .*broken: weights are not finite numbers"):
        train(recipe, output=more.with_name("more"), data_dir=data_dir, say=said.append)
    assert said == []  # before hours of training


def test_weights_beyond_float16_stay_in_float32(trained: tuple[Path, TrainingReport], tmp_path: Path) -> None:
    model = SentenceTransformer(str(trained[0]), device="cpu")
    with torch.no_grad():
        next(model.parameters())[0, 0] = 1e5
    expected = model.encode(WORDS)
    saved = save_checkpoint(model, tmp_path)
    assert torch.allclose(torch.from_numpy(saved.encode(WORDS)), torch.from_numpy(expected), atol=1e-3)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {
        torch.float16,
        torch.float32,
    }


def test_a_batch_of_one_sentence_has_a_loss(trained: tuple[Path, TrainingReport]) -> None:
    model = SentenceTransformer(str(trained[0]), device="cpu")
    loss = DistillationLoss(model, torch.eye(4))
    assert loss([model.preprocess(["오늘"])], torch.tensor([2])).isfinite()


def test_a_stage_with_more_tokens_than_the_base_is_refused(
    data_dir: Path, trained: tuple[Path, TrainingReport], more: Path
) -> None:
    text = more.read_text(encoding="utf-8").replace("epochs = 1", "epochs = 1\nmax_seq_length = 25")
    more.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match="max_seq_length = 25: the model takes at most 24 tokens"):
        train(load_recipe(str(more), str(trained[0])), output=more.with_name("more"), data_dir=data_dir)


def test_a_training_does_not_resume_with_other_sentences(
    own_data: Path, trained: tuple[Path, TrainingReport], more: Path
) -> None:
    """The teacher's vectors would belong to other sentences."""
    output, sentences = resumable(more, trained[0], own_data), own_data / "korsts-train.tsv"
    before = sentences.read_bytes()
    sentences.write_bytes(before + "\ng\tf\ty\t99\t1.0\t오늘\t내일\n".encode())
    with pytest.raises(InvalidInput, match="an unfinished training with another recipe or other data"):
        train(load_recipe(str(more)), output=output, data_dir=own_data)
    sentences.write_bytes(before)
    train(load_recipe(str(more)), output=output, data_dir=own_data)  # the refusal has left no lock


def test_two_trainings_do_not_share_a_folder(data_dir: Path, trained: tuple[Path, TrainingReport], more: Path) -> None:
    output = resumable(more, trained[0], data_dir)
    other: list[BaseException] = []

    def say(message: str) -> None:
        if not other:
            with pytest.raises(InvalidInput, match=r"more\.training is in use by another training") as raised:
                train(load_recipe(str(more)), output=output, data_dir=data_dir)
            other.append(raised.value)

    train(load_recipe(str(more)), output=output, data_dir=data_dir, say=say)
    assert other


def test_a_training_that_is_cut_off_as_it_saves_resumes(
    data_dir: Path, trained: tuple[Path, TrainingReport], more: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more.write_text(more.read_text(encoding="utf-8").replace("'x'", f"'{trained[0]}'"), encoding="utf-8")
    output = more.with_name("more")

    def cut_off(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["sentriton_server.training.train"], "model_card", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train(load_recipe(str(more)), output=output, data_dir=data_dir)
    assert (output / "model.safetensors").is_file()
    train(load_recipe(str(more)), output=output, data_dir=data_dir)
    assert (output / "README.md").is_file()
    assert not more.with_name("more.training").exists()


def test_the_root_is_not_empty(data_dir: Path, trained: tuple[Path, TrainingReport], more: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^/ is not empty: give a new folder"):
        train(load_recipe(str(more), str(trained[0])), output=Path("/"), data_dir=data_dir)


@pytest.mark.parametrize("output", [".", "link"])
def test_the_output_may_be_the_working_folder_or_a_link(
    output: str,
    data_dir: Path,
    trained: tuple[Path, TrainingReport],
    more: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    working = more.with_name("working")
    working.mkdir()
    more.with_name("link").symlink_to("working" if output == "." else "absent")
    monkeypatch.chdir(working if output == "." else more.parent)
    train(load_recipe(str(more), str(trained[0])), output=Path(output), data_dir=data_dir)
    assert (Path(output) / "README.md").is_file()


def test_a_teacher_that_does_not_exist_is_named_before_training(
    data_dir: Path, trained: tuple[Path, TrainingReport], more: Path
) -> None:
    recipe, said = distillation(more, trained[0], "./misspelt", max_steps=1), list[str]()
    with pytest.raises(InvalidInput, match=r"teacher is '\./misspelt', which does not exist"):
        train(recipe, output=more.with_name("more"), data_dir=data_dir, say=said.append)
    assert said == []


@pytest.mark.parametrize("save", [torch.save, save_file])
def test_a_full_disk_is_one_sentence(save: Callable[..., None], tmp_path: Path) -> None:
    """The libraries raise other errors than `OSError` for it. A limit on the size of files stands for the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with (
            pytest.raises(SentritonError, match=r"cannot be written: .*; check the free space") as raised,
            full_disk_named(tmp_path),
        ):
            save({"weights": torch.zeros(1 << 16)}, tmp_path / "weights")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(raised.value)


def test_a_checkpoint_is_on_the_disk_before_it_counts(
    data_dir: Path, trained: tuple[Path, TrainingReport], more: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its files may be empty after a power failure, and the training cannot resume."""
    monkeypatch.setattr("sentriton_server.training.progress.SAVE_PERIOD_S", 0.0)
    synced: set[Path] = set()

    def fsync(descriptor: int, fsync: Callable[[int], None] = os.fsync) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not (path.parent / "elapsed.json").exists():
            synced.add(path)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    resumable(more, trained[0], data_dir, looks=2)
    folder = more.with_name("more.training")
    (checkpoint,) = folder.glob("stage-1/checkpoint-2")
    files = [path for path in checkpoint.iterdir() if path.name != "elapsed.json" and path.is_file()]
    assert checkpoint / "model.safetensors" in files
    assert checkpoint / "optimizer.pt" in files
    assert set(files) <= synced
    assert {folder / "stage-0/unfinished" / path.name for path in (folder / "stage-0/finished").iterdir()} <= synced


def test_a_result_is_on_the_disk_before_the_stages_are_removed(
    data_dir: Path, trained: tuple[Path, TrainingReport], more: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, synced = more.with_name("more"), set[Path]()

    def fsync(descriptor: int, fsync: Callable[[int], None] = os.fsync) -> None:
        if more.with_name("more.training").exists():
            synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    train(load_recipe(str(more), str(trained[0])), output=output, data_dir=data_dir)
    assert {output, *output.rglob("*")} <= synced


@pytest.mark.parametrize("kind", ["notes", "file", "link"])
def test_a_training_removes_nothing_of_others(
    kind: str, data_dir: Path, trained: tuple[Path, TrainingReport], more: Path
) -> None:
    folder, notes = more.with_name("more.training"), more.with_name("other") / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine", encoding="utf-8")
    if kind == "notes":
        notes = notes.parent.rename(folder) / "notes.txt"
    elif kind == "file":
        notes = notes.rename(folder)
    else:
        folder.symlink_to("other")
    with pytest.raises(InvalidInput, match=r"more\.training (contains 'notes.txt'|is not a folder)"):
        train(load_recipe(str(more), str(trained[0])), output=more.with_name("more"), data_dir=data_dir)
    assert notes.read_text(encoding="utf-8") == "mine"
    assert not more.with_name("more").exists()


def test_files_that_others_store_during_a_training_stay(
    data_dir: Path, trained: tuple[Path, TrainingReport], more: Path
) -> None:
    notes = more.with_name("more.training") / "notes.txt"

    def store(message: str) -> None:
        if message.startswith("measuring"):
            notes.write_text("mine", encoding="utf-8")

    train(load_recipe(str(more), str(trained[0])), output=more.with_name("more"), data_dir=data_dir, say=store)
    assert [path.name for path in notes.parent.iterdir()] == ["notes.txt"]
    assert more.with_name("more").is_dir()


@pytest.mark.parametrize("value", [torch.nan, 1e5], ids=str)
def test_vectors_of_a_teacher_that_are_not_finite_are_refused(
    value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their mean would make all vectors NaN, and the learning rate would be blamed."""
    embeds = {"encode": lambda sentences: np.full((len(sentences), 2), value, np.float32)}
    monkeypatch.setattr(
        "sentriton_server.training.teacher.load_teacher", lambda name, allow_pickle: SimpleNamespace(**embeds)
    )
    progress = Progress(tmp_path, None, threading.Event(), print)
    with pytest.raises(InvalidInput, match=r"teacher = 'x': some of its vectors are not finite or beyond 65504"):
        teacher_vectors("x", ["a"], progress)
    assert not list(tmp_path.rglob("*.npy"))

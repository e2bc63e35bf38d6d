"""The recipe `klue-sts` from end to end: interrupted twice, and no different from a training that ran through.

KLUE-STS's training pairs are not at hand: its 519 dev pairs are split in two, for this test alone.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

from sentriton.errors import InvalidInput
from sentriton_server.resources import BUNDLED_CHECKPOINT
from sentriton_server.training import TrainingReport, load_recipe, train
from sentriton_server.training.card import HELD_OUT_SENTENCE
from tests.commands import SENTRITON
from tests.conftest import public_data

TRAINED_ON = 330


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pairs = json.loads(public_data("klue-sts-dev").read_text(encoding="utf-8"))
    random.Random(0).shuffle(pairs)
    folder = tmp_path_factory.mktemp("data")
    for name, split in (("train", pairs[:TRAINED_ON]), ("dev", pairs[TRAINED_ON:])):
        (folder / f"klue-sts-v1.1_{name}.json").write_text(json.dumps(split), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled checkpoint's first layer: small, with something to gain."""
    folder = tmp_path_factory.mktemp("base")
    model = SentenceTransformer(str(BUNDLED_CHECKPOINT), device="cpu")
    encoder = model[0].auto_model
    encoder.encoder.layer = encoder.encoder.layer[:1]
    encoder.config.num_hidden_layers = 1
    model.save(str(folder / "base"), create_model_card=False)
    return folder / "base"


@pytest.fixture(scope="module")
def uninterrupted(data_dir: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingReport]:
    output = tmp_path_factory.mktemp("uninterrupted") / "klue-sts"
    return output, train(load_recipe("klue-sts", str(base)), output=output, data_dir=data_dir)


def test_training_improves_on_its_start_and_keeps_the_best(uninterrupted: tuple[Path, TrainingReport]) -> None:
    output, report = uninterrupted
    (stage,) = report.stages
    assert stage.examples == TRAINED_ON
    steps = [row.step for row in stage.log]
    assert steps[:3] == [0, 50, 100]
    spearman = [row.spearman for row in stage.log]
    assert all(value is not None for value in spearman)
    start, *later = [float(value) for value in spearman if value is not None]
    assert max(later) > start + 0.02
    # The saved weights are rounded to float16.
    assert report.figures["KLUE-STS 1.1 dev"]["spearman_cosine"] == pytest.approx(max(later), abs=2e-3)
    card = (output / "README.md").read_text(encoding="utf-8")
    assert f"| 1 cosine | 50 | {stage.log[1].epoch:.2f} | {stage.log[1].loss:.4f} | {later[0]:.4f} |" in card
    assert "the best score on KLUE-STS 1.1 dev" in card
    assert (f"with {report.autocast} autocast." if report.autocast else " in float32.") in card
    assert HELD_OUT_SENTENCE not in card
    assert "KLUE-STS train is used as published." in card


@pytest.mark.large
def test_an_interrupted_training_goes_on_to_the_same_figures(
    uninterrupted: tuple[Path, TrainingReport], data_dir: Path, base: Path, tmp_path: Path
) -> None:
    output = tmp_path / "klue-sts"
    checkpoints = tmp_path / "klue-sts.training" / "stage-1"
    command = [SENTRITON, "train", "klue-sts", "--base", base, "--data", data_dir, "--output", output]
    stopped = _stop(command, signal.SIGINT, (checkpoints / "checkpoint-50" / "elapsed.json").is_file)
    assert stopped.returncode == 130
    assert "interrupted; the same command resumes from here" in stopped.stderr
    killed = _stop(command, signal.SIGKILL, (checkpoints / "checkpoint-100" / "elapsed.json").is_file)
    assert killed.returncode == -signal.SIGKILL
    assert not output.exists()
    resumed = train(load_recipe("klue-sts", str(base)), output=output, data_dir=data_dir)
    assert resumed.figures == uninterrupted[1].figures
    assert [(row.step, row.spearman) for row in resumed.stages[0].log] == [
        (row.step, row.spearman) for row in uninterrupted[1].stages[0].log
    ]
    weights, expected = (load_file(folder / "model.safetensors") for folder in (output, uninterrupted[0]))
    assert all((weights[name] == expected[name]).all() for name in expected)
    assert not checkpoints.parent.exists()


def test_an_interrupt_whose_exception_was_lost_ends_the_training_at_its_next_batch(
    data_dir: Path, base: Path, tmp_path: Path
) -> None:
    interrupted = threading.Event()
    interrupted.set()
    with pytest.raises(KeyboardInterrupt):
        train(load_recipe("klue-sts", str(base)), output=tmp_path / "out", data_dir=data_dir, interrupted=interrupted)
    assert not (tmp_path / "out").exists()


def test_another_recipe_does_not_go_on_from_there(data_dir: Path, base: Path, tmp_path: Path) -> None:
    (tmp_path / "out.training/stage-0/finished").mkdir(parents=True)
    (tmp_path / "out.training" / "recipe.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidInput, match="contains an unfinished training with another recipe"):
        train(load_recipe("klue-sts", str(base)), output=tmp_path / "out", data_dir=data_dir)


def test_a_base_that_is_not_there_is_named(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"--base is '.*nowhere', which does not exist"):
        train(load_recipe("klue-sts", str(tmp_path / "nowhere")), output=tmp_path / "out", data_dir=data_dir)


def test_a_recipe_that_starts_from_nothing_takes_no_base() -> None:
    with pytest.raises(InvalidInput, match="starts from nothing and takes no checkpoint"):
        load_recipe("bundled", "klue/roberta-large")


def _stop(command: list[object], number: signal.Signals, when: Callable[[], bool]) -> subprocess.CompletedProcess[str]:
    """Run a command and send it a signal as soon as `when` holds."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [str(argument) for argument in command],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        while not when():
            if process.poll() is not None:
                pytest.fail(f"the training ended before it could be stopped: {process.communicate()[1]}")
            time.sleep(0.01)
        process.send_signal(number)
        stderr = process.communicate(timeout=60)[1]
    return subprocess.CompletedProcess(command, process.returncode, None, stderr)

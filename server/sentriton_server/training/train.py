"""Train a checkpoint from a recipe: base, stages in order, save, measure the saved checkpoint, write its card."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from transformers import set_seed

from sentriton.errors import InvalidInput
from sentriton_server.cores import usable_cores
from sentriton_server.training.card import EXAMPLE, model_card
from sentriton_server.training.checkpoint import (
    DEVICE,
    autocast_type,
    full_disk_named,
    load_base,
    load_encoder,
    load_teacher,
    new_encoder,
    require_memory,
    save_checkpoint,
    save_encoder,
    sentence_model,
)
from sentriton_server.training.data import (
    KLUE_STS_DEV,
    KORSTS_DEV,
    SELECTION_SETS,
    TRAINING_SETS,
    DataSet,
    TrainingData,
)
from sentriton_server.training.evaluation import measure_model
from sentriton_server.training.progress import Progress
from sentriton_server.training.recipe import Recipe
from sentriton_server.training.report import StageReport, TrainingReport
from sentriton_server.training.stages import finetune, pretrain
from sentriton_server.training.teacher import PACKAGED_TEACHER, require_teacher
from sentriton_server.training.token_vectors import token_vectors
from sentriton_server.training.tokenizer import train_tokenizer
from sentriton_server.training.workspace import Workspace, sync, sync_one


def train(
    recipe: Recipe,
    *,
    output: Path,
    data_dir: Path,
    say: Callable[[str], None] = lambda message: None,
    interrupted: threading.Event | None = None,
    allow_pickle: bool = False,
) -> TrainingReport:
    """Train `recipe` on the data sets in `data_dir` and write a sentence-transformers checkpoint to `output`.

    Finished work is kept beside `output` until the checkpoint is complete: a call after an interruption resumes, and
    has the same results. `say` receives the name of each part of the work. `allow_pickle` permits pickled weights of
    the base and of a teacher, which may run code. Raises `InvalidInput` for a missing or
    malformed data set, an `output` that is not empty, or weights that are not finite. Raises `KeyboardInterrupt` once
    `interrupted` is set.
    """
    output = output.resolve()
    data = TrainingData(data_dir, recipe.seed)
    data.require(_data_sets(recipe))
    teachers = [stage.teacher for stage in recipe.stages if stage.teacher is not None]
    for teacher in teachers:
        require_teacher(teacher)
    data.check(_data_sets(recipe))
    inputs = [*data.files(_data_sets(recipe)), *(Path(name) for name in teachers if name != PACKAGED_TEACHER)]
    with closing(Workspace(output.parent / f"{output.name}.training", recipe, data_dir, inputs)) as workspace:
        if output.exists() and (not output.is_dir() or any(output.iterdir())) and not workspace.is_saving:
            raise InvalidInput(f"{output} is not empty: give a new folder, or remove that one")
        with full_disk_named(workspace.folder):
            return _train(recipe, output, data, workspace, interrupted or threading.Event(), say, allow_pickle)


def _train(
    recipe: Recipe,
    output: Path,
    data: TrainingData,
    workspace: Workspace,
    interrupted: threading.Event,
    say: Callable[[str], None],
    allow_pickle: bool,
) -> TrainingReport:
    if not workspace.is_finished(0):
        for stage in recipe.stages:
            if stage.teacher not in (None, PACKAGED_TEACHER):
                load_teacher(str(stage.teacher), allow_pickle=allow_pickle)  # its faults now, not hours later
        say("preparing the base")
        _prepare_base(recipe, data, workspace, allow_pickle)
    for index, stage in enumerate(recipe.stages, start=1):
        if not workspace.is_finished(index):
            say(f"stage {index} of {len(recipe.stages)}: {stage.objective}")
            _run_stage(index, recipe, data, workspace, interrupted, say, allow_pickle)
    say("measuring the checkpoint")
    model = _start_of(len(recipe.stages) + 1, recipe, workspace)
    stages = [workspace.report(index) for index in range(1, len(recipe.stages) + 1)]
    workspace.begin_saving()
    report = _measure(save_checkpoint(model, output), recipe, stages, data)
    (output / "README.md").write_text(model_card(report), encoding="utf-8")
    sync(output)
    sync_one(output.parent)
    workspace.remove()
    return report


def _data_sets(recipe: Recipe) -> list[DataSet]:
    """The data sets that a recipe trains on, and those that select its best weights."""
    chosen_on = [SELECTION_SETS[stage.best_on] for stage in recipe.stages if stage.best_on is not None]
    return [*(TRAINING_SETS[source.name] for source in recipe.sources), *chosen_on]


def _prepare_base(recipe: Recipe, data: TrainingData, workspace: Workspace, allow_pickle: bool) -> None:
    """Stage 0: an encoder of the architecture with its tokenizer, or the checkpoint as it is."""
    architecture = recipe.base.architecture
    if architecture is None:
        workspace.finish(0, load_base(str(recipe.base.checkpoint), allow_pickle=allow_pickle).save)
        return
    set_seed(recipe.seed)
    text = data.sentences(architecture.tokenizer_data)
    tokenizer = train_tokenizer(text, architecture.vocab_size, architecture.max_seq_length)
    require_memory(architecture, len(tokenizer))
    vectors = None
    if architecture.token_vector_data:
        ids = tokenizer(data.sentences(architecture.token_vector_data), add_special_tokens=False)["input_ids"]
        vectors = token_vectors(ids, len(tokenizer), architecture.hidden, recipe.seed)
    set_seed(recipe.seed)
    encoder = new_encoder(architecture, tokenizer, vectors)
    workspace.finish(0, lambda folder: save_encoder(encoder, tokenizer, folder))


def _run_stage(
    index: int,
    recipe: Recipe,
    data: TrainingData,
    workspace: Workspace,
    interrupted: threading.Event,
    say: Callable[[str], None],
    allow_pickle: bool,
) -> None:
    """Train one stage from where the one before ended, or from its own last checkpoint.

    Each begins from files and from the recipe's seed, so earlier work of this process changes nothing.
    """
    stage = recipe.stages[index - 1]
    progress = Progress(workspace.checkpoints(index), stage.stop_at, interrupted, say)
    data.left_out.clear()
    set_seed(recipe.seed)
    if stage.objective == "mlm":
        encoder, tokenizer = load_encoder(workspace.finished(index - 1))
        report = pretrain(encoder, tokenizer, stage, data, progress)
        workspace.finish(index, lambda folder: save_encoder(encoder, tokenizer, folder), report)
    else:
        model = _start_of(index, recipe, workspace)
        report = finetune(model, stage, data, progress, allow_pickle=allow_pickle)
        workspace.finish(index, lambda folder: model.save(str(folder), create_model_card=False), report)


def _start_of(index: int, recipe: Recipe, workspace: Workspace) -> SentenceTransformer:
    """The sentence embeddings that stage `index` begins with."""
    folder = workspace.finished(index - 1)
    before = recipe.stages[index - 2].objective if index > 1 else None
    if before == "mlm" or (before is None and recipe.base.architecture is not None):
        return sentence_model(folder)
    return SentenceTransformer(str(folder), device=DEVICE)


def _measure(
    model: SentenceTransformer, recipe: Recipe, stages: list[StageReport], data: TrainingData
) -> TrainingReport:
    """Everything the card states, taken from the model as the saved files give it."""
    embeddings = model.encode(list(EXAMPLE))
    return TrainingReport(
        recipe=recipe,
        stages=tuple(stages),
        left_out={name: rows for stage in stages for name, rows in stage.left_out.items()},
        cpus=usable_cores(),
        gpu=torch.cuda.get_device_name() if DEVICE == "cuda" else None,
        autocast=autocast_type(),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocab_size=len(model.tokenizer),
        dimension=embeddings.shape[1],
        max_seq_length=model.max_seq_length,
        figures={
            data_set.public.title: measure_model(model, data.evaluation(data_set))
            for data_set in (KORSTS_DEV, KLUE_STS_DEV)
            if data.has(data_set)
        },
        example_similarities=model.similarity(embeddings, embeddings).tolist(),
    )

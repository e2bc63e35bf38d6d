"""Train a checkpoint from a recipe: base, stages in order, save, measure what was saved, write its card."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from sentence_transformers import SentenceTransformer
from transformers import set_seed

from sentriton.errors import InvalidInput
from sentriton_server.training.card import EXAMPLE, model_card
from sentriton_server.training.checkpoint import new_encoder, save_checkpoint, sentence_model
from sentriton_server.training.data import KLUE_STS_DEV, KORSTS_DEV, TrainingData, distinct_sentences
from sentriton_server.training.evaluation import measure
from sentriton_server.training.recipe import Architecture, Recipe, Stage
from sentriton_server.training.report import StageReport, TrainingReport, available_cpus
from sentriton_server.training.stages import finetune, pretrain
from sentriton_server.training.tokenizer import train_tokenizer


def train(recipe: Recipe, *, output: Path, data_dir: Path) -> TrainingReport:
    """Train `recipe` on the data sets in `data_dir` and write a sentence-transformers checkpoint to `output`.

    Raises `InvalidInput` when a data set is missing or malformed, or when `output` already holds something.
    """
    if output.exists() and any(output.iterdir()):
        raise InvalidInput(f"{output} is not empty: give a new folder, or remove that one")
    data = TrainingData(data_dir, recipe.seed)
    data.require(recipe.sources)
    set_seed(recipe.seed)
    with tempfile.TemporaryDirectory() as workspace:
        model, stages = _train_stages(recipe, data, Path(workspace))
    report = _measure(save_checkpoint(model, output), recipe, stages, data)
    (output / "README.md").write_text(model_card(report), encoding="utf-8")
    return report


def _train_stages(recipe: Recipe, data: TrainingData, workspace: Path) -> tuple[SentenceTransformer, list[StageReport]]:
    reports: list[StageReport] = []
    stages = list(recipe.stages)
    if recipe.base.architecture is not None:
        pretraining = [stage for stage in stages if stage.objective == "mlm"]
        model = _pretrained(recipe.base.architecture, pretraining, data, workspace, reports)
        stages = stages[len(pretraining) :]
    else:
        model = SentenceTransformer(recipe.base.checkpoint, device="cpu")
    for stage in stages:
        start = time.monotonic()
        examples = finetune(model, stage, data, workspace)
        reports.append(StageReport(stage, examples, time.monotonic() - start))
    return model, reports


def _pretrained(
    architecture: Architecture, stages: list[Stage], data: TrainingData, workspace: Path, reports: list[StageReport]
) -> SentenceTransformer:
    text = distinct_sentences(data.records(architecture.tokenizer_data))
    tokenizer = train_tokenizer(text, architecture.vocab_size, architecture.max_seq_length)
    encoder = new_encoder(architecture, tokenizer)
    for stage in stages:
        start = time.monotonic()
        examples = pretrain(encoder, tokenizer, stage, data, workspace)
        reports.append(StageReport(stage, examples, time.monotonic() - start))
    return sentence_model(encoder, tokenizer, workspace / "encoder")


def _measure(
    model: SentenceTransformer, recipe: Recipe, stages: list[StageReport], data: TrainingData
) -> TrainingReport:
    """Everything the card states, taken from the model as the saved files give it."""
    embeddings = model.encode(list(EXAMPLE))
    return TrainingReport(
        recipe=recipe,
        stages=tuple(stages),
        left_out=dict(data.left_out),
        cpus=available_cpus(),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocab_size=len(model.tokenizer),
        dimension=embeddings.shape[1],
        max_seq_length=model.max_seq_length,
        figures={data_set.title: measure(model, data.evaluation(data_set)) for data_set in (KORSTS_DEV, KLUE_STS_DEV)},
        example_similarities=model.similarity(embeddings, embeddings).tolist(),
    )

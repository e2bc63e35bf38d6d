"""The objectives. Each is a run of a library's trainer: masked tokens, in-batch contrast, distillation, scored pairs.

Pre-training acts on the encoder before it has sentence embeddings. The others act on a `SentenceTransformer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss, MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from torch import nn
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

from sentriton.errors import InvalidInput
from sentriton_server.training.checkpoint import DEVICE, autocast_type, longest_input
from sentriton_server.training.contrast import contrastive_rows
from sentriton_server.training.data import SELECTION_SETS, TrainingData
from sentriton_server.training.distillation import DistillationLoss, SaveProjection
from sentriton_server.training.evaluation import similarity_evaluator
from sentriton_server.training.masked_tokens import MaskedTokenModel
from sentriton_server.training.progress import Progress, training_log
from sentriton_server.training.recipe import Stage, require_length
from sentriton_server.training.report import StageReport
from sentriton_server.training.teacher import teacher_vectors

MASKED_SHARE = 0.2  # of all tokens; BERT's 0.15 gives a short training fewer to learn from
LENGTH_BANDS = 16  # of the sentences that a teacher embeds


def pretrain(
    encoder: MaskedTokenModel, tokenizer: Any, stage: Stage, data: TrainingData, progress: Progress
) -> StageReport:
    """Train an encoder to fill in masked tokens, on batches of sentences of similar length."""
    sentences = data.sentences(stage.data)
    if not sentences:
        raise _nothing_for(stage, "sentence")
    tokens = Dataset.from_dict({"sentence": sentences}).map(
        lambda batch: tokenizer(batch["sentence"], truncation=True, max_length=stage.max_seq_length),
        batched=True,
        remove_columns="sentence",
        desc="tokenize",
    )
    set_dropout(encoder, stage.dropout)
    trainer = Trainer(
        model=encoder,
        args=TrainingArguments(**_arguments(stage, data, progress.folder), train_sampling_strategy="group_by_length"),
        train_dataset=tokens.add_column("length", [len(ids) for ids in tokens["input_ids"]]),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED_SHARE),
        callbacks=[progress],
    )
    trainer.train(resume_from_checkpoint=progress.last_checkpoint)
    log = training_log(trainer.state.log_history, None)
    return StageReport(stage, len(sentences), progress.duration_s, log, dict(data.left_out))


def set_dropout(model: nn.Module, share: float) -> None:
    """Set the share of activations that each dropout layer of a model zeroes in training."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        elif isinstance(getattr(module, "attention_dropout", None), float):  # rotary encoders have no layer for it
            module.attention_dropout = share  # type: ignore[assignment]


def finetune(
    model: SentenceTransformer, stage: Stage, data: TrainingData, progress: Progress, *, allow_pickle: bool = False
) -> StageReport:
    """Train sentence embeddings by contrast, from a teacher or against scores. `allow_pickle` is for the teacher.

    With `best_on`, the model ends with the weights that did best there; the log begins with those it came with.
    """
    contrastive = stage.objective == "contrastive"
    require_length(stage, longest_input(model))
    rows, loss = _rows_and_loss(model, stage, data, progress, allow_pickle)
    arguments = _arguments(stage, data, progress.folder)
    whole_length = model.max_seq_length
    model.max_seq_length = stage.max_seq_length or whole_length
    set_dropout(model, stage.dropout)
    evaluator, measured, first = None, None, []
    if stage.best_on is not None:
        evaluator = similarity_evaluator(stage.best_on, data.evaluation(SELECTION_SETS[stage.best_on]))
        measured = f"eval_{stage.best_on}_spearman_cosine"
        arguments |= _keep_best(stage, measured)
        first = [{"step": 0, "epoch": 0.0, measured: evaluator(model)[measured.removeprefix("eval_")]}]
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            **arguments,
            # A sentence that occurs twice in a batch would be its own negative.
            batch_sampler=BatchSamplers.NO_DUPLICATES if contrastive else BatchSamplers.BATCH_SAMPLER,
        ),
        train_dataset=DatasetDict(rows),
        loss=loss,
        evaluator=evaluator,
        # `progress` marks a checkpoint as complete, so it comes last.
        callbacks=[*_savers(loss, progress), progress],
    )
    trainer.train(resume_from_checkpoint=progress.last_checkpoint)
    model.max_seq_length = whole_length
    log = training_log([*first, *trainer.state.log_history], measured)
    return StageReport(stage, sum(map(len, rows.values())), progress.duration_s, log, dict(data.left_out))


def _keep_best(stage: Stage, measured: str) -> dict[str, Any]:
    """Evaluate after every epoch or every `eval_steps`, and end with the best."""
    often: dict[str, Any] = {"eval_strategy": "epoch", "save_strategy": "epoch"}
    if stage.eval_steps is not None:
        often = {
            "eval_strategy": "steps",
            "save_strategy": "steps",
            "eval_steps": stage.eval_steps,
            "save_steps": stage.eval_steps,
        }
    return {**often, "load_best_model_at_end": True, "metric_for_best_model": measured}


def _rows_and_loss(
    model: SentenceTransformer, stage: Stage, data: TrainingData, progress: Progress, allow_pickle: bool
) -> tuple[dict[str, Dataset], nn.Module]:
    """The training rows by source, with the columns in the order that the objective's loss takes, and that loss."""
    if stage.objective == "distill":
        tables, vectors = _taught_rows(stage, data, progress, allow_pickle)
        return tables, DistillationLoss(model, vectors)
    if stage.objective == "cosine":
        scored = data.scored_pairs(stage.data)
        tables = {"pairs": _table(scored, ("sentence1", "sentence2", "score"))} if scored else {}
    else:
        tables = _contrastive_rows(stage, data)
    if not tables:
        raise _nothing_for(stage, "pair")
    loss = MultipleNegativesRankingLoss(model) if stage.objective == "contrastive" else CosineSimilarityLoss(model)
    return tables, loss


def _nothing_for(stage: Stage, needed: str) -> InvalidInput:
    names = ", ".join(source.name for source in stage.data)
    return InvalidInput(f'data = {names}: contains no {needed} for objective "{stage.objective}"')


def _savers(loss: nn.Module, progress: Progress) -> list[SaveProjection]:
    return [SaveProjection(loss, progress.last_checkpoint)] if isinstance(loss, DistillationLoss) else []


def _contrastive_rows(stage: Stage, data: TrainingData) -> dict[str, Dataset]:
    """Rows by source, because similar sentences of a batch are harder to distinguish and the model learns more."""
    tables = {}
    for index, source in enumerate(stage.data):
        if rows := contrastive_rows(data.records([source]), source, data.seed):
            tables[f"{source.name}-{index}"] = _table(rows, ("anchor", "positive", "negative"))
    return tables


def _taught_rows(
    stage: Stage, data: TrainingData, progress: Progress, allow_pickle: bool
) -> tuple[dict[str, Dataset], torch.Tensor]:
    """Sentences in tables of similar length, with their rows in the teacher's vectors; and those vectors.

    A batch has rows of one table: it mixes all sources, with little padding.
    """
    sentences = sorted(data.sentences(stage.data), key=len)
    if not sentences:
        raise _nothing_for(stage, "sentence")
    distinct = list(dict.fromkeys(sentences))
    vectors = teacher_vectors(str(stage.teacher), distinct, progress, allow_pickle=allow_pickle)
    rows = {sentence: row for row, sentence in enumerate(distinct)}
    taught = [(sentence, rows[sentence]) for sentence in sentences]
    size = -(-len(taught) // LENGTH_BANDS)
    tables = {
        f"length-{band}": _table(taught[start : start + size], ("sentence", "label"))
        for band, start in enumerate(range(0, len(taught), size))
    }
    return tables, torch.from_numpy(vectors)


def _table(rows: Sequence[tuple[Any, ...]], columns: tuple[str, ...]) -> Dataset:
    return Dataset.from_dict(dict(zip(columns, zip(*rows, strict=True), strict=False)))


def _arguments(stage: Stage, data: TrainingData, checkpoints: Path) -> dict[str, Any]:
    """The arguments of every trainer; transformers takes a warm-up below 1 as a share of all batches."""
    autocast = autocast_type()
    return {
        "output_dir": str(checkpoints),
        "seed": data.seed,
        "per_device_train_batch_size": stage.batch_size,
        "learning_rate": stage.learning_rate,
        "num_train_epochs": stage.epochs or 1,
        "max_steps": stage.max_steps or -1,
        "warmup_steps": stage.warmup_ratio,
        "weight_decay": stage.weight_decay,
        # Autocast: the weights stay float32.
        "fp16": autocast == "float16",
        "bf16": autocast == "bfloat16",
        "use_cpu": DEVICE == "cpu",
        "save_strategy": "no",  # `Progress` saves by the clock
        # The newest may be cut short while it is written; the best and the one before are there as well.
        "save_total_limit": 3,
        "logging_steps": 50,
        "report_to": "none",
    }

"""The three objectives, each a run of a library's trainer: masked tokens, in-batch contrast, cosine against a score.

Pre-training acts on the encoder before it has sentence embeddings; the two others act on a `SentenceTransformer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss, MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from transformers import DataCollatorForLanguageModeling, RobertaForMaskedLM, Trainer, TrainingArguments

from sentriton.errors import InvalidInput
from sentriton_server.training.data import (
    SELECTION_SETS,
    TrainingData,
    alike_pairs,
    distinct_sentences,
    scored_pairs,
)
from sentriton_server.training.evaluation import similarity_evaluator
from sentriton_server.training.recipe import Stage

MASKED_SHARE = 0.15  # of all tokens, as BERT and RoBERTa


def pretrain(encoder: RobertaForMaskedLM, tokenizer: Any, stage: Stage, data: TrainingData, workspace: Path) -> int:
    """Train an encoder to fill in masked tokens, on batches of sentences of like length; return their number."""
    sentences = distinct_sentences(data.records(stage.data))
    tokens = Dataset.from_dict({"sentence": sentences}).map(
        lambda batch: tokenizer(batch["sentence"], truncation=True, max_length=stage.max_seq_length),
        batched=True,
        remove_columns="sentence",
        desc="tokenize",
    )
    Trainer(
        model=encoder,
        args=TrainingArguments(**_arguments(stage, data, workspace), train_sampling_strategy="group_by_length"),
        train_dataset=tokens.add_column("length", [len(ids) for ids in tokens["input_ids"]]),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED_SHARE),
    ).train()
    return len(sentences)


def finetune(model: SentenceTransformer, stage: Stage, data: TrainingData, workspace: Path) -> int:
    """Train sentence embeddings by contrast or against scores; return the number of pairs.

    With `best_on`, the model ends with the weights of the epoch that did best there.
    """
    contrastive = stage.objective == "contrastive"
    pairs = _pairs(stage, data)
    arguments = _arguments(stage, data, workspace)
    evaluator = None
    if stage.best_on is not None:
        evaluator = similarity_evaluator(stage.best_on, data.evaluation(SELECTION_SETS[stage.best_on]))
        arguments |= {
            "eval_strategy": "epoch",
            "save_strategy": "epoch",
            "save_only_model": True,
            "save_total_limit": 1,
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{stage.best_on}_spearman_cosine",
        }
    whole_length = model.max_seq_length
    model.max_seq_length = stage.max_seq_length or whole_length
    SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            **arguments,
            # A sentence that stands twice in a batch would be its own negative.
            batch_sampler=BatchSamplers.NO_DUPLICATES if contrastive else BatchSamplers.BATCH_SAMPLER,
        ),
        train_dataset=pairs,
        loss=MultipleNegativesRankingLoss(model) if contrastive else CosineSimilarityLoss(model),
        evaluator=evaluator,
    ).train()
    model.max_seq_length = whole_length
    return len(pairs)


def _pairs(stage: Stage, data: TrainingData) -> Dataset:
    """The columns that the objective's loss takes, in its order."""
    records = data.records(stage.data)
    rows: Sequence[tuple[Any, ...]] = (
        alike_pairs(records) if stage.objective == "contrastive" else scored_pairs(records)
    )
    if not rows:
        names = ", ".join(source.name for source in stage.data)
        raise InvalidInput(f'data = {names}: not one pair there for objective "{stage.objective}"')
    columns = ("sentence1", "sentence2", "score")
    return Dataset.from_dict(dict(zip(columns, zip(*rows, strict=True), strict=False)))


def _arguments(stage: Stage, data: TrainingData, workspace: Path) -> dict[str, Any]:
    """What every trainer is told; transformers takes a warm-up below 1 as a share of all steps."""
    return {
        "output_dir": str(workspace),
        "seed": data.seed,
        "per_device_train_batch_size": stage.batch_size,
        "learning_rate": stage.learning_rate,
        "num_train_epochs": stage.epochs or 1,
        "max_steps": stage.max_steps or -1,
        "warmup_steps": stage.warmup_ratio,
        "weight_decay": stage.weight_decay,
        "bf16": True,  # autocast: the weights stay float32
        "use_cpu": True,
        "save_strategy": "no",
        "logging_steps": 50,
        "report_to": "none",
    }

"""The model card: a training report as the README.md of its checkpoint. Every number in it comes from the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from huggingface_hub import ModelCardData

from sentriton.evaluation import FIGURES
from sentriton_server.training.data import SELECTION_SETS, TRAINING_SETS, Source
from sentriton_server.training.recipe import Architecture, Stage
from sentriton_server.training.report import StageReport, TrainingReport
from sentriton_server.training.teacher import teacher_title

HELD_OUT_SENTENCE = "KLUE-STS dev had no part in the training or in the choice of weights."
EXAMPLE = (
    "숙소가 지하철역에서 가까워서 편했어요.",
    "역 근처에 있는 숙소라 이동하기 좋았습니다.",
    "내일 오전에 비가 오는지 알려줘.",
)


def model_card(report: TrainingReport) -> str:
    """Markdown with the YAML front matter that model hubs read."""
    sections = [
        f"---\n{_front_matter(report)}\n---",
        _introduction(report),
        _usage(report),
        _quality(report),
        _limits(report),
        _model(report),
        _training(report),
        _data(report),
        _log(report),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(report: TrainingReport) -> str:
    share_alike = any(TRAINING_SETS[source.name].public.licence == "CC BY-SA 4.0" for source in report.recipe.sources)
    return ModelCardData(
        language="ko",
        license="cc-by-sa-4.0" if share_alike else None,
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        base_model=report.recipe.base.name,
        datasets=list(dict.fromkeys(_repository(source.name) for source in report.recipe.sources)),
        tags=["sentence-transformers", "sentence-similarity", "feature-extraction", "roberta", "sentriton"],
    ).to_yaml()


def _repository(data_set: str) -> str:
    return "/".join(TRAINING_SETS[data_set].public.homepage.split("/")[-2:])


def _introduction(report: TrainingReport) -> str:
    architecture = report.recipe.base.architecture
    origin = "trained from scratch" if architecture else f"fine-tuned from `{report.recipe.base.name}`"
    return (
        f"# {report.recipe.name}\n\n"
        f"This is a Korean sentence-embedding model with {report.parameters / 1e6:.1f} million parameters. It maps a "
        f"sentence to a vector of {report.dimension} dimensions. The cosine of two vectors measures how similar the "
        f"sentences are in meaning. The model was {origin} on {_hardware(report)} in "
        f"{report.duration_s / 60:.0f} minutes."
    )


def _usage(report: TrainingReport) -> str:
    sentences = "\n".join(f'    "{sentence}",' for sentence in EXAMPLE)
    matrix = "\n".join(" ".join(f"{value:6.3f}" for value in row) for row in report.example_similarities)
    return f"""## Use

Serve the model with Sentriton. `{report.recipe.name}` is the path of this folder:

```console
$ sentriton serve {report.recipe.name}
```

Then this program prints the similarity of each pair of sentences:

```python
from sentriton import SentenceEncoder

sentences = [
{sentences}
]
with SentenceEncoder("localhost:8001") as encoder:
    embeddings = encoder.encode(sentences)  # float32 (3, {report.dimension})
    print(encoder.similarity(embeddings, embeddings))
```

sentence-transformers needs no server. The `sentences` are those of the program above:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{report.recipe.name}")
embeddings = model.encode(sentences)
print(model.similarity(embeddings, embeddings))
```

Rounded to three decimals, both programs print this matrix:

```text
{matrix}
```"""


def _quality(report: TrainingReport) -> str:
    chosen_on = {stage.stage.best_on for stage in report.stages} - {None}
    titles = " and ".join(SELECTION_SETS[name].public.title for name in SELECTION_SETS if name in chosen_on)
    choice = f" The training kept the weights with the best score on {titles}." if titles else ""
    held_out = "" if "klue-sts-dev" in chosen_on else f" {HELD_OUT_SENTENCE}"
    rows = [[name, *(f"{figures[name]:.4f}" for figures in report.figures.values())] for name in FIGURES]
    return (
        "## Quality\n\n"
        "The table shows how well the model's similarities of sentence pairs agree with human scores. Its rows are the "
        f"correlations of sentence-transformers' `EmbeddingSimilarityEvaluator`.{choice}{held_out}\n\n"
        + _table(["", *report.figures], rows)
    )


def _model(report: TrainingReport) -> str:
    architecture = report.recipe.base.architecture
    origin = _shape(architecture) if architecture else [["Base", f"`{report.recipe.base.name}`"]]
    return "## Model\n\n" + _table(
        ["Property", "Value"],
        [
            *origin,
            ["Vocabulary", f"{report.vocab_size:,} entries"],
            ["Sentence embedding", f"mean of the token embeddings, {report.dimension} dimensions"],
            ["Similarity", "cosine"],
            ["Longest input", f"{report.max_seq_length} tokens; longer text is truncated"],
            ["Parameters", f"{report.parameters:,}; float16 on disk, float32 in memory"],
        ],
    )


def _shape(architecture: Architecture) -> list[list[str]]:
    return [
        ["Encoder", "RoBERTa"],
        ["Layers", f"{architecture.layers}"],
        ["Hidden size", f"{architecture.hidden}, feed-forward {architecture.intermediate}"],
        ["Attention heads", f"{architecture.heads}"],
        ["Tokenizer", "WordPiece, cased"],
    ]


def _training(report: TrainingReport) -> str:
    headings = ["Stage", "Data", "Examples", "Epochs or batches", "Batch size", "Learning rate", "Wall time"]
    products = f"with {report.autocast} autocast" if report.autocast else "in float32"
    objectives = "\n".join(dict.fromkeys(_objective(stage.stage) for stage in report.stages))
    return (
        "## Training\n\n"
        f"`sentriton train {report.recipe.argument}` trained the model on {_hardware(report)} {products}. The "
        f"seed is {report.recipe.seed}. The optimizer is AdamW, whose learning rate rises in a warm-up and then falls "
        f"linearly. Each stage has an objective:\n\n{objectives}\n\n"
        + _table(headings, [_stage_row(stage) for stage in report.stages])
    )


def _objective(stage: Stage) -> str:
    """An item of a list: a stage's objective."""
    aims = {
        "mlm": "predict masked tokens",
        "contrastive": "find the sentence of the batch that has the same meaning (MultipleNegativesRankingLoss)",
        "cosine": "reproduce human scores of pairs (CosineSimilarityLoss)",
        "distill": f"reproduce the vectors of {teacher_title(stage.teacher or '')}",
    }
    return f"- `{stage.objective}`: {aims[stage.objective]}"


def _hardware(report: TrainingReport) -> str:
    return f"one {report.gpu}" if report.gpu else f"{report.cpus} CPU cores"


def _source(source: Source) -> str:
    details = [
        f"{source.rows:,} rows" if source.rows else "",
        f"{source.repeat} times" if source.repeat > 1 else "",
        "noised" if source.pairs == "noised" else "",
        "hard negatives" if source.hard_negatives else "",
    ]
    shown = ", ".join(filter(None, details))
    return f"{source.name} ({shown})" if shown else source.name


def _log(report: TrainingReport) -> str:
    rows = [
        [
            f"{number} {stage.stage.objective}",
            f"{row.step:,}",
            f"{row.epoch:.2f}",
            "" if row.loss is None else f"{row.loss:.4f}",
            "" if row.spearman is None else f"{row.spearman:.4f}",
        ]
        for number, stage in enumerate(report.stages, start=1)
        for row in stage.log
    ]
    headings = ["Stage", "Batches", "Epoch", "Training loss", "Spearman (cosine)"]
    words = "The last column has the score on the data set that selects the best weights of a stage, if it has one."
    return f"## Training log\n\n{words}\n\n{_table(headings, rows)}"


def _stage_row(report: StageReport) -> list[str]:
    stage = report.stage
    data = ", ".join(map(_source, stage.data))
    length = f"{stage.max_steps:,} batches" if stage.max_steps else f"{stage.epochs:g} epoch{'s' * (stage.epochs != 1)}"
    return [
        stage.objective,
        data,
        f"{report.examples:,}",
        length
        + (f", stopped after {stage.stop_at:,} batches" if stage.stop_at else "")
        + (f", best on {stage.best_on}" if stage.best_on else ""),
        str(stage.batch_size),
        f"{stage.learning_rate:g}",
        f"{report.duration_s / 60:.1f} min",
    ]


def _data(report: TrainingReport) -> str:
    names = list(dict.fromkeys(source.name for source in report.recipe.sources))
    whole = [TRAINING_SETS[name].public.title for name in names if TRAINING_SETS[name].held_out_split]
    rows = []
    for name in names:
        public = TRAINING_SETS[name].public
        rows.append([name, public.title, public.licence, public.homepage, f"{report.left_out.get(name, 0):,}"])
    return (
        "## Data\n\n"
        "The training leaves out every record that shares a sentence with KLUE-STS dev, by a comparison of letters and "
        "digits. A record is a sentence, a pair or a ParaKQC group of ten paraphrases."
        + "".join(f" {title} is used as published." for title in whole)
        + "\n\n"
        + _table(["Name", "Data set", "Licence", "Source", "Records left out"], rows)
    )


def _limits(report: TrainingReport) -> str:
    small = (
        "This model is for trials, tests and demonstrations, not for production. It is small, and knows few words "
        "beyond its training data. "
    )
    return (
        "## Limits\n\n"
        + (small if report.recipe.base.architecture else "")
        + "Do not use it for languages other than Korean, for texts of more than "
        f"{report.max_seq_length} tokens, or to check facts. Sentences on one topic have similar vectors, even if they "
        "contradict each other."
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

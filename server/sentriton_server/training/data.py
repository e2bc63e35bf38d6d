"""The data sets a recipe may name: how each is read, and the records that never enter training.

Every reader yields `Record`s, sentences that belong together. Each objective takes its own view of them: sentences
("mlm", "distill"), pairs of similar meaning ("contrastive"), scored pairs ("cosine"). KLUE-STS dev is read for
evaluation alone: `TrainingData` drops every record that shares a sentence with it.
"""

from __future__ import annotations

import lzma
import random
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sentriton.errors import InvalidInput
from sentriton.evaluation import read_pairs, read_rows, require_scores
from sentriton.files.columns import checked
from sentriton.files.rows import numbered_lines
from sentriton_server.data_sets import CATALOGUE, PublicDataSet, require_data_sets

Objective = Literal["mlm", "contrastive", "distill", "cosine"]
Pairing = Literal["alike", "noised"]

PARAKQC_GROUP = 10  # paraphrases a group, on consecutive lines
MAX_SCORE = 5.0  # of the benchmarks
ALIKE_SCORE = 0.8  # scored pairs from here up are pairs of similar meaning


class Record(NamedTuple):
    """Sentences that belong together: one alone, a pair, or a group of paraphrases.

    `score` is how alike a pair is in meaning, 0 to 1, where people judged it. `alike`: all of the sentences mean the
    same, or answer one another.
    """

    sentences: tuple[str, ...]
    alike: bool = False
    score: float | None = None


@dataclass(frozen=True)
class Source:
    """A data set to train on.

    `rows` takes that many of its records, drawn with the recipe's seed (default: all). `repeat` reads them that many
    times per epoch, so a small set keeps its weight beside a large one.

    For contrastive learning (`contrast.py`): `pairs` says which sentences make a pair of similar meaning.
    `hard_negatives` adds to each the sentence of the set that looks most like it and has another meaning.
    """

    name: str
    rows: int | None = None
    repeat: int = 1
    pairs: Pairing = "alike"
    hard_negatives: bool = False

    def __post_init__(self) -> None:
        for name, value in (("rows", self.rows), ("repeat", self.repeat)):
            if value is not None and value <= 0:
                raise InvalidInput(f"{name} = {value}: must be more than 0")


@dataclass(frozen=True)
class DataSet:
    """A public data set with its reader and its uses.

    `hub` is where scored pairs come from when the file is not there. `held_out_split` marks the training split of a
    benchmark whose other split is held out: it is taken whole, as published.
    """

    public: PublicDataSet
    read: Callable[[Path], Iterator[Record]]
    objectives: tuple[Objective, ...] = ()
    hub: str | None = None
    held_out_split: bool = False


def read_scored_pairs(path: Path) -> Iterator[Record]:
    """KorSTS and KLUE-STS: scored pairs."""
    return _scored_records(str(path))


def read_klue_nli(path: Path) -> Iterator[Record]:
    """KLUE-NLI: premise and hypothesis; entailment counts as like meaning."""
    for where, row in read_rows(path):
        premise, hypothesis, label = _columns(row, where, "premise", "hypothesis", "gold_label")
        yield Record((premise, hypothesis), alike=label == "entailment")


def read_parakqc(path: Path) -> Iterator[Record]:
    """ParaKQC: groups of ten paraphrases on consecutive lines; three tab-separated columns, no header."""
    rows = list(_tab_separated(path, columns=3))
    if blank := next((number for number, (_, _, sentence) in rows if not sentence.strip()), None):
        raise InvalidInput(
            f"{path}, line {blank}: the sentence is blank; remove the file and run `sentriton data parakqc`"
        )
    for start in range(0, len(rows), PARAKQC_GROUP):
        group = rows[start : start + PARAKQC_GROUP]
        kinds = {(topic, intent) for _, (topic, intent, _) in group}
        if len(group) != PARAKQC_GROUP or len(kinds) != 1:
            raise InvalidInput(
                f"{path}, line {start + 1}: a group must be {PARAKQC_GROUP} lines of one topic and intent, "
                f"got {len(group)} lines of {len(kinds)}"
            )
        yield Record(tuple(sentence for _, (_, _, sentence) in group), alike=True)


def read_chatbot(path: Path) -> Iterator[Record]:
    """Chatbot data: a question and its answer, the columns Q and A."""
    for where, row in read_rows(path):
        question, answer = _columns(row, where, "Q", "A")
        yield Record((question, answer), alike=True)


def read_nsmc(path: Path) -> Iterator[Record]:
    """NSMC: one film review a line, in an xz-compressed file."""
    try:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                if sentence := line.strip():
                    yield Record((sentence,), alike=True)
    except (lzma.LZMAError, EOFError) as error:
        raise InvalidInput(f"{path} is not a complete .xz file: {error}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} contains text that is not UTF-8: {error.reason}") from error


KLUE_STS_DEV = DataSet(CATALOGUE["klue-sts-dev"], read_scored_pairs, hub="klue/klue:sts:validation")
KORSTS_DEV = DataSet(CATALOGUE["korsts-dev"], read_scored_pairs)

TRAINING_SETS = {
    data_set.public.name: data_set
    for data_set in (
        DataSet(CATALOGUE["korsts-train"], read_scored_pairs, ("mlm", "contrastive", "distill", "cosine")),
        DataSet(
            CATALOGUE["klue-sts-train"],
            read_scored_pairs,
            ("mlm", "contrastive", "distill", "cosine"),
            hub="klue/klue:sts:train",
            held_out_split=True,
        ),
        DataSet(CATALOGUE["klue-nli-dev"], read_klue_nli, ("mlm", "contrastive", "distill")),
        DataSet(CATALOGUE["parakqc"], read_parakqc, ("mlm", "contrastive", "distill")),
        DataSet(CATALOGUE["chatbot"], read_chatbot, ("mlm", "contrastive", "distill")),
        DataSet(CATALOGUE["nsmc"], read_nsmc, ("mlm", "contrastive", "distill")),
    )
}
"""What a recipe may train on."""

SELECTION_SETS = {data_set.public.name: data_set for data_set in (KORSTS_DEV, KLUE_STS_DEV)}
"""What may choose a stage's best weights."""


class TrainingData:
    """The training sets of one data directory, without any record that shares a sentence with KLUE-STS dev.

    Sentences are compared by their letters and digits, so spacing and punctuation hide nothing. `left_out` counts the
    records that were dropped for that, by data set.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.seed = seed
        self.left_out: dict[str, int] = {}

    def require(self, data_sets: Iterable[DataSet]) -> None:
        """Raise `InvalidInput` now, not hours later, when a data set that training needs is missing."""
        absent = [data_set for data_set in (KLUE_STS_DEV, *data_sets) if not self.has(data_set)]
        require_data_sets([data_set.public.name for data_set in absent], self.directory)

    def check(self, data_sets: Iterable[DataSet]) -> None:
        """Raise `InvalidInput` now, not hours later, when a file of a data set is malformed."""
        for path, data_set in self._present(data_sets):
            records = list(data_set.read(path))
            if data_set in (KLUE_STS_DEV, KORSTS_DEV):
                try:
                    require_correlation(records)
                except InvalidInput as error:
                    raise InvalidInput(f"{path}: {error}") from error

    def files(self, data_sets: Iterable[DataSet]) -> list[Path]:
        """The files that a training with these data sets reads."""
        return [path for path, _ in self._present(data_sets)]

    def _present(self, data_sets: Iterable[DataSet]) -> list[tuple[Path, DataSet]]:
        read = {each.public.name: each for each in (*data_sets, KORSTS_DEV, KLUE_STS_DEV)}
        paths = [(self.directory / each.public.file, each) for each in read.values()]
        return [(path, each) for path, each in paths if path.is_file()]

    def has(self, data_set: DataSet) -> bool:
        """Whether a data set's file is there, or the hub has it."""
        return data_set.hub is not None or (self.directory / data_set.public.file).is_file()

    def records(self, sources: Iterable[Source]) -> list[Record]:
        """The clean records of some training sets, one set after the other, without repetitions."""
        return [record for source in sources for record in self._records(source)]

    def scored_pairs(self, sources: Iterable[Source]) -> list[tuple[str, str, float]]:
        """The clean scored pairs of some training sets, each once a repetition of its set."""
        return [pair for source in sources for pair in scored_pairs(self._records(source)) * source.repeat]

    def sentences(self, sources: Iterable[Source]) -> list[str]:
        """The clean sentences of some training sets, each once a repetition of its set."""
        return [
            sentence for source in sources for sentence in distinct_sentences(self._records(source)) * source.repeat
        ]

    def evaluation(self, data_set: DataSet) -> list[Record]:
        """All of a data set that evaluates."""
        return list(self._read(data_set))

    @cached_property
    def _held_out(self) -> frozenset[str]:
        records = self.evaluation(KLUE_STS_DEV)
        return frozenset(sentence_key(sentence) for record in records for sentence in record.sentences)

    def _records(self, source: Source) -> list[Record]:
        data_set = TRAINING_SETS[source.name]
        records = list(self._read(data_set))
        held_out = frozenset() if data_set.held_out_split else self._held_out
        clean = [record for record in records if held_out.isdisjoint(map(sentence_key, record.sentences))]
        self.left_out[source.name] = len(records) - len(clean)
        if source.rows is None or source.rows >= len(clean):
            return clean
        return random.Random(self.seed).sample(clean, source.rows)

    def _read(self, data_set: DataSet) -> Iterable[Record]:
        self.require([data_set])
        path = self.directory / data_set.public.file
        if path.is_file() or data_set.hub is None:
            return data_set.read(path)
        return _scored_records(data_set.hub)


def distinct_sentences(records: Sequence[Record]) -> list[str]:
    """Every sentence of the records once, in their order."""
    return list(dict.fromkeys(sentence for record in records for sentence in record.sentences))


def scored_pairs(records: Sequence[Record]) -> list[tuple[str, str, float]]:
    """Sentence, sentence and score (0 to 1) of every record that people judged."""
    return [(*record.sentences, record.score) for record in records if record.score is not None]  # type: ignore[misc]


def require_correlation(records: Sequence[Record]) -> None:
    """Raise `InvalidInput` if all scores or all pairs are equal, so that no correlation exists."""
    pairs = scored_pairs(records)
    require_scores([score for _, _, score in pairs])
    # A model gives all pairs of equal sentences the same similarity.
    different = {frozenset((first, second)) if first != second else None for first, second, _ in pairs}
    if len(different) < 2:
        raise InvalidInput(
            f"all {len(pairs)} pairs have equal sentences or are the same pair; correlation needs two pairs or more "
            "that differ in similarity"
        )


def sentence_key(sentence: str) -> str:
    """The letters and digits of a sentence: two sentences that differ in spacing or punctuation share one key."""
    return "".join(char for char in unicodedata.normalize("NFC", sentence).casefold() if char.isalnum())


def _tab_separated(path: Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    with path.open("rb") as file:
        for number, line in numbered_lines(file, path.name):
            values = line.rstrip("\r\n").split("\t")
            if len(values) != columns:
                raise InvalidInput(
                    f"{path}, line {number}: expected {columns} tab-separated columns, got {len(values)}"
                )
            yield number, values


def _scored_records(data: str) -> Iterator[Record]:
    """The scored pairs of a file or a hub data set. Their scale is the benchmarks', 0 to 5; a record's is 0 to 1."""
    for pair in read_pairs(data):
        if not 0 <= pair.score <= MAX_SCORE:
            raise InvalidInput(
                f"{data}: the score of {pair.sentence1!r} and {pair.sentence2!r} is {pair.score:g}; must be from 0 to "
                f"{MAX_SCORE:g}"
            )
        score = pair.score / MAX_SCORE
        yield Record((pair.sentence1, pair.sentence2), score >= ALIKE_SCORE, score)


def _columns(row: Mapping[str, Any], where: str, *names: str) -> tuple[str, ...]:
    if missing := [name for name in names if name not in row]:
        raise InvalidInput(f"{where}: {missing[0]!r} is missing; a row has {', '.join(names)}")
    return tuple(checked(row[name], f"{where}: {name}") for name in names)

"""The sentences of the benchmarks, and a description of the machine."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import psutil

from benchmarks.processor import read_processor

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


def public_data(name: str) -> Path:
    """The file of a public data set (`sentriton data`). If it is missing, the benchmark ends with an error message."""
    # Imported here, since the environments of peers use this file but have no Sentriton.
    from sentriton.errors import InvalidInput
    from sentriton_server.data_sets import find

    try:
        return find(name)
    except InvalidInput as error:
        raise SystemExit(str(error)) from error


def klue_sentences() -> list[str]:
    """The 1,038 sentences of KLUE-STS dev (CC BY-SA 4.0), with 5 to 80 tokens."""
    pairs = json.loads(public_data("klue-sts-dev").read_text(encoding="utf-8"))
    return [pair[side] for pair in pairs for side in ("sentence1", "sentence2")]


def mixture_lengths(count: int) -> list[int]:
    """Lengths in tokens with a long tail, 4 to 512: half of them below 30, a twentieth above 200."""
    generator = random.Random(0)
    return [min(512, max(4, round(generator.lognormvariate(3.4, 1.15)))) for _ in range(count)]


def mixture_sentences(count: int) -> list[str]:
    """Sequences of KLUE-STS's words with `mixture_lengths` tokens each, including special tokens."""
    from tokenizers import Tokenizer

    from sentriton_server.resources import BUNDLED_CHECKPOINT

    tokenizer = Tokenizer.from_file(str(BUNDLED_CHECKPOINT / "tokenizer.json"))
    words = " ".join(klue_sentences()).split()
    tokens = [len(word) for word in tokenizer.encode_batch_fast(words, add_special_tokens=False)]
    generator = random.Random(0)
    sentences = []
    for length in mixture_lengths(count):
        begin = end = generator.randrange(len(words) - length)
        left = length - 2
        while tokens[end] <= left:
            left -= tokens[end]
            end += 1
        sentences.append(" ".join([*words[begin:end], *["."] * left]))
    return sentences


def spread_by_length(sentences: list[str]) -> list[str]:
    """The same sentences in an order in which each part has about the same mixture of lengths as the whole. So a server
    needs about the same time per sentence in each part.
    """
    # Multiples of the golden ratio, modulo 1, are spread evenly in each part.
    turns = sorted(range(len(sentences)), key=lambda turn: turn * GOLDEN_RATIO % 1)
    placed = dict(zip(turns, sorted(sentences, key=len), strict=True))
    return [placed[turn] for turn in range(len(sentences))]


def with_padding(sentences: list[str], tokens: list[int], batch_size: int) -> float:
    """The ratio of padded tokens to tokens in the batches of `SentenceTransformer.encode`, sorted by length in
    characters and padded to the longest of each batch. `tokens` is the number of each sentence's tokens.
    """
    longest_first = sorted(range(len(sentences)), key=lambda at: -len(sentences[at]))
    batches = [longest_first[begin : begin + batch_size] for begin in range(0, len(sentences), batch_size)]
    return sum(len(batch) * max(tokens[at] for at in batch) for batch in batches) / sum(tokens)


SENTENCES = {"klue": lambda count: klue_sentences()[:count], "mixture": mixture_sentences}


def cpu_seconds(process: psutil.Process) -> float:
    """The CPU time of a process and its descendants."""
    times = [member.cpu_times() for member in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def hardware(device: str = "cpu") -> str:
    """Processor and usable cores in words, after the GPU's name if any."""
    # Imported here, since the environments of peers use this file but have no Sentriton.
    from sentriton_server.cores import usable_cores

    if device == "gpu":
        import torch

        return f"{torch.cuda.get_device_name()}, {hardware()}"
    return f"{usable_cores()} cores of {read_processor()}"

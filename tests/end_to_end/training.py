"""A recipe of a tiny training, and its parts."""

from __future__ import annotations

import threading
from pathlib import Path

from sentriton_server.training import Recipe, load_recipe

RECIPE = """
name = "tiny"
seed = 1
[base.architecture]
layers = 1
hidden = 16
heads = 2
intermediate = 32
vocab_size = 120
max_seq_length = 24
tokenizer_data = ["korsts-train", "nsmc"]
[[stage]]
objective = "mlm"
data = ["nsmc"]
max_steps = 2
batch_size = 8
learning_rate = 1e-3
max_seq_length = 16
[[stage]]
objective = "contrastive"
data = ["parakqc", "nsmc"]
max_steps = 2
batch_size = 8
learning_rate = 1e-3
[[stage]]
objective = "cosine"
data = ["korsts-train"]
epochs = 2
batch_size = 8
learning_rate = 1e-3
best_on = "korsts-dev"
"""
WORDS = [
    "오늘",
    "내일",
    "날씨",
    "비",
    "숙소",
    "역",
    "가깝다",
    "멀다",
    "좋다",
    "나쁘다",
    "친절하다",
    "예약",
    "취소",
    "확인",
]


def distillation(more: Path, base: Path, teacher: str, max_steps: int) -> Recipe:
    """The recipe `more` with the objective "distill"."""
    text = more.read_text(encoding="utf-8").replace("'x'", f"'{base}'").replace('best_on = "korsts-dev"', "")
    text = text.replace('"cosine"', f'"distill"\nteacher = "{teacher}"').replace(
        "epochs = 1", f"max_steps = {max_steps}"
    )
    more.write_text(text.replace("1e-3", "1e-2"), encoding="utf-8")
    return load_recipe(str(more))


class InterruptedAfter(threading.Event):
    """Ctrl-C once a training has looked for it that many times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def is_set(self) -> bool:
        self._looks -= 1
        return self._looks < 0

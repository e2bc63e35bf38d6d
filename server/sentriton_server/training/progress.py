"""The state of a trainer's run beside its weights: its duration, and its measurements."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from sentriton.errors import InvalidInput
from sentriton.progress import LINE_PERIOD_S
from sentriton_server.training.report import LogRow
from sentriton_server.training.workspace import ELAPSED_FILE, sync

SAVE_PERIOD_S = 120.0  # the most work that a Ctrl-C or a power cut may cost
LOG_ROWS = 20  # of training loss alone, for a whole stage


class Progress(TrainerCallback):  # type: ignore[misc]
    """Saves a checkpoint every `SAVE_PERIOD_S`, counts the time over all interruptions, ends the stage at `stop_at`,
    and tells `say` how far it is.
    Raises `KeyboardInterrupt` once `interrupted` is set: a signal's exception is lost in a C library's callback.

    `folder` is where checkpoints go, `last_checkpoint` where the trainer resumes, None at a stage's beginning.
    """

    def __init__(
        self, folder: Path, stop_at: int | None, interrupted: threading.Event, say: Callable[[str], None]
    ) -> None:
        self.folder = folder
        self.say = say
        self._said = time.monotonic()
        self._first_step: int | None = None
        self._interrupted = interrupted
        self._stop_at = stop_at
        self.last_checkpoint: str | None = get_last_checkpoint(folder)
        self._before_s = 0.0
        if self.last_checkpoint is not None:
            self._before_s = json.loads((Path(self.last_checkpoint) / ELAPSED_FILE).read_text(encoding="utf-8"))
        self._started = self._saved = time.monotonic()

    @property
    def duration_s(self) -> float:
        """Wall time of the stage, without time lost in an interruption."""
        return self._before_s + time.monotonic() - self._started

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if the training is interrupted."""
        if self._interrupted.is_set():
            raise KeyboardInterrupt

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.check()
        self._show(state)
        if time.monotonic() - self._saved >= SAVE_PERIOD_S:
            control.should_save = True
        if state.global_step == self._stop_at:
            control.should_training_stop = True

    def _show(self, state: Any) -> None:
        """A line for a log every `LINE_PERIOD_S`; on a terminal the trainer has a bar of its own."""
        if self._first_step is None:
            self._first_step, self._first_s = state.global_step, time.monotonic()
        now = time.monotonic()
        steps = state.global_step - self._first_step
        if sys.stderr.isatty() or now - self._said < LINE_PERIOD_S or steps == 0:
            return
        self._said = now
        rate = steps / (now - self._first_s)
        left_s = (min(state.max_steps, self._stop_at or state.max_steps) - state.global_step) / rate
        self.say(f"step {state.global_step:,} of {state.max_steps:,}, {rate:.2f} steps/s, {left_s:,.0f} s left")

    def on_log(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        # The trainer leaves such a loss out of its log, and ends as if nothing had happened.
        if not _is_finite(model):
            raise InvalidInput(
                f"learning_rate = {args.learning_rate:g}: the training diverged by batch {state.global_step:,}, since "
                "its weights are not finite; give a smaller learning_rate or a longer warm-up"
            )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._saved = time.monotonic()
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        # At once: a checkpoint with this file is complete, also after a kill or a power failure at this moment.
        written = checkpoint / f"{ELAPSED_FILE}.new"
        written.write_text(json.dumps(self.duration_s), encoding="utf-8")
        sync(checkpoint)
        written.replace(checkpoint / ELAPSED_FILE)


def training_log(history: list[dict[str, Any]], measured: str | None) -> tuple[LogRow, ...]:
    """A trainer's log as the card shows it: a row for each evaluation, or a few rows of training loss.

    `measured` is the evaluation's key in `history`, None where a stage has none.
    """
    rows: list[LogRow] = []
    loss = None
    for entry in history:
        loss = entry.get("loss", loss)
        if measured in entry or (measured is None and "loss" in entry):
            rows.append(LogRow(entry["step"], entry["epoch"], _number(loss), _number(entry.get(measured or ""))))
    if measured is not None or len(rows) <= LOG_ROWS:
        return tuple(rows)
    return tuple(rows[(number + 1) * len(rows) // LOG_ROWS - 1] for number in range(LOG_ROWS))


def _is_finite(model: nn.Module) -> bool:
    return all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def _number(value: Any) -> float | None:
    return None if value is None else float(value)

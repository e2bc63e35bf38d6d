"""The scheduler of embed_tokens without Triton, and requests for it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from sentriton_server.resources import load_model_code

Allowance = load_model_code("embed_tokens", "allowance").Allowance
Pace = load_model_code("embed_tokens", "lane").Pace
Request, Row = (getattr(load_model_code("embed_tokens", "request"), name) for name in ("Request", "Row"))
Batch, Scheduler = (getattr(load_model_code("embed_tokens", "scheduler"), name) for name in ("Batch", "Scheduler"))


def make_request(*lengths: int, wait_s: float = 60.0, first_id: int = 1, **settings: Any) -> Any:
    """Packed rows of these lengths; their ids count from `first_id`, row by row."""
    row = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    pooled = np.ones(len(row), np.bool_)
    return Request(row + first_id, pooled, row, deadline=time.monotonic() + wait_s, **settings)


def make_scheduler(**settings: Any) -> Any:
    defaults = {"batch_tokens": 64, "batch_rows": 16, "batches_in_flight": 2, "waiting_rows": 100}
    callbacks = {"on_expired": ignore, "is_cancelled": lambda request: False, "on_cancelled": ignore}
    return Scheduler(**{**defaults, **callbacks, **settings})


def take(scheduler: Any) -> Any:
    """A batch that is computed at once."""
    batch = scheduler.take()
    scheduler.done(batch)
    return batch


def ignore(request: Any) -> None:
    pass


def first_ids(batch: Any) -> Any:
    """An embedding for each row of a batch: its first id."""
    input_ids, _, row = batch.tokens()
    return input_ids[np.searchsorted(row, np.arange(row[-1] + 1))][:, None].astype(np.float32)


def lengths(batch: Any) -> list[int]:
    return [row.length for row in batch.rows]

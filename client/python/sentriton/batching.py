"""Which sentences travel together: a plain function of their lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def plan_requests(lengths: Sequence[int], max_rows: int) -> list[list[int]]:
    """Cut the indices of `lengths` (tokens) into requests of at most `max_rows`, longest first, so that rows of one
    request are alike in length and hardly any padding travels."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    return [order[start : start + max_rows] for start in range(0, len(order), max_rows)]

"""Sentences and comparisons of the tests of the client."""

from __future__ import annotations

from typing import Any

import numpy as np

SENTENCES = [
    "숙소가 역에서 가까워서 편했어요.",
    "",
    "지하철역과 가까운 숙소였습니다.",
    "아주 긴 문장 " * 100,
    "A sentence in English.",
    "👍🏽 좋아요 🎉",
]
MANY = [f"{number}번째 문장 " + "이다 " * (number % 17) for number in range(150)]


def close(ours: Any, theirs: Any) -> None:
    """Compares float32 vectors, with a tolerance for another order of computation."""
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=2e-5)

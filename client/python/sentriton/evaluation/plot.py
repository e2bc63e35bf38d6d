"""Plots human scores against a model's similarities, and the residuals by source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentriton.evaluation.pairs import ScoredPair
from sentriton.files.heat_map import save_figure

ALL_PAIRS = "all pairs"
OTHER_SOURCES = "others"
MAX_SOURCES = 8


def draw_evaluation(
    pairs: Sequence[ScoredPair], similarities: NDArray[np.floating[Any]], title: str, path: Path
) -> None:
    """Plot cosine similarities [n] of n pairs: human against model scores, and a box of residuals for each source.
    The model's scores are its similarities, fitted linearly to the human scale. Raises `SentritonError` if the file
    cannot be written.
    """
    from matplotlib.figure import Figure

    gold = np.array([pair.score for pair in pairs])
    slope, intercept = np.polyfit(similarities, gold, 1)
    predicted = slope * similarities + intercept
    groups = _by_source(pairs)
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    figure.suptitle(title)
    scatter, boxes = figure.subplots(1, 2)
    for name, rows in groups.items():
        scatter.scatter(gold[rows], predicted[rows], s=12, alpha=0.6, label=f"{name} ({len(rows)})")
    ends = [gold.min(), gold.max()]
    scatter.plot(ends, ends, color="0.4", linewidth=1, label="equal")
    scatter.set(xlabel="people's score", ylabel="model's score (cosine, on people's scale)")
    figure.legend(loc="outside lower center", ncols=5)
    boxes.boxplot([predicted[rows] - gold[rows] for rows in groups.values()])
    boxes.axhline(0, color="0.4", linewidth=1)
    boxes.set_xticks(range(1, len(groups) + 1), list(groups), rotation=30, ha="right")
    boxes.set(ylabel="model's score - people's score")
    save_figure(figure, path)


def _by_source(pairs: Sequence[ScoredPair]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for row, pair in enumerate(pairs):
        groups.setdefault(pair.source or ALL_PAIRS, []).append(row)
    largest = sorted(groups, key=lambda name: -len(groups[name]))
    kept = {name: groups[name] for name in largest[:MAX_SOURCES]}
    if rest := [row for name in largest[MAX_SOURCES:] for row in groups[name]]:
        kept[OTHER_SOURCES] = sorted(rest)
    return kept

"""Draws similarity scores as a heat map with matplotlib (the extra `plot`). Only this module imports matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentriton.errors import InvalidInput, SentritonError
from sentriton.requirements import check_module

_LABEL_LETTERS = 24
_MAX_NUMBERED_SENTENCES = 20
# Parts of the names of fonts with letters beyond Latin, Korean first.
_FONTS = "nanum", "malgun", "apple sd gothic", "cjk", "noto sans kr", "pretendard", "baekmuk", "unifont", "dejavu sans"


def check_plot(path: Path) -> None:
    """Raises `InvalidInput` if no plot can be written there, or matplotlib is missing."""
    check_module("matplotlib", "plot", "--plot")
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InvalidInput(f"--plot is '{path}'; its ending must be one of .png, .svg, .pdf")
    if not path.parent.is_dir():
        raise InvalidInput(f"--plot {path}: no folder {path.parent}; create it first")


def draw_heat_map(texts: Sequence[str], scores: NDArray[Any], path: Path) -> bool:
    """Plot scores [n, n] of n texts. Returns whether the texts label the axes. If no font has all letters, their
    numbers (from 1) do. Raises `SentritonError` if the file cannot be written.
    """
    from matplotlib.figure import Figure

    count = len(texts)
    font = find_font("".join(texts))
    labels = [str(number) for number in range(1, count + 1)] if font is None else [_label(text) for text in texts]
    side = min(20.0, 2.5 + 0.6 * count)
    figure = Figure(figsize=(side + 1.5, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(scores, cmap="viridis")
    figure.colorbar(image, ax=axes, label="similarity", shrink=0.8)
    style: dict[str, Any] = {"font": font} if font else {}
    slant: dict[str, Any] = {"rotation": 45, "ha": "right"} if font else {}
    axes.set_xticks(range(count), labels, **style, **slant)
    axes.set_yticks(range(count), labels, **style)
    if count <= _MAX_NUMBERED_SENTENCES:
        _write_scores(axes, scores)
    save_figure(figure, path)
    return font is not None


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure of matplotlib. Raises `SentritonError` if the file cannot be written."""
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise SentritonError(f"cannot write {path}: {error.strerror or error}") from error


def find_font(letters: str) -> Path | None:
    from matplotlib import font_manager

    needed = {ord(letter) for letter in letters if letter.isprintable() and letter != " "}
    for name in _FONTS:
        for font in font_manager.fontManager.ttflist:
            if name in font.name.lower() and needed <= set(font_manager.get_font(font.fname).get_charmap()):
                return Path(font.fname)
    return None


def _label(text: str) -> str:
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    # A dollar sign would begin a formula.
    text = text if len(text) <= _LABEL_LETTERS else text[: _LABEL_LETTERS - 3] + "..."
    return text.replace("$", r"\$")


def _write_scores(axes: Any, scores: NDArray[Any]) -> None:
    middle = (np.nanmin(scores) + np.nanmax(scores)) / 2
    for (row, column), score in np.ndenumerate(scores):
        # Viridis is dark for low scores.
        axes.text(column, row, f"{score:.2f}", ha="center", va="center", color="w" if score < middle else "k")

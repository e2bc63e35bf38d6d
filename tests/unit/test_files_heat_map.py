"""Heat maps and the progress of a log, without a server."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from sentriton import progress
from sentriton.errors import InvalidInput
from sentriton.files import heat_map

PNG = b"\x89PNG"


@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_texts_label_the_axes_where_a_font_has_them(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scores{ending}"
    assert heat_map.draw_heat_map(["a price of $5 and $6", "two\nlines", "b" * 100], np.eye(3), path)
    assert path.stat().st_size > 1000


def test_numbers_label_the_axes_where_no_font_has_the_letters(tmp_path: Path) -> None:
    path = tmp_path / "scores.png"
    unknown = "\U000e01ef" if heat_map.find_font("한") else "한국어 문장"
    labelled = heat_map.draw_heat_map([unknown, "text"], np.eye(2), path)
    assert labelled == (heat_map.find_font(unknown) is not None)
    assert path.read_bytes()[:4] == PNG


def test_a_plot_that_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match=r"\.png, \.svg, \.pdf"):
        heat_map.check_plot(tmp_path / "scores.txt")
    with pytest.raises(InvalidInput, match="no folder"):
        heat_map.check_plot(tmp_path / "missing" / "scores.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InvalidInput, match="pip install 'matplotlib>="):
        heat_map.check_plot(tmp_path / "scores.png")


def test_progress_is_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_PERIOD_S", 0.0)
    with progress.progress_bar(True, 4000, 1000) as advance:
        advance(2000)
        advance(4000)
    with progress.progress_bar(True, None) as advance:
        advance(7)
    with progress.progress_bar(False, 10) as advance:
        advance(10)
    first, last, unknown = capsys.readouterr().err.splitlines()
    assert first.startswith("2,000 of 4,000 sentences (50%), ")
    assert first.endswith(" s left")
    assert last.startswith("4,000 of 4,000 sentences (100%)")
    assert unknown.startswith("7 sentences, ")

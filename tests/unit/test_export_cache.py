"""The cache: its entries and their removal. An export in use stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sentriton.errors import InvalidInput
from sentriton_server.commands import app
from sentriton_server.export_cache import KEPT_EXPORTS, entries, prune

DAY_S = 86_400
KEY = "0123456789abcdef"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path))
    return tmp_path


def make(folder: Path, size: int = 1000, days: float = 0.0) -> Path:
    """An entry of the cache that was last used this number of days ago."""
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"x" * size)
    used = time.time() - days * DAY_S
    os.utime(folder, (used, used))
    return folder


def export_name(of: str) -> str:
    return f"{of}-{KEY}"


def make_export(cache: Path, of: str, size: int = 1000, days: float = 0.0) -> Path:
    return make(cache / "repositories" / export_name(of), size, days)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["cache", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def hold_in_another_process(export: Path) -> subprocess.Popen[str]:
    """A process that uses an export until its standard input ends."""
    program = f"""
from pathlib import Path
from sentriton_server.export_cache import hold
print(hold(Path({str(export)!r})), flush=True)
input()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_the_list_has_sizes_and_dates(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # a sha256 in one line
    assert run("list") == f"{cache}: 0.0 MB in 0 entries\n"
    make_export(cache, "large-int8-cpu", size=2_500_000)
    make(cache / "operators" / KEY, days=400)
    (cache / "assets").mkdir()
    (cache / "assets" / (4 * KEY)).write_text("{}")
    make(cache / "repositories/.export-12345678")
    lines = run("list").splitlines()
    assert lines[0] == f"{cache}: 2.5 MB in 3 entries"
    today = time.strftime("%Y-%m-%d")
    assert any(line.split()[:4] == ["export", export_name("large-int8-cpu"), "2.5", today] for line in lines)
    assert any(line.split()[:3] == ["operators", KEY, "0.0"] and today not in line for line in lines)
    assert any(line.split()[:2] == ["tokenizer", 4 * KEY] for line in lines)


def test_clear_removes_all_but_data_sets_and_what_is_in_use(cache: Path) -> None:
    used, unused = (
        make_export(cache, "used"),
        make_export(cache, "unused"),
    )
    make(cache / "operators" / KEY)
    data = make(cache / "data/korsts")
    process = hold_in_another_process(used)
    output = run("clear")
    assert used.is_dir()
    assert data.is_dir()
    assert not unused.exists()
    assert f"kept the export {used.name}" in output
    assert f"removed the export {unused.name} (0.0 MB, last used" in output
    process.communicate("\n")
    run("clear", used.name, "korsts")
    assert entries() == []


def test_clear_may_spare_what_was_used_of_late(cache: Path) -> None:
    recent, old = (
        make_export(cache, "recent", days=1),
        make_export(cache, "old", days=9),
    )
    run("clear", "--older-than-days", "7")
    assert recent.is_dir()
    assert not old.exists()
    with pytest.raises(InvalidInput, match="'other' is no entry of the cache"):
        run("clear", "other")
    with pytest.raises(InvalidInput, match="allowed are numbers from 0"):
        run("clear", "--older-than-days", "-1")


def test_exports_do_not_pile_up(cache: Path) -> None:
    for number in range(KEPT_EXPORTS + 3):
        make_export(cache, f"model-{number}", days=number + 1)
    said: list[str] = []
    prune(said.append)
    assert sorted(path.name for path in (cache / "repositories").iterdir()) == sorted(
        export_name(f"model-{number}") for number in range(KEPT_EXPORTS)
    )
    assert len(said) == 3
    assert said[0].startswith(f"removed the export {export_name(f'model-{KEPT_EXPORTS}')} (0.0 MB, last used")


def test_exports_of_the_last_days_stay_however_many(cache: Path) -> None:
    for number in range(KEPT_EXPORTS + 3):
        make_export(cache, f"model-{number}", days=1)
    prune(pytest.fail)
    assert len(entries()) == KEPT_EXPORTS + 3


def test_what_the_cache_did_not_make_stays(cache: Path) -> None:
    """`$SENTRITON_CACHE` may be a folder with other files."""
    own = make_export(cache, "model-int8-cpu")
    others = [make(cache / name) for name in ("repositories/my-project", "operators/notes", f"operators/{KEY}0")]
    (cache / "assets").mkdir()
    (cache / "assets/logo.png").write_bytes(b"x")
    run("clear")
    assert not own.exists()
    assert all(path.is_dir() for path in others)
    assert (cache / "assets/logo.png").exists()
    assert entries() == []
    with pytest.raises(InvalidInput, match="'my-project' is no entry of the cache"):
        run("clear", "my-project")

"""FILE.skipped.txt belongs to the output beside it."""

from __future__ import annotations

from pathlib import Path

from tests.commands import run
from tests.server.conftest import RunningServer


def test_a_run_that_fails_leaves_the_list_of_the_output_that_stays(server: RunningServer, tmp_path: Path) -> None:
    path, output, listed = tmp_path / "in.csv", tmp_path / "out.npy", tmp_path / "out.npy.skipped.txt"
    arguments = ["embed", "--input", path, "--output", output, "--on-error", "skip", "--url", server.url]
    path.write_text("id,text\n1\n2,a\n", encoding="utf-8")
    assert run(*arguments).returncode == 0
    before = listed.read_text(encoding="utf-8")
    assert before == "in.csv, line 2 has 1 columns; the header has 2\n"
    path.write_text('id,text\n1,a\n2\n3,"never closed\n', encoding="utf-8")
    failed = run(*arguments, "--overwrite")
    assert (failed.returncode, "line 4 is malformed" in failed.stderr) == (1, True)
    assert listed.read_text(encoding="utf-8") == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.csv", output.name, listed.name]
    path.write_text("id,text\n1,a\n", encoding="utf-8")
    assert run(*arguments, "--overwrite").returncode == 0
    assert not listed.exists()

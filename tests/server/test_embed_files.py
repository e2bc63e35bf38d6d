"""`sentriton embed` on files against a real server: all formats, interruptions and resumed runs, and errors."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from sentriton import SentenceEncoder
from sentriton.stream import CHUNK_SENTENCES
from tests.commands import SENTRITON, run
from tests.server.conftest import RunningServer

TEXTS = ["첫 문장입니다.", "두 번째, 문장입니다.", "", "A third one."]
MOST_CLIENT_MIB = 500


def read_embeddings(path: Path) -> NDArray[Any]:
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return np.array([row["embedding"] for row in rows], np.float32)
    table = pq.read_table(path)
    return np.stack(table["embedding"].to_numpy())


def write_lines(path: Path, distinct: list[str], count: int) -> NDArray[np.int64]:
    """Write `count` random lines of `distinct`. Returns their indices."""
    chosen = np.array(random.Random(0).choices(range(len(distinct)), k=count))
    path.write_text("".join(f"{distinct[place]}\n" for place in chosen), encoding="utf-8")
    return chosen


def kept_bytes(output: Path) -> int:
    """Bytes in FILE.partial."""
    partial = output.with_name(output.name + ".partial")
    if partial.is_dir():
        return sum(part.stat().st_size for part in partial.glob("rows-*"))
    return partial.stat().st_size if partial.exists() else 0


def stop_when_kept(command: list[str], output: Path, size: int, number: signal.Signals) -> tuple[int, str]:
    """Start the command and send a signal once FILE.partial has `size` bytes; its exit code and standard error."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while kept_bytes(output) < size and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert not output.exists()
    return process.returncode, errors


def run_for_peak(command: list[str]) -> tuple[dict[str, Any], float]:
    """The command's JSON and the most memory that it had, in MiB.

    The system's figure for ended children is useless, since it starts with the test process's memory at the fork.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        status, peak_kib = Path(f"/proc/{process.pid}/status"), 0
        while process.poll() is None:
            if found := [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]:
                peak_kib = int(found[0].split()[1])
            time.sleep(0.05)
        assert process.stdout is not None
        output = process.stdout.read()
    assert process.returncode == 0
    return json.loads(output), peak_kib / 1024


def test_a_killed_run_resumes_to_the_same_result_in_constant_memory(
    server: RunningServer, encoder: SentenceEncoder, tmp_path: Path
) -> None:
    count, distinct = 20_480, [f"{number}" for number in range(500)]
    chosen = write_lines(tmp_path / "in.txt", distinct, count)
    output = tmp_path / "out.npy"
    command = [SENTRITON, "embed", "--input", str(tmp_path / "in.txt"), "--output", str(output), "--json"]
    command += ["--url", server.url]
    row_bytes = encoder.manifest.dimension * 4
    code, _ = stop_when_kept(command, output, int(0.3 * count) * row_bytes, signal.SIGKILL)
    assert code == -signal.SIGKILL
    # As after a kill in the middle of a write.
    partial = output.with_name("out.npy.partial")
    os.truncate(partial, partial.stat().st_size - row_bytes // 2)
    summary, peak_mib = run_for_peak(command)
    assert summary["rows"] == count
    assert 0.3 * count - CHUNK_SENTENCES < summary["resumed"] < 0.6 * count
    # The rate is that of the rows of this run, without the import and the count before.
    rate = (count - summary["resumed"]) / summary["seconds"]
    assert rate <= summary["sentences_per_s"] < 3 * rate
    np.testing.assert_allclose(np.load(output), encoder.encode(distinct)[chosen], atol=1e-5)
    assert peak_mib < MOST_CLIENT_MIB
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.npy"]


@pytest.mark.parametrize(
    ("ending", "number"),
    [(".jsonl", signal.SIGKILL), (".parquet", signal.SIGKILL), (".npy", signal.SIGINT), (".parquet", signal.SIGTERM)],
)
def test_every_kind_resumes_after_every_signal(
    server: RunningServer, encoder: SentenceEncoder, tmp_path: Path, ending: str, number: signal.Signals
) -> None:
    distinct = [f"{number}번" for number in range(200)]
    chosen = write_lines(tmp_path / "in.txt", distinct, 3 * CHUNK_SENTENCES)
    output = tmp_path / f"out{ending}"
    command = [SENTRITON, "embed", "--input", str(tmp_path / "in.txt"), "--output", str(output), "--json"]
    command += ["--url", server.url]
    code, errors = stop_when_kept(command, output, 1000, number)
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 128 + number
        assert "rows are kept" in errors
        assert "Traceback" not in errors
    summary, _ = run_for_peak(command)
    assert summary["rows"] == len(chosen)
    assert 0 < summary["resumed"] < len(chosen)
    np.testing.assert_allclose(read_embeddings(output), encoder.encode(distinct)[chosen], atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", output.name]


@pytest.mark.parametrize("ending", [".txt", ".jsonl", ".csv", ".parquet"])
def test_files_of_every_kind_are_embedded(
    server: RunningServer, encoder: SentenceEncoder, tmp_path: Path, ending: str
) -> None:
    path, output = tmp_path / f"in{ending}", tmp_path / "out.parquet"
    if ending == ".txt":
        path.write_text("\n".join(TEXTS), encoding="utf-8")
    elif ending == ".jsonl":
        path.write_text("".join(json.dumps({"body": text}) + "\n" for text in TEXTS), encoding="utf-8")
    elif ending == ".csv":
        path.write_text("n,body\n" + "".join(f'1,"{text}"\n' for text in TEXTS), encoding="utf-8")
    else:
        pq.write_table(pa.table({"n": range(len(TEXTS)), "body": TEXTS}), path)
    column = [] if ending == ".txt" else ["--column", "body"]
    result = run("embed", "--input", path, "--output", output, *column, "--url", server.url)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"wrote {len(TEXTS)} rows of {encoder.manifest.dimension} float32")
    table = pq.read_table(output)
    assert table["sentence" if ending == ".txt" else "body"].to_pylist() == TEXTS
    if ending in (".csv", ".parquet"):
        assert table.column_names == ["n", "body", "embedding"]
        assert table["n"].to_pylist() == (["1"] * 4 if ending == ".csv" else list(range(4)))
    np.testing.assert_allclose(read_embeddings(output), encoder.encode(TEXTS), atol=1e-5)


def test_options_are_those_of_encode(server: RunningServer, encoder: SentenceEncoder, tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    options = ["--normalize", "--truncate-dim", 64, "--precision", "ubinary", "--prompt", "질문: ", "--batch-size", 2]
    result = run("embed", *TEXTS, "--output", output, *options, "--progress", "--url", server.url)
    assert result.returncode == 0, result.stderr
    assert "4 of 4 sentences (100%)" in result.stderr
    expected = encoder.encode(
        TEXTS, normalize_embeddings=True, truncate_dim=64, precision="ubinary", prompt="질문: ", batch_size=2
    )
    np.testing.assert_array_equal(np.load(output), expected)
    assert np.load(output).dtype == np.uint8


@pytest.mark.parametrize("ending", [".npy", ".jsonl", ".parquet"])
def test_an_empty_file_makes_an_empty_one(server: RunningServer, tmp_path: Path, ending: str) -> None:
    (tmp_path / "in.csv").write_text("", encoding="utf-8")
    output = tmp_path / f"out{ending}"
    result = run("embed", "--input", tmp_path / "in.csv", "--output", output, "--json", "--url", server.url)
    assert json.loads(result.stdout)["rows"] == 0, result.stderr
    assert output.exists()
    if ending == ".npy":
        assert np.load(output).shape[0] == 0


def test_a_full_disk_keeps_what_was_written(server: RunningServer, encoder: SentenceEncoder, tmp_path: Path) -> None:
    distinct = [f"{number}" for number in range(100)]
    chosen = write_lines(tmp_path / "in.txt", distinct, 3 * CHUNK_SENTENCES)
    output = tmp_path / "out.npy"
    command = [SENTRITON, "embed", "--input", str(tmp_path / "in.txt"), "--output", str(output), "--url", server.url]
    # Space for a part of the rows, as on a disk that becomes full.
    blocks = CHUNK_SENTENCES * encoder.manifest.dimension * 4 * 3 // 2 // 1024
    limited = ["bash", "-c", f'ulimit -f {blocks}; exec "$@"', "bash", *command]
    stopped = subprocess.run(limited, capture_output=True, text=True, timeout=60, check=False)
    assert stopped.returncode == 1
    assert f"cannot write {output}" in stopped.stderr
    kept = re.search(r"; ([\d,]+) rows are kept", stopped.stderr)
    assert kept is not None
    assert int(kept[1].replace(",", "")) > 0
    assert not output.exists()
    summary, _ = run_for_peak([*command, "--json"])
    assert summary["resumed"] >= int(kept[1].replace(",", ""))
    np.testing.assert_allclose(np.load(output), encoder.encode(distinct)[chosen], atol=1e-5)


def test_another_run_does_not_go_on_with_the_rows(server: RunningServer, tmp_path: Path) -> None:
    write_lines(tmp_path / "in.txt", ["a", "b"], 3 * CHUNK_SENTENCES)
    output = tmp_path / "out.npy"
    arguments = ["embed", "--input", tmp_path / "in.txt", "--output", output, "--url", server.url]
    stop_when_kept([SENTRITON, *map(str, arguments)], output, 1000, signal.SIGKILL)
    refused = run(*arguments, "--normalize")
    assert refused.returncode == 1
    assert "normalize was False and is True" in refused.stderr
    assert "--restart" in refused.stderr
    restarted = run(*arguments, "--normalize", "--restart", "--json")
    assert json.loads(restarted.stdout)["resumed"] == 0, restarted.stderr
    np.testing.assert_allclose(np.linalg.norm(np.load(output), axis=1), 1, atol=1e-5)
    again = run(*arguments)
    assert again.returncode == 1
    assert "--overwrite" in again.stderr
    assert run(*arguments, "--overwrite").returncode == 0


def test_a_wrong_line_is_named_before_anything_is_embedded(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('"fine"\n' * 3000 + "{broken\n", encoding="utf-8")
    result = run("embed", "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.npy", "--url", server.url)
    assert result.returncode == 1
    assert "in.jsonl, line 3001 is not JSON" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x", "--output", "/nowhere/out.npy"], "no folder /nowhere"),
        (["x", "--precision", "int8"], "allowed are float32, binary, ubinary"),
        (["x", "--json"], "--output FILE"),
        (["x", "--column", "text"], "--column"),
        (["--input", "missing.csv"], "no file missing.csv"),
        (["--input", "pyproject.toml"], "'.toml'"),
    ],
)
def test_what_cannot_work_is_refused_before_a_server_is_asked(arguments: list[str], message: str) -> None:
    result = run("embed", *arguments, "--url", "127.0.0.1:9")
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_options_are_named(server: RunningServer, tmp_path: Path) -> None:
    result = run("embed", "x", "--truncate-dim", 99999, "--output", tmp_path / "out.npy", "--url", server.url)
    assert result.returncode == 1
    assert "--truncate-dim is 99999" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_similarity_draws_a_heat_map(server: RunningServer, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = run("similarity", *TEXTS[:2], "--plot", tmp_path / "scores.png", "--url", server.url)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")
    assert "Warning" not in result.stderr


def test_a_long_line_is_cut_as_encode_cuts_it(server: RunningServer, encoder: SentenceEncoder, tmp_path: Path) -> None:
    text = "긴 문장입니다. " * 60_000
    (tmp_path / "in.txt").write_text(text + "\n", encoding="utf-8")
    result = run("embed", "--input", tmp_path / "in.txt", "--output", tmp_path / "out.npy", "--url", server.url)
    assert result.returncode == 0, result.stderr
    np.testing.assert_allclose(np.load(tmp_path / "out.npy")[0], encoder.encode(text), atol=1e-5)


@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        ("> /dev/full", "error: cannot write to standard output after 0 rows: No space left on device"),
        (">&-", "error: standard output is closed; redirect it to a file or to /dev/null"),
        ("| true", "error: cannot write to standard output after"),
    ],
)
def test_a_full_or_closed_output_is_one_sentence(
    server: RunningServer, tmp_path: Path, redirection: str, message: str
) -> None:
    write_lines(tmp_path / "in.txt", ["a"], 3000)
    command = f"{SENTRITON} embed --input {tmp_path}/in.txt --url {server.url} {redirection}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith(message)
    full = subprocess.run(["bash", "-c", f"{SENTRITON} info --url {server.url} > /dev/full"], capture_output=True)
    assert full.stderr.decode() == "error: cannot write the output: No space left on device\n"

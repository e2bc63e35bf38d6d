"""`sentriton embed` replaces only allowed files, and truncates no line whose end matters."""

from __future__ import annotations

import json
import os
import pickle
import pwd
import subprocess
from fractions import Fraction
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from sentriton import InvalidInput, SentenceEncoder
from sentriton.files.columns import plain_row
from sentriton.files.embedding import embed_to_file, fills_of
from sentriton.files.sources import SentenceSource, open_source
from tests.commands import SENTRITON, run
from tests.small_server import SmallServer, first_tokens, vectors


def embed(server: SmallServer, source: Path, output: Path, *flags: str) -> str:
    """The command's text on standard error; empty if it succeeded."""
    done = run("embed", "--input", source, "--output", output, "--url", server.url, *flags)
    assert (done.returncode == 0) == (done.stderr == ""), done.stderr
    return done.stderr


@pytest.mark.parametrize("list_name", ["out.npy.skipped.txt", "out.npy.partial.skipped.txt"])
def test_a_list_of_skipped_rows_may_not_be_the_input(server: SmallServer, tmp_path: Path, list_name: str) -> None:
    source, output = tmp_path / list_name, tmp_path / "out.npy"
    source.write_text("w1\nw2\n")
    assert "which a run for --output" in embed(server, source, output, "--overwrite")
    assert source.read_text() == "w1\nw2\n"
    assert not output.exists()


def test_a_file_in_place_of_the_list_is_kept(server: SmallServer, tmp_path: Path) -> None:
    source, output, mine = tmp_path / "in.txt", tmp_path / "out.npy", tmp_path / "out.npy.skipped.txt"
    source.write_text("w1\n")
    mine.write_text("mine")
    assert f"{mine} exists, and a run for --output {output} replaces it" in embed(server, source, output)
    assert mine.read_text() == "mine"
    assert embed(server, source, output, "--overwrite") == ""
    assert not mine.exists()


def test_an_output_that_is_a_link_is_written_through_it(server: SmallServer, tmp_path: Path) -> None:
    source, output, target = tmp_path / "in.txt", tmp_path / "out.npy", tmp_path / "vectors.npy"
    source.write_text("w1\nw2\n")
    output.symlink_to(target)
    for flags in ([], ["--overwrite"]):
        assert embed(server, source, output, *flags) == ""
        assert output.is_symlink()
        assert np.load(target).shape == (2, 4)


def test_a_run_resumes_only_with_the_same_content(server: SmallServer, tmp_path: Path) -> None:
    def refuse_w2(number: int, context: grpc.ServicerContext) -> None:
        if 2 in first_tokens(server.requests[number]):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no more")

    source, output = tmp_path / "in.txt", tmp_path / "out.npy"
    content = "w1\n" * 32 + "w2\n" * 8
    source.write_text(content)
    before = source.stat()
    server.refuse = refuse_w2
    assert "32 rows are kept" in embed(server, source, output)
    server.refuse = lambda number, context: None
    source.write_text(content.replace("w1", "w3"))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "sha256 of input was" in embed(server, source, output)
    source.write_text(content)  # at another time
    server.requests.clear()
    assert embed(server, source, output) == ""
    assert (np.load(output) == vectors(content.split())).all()
    assert all((first_tokens(request) == 2).all() for request in server.requests)


def test_an_output_that_is_a_link_to_itself_is_replaced(server: SmallServer, tmp_path: Path) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out.npy"
    source.write_text("w1\n")
    output.symlink_to(output)
    assert embed(server, source, output) == ""
    assert np.load(output).shape == (1, 4)


@pytest.mark.parametrize("ending", [".npy", ".jsonl", ".parquet"])
def test_file_names_may_be_no_utf_8(server: SmallServer, tmp_path: Path, ending: str) -> None:
    source, output = tmp_path / "caf\udce9.txt", tmp_path / f"caf\udce9{ending}"
    source.write_text("w1\n")
    assert embed(server, source, output) == ""
    assert output.stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, output.name])


def test_a_parquet_file_whose_name_is_no_utf_8_is_refused(server: SmallServer, tmp_path: Path) -> None:
    source, plain = tmp_path / "caf\udce9.parquet", tmp_path / "cafe.parquet"
    pq.write_table(pa.table({"text": ["w1"]}), plain)
    plain.rename(source)
    assert "error: cannot read " in embed(server, source, tmp_path / "out.npy")


def test_rows_that_a_second_reading_lacks_are_no_complete_output(server: SmallServer, tmp_path: Path) -> None:
    path, output = tmp_path / "in.txt", tmp_path / "out.npy"
    path.write_text("w1\nw2\nw3\n")
    readings = iter([["w1", "w2", "w3"], ["w1", "w2"]])
    source = SentenceSource(path.name, {}, lambda reject, fills: map(plain_row, next(readings)), path=path)
    with SentenceEncoder(server.url) as encoder, pytest.raises(InvalidInput, match=r"2 rows of 3 .* are kept") as error:
        embed_to_file(encoder, source, output, {}, on_error="skip")
    assert str(error.value).endswith("; give --restart to embed all")
    assert not output.exists()


def test_an_output_of_a_run_that_ended_meanwhile_is_kept(server: SmallServer, tmp_path: Path) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out.npy"
    source.write_text("w1\n")
    sentences = open_source(None, source, None)
    with SentenceEncoder(server.url) as encoder:
        embed_to_file(encoder, sentences, output, {})
        source.write_text("w2\n")
        with pytest.raises(InvalidInput, match="give --overwrite to allow this"):
            embed_to_file(encoder, sentences, output, {})
        assert (np.load(output) == vectors(["w1"])).all()
        embed_to_file(encoder, sentences, output, {}, overwrite=True)
    assert (np.load(output) == vectors(["w2"])).all()
    assert {path.name for path in tmp_path.iterdir()} == {"in.txt", "out.npy"}


def test_a_closed_standard_error_changes_no_output(server: SmallServer, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.npy"
    source.write_text('"w1"\n5\n')
    command = f"{SENTRITON} embed --input {source} --on-error skip --url {server.url}"
    printed = subprocess.run(f"{command} 2>&-", shell=True, capture_output=True, text=True, check=True).stdout
    assert [json.loads(line)["sentence"] for line in printed.splitlines()] == ["w1"]
    subprocess.run(f"{command} --output {output} 2>&-", shell=True, capture_output=True, check=True)
    assert np.load(output).shape == (1, 4)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_the_terminal_lacks_are_escaped(server: SmallServer, encoding: str) -> None:
    done = subprocess.run(
        [SENTRITON, "similarity", "w1 문장", "w2", "--url", server.url],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0, done.stderr
    assert ("문장" if encoding == "utf-8" else r"\ubb38\uc7a5") in done.stdout.decode(encoding)


def test_a_url_that_is_no_utf_8_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"url is .*; allowed are host:port"):
        SentenceEncoder("\udce9:8001")


def test_a_user_without_a_home_folder_has_no_cache(server: SmallServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # As for a number without a name in a container.
    for variable in ("SENTRITON_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with SentenceEncoder(server.url) as encoder:
        assert encoder.encode("w1")[0] == 1


def test_a_beginning_fills_the_model_if_its_half_does(server: SmallServer) -> None:
    tokenizer = Tokenizer.from_str(server.tokenizer.decode())
    for direction in ("right", "left"):
        tokenizer.enable_truncation(int(server.manifest["max_seq_length"]), direction=direction)
        server.tokenizer = tokenizer.to_str().encode()
        with SentenceEncoder(server.url) as encoder:
            fills = fills_of(encoder)
            assert fills("w7 " * 1000) == (direction == "right")
            assert not fills("w7 " * 20)
            assert not fills("w7" * 1000)
            assert not fills(" " * 1000)


def test_a_long_text_without_a_token_is_cut_in_its_error(server: SmallServer) -> None:
    with SentenceEncoder(server.url) as encoder:
        for sentences in ([" " * 100_000], ["w1"] * 20 + [" " * 100_000]):
            with pytest.raises(InvalidInput, match="which has no token") as raised:
                encoder.encode(sentences)
            assert len(str(raised.value)) < 400


def test_an_encoder_says_that_it_cannot_be_pickled(server: SmallServer) -> None:
    with SentenceEncoder(server.url) as encoder, pytest.raises(TypeError, match="make a new one in each process"):
        pickle.dumps(encoder)


def test_a_deadline_beyond_all_numbers_is_refused(server: SmallServer) -> None:
    with SentenceEncoder(server.url) as encoder:
        with pytest.raises(InvalidInput, match="allowed are finite numbers above 0"):
            encoder.encode("w1", timeout_s=2**2000)
        assert encoder.encode("w1", timeout_s=float(Fraction(60)))[0] == 1

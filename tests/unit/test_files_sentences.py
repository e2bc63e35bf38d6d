"""Files of sentences, right and wrong, read without a server."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentriton.errors import InvalidInput
from sentriton.files.rows import MAX_LINE_BYTES, STRICT, Reading, checked_encoding
from sentriton.files.sentences import check_kind, sentence_rows
from sentriton.files.sources import open_source

SENTENCES = ["첫 문장", "", ' "quoted", with commas ', "tab\tless"]


def read_sentences(path: Path, column: str | None = None, reading: Reading = STRICT) -> Iterator[str]:
    return (row.sentence for row in sentence_rows(path, column, reading))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "column", "expected"),
    [
        ("a.txt", "one\n\n두 문장\r\nlast", None, ["one", "", "두 문장", "last"]),
        ("a.txt", "\ufeffone\u2028same line\n", None, ["one\u2028same line"]),
        ("a.TXT", "", None, []),
        ("a.jsonl", '"plain"\n\n{"text": "field", "n": 1}\n', None, ["plain", "field"]),
        ("a.jsonl", '{"n": 1, "body": "하나\\n둘"}\n', "body", ["하나\n둘"]),
        ("a.jsonl", "", "body", []),
        ("a.csv", 'id,text\n1,"a, ""b""\nc"\n\n2,d\n', None, ['a, "b"\nc', "d"]),
        ("a.csv", "only\nx\n", None, ["x"]),
        ("a.csv", "", "text", []),
        ("a.csv", "text\n", "text", []),
        ("a.tsv", 'score\tfirst\n1\t"half quoted\n2\tb, c\n', "first", ['"half quoted', "b, c"]),
    ],
)
def test_sentences_are_read(tmp_path: Path, name: str, content: str, column: str | None, expected: list[str]) -> None:
    path = write(tmp_path / name, content)
    check_kind(path, column)
    assert list(read_sentences(path, column)) == expected


@pytest.mark.parametrize(
    ("name", "content", "column", "parts"),
    [
        ("a.txt", b"good\nbad \xff\n", None, ["a.txt", "line 2", "UTF-8", "byte 5", "0xff"]),
        ("a.jsonl", b"x" * (MAX_LINE_BYTES + 1), None, ["line 1", "longer than 1,048,576 bytes"]),
        ("a.csv", "text,embedding\nx,y\n", None, ["a column 'embedding', which the output adds; rename it"]),
        ("a.csv", "text,n,n\nx,y,z\n", None, ["2 columns 'n'"]),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', None, ["a.jsonl, line 2", "not JSON"]),
        ("a.jsonl", "[" * 100_000, None, ["line 1", "not JSON"]),
        ("a.jsonl", '{"text": "a"}\n{"body": "b"}\n', None, ["line 2", "no column 'text'", "'body'"]),
        ("a.jsonl", '{"a": "x", "b": "y"}\n', None, ["'a', 'b'", "--column"]),
        ("a.jsonl", '{"text": 5}\n', None, ["line 1, column 'text'", "5 and not a string"]),
        ("a.jsonl", "null\n", None, ["line 1", "null and not a string"]),
        ("a.jsonl", '"\\ud800"\n', None, ["line 1", "lone surrogate"]),
        ("a.csv", "a,b\nx,y\n", "text", ["a.csv", "no column 'text'", "'a', 'b'"]),
        ("a.csv", "a,a\nx,y\n", "a", ["2 columns 'a'"]),
        ("a.csv", 'text,n\n"a\nb",1\nc\n', None, ["line 4", "1 columns", "the header has 2"]),
        ("a.csv", 'text\nfine\n"never closed\n', None, ["row that begins on line 3"]),
        ("a.csv", b"text\nfine\n\xb0\xa1\n", None, ["line 3", "UTF-8"]),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, name: str, content: str | bytes, column: str | None, parts: list[str]
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(InvalidInput) as error:
        list(read_sentences(path, column))
    assert [part for part in parts if part not in str(error.value)] == [], str(error.value)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_parquet_column_is_read(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "a.parquet"
    sentences = SENTENCES * 1000
    pq.write_table(pa.table({"n": range(len(sentences)), "text": pa.array(sentences, kind)}), path, row_group_size=1500)
    assert list(read_sentences(path)) == sentences
    assert list(read_sentences(path, "text")) == sentences


def test_what_is_wrong_in_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": [1, 2], "text": ["a", None]}), path)
    for column, message in {"n": "int64", "text": "column 'text', row 2 is null", "body": "'n', 'text'"}.items():
        with pytest.raises(InvalidInput, match=message):
            list(read_sentences(path, column))
    with pytest.raises(InvalidInput, match=r"cannot read .*a\.parquet"):
        list(read_sentences(write(path, "no parquet at all"), None))


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"'\.xlsx'.*\.txt, \.jsonl, \.csv, \.tsv, \.parquet"):
        check_kind(write(tmp_path / "a.xlsx", ""), None)
    with pytest.raises(InvalidInput, match="no file"):
        check_kind(tmp_path / "missing.txt", None)
    with pytest.raises(InvalidInput, match="is a folder"):
        check_kind(tmp_path, None)
    with pytest.raises(InvalidInput, match="has no columns"):
        check_kind(write(tmp_path / "a.txt", ""), "text")


def test_a_missing_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InvalidInput, match="pip install 'pyarrow>="):
        check_kind(write(tmp_path / "a.parquet", ""), None)


def test_a_source_is_named_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "x\n")
    with pytest.raises(InvalidInput, match="both TEXT and --input"):
        open_source(["x"], path, None)
    with pytest.raises(InvalidInput, match="--column"):
        open_source(["x"], None, "text")
    with pytest.raises(InvalidInput, match="TEXT 2 has the lone surrogate"):
        open_source(["x", "\udcff"], None, None)
    assert open_source(None, path, None).survey() == (1, {"sentence": {str}})


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "x\n")
    source = open_source(None, path, None)
    content = source.content()
    assert content == {"bytes of input": 2, "sha256 of input": hashlib.sha256(b"x\n").hexdigest()}
    before = path.stat()
    for text in ("x\ny\n", "y\n"):
        write(path, text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(InvalidInput, match="changed during the run"):
            source.check_unchanged(content)
    write(path, "x\n")
    source.check_unchanged(content)


def test_reading_goes_no_further_than_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"first\n\xff\n")
    sentences: Iterator[str] = read_sentences(path)
    assert next(sentences) == "first"


@pytest.mark.parametrize(
    ("name", "content", "expected", "skipped"),
    [
        ("a.txt", b"one\n\xff\ntwo\n", ["one", "two"], ["line 2 is not UTF-8"]),
        (
            "a.jsonl",
            b'{"text": "a"}\n{"text": null}\n{"text": \n{"body": "b"}\n"\xff"\n"\\ud800"\n"z"\n',
            ["a", "z"],
            ["line 2, column 'text' is null", "line 3 is not JSON", "line 4 has no column 'text'", "line 5", "line 6"],
        ),
        (
            "a.csv",
            b'text,n\n"a\nb",1\n"\xb0\n",2\nonly\nc,3\n',
            ["a\nb", "c"],
            ["line 4 is not UTF-8", "line 6 has 1 columns"],
        ),
        (
            "a.tsv",
            b"text\n" + b"x" * (MAX_LINE_BYTES + 5) + b"\nlast\r\na\tb\na\rb\nend\n",
            ["last", "end"],
            ["line 2 is longer than 1,048,576", "line 4 has 2 columns", "line 5 has a CR inside"],
        ),
    ],
)
def test_wrong_rows_are_skipped_where_they_may_be(
    tmp_path: Path, name: str, content: bytes, expected: list[str], skipped: list[str]
) -> None:
    errors: list[str] = []
    reading = Reading(reject=lambda error: errors.append(str(error)))
    assert list(read_sentences(write(tmp_path / name, content), None, reading)) == expected
    assert len(errors) == len(skipped)
    assert [part for part, error in zip(skipped, errors, strict=True) if part not in error] == [], errors


LONG = b"x" * (MAX_LINE_BYTES + 5)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("a.csv", b'text,n\n"a\n' + LONG + b'\nb",1\nc,2\n', "line 3 is longer than", id="in a field"),
        pytest.param("a.csv", b'text,n\n"' + LONG + b'\nb,1\nc",2\n', "line 2 is longer than", id="begins a field"),
        pytest.param("a.csv", LONG + b"\na,b\n", "line 1 is longer than", id="long header"),
        pytest.param("a.tsv", LONG + b"\na\tb\n", "line 1 is longer than", id="long header between tabs"),
        pytest.param("a.csv", b"te\xffxt,n\ntext,1\nb,2\n", "line 1 is not UTF-8; convert the file", id="header"),
        pytest.param(
            "a.tsv", b"\nte\xffxt\ntext\nb\n", "line 2 is not UTF-8; convert the file", id="header between tabs"
        ),
        pytest.param("a.tsv", b"text\rone\rtwo\r", "line 1 has a CR inside; remove it", id="lines that end in CR"),
    ],
)
def test_what_other_rows_depend_on_is_not_skipped(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    reading = Reading(reject=lambda error: pytest.fail(f"skipped: {error}"))
    with pytest.raises(InvalidInput, match=message):
        list(read_sentences(write(tmp_path / name, content), "text", reading))


def test_a_missing_column_is_no_wrong_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"body": "b"}\n')
    with pytest.raises(InvalidInput, match="no column 'text'"):
        list(read_sentences(path, "text", Reading(reject=lambda error: None)))


def test_a_long_line_is_cut_at_a_whole_character(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "가" * 400_000 + "\nnext\n")
    first, second = read_sentences(path, reading=Reading(fills=lambda beginning: True))
    assert first == "가" * (MAX_LINE_BYTES // 3)
    assert second == "next"


def test_a_long_line_whose_end_would_be_lost_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\n" + " " * MAX_LINE_BYTES + "end\nnext\n")
    for fills in (None, str.strip):
        with pytest.raises(InvalidInput, match=r"a\.txt, line 2 is longer than 1,048,576 bytes, and its beginning"):
            list(read_sentences(path, reading=Reading(fills=fills)))
    skipped: list[InvalidInput] = []
    assert list(read_sentences(path, reading=Reading(reject=skipped.append))) == ["one", "next"]
    assert len(skipped) == 1


def test_lines_that_end_in_cr_alone_are_no_single_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"a\.txt has lines that end in CR only; convert it with tr"):
        list(read_sentences(write(tmp_path / "a.txt", "one\rtwo\r")))
    assert list(read_sentences(write(tmp_path / "b.txt", "one\r"))) == ["one"]
    assert list(read_sentences(write(tmp_path / "c.txt", "10 %\r20 %\nnext"))) == ["10 %\r20 %", "next"]


@pytest.mark.parametrize("encoding", ["cp949", "EUC-KR", "utf-8", "utf-8-sig", "johab"])
def test_text_has_the_encoding_that_is_named(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.csv", "id,text\n1,문장\n".encode(encoding))
    assert list(read_sentences(path, None, Reading(checked_encoding(encoding)))) == ["문장"]


# In iso2022_kr the bytes of a line mean other characters without the first line.
@pytest.mark.parametrize("encoding", ["utf-16", "klingon", "base64", "iso2022_kr", "a\0b"])
def test_an_encoding_of_another_kind_is_refused(encoding: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(f"--encoding is {encoding!r}; allowed are")):
        checked_encoding(encoding)


def test_the_other_columns_come_along(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"id": 7, "text": "a", "tags": ["x"]}\n"plain"\n{"text": "b", "id": null}\n')
    rows = list(sentence_rows(path))
    assert [row.columns for row in rows] == [
        {"id": 7, "text": "a", "tags": ["x"]},
        {"sentence": "plain"},
        {"text": "b", "id": None},
    ]
    count, types = open_source(None, path, None).survey()
    assert (count, types) == (3, {"id": {int}, "text": {str}, "tags": {list}, "sentence": {str}})

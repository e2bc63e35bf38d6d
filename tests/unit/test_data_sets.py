"""Public data sets from a real HTTP server that serves them complete, truncated, changed or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sentriton.errors import InvalidInput
from sentriton_server.commands import app
from sentriton_server.data_sets import (
    CATALOGUE,
    DataSetError,
    PublicDataSet,
    data_folder,
    fetch,
    find,
    require_data_sets,
    reviews,
)
from sentriton_server.data_sets.reviews import ArchiveError, read_reviews
from tests.conftest import ROOT

CONTENT = b"sentence 1\tsentence 2\t5\n" * 1000
LONG = "전율과 여운이 남는 영화"  # 13 characters


class Home(ThreadingHTTPServer):
    """Serves `files`. A path below /short ends in the middle of the announced content. `requests` counts."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Home

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
            return
        content = self.server.files.get(self.path.removeprefix("/short"))
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/unannounced":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path.startswith("/short/") else content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def home() -> Iterator[Home]:
    with Home() as server:
        server.files = {"/file": CONTENT, "/unannounced": CONTENT, "/changed": CONTENT.replace(b"\n", b"\r")}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def data_set(home: Home) -> PublicDataSet:
    return PublicDataSet(
        "pairs",
        "pairs.tsv",
        "Pairs",
        "CC0 1.0",
        "https://pairs.example",
        f"{home.url}/file",
        len(CONTENT),
        hashlib.sha256(CONTENT).hexdigest(),
    )


def film(*texts: str) -> bytes:
    return json.dumps([{"review": text, "movie_id": "1"} for text in texts]).encode()


def archive(*members: tuple[str | tarfile.TarInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize("path", ["file", "unannounced", "moved"])
def test_a_data_set_is_fetched_once(home: Home, data_set: PublicDataSet, tmp_path: Path, path: str) -> None:
    data_set = replace(data_set, url=f"{home.url}/{path}")
    folder = tmp_path / "new" / "data"
    assert fetch(data_set, folder) == folder / "pairs.tsv"
    requests = home.requests
    assert fetch(data_set, folder).read_bytes() == CONTENT
    assert home.requests == requests
    assert [path.name for path in folder.iterdir()] == ["pairs.tsv"]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (
            lambda one: replace(one, url=one.url.replace("/file", "/short/file")),
            "the download ended after 12,000 of 24,000 bytes",
        ),
        (lambda one: replace(one, url=one.url.replace("/file", "/changed")), "its sha256 is [0-9a-f]{64}"),
        (
            lambda one: replace(one, url=one.url.replace("/file", "/none")),
            r"the server answered with HTTP status 404 \(Not Found\)",
        ),
        (lambda one: replace(one, download_bytes=20_000), "the download is larger than 20,000 bytes"),
    ],
)
def test_what_does_not_come_whole_leaves_no_file(
    data_set: PublicDataSet, tmp_path: Path, change: Callable[[PublicDataSet], PublicDataSet], cause: str
) -> None:
    with pytest.raises(DataSetError, match=rf"^Pairs cannot be fetched from http://127.*: {cause}") as raised:
        fetch(change(data_set), tmp_path)
    assert "run `sentriton data pairs` again later, or put the file from https://pairs.example at" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_does_not_answer_is_named(data_set: PublicDataSet, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(DataSetError, match=rf"from http://127\.0\.0\.1:{port}/file: no connection"):
        fetch(replace(data_set, url=f"http://127.0.0.1:{port}/file"), tmp_path)


def test_a_file_with_other_content_is_not_replaced(data_set: PublicDataSet, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("mine", encoding="utf-8")
    with pytest.raises(DataSetError, match=r"pairs\.tsv is not Pairs as published .* remove this file and run"):
        fetch(data_set, tmp_path)
    assert (tmp_path / "pairs.tsv").read_text(encoding="utf-8") == "mine"


def test_a_folder_that_cannot_be_made_is_named(data_set: PublicDataSet, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataSetError, match=r"file/pairs\.tsv cannot be written or read"):
        fetch(data_set, tmp_path / "file")


def test_reviews_are_made_from_the_archive_of_their_repository(
    home: Home, data_set: PublicDataSet, tmp_path: Path
) -> None:
    text = f"{LONG}\n두 번째 영화는 지루하다\n".encode()
    home.files["/file"] = archive(
        ("nsmc-1/raw/2.json", film("두 번째 영화는  지루하다", "너무 짧다")),
        ("nsmc-1/raw/10.json", film(LONG, f" {LONG}\n")),
        ("nsmc-1/ratings.txt", b"id\tdocument\tlabel\n"),
    )
    data_set = replace(
        data_set,
        file="reviews.txt.xz",
        archive=True,
        download_bytes=30_000,
        sha256=hashlib.sha256(text).hexdigest(),
    )
    with pytest.raises(DataSetError, match=r"^Pairs cannot be fetched from .*: it is not a complete \.tar\.gz archive"):
        fetch(replace(data_set, url=f"{home.url}/changed"), tmp_path)
    assert lzma.decompress(fetch(data_set, tmp_path).read_bytes()) == text
    assert fetch(data_set, tmp_path) == tmp_path / "reviews.txt.xz"
    (tmp_path / "reviews.txt.xz").write_bytes(lzma.compress(text)[:-20])
    with pytest.raises(DataSetError, match=r"is not Pairs as published .*: it is not a complete \.xz file"):
        fetch(data_set, tmp_path)


def test_nothing_of_an_archive_is_written_under_its_own_name(tmp_path: Path) -> None:
    link = tarfile.TarInfo("nsmc-1/raw/7.json")
    link.type = tarfile.SYMTYPE
    link.linkname = "/etc/passwd"
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "archive"
    path.write_bytes(
        archive(
            ("../outside.json", film("한 글도 밖으로 나가지 않는다")),
            (str(tmp_path / "raw" / "1.json"), film("한 글도 밖으로 나가지 않는다")),
            (link, b""),
            ("nsmc-1/raw/8.json", film(LONG)),
        )
    )
    assert read_reviews(path) == f"{LONG}\n"
    assert list(tmp_path.rglob("*")) == [tmp_path / "in", path]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (archive(("a/raw/1.json", film(LONG)))[:-30], "it is not a complete .tar.gz archive"),
        (b"<html>", "it is not a complete .tar.gz archive"),
        (archive(("a/README.md", b"")), "it has no file raw/NUMBER.json"),
        (archive(("a/raw/1.json", b'{"review": 1}')), "a/raw/1.json is not a JSON list of objects"),
        (archive(("a/raw/1.json", b" " * 1_048_577)), "has 1,048,577 bytes; at most 1,048,576 are allowed"),
    ],
    ids=["cut off", "a web page", "no reviews", "no list", "too large"],
)
def test_a_bad_archive_is_refused(tmp_path: Path, content: bytes, cause: str) -> None:
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ArchiveError, match=cause):
        read_reviews(tmp_path / "archive")


def test_an_archive_unpacks_to_a_bounded_size_and_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "archive").write_bytes(archive(("a/zeros", bytes(1 << 22)), ("a/raw/1.json", film(LONG))))
    assert read_reviews(tmp_path / "archive") == f"{LONG}\n"
    monkeypatch.setattr(reviews, "MAX_ARCHIVE_BYTES", 1 << 21)
    with pytest.raises(ArchiveError, match="it unpacks to more than 2,097,152 bytes"):
        read_reviews(tmp_path / "archive")
    monkeypatch.undo()
    monkeypatch.setattr(reviews, "MAX_ENTRIES", 1)
    with pytest.raises(ArchiveError, match="it has more than 1 entries"):
        read_reviews(tmp_path / "archive")


def test_the_folder_is_the_variables_else_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SENTRITON_DATA", "SENTRITON_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data_folder() == tmp_path / "sentriton" / "data"
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path / "cache"))
    assert data_folder() == tmp_path / "cache" / "data"
    monkeypatch.setenv("SENTRITON_DATA", str(tmp_path / "mine"))
    assert data_folder() == tmp_path / "mine"


def test_missing_data_sets_are_named_with_licence_home_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="lacks") as raised:
        require_data_sets(["klue-sts-dev", "nsmc", "nsmc"], tmp_path)
    assert str(raised.value) == (
        f"{tmp_path} lacks klue-sts-v1.1_dev.json (KLUE-STS 1.1 dev, CC BY-SA 4.0, "
        "https://github.com/KLUE-benchmark/KLUE), nsmc-reviews.txt.xz (NSMC reviews, CC0 1.0, "
        "https://github.com/e9t/nsmc): run `sentriton data klue-sts-dev nsmc`, or set "
        "$SENTRITON_DATA to a folder that has the files"
    )
    (tmp_path / "chatbot.csv").touch()
    assert find("chatbot", tmp_path) == tmp_path / "chatbot.csv"


def test_the_command_fetches_by_name_and_names_the_licence(
    data_set: PublicDataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOGUE, "pairs", data_set)
    result = CliRunner().invoke(app, ["data", "pairs", "--data", str(tmp_path)], catch_exceptions=False)
    assert result.stdout == f"pairs: Pairs, CC0 1.0, https://pairs.example\n  {tmp_path / 'pairs.tsv'}\n"
    listed = CliRunner().invoke(app, ["data", "--data", str(tmp_path)], catch_exceptions=False).stdout
    assert "pairs           fetched  Pairs, CC0 1.0, https://pairs.example\n" in listed
    assert "nsmc            missing  NSMC reviews, CC0 1.0, https://github.com/e9t/nsmc\n" in listed
    with pytest.raises(InvalidInput, match="no data set 'kornli': must be all or one of klue-sts-dev, klue-sts-train"):
        CliRunner().invoke(app, ["data", "kornli"], catch_exceptions=False)


def test_the_page_lists_the_catalogue() -> None:
    """Each data set with the size of its download, its licence and its home page."""
    lines = (ROOT / "docs/data.md").read_text(encoding="utf-8").splitlines()
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `") and "https://" in line}
    assert list(rows) == list(CATALOGUE)
    for name, data_set in CATALOGUE.items():
        size = f"{data_set.download_bytes / 1e6:.{0 if data_set.archive else 1}f} MB |"
        for words in (size, f"| {data_set.licence} |", f"({data_set.homepage}) |"):
            assert words in rows[name]


def test_files_at_hand_are_those_of_the_catalogue() -> None:
    at_hand = [data_set for data_set in CATALOGUE.values() if (data_folder() / data_set.file).is_file()]
    if not at_hand:
        pytest.skip(f"{data_folder()} has no data set; `sentriton data all` fetches them")
    for data_set in at_hand:
        assert fetch(data_set) == data_folder() / data_set.file

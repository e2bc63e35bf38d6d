"""The client's cache of assets finds files only by their content."""

from __future__ import annotations

import hashlib
import pwd
from pathlib import Path

import pytest

from sentriton import cache
from sentriton.errors import InvalidInput

CONTENT = b"content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_kept_is_found(folder: Path) -> None:
    assert cache.kept(SHA256) is None
    cache.keep(SHA256, CONTENT)
    assert cache.kept(SHA256) == CONTENT
    assert [path.name for path in folder.rglob("*") if path.is_file()] == [SHA256]


def test_a_corrupted_file_is_not_found_and_can_be_kept_anew(folder: Path) -> None:
    cache.keep(SHA256, CONTENT)
    (folder / "assets" / SHA256).write_bytes(b"corrupted")
    assert cache.kept(SHA256) is None
    cache.keep(SHA256, CONTENT)
    assert cache.kept(SHA256) == CONTENT


def test_content_with_another_sha256_is_refused_and_not_kept(folder: Path) -> None:
    found = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(ValueError, match=f"sha256 {found}, expected {SHA256}"):
        cache.keep(SHA256, b"other")
    assert not folder.exists()


def test_a_cache_that_cannot_be_written_keeps_nothing_and_harms_nobody(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    cache.keep(SHA256, CONTENT)
    assert cache.kept(SHA256) is None


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SENTRITON_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"SENTRITON_CACHE": "", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/sentriton"),
        ({"SENTRITON_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/sentriton"),
    ],
)
def test_the_cache_lies_where_the_environment_says(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache.cache_folder() == Path(expected)


def test_a_user_without_a_home_folder_learns_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SENTRITON_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(InvalidInput, match=r"no home folder; set \$SENTRITON_CACHE to a folder"):
        cache.cache_folder()

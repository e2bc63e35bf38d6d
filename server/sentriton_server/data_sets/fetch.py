"""Downloads a public data set, and moves it to the data folder once its sha256 matches."""

from __future__ import annotations

import hashlib
import http.client
import lzma
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from sentriton.errors import SentritonError
from sentriton_server.data_sets.catalogue import PublicDataSet
from sentriton_server.data_sets.folder import data_folder
from sentriton_server.data_sets.reviews import ArchiveError, read_reviews
from sentriton_server.private_folder import private_folder

BLOCK_BYTES = 1 << 20
MAX_TEXT_BYTES = 1 << 28  # of a compressed file
SOCKET_TIMEOUT_S = 30.0
PRESET = 1  # of xz: takes a tenth of the default's time, for a third more bytes


class DataSetError(SentritonError):
    """A data set cannot be downloaded. The message names the data set, its home page, the cause and the remedy."""


class _Failure(Exception):
    """The cause of a failure. `DataSetError` adds the data set and the remedy."""


def fetch(data_set: PublicDataSet, folder: Path | None = None) -> Path:
    """The file of a data set in `folder` (default: `data_folder()`), downloaded if it is missing.

    The file is always complete or absent. A file with other content is never replaced. Raises `DataSetError`.
    """
    folder = folder or data_folder()
    path = folder / data_set.file
    try:
        if path.exists():
            _check(data_set, path)
            return path
        folder.mkdir(parents=True, exist_ok=True)
        with private_folder(folder, ".fetch-") as scratch:
            download = scratch / "download"
            _download(data_set, download)
            if data_set.archive:
                download = _pack(download, scratch / "text.xz")
            _check(data_set, download)
            download.replace(path)
    except (_Failure, ArchiveError) as failure:
        raise DataSetError(_sentence(data_set, path, str(failure))) from failure
    except OSError as error:
        raise DataSetError(f"{path} cannot be written or read: {error.strerror or error}") from error
    return path


def _sentence(data_set: PublicDataSet, path: Path, cause: str) -> str:
    if path.exists():
        return (
            f"{path} is not {data_set.title} as published ({data_set.homepage}): {cause}; remove this file and run "
            f"`sentriton data {data_set.name}` to fetch it"
        )
    return (
        f"{data_set.title} cannot be fetched from {data_set.url}: {cause}; run `sentriton data {data_set.name}` again "
        f"later, or put the file from {data_set.homepage} at {path}"
    )


def _download(data_set: PublicDataSet, target: Path) -> None:
    """Write the content of the URL to `target`, up to `download_bytes`."""
    request = urllib.request.Request(data_set.url, headers={"User-Agent": "sentriton"})
    try:
        with urllib.request.urlopen(request, timeout=SOCKET_TIMEOUT_S) as response, target.open("wb") as file:
            size = _copy(response, file, data_set.download_bytes)
            left: int | None = response.length  # remaining bytes, None without a Content-Length
    except urllib.error.HTTPError as error:
        error.close()  # the error is also the response, with an open connection
        raise _Failure(f"the server answered with HTTP status {error.code} ({error.reason})") from error
    except urllib.error.URLError as error:
        raise _Failure(f"no connection ({error.reason})") from error
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise _Failure(f"the connection broke ({error!r})") from error
    if left:
        raise _Failure(f"the download ended after {size:,} of {size + left:,} bytes")


def _copy(source: IO[bytes], target: IO[bytes], limit: int) -> int:
    size = 0
    while block := source.read(BLOCK_BYTES):
        size += len(block)
        if size > limit:
            raise _Failure(f"the download is larger than {limit:,} bytes")
        target.write(block)
    return size


def _pack(archive: Path, target: Path) -> Path:
    """Write the reviews of an archive as a compressed text."""
    text = read_reviews(archive)
    with lzma.open(target, "wt", preset=PRESET, encoding="utf-8", newline="\n") as file:
        file.write(text)
    return target


def _check(data_set: PublicDataSet, path: Path) -> None:
    """Compare the sha256 of the file, or of the text in a compressed file."""
    digest = hashlib.sha256()
    size = 0
    try:
        with lzma.open(path) if data_set.file.endswith(".xz") else path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
                size += len(block)
                if size > MAX_TEXT_BYTES:
                    raise _Failure(f"it has more than {MAX_TEXT_BYTES:,} bytes")
    except (lzma.LZMAError, EOFError) as error:
        raise _Failure(f"it is not a complete .xz file ({error})") from error
    if digest.hexdigest() != data_set.sha256:
        raise _Failure(f"its sha256 is {digest.hexdigest()}; expected {data_set.sha256}")

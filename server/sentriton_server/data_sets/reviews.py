"""Reads NSMC's film reviews from the archive of its repository, without unpacking files.

The archive has a JSON list for each film. Its names are never used for files, and the sizes and the number of its
entries are bounded.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

SHORTEST = 12  # characters
MAX_ARCHIVE_BYTES = 1 << 30  # unpacked
MAX_FILM_BYTES = 1 << 20
MAX_ENTRIES = 50_000

_FILM = re.compile(r"[^/]+/(raw/\d+\.json)")


class ArchiveError(ValueError):
    """The archive is damaged, too large, or has other content than reviews."""


def read_reviews(archive: Path) -> str:
    """All reviews of at least 12 characters, each once, one per line, ordered by the names of the films' files.

    Runs of white space become one space. Raises `ArchiveError`.
    """
    try:
        films = dict(_films(archive))
    # gzip raises zlib's error for damaged data and EOFError for truncated data.
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ArchiveError(f"it is not a complete .tar.gz archive: {error}") from error
    if not films:
        raise ArchiveError("it has no file raw/NUMBER.json")
    reviews = (" ".join(review.split()) for name in sorted(films) for review in films[name])
    kept = dict.fromkeys(review for review in reviews if len(review) >= SHORTEST)
    return "".join(f"{review}\n" for review in kept)


def _films(archive: Path) -> Iterator[tuple[str, list[str]]]:
    with gzip.open(archive) as unpacked, tarfile.open(fileobj=_Bounded(unpacked), mode="r|") as entries:
        for number, entry in enumerate(entries, start=1):
            if number > MAX_ENTRIES:
                raise ArchiveError(f"it has more than {MAX_ENTRIES:,} entries")
            film = _FILM.fullmatch(entry.name)
            if film is None or not entry.isfile():
                continue
            if entry.size > MAX_FILM_BYTES:
                raise ArchiveError(f"{entry.name} has {entry.size:,} bytes; at most {MAX_FILM_BYTES:,} are allowed")
            content = entries.extractfile(entry)
            assert content is not None  # it is a file
            yield film[1], _reviews_of(entry.name, content.read())


def _reviews_of(name: str, content: bytes) -> list[str]:
    try:
        return [str(row["review"]) for row in json.loads(content)]
    except (ValueError, TypeError, KeyError) as error:
        raise ArchiveError(f"{name} is not a JSON list of objects with the key 'review'") from error


class _Bounded(io.BufferedIOBase):
    """A stream that raises an error after `MAX_ARCHIVE_BYTES`, since a small archive may unpack to any size."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        super().__init__()
        self._stream = stream
        self._left = MAX_ARCHIVE_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= self._left:
            raise ArchiveError(f"it unpacks to more than {MAX_ARCHIVE_BYTES:,} bytes")
        block = self._stream.read(size)
        self._left -= len(block)
        return block

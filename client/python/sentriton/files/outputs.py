"""Stores rows in FILE.partial, which survives interruptions, and renames it to FILE after a complete run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sentriton.files.columns import EMBEDDING, SentenceRow, json_text

OUTPUT_ENDINGS = (".npy", ".jsonl", ".parquet")
_HEADER_BYTES = 128
_BLOCK_BYTES = 1 << 20


class PartialRows(Protocol):
    """The rows of an incomplete file. `rows` is their number. Methods raise OSError."""

    rows: int

    def append(self, rows: Sequence[SentenceRow], embeddings: NDArray[Any]) -> None:
        """Store n rows and their embeddings [n, d]."""

    def finish(self, output: Path) -> None:
        """Turn the stored rows into the file `output`, in one step."""

    def close(self) -> None:
        """Close the file. Stored rows stay."""


def open_rows(output: Path, partial: Path, dimension: int, dtype: np.dtype[Any], columns: Any) -> PartialRows:
    """The complete rows in `partial`, for an output with this ending. `columns` has column types for Parquet."""
    kind = output.suffix.lower()
    if kind == ".npy":
        return NpyRows(partial, dimension, dtype)
    if kind == ".jsonl":
        return JsonRows(partial)
    from sentriton.files.parquet import ParquetRows

    return ParquetRows(partial, dimension, dtype, columns)


class _FileRows:
    rows: int

    def __init__(self, partial: Path) -> None:
        partial.touch()
        self._partial = partial
        # Unbuffered: nothing is left to flush when the disk is full.
        self._file = partial.open("r+b", buffering=0)

    def _add(self, content: bytes, rows: int) -> None:
        remaining = memoryview(content)
        while remaining:
            remaining = remaining[self._file.write(remaining) :]
        self.rows += rows

    def finish(self, output: Path) -> None:
        # On the disk before it has its name, for a power cut.
        os.fsync(self._file.fileno())
        self.close()
        self._partial.replace(output)

    def close(self) -> None:
        self._file.close()


class NpyRows(_FileRows):
    """Raw rows after room for the header, which is written when their number is known."""

    def __init__(self, partial: Path, dimension: int, dtype: np.dtype[Any]) -> None:
        super().__init__(partial)
        self._dimension, self._dtype = dimension, dtype
        row_bytes = dimension * dtype.itemsize
        self.rows = max(0, self._file.seek(0, os.SEEK_END) - _HEADER_BYTES) // row_bytes
        self._file.truncate(_HEADER_BYTES + self.rows * row_bytes)
        self._file.seek(0, os.SEEK_END)

    def append(self, rows: Sequence[SentenceRow], embeddings: NDArray[Any]) -> None:
        self._add(np.ascontiguousarray(embeddings, dtype=self._dtype).tobytes(), len(embeddings))

    def finish(self, output: Path) -> None:
        self._file.seek(0)
        self._add(npy_header(self.rows, self._dimension, self._dtype), 0)
        super().finish(output)


class JsonRows(_FileRows):
    """A line for each row: its columns and {"embedding": […]}."""

    def __init__(self, partial: Path) -> None:
        super().__init__(partial)
        self.rows = size = 0
        while block := self._file.read(_BLOCK_BYTES):
            self.rows += block.count(b"\n")
            if b"\n" in block:
                size = self._file.tell() - len(block.rpartition(b"\n")[2])
        self._file.truncate(size)
        self._file.seek(size)

    def append(self, rows: Sequence[SentenceRow], embeddings: NDArray[Any]) -> None:
        self._add(json_lines(rows, embeddings), len(embeddings))


def json_lines(rows: Sequence[SentenceRow], embeddings: NDArray[Any]) -> bytes:
    """A line of JSON for each of n rows and embeddings [n, d]."""
    return b"".join(
        # Half a character becomes its escape.
        f"{json_text({**row.columns, EMBEDDING: embedding.tolist()})}\n".encode(errors="backslashreplace")
        for row, embedding in zip(rows, embeddings, strict=True)
    )


def npy_header(rows: int, dimension: int, dtype: np.dtype[Any]) -> bytes:
    """The 128 bytes before an array [rows, dimension]. numpy leaves room in them for a larger number of rows."""
    header = BytesIO()
    content = {"descr": dtype.str, "fortran_order": False, "shape": (rows, dimension)}
    np.lib.format.write_array_header_1_0(header, content)  # type: ignore[no-untyped-call]
    return header.getvalue()

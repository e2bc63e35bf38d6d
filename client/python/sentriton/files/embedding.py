"""Embeds a source of sentences into a file, in constant memory, and resumes an earlier run."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from sentriton.client import SentenceEncoder
from sentriton.errors import InvalidInput, SentritonError
from sentriton.files.columns import SentenceRow
from sentriton.files.outputs import OUTPUT_ENDINGS, PartialRows, open_rows
from sentriton.files.resume import PartialRun
from sentriton.files.rows import Fills
from sentriton.files.sources import SentenceSource
from sentriton.keywords import StreamArguments
from sentriton.options import resolve_prompt
from sentriton.progress import progress_bar
from sentriton.requirements import check_module
from sentriton.stream import CHUNK_SENTENCES

_CHUNK_S = 2.0
_FIRST_CHUNK, _LEAST_CHUNK = 32, 8


@dataclass(frozen=True)
class Summary:
    """The result: `rows` in `output`, `resumed` of them from earlier runs. `skipped_list` has the `skipped`."""

    output: str
    rows: int
    resumed: int
    dimension: int
    dtype: str
    seconds: float
    sentences_per_s: float
    skipped: int
    skipped_list: str | None


class Skipped:
    """Counts skipped rows, and lists their errors in OUTPUT.skipped.txt, or on standard error without an output."""

    def __init__(self, output: Path | None) -> None:
        self.rows = 0
        lists: tuple[Path | None, Path | None] = self.paths(output) if output else (None, None)
        self.path, self._partial = lists
        self._file: TextIO | None = None

    @staticmethod
    def paths(output: Path) -> tuple[Path, Path]:
        """The lists of a complete output and of a run in progress."""
        whole, partial = (output.with_name(f"{output.name}{part}.skipped.txt") for part in ("", ".partial"))
        return whole, partial

    def add(self, error: InvalidInput) -> None:
        if self._partial is None:
            print(f"skipped: {error}", file=sys.stderr)
        else:
            self._file = self._file or self._partial.open("w", encoding="utf-8", errors="replace")
            self._file.write(f"{error}\n")
        self.rows += 1

    def publish(self) -> None:
        """After a complete output, replace the list of an earlier one."""
        if self.path and self._partial:
            if self._file:
                self._file.close()
                self._partial.replace(self.path)
            else:
                self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove an unpublished list. A resumed run writes a new one."""
        if self._file:
            self._file.close()
        if self._partial:
            self._partial.unlink(missing_ok=True)


class _Pace:
    """The size of chunks that take two seconds."""

    def __init__(self) -> None:
        self._size, self._rows = _FIRST_CHUNK, 0
        self._recent = deque([(time.monotonic(), 0)], maxlen=8)

    def __index__(self) -> int:
        return self._size

    def took(self, rows: int) -> None:
        self._rows += rows
        started, before = self._recent[0]
        now = time.monotonic()
        self._recent.append((now, self._rows))
        affordable = int(_CHUNK_S * (self._rows - before) / max(now - started, 1e-6))
        self._size = max(_LEAST_CHUNK, min(affordable, 4 * self._size, CHUNK_SENTENCES))


def check_output(output: Path, source: SentenceSource, *, overwrite: bool) -> None:
    """Raises `InvalidInput` if the file cannot be written. Writes nothing."""
    if output.suffix.lower() not in OUTPUT_ENDINGS:
        raise InvalidInput(f"--output is '{output}'; its ending must be one of {', '.join(OUTPUT_ENDINGS)}")
    if output.suffix.lower() == ".parquet":
        check_module("pyarrow.parquet", "files", f"writing {output.name}")
    if not output.parent.is_dir():
        raise InvalidInput(f"--output {output}: no folder {output.parent}; create it first")
    if output.is_dir():
        raise InvalidInput(f"--output {output} is a folder; give a file name")
    for file in (output, *Skipped.paths(output)):
        if source.path is not None and file.exists() and file.samefile(source.path):
            raise InvalidInput(f"--input is {file}, which a run for --output {output} replaces; give two files")
    for file in (output, Skipped.paths(output)[0]):
        if file.exists() and not overwrite:
            raise InvalidInput(
                f"{file} exists, and a run for --output {output} replaces it; give --overwrite to allow this"
            )


def fills_of(encoder: SentenceEncoder) -> Fills:
    """Whether texts with this beginning have the same embedding, since its first half fills the model."""

    def fills(beginning: str) -> bool:
        ids, other = encoder.token_ids([beginning, f"{beginning[: len(beginning) // 2]} 0 1 2 3"])
        return ids == other and len(ids) >= encoder.max_seq_length

    return fills


def embedded(
    encoder: SentenceEncoder, rows: Iterator[SentenceRow], options: StreamArguments
) -> Iterator[tuple[list[SentenceRow], NDArray[Any]]]:
    """Chunks of rows with their embeddings [n, d], in order."""
    ahead: deque[SentenceRow] = deque()
    pace = _Pace()
    in_chunks: StreamArguments = {**options, "chunk_size": pace}

    def remembered() -> Iterator[str]:
        for row in rows:
            ahead.append(row)
            yield row.sentence

    for embeddings in encoder.encode_stream(remembered(), **in_chunks):
        yield [ahead.popleft() for _ in range(len(embeddings))], np.asarray(embeddings)
        pace.took(len(embeddings))


def embed_to_file(
    encoder: SentenceEncoder,
    source: SentenceSource,
    output: Path,
    options: StreamArguments,
    column: str | None = None,
    on_error: str = "fail",
    *,
    overwrite: bool = False,
    restart: bool = False,
    progress: bool = False,
) -> Summary:
    """Embed every sentence of `source` and write `output`, completely or not at all.

    After an interruption, the same call resumes after the last complete row in FILE.partial. `options` are those of
    `encode`. Raises `InvalidInput` for input, options or output, and other `SentritonError`s that name the kept rows.
    """
    started = time.monotonic()
    # Without sentences, this checks the options and gives the rows' shape.
    empty = np.asarray(encoder.encode([], **options))
    dimension, dtype = empty.shape[1], empty.dtype
    content, meaning = source.content(), _meaning(encoder, options, dimension)
    identity = {**source.identity, **content, "column": column, "on error": on_error, **meaning}
    skipped = Skipped(output)
    run = PartialRun(output)
    with _telling(output), run, closing(skipped):
        # Another run may have written it since the command began.
        check_output(output, source, overwrite=overwrite)
        total, columns = source.survey(skipped.add if on_error == "skip" else None, fills_of(encoder))
        run.begin(identity, restart=restart, resumable=source.resumable)
        rows = open_rows(output, run.rows_path, dimension, dtype, columns)
        try:
            resumed, embedding_started = rows.rows, time.monotonic()
            kept = partial(_kept, run, source, rows)
            # The survey has listed those of a file.
            reject = None if on_error == "fail" else (lambda error: None) if source.resumable else skipped.add
            remaining = islice(source.read(reject, fills_of(encoder)), rows.rows, None)
            with _telling(output, kept), progress_bar(progress, total, rows.rows) as advance:
                for chunk, embeddings in embedded(encoder, remaining, options):
                    rows.append(chunk, embeddings)
                    advance(rows.rows)
            source.check_unchanged(content)
            if total not in (None, rows.rows):
                raise InvalidInput(f"{rows.rows:,} rows of {total:,} sentences are kept; give --restart to embed all")
            with _telling(output, kept):
                rows.finish(output)
            skipped.publish()
        finally:
            rows.close()
            if not source.resumable:
                run.discard()
    now = time.monotonic()
    rate = (rows.rows - resumed) / max(now - embedding_started, 1e-6)
    return Summary(
        str(output),
        rows.rows,
        resumed,
        dimension,
        str(dtype),
        seconds=round(now - started, 3),
        sentences_per_s=round(rate, 1),
        skipped=skipped.rows,
        skipped_list=str(skipped.path) if skipped.rows else None,
    )


def _meaning(encoder: SentenceEncoder, options: StreamArguments, dimension: int) -> dict[str, Any]:
    manifest = encoder.manifest
    return {
        "model": manifest.name,
        "fingerprint": manifest.fingerprint,
        "server's precision": manifest.precision,
        "prompt": resolve_prompt(manifest, options.get("prompt_name"), options.get("prompt")),
        "precision": options.get("precision", "float32"),
        "dimension": dimension,
        "normalize": bool(options.get("normalize_embeddings")),
    }


@contextmanager
def _telling(output: Path, kept: Callable[[], str] = str) -> Iterator[None]:
    """Convert errors of writing, and add the rows `kept`."""
    try:
        yield
    except OSError as error:
        raise SentritonError(f"cannot write {output}: {error.strerror or error}{kept()}") from error
    except SentritonError as error:
        raise type(error)(f"{error}{kept()}") from error
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"{str(error) or 'stopped'}{kept()}") from error


def _kept(run: PartialRun, source: SentenceSource, rows: PartialRows) -> str:
    if not source.resumable:
        return f"; nothing is kept, since {source.name} cannot be read again"
    return f"; {rows.rows:,} rows are kept in {run.rows_path}; run the same command to resume"

"""Reads and writes Parquet with pyarrow (the extra `files`). Only this module imports pyarrow."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sentriton.errors import InvalidInput
from sentriton.files.columns import EMBEDDING, SentenceRow, checked, choose_column, json_text
from sentriton.files.rows import Reading

_READ_ROWS = 1024
_READ_BYTES = 1 << 20
_ROW_GROUP_BYTES = 32 << 20


def parquet_rows(path: Path, column: str | None, reading: Reading, *, carried: bool) -> Iterator[SentenceRow]:
    """Read rows in constant memory: the column of sentences, and others if `carried` (copied to the output). Raises
    `InvalidInput` that names file, column and row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Without pre-buffering, which reads a whole row group at once.
        with pq.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False) as file:
            schema = file.schema_arrow
            column = choose_column(schema.names, column, path.name, carried=carried)
            where, number = f"{path.name}, column {column!r}", 0
            _check_type(schema.field(column).type, where)
            schema = plain_schema(schema if carried else pa.schema([schema.field(column)]))
            for batch in file.iter_batches(_READ_ROWS, columns=schema.names):
                for row in _rows(pa.Table.from_batches([batch]).select(schema.names).cast(schema), path.name):
                    number += 1
                    try:
                        yield SentenceRow(checked(row[column], f"{where}, row {number}"), row)
                    except InvalidInput as error:
                        reading.wrong(error)
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise InvalidInput(f"cannot read {path}: {error}") from error


def _rows(table: Any, name: str) -> Iterator[dict[str, Any]]:
    """The rows of a table. Raises `InvalidInput` for values that Python lacks, such as dates after 9999."""
    columns = []
    for column in table.column_names:
        try:
            columns.append(table.column(column).to_pylist())
        except (OverflowError, ValueError) as error:
            raise InvalidInput(
                f"{name}, column {column!r} has values that cannot be copied ({error}); convert the column to text, "
                "or give --output FILE.npy, which has only embeddings"
            ) from error
    return (dict(zip(table.column_names, values, strict=True)) for values in zip(*columns, strict=True))


def plain_schema(schema: Any) -> Any:
    """The types of copied columns. Times in nanoseconds become text, because Python's times have microseconds."""
    import pyarrow as pa

    return pa.schema(
        field.with_type(pa.string()) if pa.types.is_temporal(field.type) and "[ns" in str(field.type) else field
        for field in schema
    )


def _check_type(kind: Any, where: str) -> None:
    import pyarrow.types as types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
        raise InvalidInput(f"{where} is of type {kind}; a column of sentences must have strings")


class ParquetRows:
    """A folder of parts, since Parquet files cannot grow. Each is named by its rows. They are joined at the end."""

    def __init__(self, partial: Path, dimension: int, dtype: np.dtype[Any], columns: Any) -> None:
        """`columns` is a schema, or maps names to the types of their values."""
        import pyarrow as pa

        self._folder = partial
        self._folder.mkdir(exist_ok=True)
        if not isinstance(columns, pa.Schema):
            columns = pa.schema([(name, _type_for(kinds)) for name, kinds in columns.items()])
        self._schema = columns.append(pa.field(EMBEDDING, pa.list_(pa.from_numpy_dtype(dtype), dimension)))
        self._parts = sorted(self._folder.glob("rows-*.parquet"))
        ends = [0, *(_span(part)[1] for part in self._parts)]
        firsts = [_span(part)[0] for part in self._parts]
        if firsts != ends[:-1] or any(end <= first for first, end in pairwise(ends)):
            raise InvalidInput(f"{partial} lacks some of its parts; give --restart to replace it")
        self.rows = ends[-1]

    def append(self, rows: Sequence[SentenceRow], embeddings: NDArray[Any]) -> None:
        import pyarrow as pa

        *fields, last = self._schema
        columns = [_array([row.columns.get(field.name) for row in rows], field.type) for field in fields]
        values = pa.array(np.ascontiguousarray(embeddings).reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(values, type=last.type))
        end = self.rows + len(embeddings)
        part = self._folder / f"rows-{self.rows:012d}-{end:012d}.parquet"
        self._write(part, iter([pa.Table.from_arrays(columns, schema=self._schema)]))
        self._parts.append(part)
        self.rows = end

    def finish(self, output: Path) -> None:
        self._write(output, self._row_groups())
        shutil.rmtree(self._folder)

    def close(self) -> None:
        """No file is open between calls."""

    def _write(self, path: Path, tables: Iterator[Any]) -> None:
        import pyarrow.parquet as pq

        aside = self._folder / "writing.tmp"
        with aside.open("wb") as file:
            # A dictionary is useless for vectors.
            with pq.ParquetWriter(file, self._schema, use_dictionary=False) as writer:
                for table in tables:
                    writer.write_table(table, row_group_size=max(1, table.num_rows))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)

    def _row_groups(self) -> Iterator[Any]:
        """The parts' rows, joined to row groups of a sensible size."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        tables: list[Any] = []
        for part in self._parts:
            tables.append(pq.read_table(pa.BufferReader(part.read_bytes())))
            if sum(table.get_total_buffer_size() for table in tables) >= _ROW_GROUP_BYTES:
                yield pa.concat_tables(tables)
                tables.clear()
        if tables:
            yield pa.concat_tables(tables)


def _type_for(kinds: set[type]) -> Any:
    """The column type for values of these types, or JSON without a common type."""
    import pyarrow as pa

    if kinds == {bool}:
        return pa.bool_()
    if kinds and kinds <= {int, np.int64}:
        return pa.int64()
    return pa.float64() if kinds in ({float}, {int, float}) else pa.string()


def _array(values: list[Any], kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_string(kind):
        values = [value if value is None or isinstance(value, str) else json_text(value) for value in values]
    if isinstance(kind, pa.BaseExtensionType):
        values = [value.bytes if isinstance(value, UUID) else value for value in values]
    try:
        return pa.array(values, kind)
    except pa.ArrowException as error:
        raise InvalidInput(
            f"a column of type {kind} cannot be written to Parquet again ({error}); convert it to text, or give "
            "--output FILE.jsonl"
        ) from error
    except UnicodeEncodeError:  # half a character
        return pa.array([value and value.encode("utf-8", "replace").decode() for value in values], kind)


def _span(part: Path) -> tuple[int, int]:
    _, first, end = part.stem.split("-")
    return int(first), int(end)

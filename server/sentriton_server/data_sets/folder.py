"""The folder of the public data sets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sentriton.cache import cache_folder
from sentriton.declaration import resolve
from sentriton.errors import InvalidInput
from sentriton_server.data_sets.catalogue import CATALOGUE
from sentriton_server.settings import DataSettings


def data_folder() -> Path:
    """`$SENTRITON_DATA` if set, else `data` in the folder of `sentriton.cache` (`~/.cache/sentriton/data`)."""
    return resolve(DataSettings).data or cache_folder() / "data"


def find(name: str, folder: Path | None = None) -> Path:
    """The file of a data set in `folder` (default: `data_folder()`). Raises `InvalidInput` if it is missing."""
    folder = folder or data_folder()
    require_data_sets([name], folder)
    return folder / CATALOGUE[name].file


def require_data_sets(names: Iterable[str], folder: Path) -> None:
    """Raises `InvalidInput`, which names all data sets whose files are missing in `folder`."""
    data_sets = [CATALOGUE[name] for name in dict.fromkeys(names)]
    if missing := [data_set for data_set in data_sets if not (folder / data_set.file).is_file()]:
        files = ", ".join(f"{one.file} ({one.title}, {one.licence}, {one.homepage})" for one in missing)
        raise InvalidInput(
            f"{folder} lacks {files}: run `sentriton data {' '.join(one.name for one in missing)}`, or set "
            "$SENTRITON_DATA to a folder that has the files"
        )

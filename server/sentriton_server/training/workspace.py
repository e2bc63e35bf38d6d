"""The folder of an unfinished training, so that the same command resumes it after Ctrl-C or a power failure.

    OUTPUT.training/
        lock                    locked by the process that trains
        recipe.json             the recipe and the sha256 of all data; a run with others does not resume
        saving                  exists while the trained checkpoint is written to OUTPUT
        stage-0/finished/       the base
        stage-1/finished/       the result of the first stage in float32, and report.json
        stage-2/checkpoint-300/ a state of the second stage: weights, optimizer, random numbers

A folder counts once it is complete and on the disk: it is written elsewhere and renamed, or it contains `elapsed.json`.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sentriton.errors import InvalidInput
from sentriton_server.resources import hash_files
from sentriton_server.training.recipe import Recipe
from sentriton_server.training.report import LogRow, StageReport

ELAPSED_FILE = "elapsed.json"
_LOCK_FILE = "lock"
_SAVING_FILE = "saving"
_NOTE_FILE = "recipe.json"
_OWN_FILES = (_LOCK_FILE, _SAVING_FILE, _NOTE_FILE)


class Workspace:
    """The folder of one training, locked until `close`. Raises `InvalidInput` when it holds another one's, or another
    process uses it. `inputs` are the files and folders that training reads again after an interruption.
    """

    def __init__(self, folder: Path, recipe: Recipe, data_dir: Path, inputs: Iterable[Path] = ()) -> None:
        self.folder = folder
        self._recipe = recipe
        self._descriptor: int | None = None
        self._note = folder / _NOTE_FILE
        content = {**dataclasses.asdict(recipe), "argument": "", "data_dir": str(data_dir.resolve())}
        content["sha256"] = {str(path): _content(path) for path in inputs if path.exists()}
        self._content = json.dumps(content, ensure_ascii=False, indent=2)
        if os.path.lexists(folder):
            _require_own(folder)
            self._lock()
        # Without a base nothing would be lost.
        if self.is_finished(0) and self._note.is_file() and self._note.read_text(encoding="utf-8") != self._content:
            self.close()
            raise InvalidInput(
                f"{folder} contains an unfinished training with another recipe or other data; remove it to start over, "
                "or give another --output"
            )

    def finished(self, index: int) -> Path:
        """The folder with the result of stage `index` (0: the base). It exists once the stage is done."""
        return self.folder / f"stage-{index}" / "finished"

    def is_finished(self, index: int) -> bool:
        return self.finished(index).is_dir()

    def finish(self, index: int, save: Callable[[Path], Any], report: StageReport | None = None) -> None:
        """Let `save` write a stage's result; then its checkpoints are no longer needed."""
        if index == 0:
            # Not earlier: a mistyped base leaves nothing behind.
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock()
            self._note.write_text(self._content, encoding="utf-8")
        target = self.finished(index)
        draft = target.with_name("unfinished")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        save(draft)
        if report is not None:
            content = {**dataclasses.asdict(report), "stage": None}
            (draft / "report.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        sync(draft)
        draft.rename(target)
        sync_one(target.parent)
        for checkpoint in target.parent.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)

    def report(self, index: int) -> StageReport:
        """The report of a finished stage."""
        content = json.loads((self.finished(index) / "report.json").read_text(encoding="utf-8"))
        log = tuple(LogRow(**row) for row in content.pop("log"))
        return StageReport(**{**content, "stage": self._recipe.stages[index - 1], "log": log})

    def checkpoints(self, index: int) -> Path:
        """The folder with a stage's checkpoints. Removes incomplete ones, whose writing was interrupted."""
        folder = self.folder / f"stage-{index}"
        folder.mkdir(exist_ok=True)
        for checkpoint in folder.glob("checkpoint-*"):
            if not (checkpoint / ELAPSED_FILE).is_file():
                shutil.rmtree(checkpoint)
        return folder

    @property
    def is_saving(self) -> bool:
        """Whether the writing of the trained checkpoint was interrupted, so that the output is incomplete."""
        return (self.folder / _SAVING_FILE).is_file()

    def begin_saving(self) -> None:
        (self.folder / _SAVING_FILE).touch()
        sync_one(self.folder)

    def remove(self) -> None:
        """Remove it, once the trained checkpoint is in its place. Files that others have stored in it stay."""
        for path in sorted(self.folder.iterdir(), key=lambda path: path.name != _SAVING_FILE):
            if path.name in _OWN_FILES:
                path.unlink()
            elif path.match("stage-*") and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
        with suppress(OSError):
            self.folder.rmdir()

    def close(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _lock(self) -> None:
        if self._descriptor is not None:
            return
        self._descriptor = os.open(self.folder / _LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise InvalidInput(f"{self.folder} is in use by another training; give another --output") from error


def _require_own(folder: Path) -> None:
    """Raise `InvalidInput` unless a training may remove all of `folder`."""
    if folder.is_symlink() or not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder; training keeps its unfinished work there; give another --output")
    others = sorted(each.name for each in folder.iterdir() if each.name not in _OWN_FILES and not each.match("stage-*"))
    if others:
        raise InvalidInput(
            f"{folder} contains {others[0]!r}, which is not of a training, and training removes this folder at its "
            "end; move its files elsewhere, or give another --output"
        )


def sync(folder: Path) -> None:
    """Write the files of a folder to the disk, so that none is empty or cut off after a power failure."""
    for path in (*folder.rglob("*"), folder):
        sync_one(path)


def sync_one(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _content(path: Path) -> list[str]:
    """The names and sizes of a file or of all files in a folder, and their sha256."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [*(f"{str(file.relative_to(path))!r} {file.stat().st_size}" for file in files), hash_files(files)]

"""Shows the progress of long calls on standard error: rich's bar, or lines without a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_PERIOD_S = 10.0


@contextmanager
def progress_bar(shown: bool, total: int | None, finished: int = 0) -> Iterator[Callable[[int], None]]:
    """Shows progress in the block. Yields a function for the number of `finished` sentences."""
    if not shown:
        yield lambda finished: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield _lines(total, finished)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total, completed=finished, rate="")

        def advance(finished: int) -> None:
            progress.update(task, completed=finished)
            speed = progress.tasks[0].speed
            progress.update(task, rate=f"{speed:,.0f} sentences/s" if speed else "")

        yield advance


def _lines(total: int | None, before: int) -> Callable[[int], None]:
    started = printed = time.monotonic()

    def advance(finished: int) -> None:
        nonlocal printed
        now = time.monotonic()
        if finished == total or now - printed >= LINE_PERIOD_S:
            printed = now
            print(_line(finished, total, (finished - before) / max(now - started, 1e-9)), file=sys.stderr, flush=True)

    return advance


def _line(finished: int, total: int | None, rate: float) -> str:
    if total is None:
        return f"{finished:,} sentences, {rate:,.0f} sentences/s"
    share = f"{finished:,} of {total:,} sentences ({finished / max(total, 1):.0%}), {rate:,.0f} sentences/s"
    return f"{share}, {(total - finished) / rate:,.0f} s left" if rate > 0 else share

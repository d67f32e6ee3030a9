"""Progress of long work, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Called with the stage, how much of it is done, and its total (-1: not known); returning False stops the work.
ProgressCallback = Callable[[str, int, int], bool | None]


@contextmanager
def progress_bar(progress: bool | ProgressCallback) -> Iterator[ProgressCallback | None]:
    """A callback that draws a bar on standard error for True, the caller's own, or None."""
    if callable(progress):
        yield progress
        return
    if not progress or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<16}"), BarColumn(), TextColumn("{task.completed}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("import")

        def update(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total if total >= 0 else None)

        yield update

"""A progress bar on stderr for a person at a terminal, and silence for everybody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Tell(Protocol):
    """Says what is being done, and how much of it is."""

    def __call__(self, what: str, frames: int = 0, of_frames: int = 0) -> None: ...


@contextmanager
def bar(show: bool, *, unit: str = "frames") -> Iterator[Tell]:
    if not show:
        yield lambda what, frames=0, of_frames=0: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TextColumn("{task.fields[frames]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=None, frames="")

        def tell(what: str, frames: int = 0, of_frames: int = 0) -> None:
            shown = f"{frames}/{of_frames} {unit}" if of_frames else ""
            progress.update(task, description=what, completed=frames, total=of_frames or None, frames=shown)

        yield tell

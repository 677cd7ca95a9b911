"""Where commands print: results to stdout, warnings, errors and progress to stderr.

Colour and progress appear on a terminal only; rich honours NO_COLOR.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# A pipe has no width: tables then take what they need, within reason.
_PIPE_WIDTH = 200
console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
errors = Console(stderr=True, soft_wrap=True)


def warn(text: str) -> None:
    """One line on stderr."""
    errors.print(f"Warning: {text}", style="yellow", highlight=False, markup=False)


class Steps:
    """A line that says what is going on, and a bar where it can be counted."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def step(self, text: str) -> None:
        """Say what begins now."""
        self._bar.update(self._task, description=text, total=None, completed=0)

    def count(self, done: int, total: int) -> None:
        """Say how much of the present step is done."""
        self._bar.update(self._task, completed=done, total=total)

    def show(self, text: str, done: int, total: int) -> None:
        """Say what is going on and how much of it is done; the time left follows from that."""
        self._bar.update(self._task, description=text, completed=done, total=total)


@contextlib.contextmanager
def progress() -> Iterator[Steps]:
    """Show progress on a terminal while the block runs."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    bar = Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal)
    with bar if errors.is_terminal else contextlib.nullcontext():
        yield Steps(bar)

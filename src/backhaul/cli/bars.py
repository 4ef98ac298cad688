"""Live bars of transfers on a terminal. Imported for a terminal alone: rich takes long to load."""

from __future__ import annotations

from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from backhaul.core.units import human_rate

WIDE = 110  # columns; on less the bytes are left out: bar, objects, rate and time remain


class _RateColumn(ProgressColumn):
    """Bytes per second, in the units of everything else; rich's own is red, as an error is."""

    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(human_rate(speed) if speed else "")


class _LeftColumn(TimeRemainingColumn):
    """`00:12 left`; nothing while it is unknown, or there is nothing left."""

    def __init__(self) -> None:
        super().__init__(compact=True, table_column=Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        if task.finished or not task.time_remaining:
            return Text("")
        return super().render(task).append(" left")


class Bars:
    """A bar for each transfer, and lines above them."""

    def __init__(self, console: Console) -> None:
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            _text("{task.description}"),
            BarColumn(
                bar_width=None,
                complete_style="cyan",  # rich's own is near to red
                finished_style="green",
                pulse_style="cyan",
                table_column=Column(ratio=1, min_width=4),
            ),
            _text("{task.fields[phase]}"),
            *([_text("{task.fields[size]}")] if console.width >= WIDE else []),
            _text("{task.fields[objects]}"),
            _RateColumn(),
            _LeftColumn(),
            console=console,
            expand=True,
        )

    @classmethod
    def on(cls, console: Console | None) -> Self | None:
        """Bars on this console, else on standard error; None where that is no terminal."""
        console = console or Console(stderr=True)
        return cls(console) if console.is_terminal else None

    def start(self) -> None:
        """Draw from now on."""
        self._progress.start()

    def stop(self) -> None:
        """Draw a last time."""
        self._progress.stop()

    def refresh(self) -> None:
        """Draw now."""
        self._progress.refresh()

    def add(self, key: str, name: str) -> None:
        """A bar with this name, unless there is one by that key."""
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(
                escape(name), total=None, phase="", objects="", size=""
            )

    def update(self, key: str, phase: str, style: str = "", **fields: Any) -> None:
        """What the bar shows; nothing where there is none by that key.

        Args:
            style: Of the phase, as rich names it.
            fields: `completed` and `total` in bytes, `objects` and `size` as text.
        """
        if key in self._tasks:
            shown = f"[{style}]{escape(phase)}[/]" if style else escape(phase)
            self._progress.update(self._tasks[key], phase=shown, **fields)

    def say(self, line: str, *, is_plain: bool = False) -> None:
        """A line above the bars.

        Args:
            is_plain: Without colours for numbers and URLs.
        """
        self._progress.console.print(line, markup=False, highlight=False if is_plain else None)


def _text(template: str) -> TextColumn:
    return TextColumn(template, table_column=Column(no_wrap=True))

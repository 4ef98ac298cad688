"""`backhaul top`: the first screen of `status`, live on a terminal."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from backhaul.cli.options import Files, OnceOnly, files_options, report_no_ledger
from backhaul.cli.screen import BOLD, DIM, RED, Line, Piece, has_colour, plain, screen
from backhaul.core.errors import OutageError

if TYPE_CHECKING:
    from rich.text import Text

    from backhaul.settings.model import Settings

EVERY_S = 2.0
LOOK_S = 0.2  # between two looks at the keyboard and the terminal's size
_KEYS = "q quits, p pauses, space reads now"


@click.command("top", cls=OnceOnly)
@click.option(
    "--every",
    type=click.FloatRange(min=0.5, max=3600),
    default=EVERY_S,
    show_default=True,
    metavar="SECONDS",
    help="Read the ledger anew after so many seconds.",
)
@files_options
def command(*, every: float, files: Files) -> int:
    r"""Watch how it is, live on a terminal: the same screen as status, no port, no browser.

    \b
    Example:
      backhaul top

    Keys: q quits, p pauses and goes on, space reads now. Without a terminal it prints one frame and
    ends. NO_COLOR is respected.
    """
    settings = files.settings()
    frame = Frame(settings=settings)
    frame.read()
    if frame.is_missing:
        report_no_ledger(settings.ledger_place)
        return 0
    if not _is_interactive():
        for line in frame.lines(None, None):
            click.echo(plain(line))
        return 0
    _show(frame, every)
    return 0


def _is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


@dataclass(kw_only=True)
class Frame:
    """What is shown: the last screen that could be read, and why no newer one could."""

    settings: Settings
    is_missing: bool = False
    error: str = ""
    read_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _limit: str = ""
    _view: object = None

    def read(self) -> None:
        """From the ledger, now; a ledger that is locked leaves the last screen as it is.

        Raises:
            BackhaulError: The ledger cannot be read at all.
        """
        from backhaul.app.limit import limit_words
        from backhaul.app.overview import read_overview

        now = datetime.now(UTC).astimezone()
        try:
            view = read_overview(self.settings.ledger_place, now)
        except OutageError as error:
            if self._view is None:
                raise
            self.error = str(error)
            return
        self.is_missing, self.error, self.read_at = view is None, "", now
        self._limit, self._view = limit_words(self.settings), view or self._view

    def lines(self, width: int | None, rows: int | None, *, is_paused: bool = False) -> list[Line]:
        """So many rows at most, of so many columns."""
        from backhaul.app.overview import Overview

        state = "paused, " if is_paused else ""
        heading = f"{self.read_at.astimezone():%Y-%m-%d %H:%M:%S %Z}"
        first: list[Line] = [
            [
                Piece(text=f"backhaul  {heading}", style=BOLD),
                Piece(text=f"   {state}{_KEYS}" if width else "", style=DIM),
            ]
        ]
        if self.error:
            first.append([Piece(text=f"not read since: {self.error}", style=RED)])
        if self.is_missing:
            first.append([Piece(text="the ledger is gone", style=RED)])
        left = None if rows is None else max(1, rows - len(first))
        if not isinstance(self._view, Overview):
            return first
        return [*first, *screen(self._view, limit=self._limit, width=width, rows=left)]


def _show(frame: Frame, every_s: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(no_color=not has_colour(), highlight=False)
    is_paused, due_s, drawn = False, time.monotonic() + every_s, None
    with (
        suppress(KeyboardInterrupt),  # Ctrl-C ends it as q does
        _keyboard() as stopped,
        Live(console=console, screen=True, auto_refresh=False, redirect_stderr=False) as live,
    ):
        while not stopped:
            # Asked of the terminal: COLUMNS and LINES, which a shell may export, do not follow it.
            size = console.size = os.get_terminal_size(sys.stdout.fileno())
            state = (size, is_paused, frame.read_at, frame.error)
            if state != drawn:
                lines = frame.lines(size.columns, size.lines, is_paused=is_paused)
                live.update(_text(lines), refresh=True)
                drawn = state
            key = _key()
            if key in {"q", "Q"}:
                return
            if key in {"p", "P"}:
                is_paused = not is_paused
            if key == " " or (not is_paused and time.monotonic() >= due_s):
                frame.read()
                due_s = time.monotonic() + every_s


def _text(lines: list[Line]) -> Text:
    from rich.text import Text

    found = Text(no_wrap=True, overflow="ellipsis", end="")
    for number, line in enumerate(lines):
        if number:
            found.append("\n")
        for piece in line:
            found.append(piece.text, style=piece.style or None)
    return found


def _key() -> str:
    """The next key; empty when none was pressed for a moment."""
    ready, _, _ = select.select([sys.stdin], [], [], LOOK_S)
    if not ready:
        return ""
    read = os.read(sys.stdin.fileno(), 64).decode("utf-8", "replace")
    return read[:1] or "q"  # the terminal is gone


@contextmanager
def _keyboard() -> Iterator[list[int]]:
    """Keys one by one, unseen; the list is no longer empty once a signal has ended the command."""
    stopped: list[int] = []
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    signals = (signal.SIGTERM, signal.SIGHUP)
    handlers = {one: signal.signal(one, lambda got, _frame: stopped.append(got)) for one in signals}
    # A stopped command would leave the terminal as only it understands it.
    handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        tty.setcbreak(number)
        yield stopped
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
        for one, handler in handlers.items():
            signal.signal(one, handler)

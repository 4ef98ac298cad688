"""Progress for people: live bars on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

import click
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

from backhaul.cli.options import counted
from backhaul.core import facts as events
from backhaul.core.cost.egress import EgressEstimated
from backhaul.core.objects import Proof
from backhaul.core.units import human_bytes, human_rate

PLAIN_LINE_S = 2.0
NAME_WIDTH = 20
WIDE = 110  # columns; on less the bytes are left out: bar, objects, rate and time remain
CLUSTER_PHASES = {"listing", "queued", "copying", "proving"}


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


class Display:
    """Draws the transfers of one command; a context manager, and callable with facts.

    Args:
        lines_to_stderr: Where there are no bars, the lines instead of them are on standard error.
    """

    def __init__(self, console: Console | None = None, *, lines_to_stderr: bool = False) -> None:
        self._lines_to_stderr = lines_to_stderr
        console = console or Console(stderr=True)
        self._is_live = console.is_terminal
        self._bars = Progress(
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
            disable=not self._is_live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._names: dict[str, str] = {}
        self._printed_s: dict[str, float] = {}
        self.done: list[events.TransferDone] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def __call__(self, fact: object) -> None:
        """Take a fact; those without progress are ignored."""
        with self._lock:
            match fact:
                case events.AttemptStarted():
                    self._start(fact)
                case events.TransferProgress():
                    self._move(fact)
                case EgressEstimated():
                    self._say(fact)
                case events.ApplicationFollowed():
                    self._follow(fact)
                case events.TransferDone():
                    self._finish(fact)
                case events.AttemptFailed():
                    self._mark(fact.transfer_id, f"failed, again: {fact.code}", "yellow")
                case events.MessageDead():
                    self._mark(fact.transfer_id, f"dead: {fact.code}", "red")

    def summarise(self) -> None:
        """One line per finished transfer, on standard output."""
        for done in self.done:
            click.echo(summary(done))

    def _start(self, fact: events.AttemptStarted) -> None:
        name = fact.source.rstrip("/").rsplit("/", 1)[-1]
        self._names[fact.transfer_id] = name
        if fact.transfer_id not in self._tasks:
            self._tasks[fact.transfer_id] = self._bars.add_task(
                escape(_shortened(name)), total=None, phase="", objects="", size=""
            )
        self._update(fact.transfer_id, phase="listing")

    def _mark(self, transfer_id: str, phase: str, style: str) -> None:
        """The bar stands still where the attempt ended."""
        self._update(transfer_id, phase=f"[{style}]{escape(phase)}[/]", total=1, completed=0)

    def _update(self, transfer_id: str, **fields: Any) -> None:
        if self._is_live and transfer_id in self._tasks:
            self._bars.update(self._tasks[transfer_id], **fields)

    def _follow(self, fact: events.ApplicationFollowed) -> None:
        """The tracking URL, on a line of its own above the bars."""
        if self._is_live:
            name = self._names.get(fact.transfer_id, fact.transfer_id)
            url = f" {fact.tracking_url}" if fact.tracking_url else ""
            self._bars.console.print(f"{name}: {fact.application}{url}", markup=False)

    def _say(self, fact: EgressEstimated) -> None:
        """What it may cost, before a byte is read."""
        amount = f"{counted(fact.objects, 'object')}, {human_bytes(fact.size_bytes)}"
        if fact.is_all:
            line = f"at most {amount} would leave AWS: {fact.cost}"
        else:
            line = f"more than {amount} may leave AWS; these alone: {fact.cost}"
        if self._is_live:
            self._bars.console.print(line, markup=False, highlight=False)
        else:
            click.echo(line, err=True)

    def _move(self, fact: events.TransferProgress) -> None:
        plus = "" if fact.is_planned else "+"
        count = f"{fact.objects:,}/{fact.objects_total:,}{plus}"
        if not self._is_live:
            self._print(fact, count)
            return
        # The last part of DistCp's detail is its tracking URL, which is printed once.
        detail = fact.detail.split(", ")[:-1] if fact.phase in CLUSTER_PHASES else []
        phase = fact.phase
        if phase == "staging" and fact.is_planned and fact.size_bytes == fact.size_bytes_total:
            phase = "proving"  # all bytes are staged; what is left is their checksums
        self._update(
            fact.transfer_id,
            phase=escape(", ".join([phase, *detail])),
            completed=fact.size_bytes,
            total=fact.size_bytes_total if fact.is_planned else None,
            objects=f"{count} objects",
            size=_of(fact.size_bytes, fact.size_bytes_total),
        )

    def _print(self, fact: events.TransferProgress, count: str) -> None:
        now_s = time.monotonic()
        if now_s - self._printed_s.setdefault(fact.transfer_id, now_s) < PLAIN_LINE_S:
            return
        self._printed_s[fact.transfer_id] = now_s
        size = _of(fact.size_bytes, fact.size_bytes_total)
        detail = f", {fact.detail}" if fact.detail else ""
        click.echo(
            f"{self._names[fact.transfer_id]}: {fact.phase}, {count} objects, {size}{detail}",
            err=self._lines_to_stderr,
        )
        sys.stdout.flush()

    def _finish(self, fact: events.TransferDone) -> None:
        self.done.append(fact)
        size_bytes = max(fact.size_bytes, 1)  # an empty object's bar is full, too
        self._update(
            fact.transfer_id,
            phase="[green]done[/]",
            completed=size_bytes,
            total=size_bytes,
            objects=counted(fact.objects, "object"),
            size=human_bytes(fact.size_bytes),
        )


def _shortened(name: str) -> str:
    return name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…"


def _text(template: str) -> TextColumn:
    return TextColumn(template, table_column=Column(no_wrap=True))


def _of(part: int, whole: int) -> str:
    return f"{human_bytes(part)} of {human_bytes(whole)}"


def summary(done: events.TransferDone) -> str:
    """`s3://… -> hdfs://…: 24 objects, 1.0 GiB in 4.2 s (243.8 MiB/s), proven; id …`."""
    seconds = max(done.duration_s, 0.001)
    size = human_bytes(done.size_bytes)
    by_size = dict(done.proof_levels).get(Proof.SIZE.value, 0)
    notes = [] if by_size and by_size == done.objects else ["proven"]
    if by_size:
        notes.append(f"NOT PROVEN, only lengths compared: {by_size:,}")
    if done.adopted:
        notes.append(f"{done.adopted:,} already there and not copied")
    if done.placeholders:
        notes.append(f"{counted(done.placeholders, 'directory placeholder')} skipped")
    if done.is_superseded:
        notes.append("superseded by something newer")
    if done.publish in {"tree", "file"}:
        notes.append("published in one rename")
    elif done.publish == "per-file":
        notes.append("published file by file")
    return (
        f"{done.source} -> {done.destination}: {counted(done.objects, 'object')}, {size} in "
        f"{seconds:.1f} s ({human_rate(done.size_bytes / seconds)}), {', '.join(notes)}; "
        f"id {done.transfer_id}"
    )

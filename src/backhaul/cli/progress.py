"""Progress for people: live bars on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

from backhaul.cli.options import counted
from backhaul.core import facts as events
from backhaul.core.objects import Proof
from backhaul.core.units import human_bytes

PLAIN_LINE_S = 2.0
NAME_WIDTH = 20
CLUSTER_PHASES = {"listing", "queued", "copying", "proving"}


class Display:
    """Draws the transfers of one command; a context manager, and callable with facts."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._is_live = console.is_terminal
        self._bars = Progress(
            _text("{task.description}"),
            BarColumn(bar_width=16),
            _text("{task.fields[size]}"),
            _text("{task.fields[objects]} objects"),
            TransferSpeedColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            _text("left"),
            console=console,
            disable=not self._is_live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._names: dict[str, str] = {}
        self._printed_s: dict[str, float] = {}
        self._done: list[events.TransferDone] = []
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
                case events.ApplicationFollowed():
                    self._follow(fact)
                case events.TransferDone():
                    self._finish(fact)

    def summarise(self) -> None:
        """One line per finished transfer, on standard output."""
        for done in self._done:
            click.echo(summary(done))

    def _start(self, fact: events.AttemptStarted) -> None:
        name = fact.source.rstrip("/").rsplit("/", 1)[-1]
        self._names[fact.transfer_id] = name
        if fact.transfer_id not in self._tasks:
            self._tasks[fact.transfer_id] = self._bars.add_task(
                escape(_shortened(name)), total=None, objects="0", size=""
            )

    def _follow(self, fact: events.ApplicationFollowed) -> None:
        """The tracking URL, on a line of its own above the bars."""
        if self._is_live:
            name = self._names.get(fact.transfer_id, fact.transfer_id)
            url = f" {fact.tracking_url}" if fact.tracking_url else ""
            self._bars.console.print(f"{name}: {fact.application}{url}", markup=False)

    def _move(self, fact: events.TransferProgress) -> None:
        plus = "" if fact.is_planned else "+"
        count = f"{fact.objects:,}/{fact.objects_total:,}{plus}"
        if not self._is_live:
            self._print(fact, count)
            return
        name = _shortened(self._names[fact.transfer_id])
        if fact.phase in CLUSTER_PHASES:
            # The last part of DistCp's detail is its tracking URL, which is printed once.
            name = f"{name}: {', '.join([fact.phase, *fact.detail.split(', ')[:-1]])}"
        self._bars.update(
            self._tasks[fact.transfer_id],
            description=escape(name),
            completed=fact.size_bytes,
            total=fact.size_bytes_total if fact.is_planned else None,
            objects=count,
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
            f"{self._names[fact.transfer_id]}: {fact.phase}, {count} objects, {size}{detail}"
        )
        sys.stdout.flush()

    def _finish(self, fact: events.TransferDone) -> None:
        self._done.append(fact)
        if self._is_live and fact.transfer_id in self._tasks:
            self._bars.update(
                self._tasks[fact.transfer_id],
                completed=fact.size_bytes,
                total=max(fact.size_bytes, 1),
                objects=f"{fact.objects:,}/{fact.objects:,}",
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
        f"{seconds:.1f} s ({human_bytes(done.size_bytes / seconds)}/s), {', '.join(notes)}; "
        f"id {done.transfer_id}"
    )

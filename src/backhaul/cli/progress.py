"""Progress for people: live bars on a terminal, plain lines in a pipe."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from backhaul.cli.options import counted
from backhaul.core import facts as events
from backhaul.core.cost.egress import EgressEstimated
from backhaul.core.objects import Proof
from backhaul.core.units import human_bytes, human_rate

if TYPE_CHECKING:
    from rich.console import Console

    from backhaul.cli.bars import Bars

PLAIN_LINE_S = 2.0
NAME_WIDTH = 20
_AS_TERMINAL = ("FORCE_COLOR", "TTY_COMPATIBLE")  # variables that rich knows
CLUSTER_PHASES = {"listing", "queued", "copying", "proving"}


class Display:
    """Draws the transfers of one command; a context manager, and callable with facts.

    Args:
        lines_to_stderr: Where there are no bars, the lines instead of them are on standard error.
    """

    def __init__(self, console: Console | None = None, *, lines_to_stderr: bool = False) -> None:
        self._lines_to_stderr = lines_to_stderr
        self._bars = _bars(console)
        self._names: dict[str, str] = {}
        self._printed_s: dict[str, float] = {}
        self.done: list[events.TransferDone] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
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
        if self._bars is not None:
            self._bars.add(fact.transfer_id, _shortened(name))
        self._update(fact.transfer_id, "listing")

    def _mark(self, transfer_id: str, phase: str, style: str) -> None:
        """The bar stands still where the attempt ended."""
        self._update(transfer_id, phase, style, total=1, completed=0)

    def _update(self, transfer_id: str, phase: str, style: str = "", **fields: Any) -> None:
        if self._bars is not None:
            self._bars.update(transfer_id, phase, style, **fields)

    def _follow(self, fact: events.ApplicationFollowed) -> None:
        """The tracking URL, on a line of its own above the bars."""
        if self._bars is not None:
            name = self._names.get(fact.transfer_id, fact.transfer_id)
            url = f" {fact.tracking_url}" if fact.tracking_url else ""
            self._bars.say(f"{name}: {fact.application}{url}")

    def _say(self, fact: EgressEstimated) -> None:
        """What it may cost, before a byte is read."""
        amount = f"{counted(fact.objects, 'object')}, {human_bytes(fact.size_bytes)}"
        if fact.is_all:
            line = f"at most {amount} would leave AWS: {fact.cost}"
        else:
            line = f"more than {amount} may leave AWS; these alone: {fact.cost}"
        if self._bars is not None:
            self._bars.say(line, is_plain=True)
        else:
            click.echo(line, err=True)

    def _move(self, fact: events.TransferProgress) -> None:
        plus = "" if fact.is_planned else "+"
        count = f"{fact.objects:,}/{fact.objects_total:,}{plus}"
        if self._bars is None:
            self._print(fact, count)
            return
        # The last part of DistCp's detail is its tracking URL, which is printed once.
        detail = fact.detail.split(", ")[:-1] if fact.phase in CLUSTER_PHASES else []
        phase = fact.phase
        if phase == "staging" and fact.is_planned and fact.size_bytes == fact.size_bytes_total:
            phase = "proving"  # all bytes are staged; what is left is their checksums
        self._update(
            fact.transfer_id,
            ", ".join([phase, *detail]),
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
            "done",
            "green",
            completed=size_bytes,
            total=size_bytes,
            objects=counted(fact.objects, "object"),
            size=human_bytes(fact.size_bytes),
        )


def _shortened(name: str) -> str:
    return name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…"


def _bars(console: Console | None) -> Bars | None:
    """None where standard error is no terminal, and is not to be taken for one."""
    # rich itself decides; what it takes for a terminal is loaded for nothing else.
    if console is None and not (sys.stderr.isatty() or any(map(os.environ.get, _AS_TERMINAL))):
        return None
    from backhaul.cli.bars import Bars

    return Bars.on(console)


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

"""The dashboard's real process on a ledger, and an agent's heart that beats beside it."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from backhaul.adapters.ledger import Owner, SqlLedger, open_ledger, open_reader

START_S = 30.0
BEAT_S = 2.0
ZONE = "Asia/Kolkata"  # no page may show this machine's zone for another one's, or none


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Link:
    """What the dashboard printed."""

    url: str

    @property
    def base(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    @property
    def token(self) -> str:
        return self.url.partition("token=")[2]


class DashboardProcess:
    """`backhaul dashboard` on this ledger, on a free port, until the block ends."""

    def __init__(self, ledger: Path, *options: str) -> None:
        self._command = [
            *(sys.executable, "-m", "backhaul", "dashboard", "--listen", "127.0.0.1:0"),
            *("--ledger", str(ledger), *options),
        ]

    def __enter__(self) -> Self:
        environment = os.environ | {"TZ": ZONE, "AWS_EC2_METADATA_DISABLED": "true"}
        self.process = subprocess.Popen(
            self._command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            self.link = Link(self._first_line())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.process.terminate()
            _, errors = self.process.communicate(timeout=START_S)
        finally:
            self._end()
        assert self.process.returncode == 0, errors
        assert errors == "", "the dashboard has logged an error"

    def _end(self) -> None:
        """One that is left would be a ResourceWarning, and fail another test."""
        with self.process as process:
            process.kill()

    def _first_line(self) -> str:
        lines: queue.Queue[str] = queue.Queue()
        assert self.process.stdout is not None
        threading.Thread(
            target=lambda: lines.put(self.process.stdout.readline()),  # type: ignore[union-attr]
            daemon=True,
        ).start()
        try:
            found = lines.get(timeout=START_S).strip()
        except queue.Empty:
            found = ""
        if not found:
            self.process.kill()
            raise AssertionError(f"no link; {self.process.communicate()[1]}")
        return found


class Heart:
    """Repeats an agent's last report every two seconds, so that what it says stays the present."""

    def __init__(self, ledger: SqlLedger, path: Path) -> None:
        with closing(open_reader(path)) as reader:
            self.record = reader.agents()[0].record
        self._ledger = ledger
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self._end.set()
        self._thread.join()

    def beat(self, **changes: Any) -> None:
        """One report, with these fields changed from now on."""
        report = replace(self.record.report, **changes)
        self.record = replace(self.record, report=report)
        at = now()
        depth = None if report.depth is None else replace(report.depth, at=at)
        self._ledger.beat(
            self.record.identity, replace(report, at=at, last_poll_at=at, depth=depth)
        )

    def _run(self) -> None:
        while not self._end.wait(BEAT_S):
            self.beat()


def writer(path: Path) -> closing[SqlLedger]:
    """The ledger, open for writing as an agent has it open."""
    return closing(open_ledger(path, create=True, owner=Owner.current("edge1")))

"""Many bodies through `target.judge`; what brings a new outcome is kept and built upon."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests import catalogue
from tests.fuzz.mutate import Mutator
from tests.fuzz.target import judge

CORPUS = Path(__file__).parent / "corpus.jsonl"  # one JSON string a line
BODY_MAX = 70_000  # just over what the parser takes
_SAMPLES = 20_000


def seeds() -> list[str]:
    """The catalogue's own inputs, and the corpus of the repository."""
    found = [row.input for section in ("messages",) for row in catalogue.rows(section)]
    found += [f"{row.input}, /landing" for row in catalogue.rows("sources")]
    found += [f"bucket/raw/a, {row.input}" for row in catalogue.rows("destinations")]
    found += kept()
    return [body for body in found if len(body) < BODY_MAX]


def kept() -> list[str]:
    """The corpus of the repository."""
    if not CORPUS.exists():
        return []
    return [str(json.loads(line)) for line in CORPUS.read_text("ascii").splitlines()]


@dataclass(kw_only=True)
class Report:
    """What a run found.

    Attributes:
        broken: A body, and which promise it breaks.
        fresh: Bodies with an outcome that the seeds did not have.
        cpu_s: A sample of the CPU seconds of one body.
    """

    count: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[str, str]] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        return statistics.median(self.cpu_s) * 1000 if self.cpu_s else 0.0


def fuzz(*, seed: int, count: int | None = None, seconds: float | None = None) -> Report:
    """Until `count` bodies or `seconds` are over."""
    report = Report()
    known = seeds()
    mutator = Mutator(known, seed)
    for body in known:
        _one(report, body)
    report.fresh.clear()
    for body in _bodies(mutator, count, seconds):
        if _one(report, body):
            mutator.keep(body)
    return report


def _bodies(mutator: Mutator, count: int | None, seconds: float | None) -> Iterator[str]:
    deadline_s = None if seconds is None else time.monotonic() + seconds
    made = 0
    while (count is None or made < count) and (
        deadline_s is None or made % 256 or time.monotonic() < deadline_s
    ):
        made += 1
        yield mutator.next()[:BODY_MAX]


def _one(report: Report, body: str) -> bool:
    """True when its outcome is new."""
    report.count += 1
    started_s = time.process_time()
    try:
        outcome = judge(body)
    except Exception as error:  # noqa: BLE001 - whatever escapes is the finding
        report.broken.append((body, f"{type(error).__name__}: {error}"))
        return False
    if len(report.cpu_s) < _SAMPLES:
        report.cpu_s.append(time.process_time() - started_s)
    report.outcomes[outcome] += 1
    is_new = report.outcomes[outcome] == 1
    if is_new:
        report.fresh.append(body)
    return is_new

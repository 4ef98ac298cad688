"""`backhaul check`: the first screen judged against thresholds, for monitoring.

Pure but for the reading. The plugin's conventions are those of Nagios: a word and an exit code, one
line of text, and measurements behind a bar.

Source: Monitoring Plugins Development Guidelines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum

from backhaul.app.overview import Overview
from backhaul.core.health import Health, HealthState
from backhaul.core.outlook.expectation import ExpectationRecord
from backhaul.core.outlook.risks import RiskKind
from backhaul.core.text import visible
from backhaul.core.units import human_span

LONGEST = 600  # characters of the line


class Level(IntEnum):
    """What a plugin ends with."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One of the things that have thresholds.

    Attributes:
        unit: As in measurements: `s`, `%` or `B`; empty: a number.
        means: In words, for the help and the manual.
    """

    unit: str
    means: str
    warn: float | None = None
    critical: float | None = None


MEASURED: dict[str, Measured] = {
    "queue": Measured(unit="", means="messages that wait in the queues"),
    "oldest": Measured(unit="s", means="age of the oldest known message"),
    "retention": Measured(
        unit="%", means="that age of what SQS keeps a message", warn=50, critical=80
    ),
    "dead_24h": Measured(unit="", means="dead within 24 h, not sent again", warn=1),
    "dead_replies": Measured(unit="", means="replies that were given up", warn=1),
    "held": Measured(
        unit="s", means="how long a dependency has held transfers", warn=0, critical=900
    ),
    "rate": Measured(unit="B", means="bytes a second"),
    "missed": Measured(
        unit="", means="deadlines of expected data that passed, and it is missing", critical=1
    ),
    "at_risk": Measured(
        unit="", means="retentions and deadlines that the backlog will break", warn=1
    ),
}
LIMITED = tuple(name for name in MEASURED if name != "rate")
Thresholds = Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The result.

    Attributes:
        reasons: Why it is not OK; the first is the health sentence.
    """

    level: Level
    health: Health
    reasons: tuple[str, ...]
    values: Mapping[str, float | None]
    warn: Thresholds = field(default_factory=dict)
    critical: Thresholds = field(default_factory=dict)

    @property
    def line(self) -> str:
        """`CRITICAL: Held by hdfs for 3 h ... | queue=12;;;0 oldest=84s;;;0 ...`."""
        # A bar would begin the measurements.
        text = "; ".join(self.reasons or (self.health.sentence,)).replace("|", "/")
        return f"{self.level.name}: {visible(text, LONGEST)} | {' '.join(self._measurements())}"

    def _measurements(self) -> Iterator[str]:
        for name, known in MEASURED.items():
            value = self.values.get(name)
            if name == "held":
                value = value or 0  # held by nothing
            shown = "U" if value is None else f"{_decimal(value)}{known.unit}"
            limits = (self.warn.get(name), self.critical.get(name))
            warn, critical = ("" if one is None else _decimal(one) for one in limits)
            yield f"{name}={shown};{warn};{critical};0"


def judge(view: Overview, warn: Thresholds, critical: Thresholds) -> Checked:
    """The first screen against the thresholds; those not given are the defaults.

    Args:
        warn: By a name of `MEASURED`; None: no threshold. Likewise `critical`.
    """
    warns = {name: warn.get(name, MEASURED[name].warn) for name in MEASURED}
    criticals = {name: critical.get(name, MEASURED[name].critical) for name in MEASURED}
    values = _values(view)
    level, reasons = _of_health(view.health.state), []
    if level is not Level.OK or view.health.state is HealthState.HELD:
        reasons.append(view.health.sentence)
    for name, value in values.items():
        found = _level(value, warns[name], criticals[name])
        level = max(level, found)
        if found is Level.OK or name == "held":  # the health sentence has that
            continue
        if name == "missed":
            reasons += [f"missing since {one.due}: {one.words}" for one in _missed(view)]
        elif name == "at_risk":
            reasons += [one.sentence for one in view.risks]
        else:
            reasons.append(_words(name, value or 0, found, (warns, criticals)))
    return Checked(
        level=level,
        health=view.health,
        reasons=tuple(reasons),
        values=values,
        warn=warns,
        critical=criticals,
    )


def _of_health(state: HealthState) -> Level:
    """How long a hold may last is a threshold."""
    if state in {HealthState.RUNNING, HealthState.HELD}:
        return Level.OK
    is_minor = state in {HealthState.STOPPING, HealthState.BUDGET}
    return Level.WARNING if is_minor else Level.CRITICAL


def _level(value: float | None, warn: float | None, critical: float | None) -> Level:
    if value is None:
        return Level.OK
    if critical is not None and value >= critical:
        return Level.CRITICAL
    return Level.WARNING if warn is not None and value >= warn else Level.OK


def _values(view: Overview) -> dict[str, float | None]:
    visible_counts = [one.visible for one in view.queues if one.visible is not None]
    ages = [one.oldest_age for one in view.queues if one.oldest_age is not None]
    shares = [one.retention_used for one in view.queues if one.retention_used is not None]
    held = None
    if view.health.state is HealthState.HELD and view.health.since is not None:
        held = max(timedelta(), view.now - view.health.since)
    is_known = bool(visible_counts)
    # What waits has an age, known or not.
    is_age_known = is_known and (bool(ages) or not any(visible_counts))
    is_share_known = is_known and (bool(shares) or not any(visible_counts))
    return {
        "queue": sum(visible_counts) if is_known else None,
        "oldest": max(ages, default=timedelta()).total_seconds() if is_age_known else None,
        "retention": 100 * max(shares, default=0.0) if is_share_known else None,
        "dead_24h": sum(one.count for one in view.dead),
        "dead_replies": sum(one.dead for one in view.replies),
        "held": None if held is None else held.total_seconds(),
        "rate": view.bytes_per_s,
        "missed": len(_missed(view)) or _none(is_known=_is_judged(view)),
        "at_risk": len(view.risks) or _none(is_known=len(view.risks_known) == len(RiskKind)),
    }


def _none(*, is_known: bool) -> int | None:
    """None that are known are 0 only where there can be no others."""
    return 0 if is_known else None


def _is_judged(view: Overview) -> bool:
    return not any(one.is_unjudged(view.now) for one in view.expectations)


def _missed(view: Overview) -> list[ExpectationRecord]:
    return [one.last for one in view.expectations if one.last is not None and one.is_missed]


def _words(name: str, value: float, level: Level, limits: tuple[Thresholds, Thresholds]) -> str:
    limit = limits[level is Level.CRITICAL][name]
    word = level.name.lower()
    return f"{name} {_shown(name, value)} ({word} from {_shown(name, limit or 0)})"


def _shown(name: str, value: float) -> str:
    unit = MEASURED[name].unit
    if unit == "s":
        return human_span(timedelta(seconds=value))
    return f"{_decimal(value)}{' %' if unit == '%' else ''}"


def _decimal(value: float) -> str:
    """`3556230`, `7.3`: what reads measurements takes digits and a point, no exponent."""
    return f"{value:.1f}".removesuffix(".0")

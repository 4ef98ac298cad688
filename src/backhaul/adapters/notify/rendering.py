"""How a notification reads: one subject, a text for mail, JSON for a command.

Keys, codes and reasons are foreign text. Each passes through `shown` or `visible`, so none can
begin a header, a line or a field of its own, turn the direction of the text, or carry a password.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from backhaul.core.notification import (
    Death,
    Deaths,
    HealthChange,
    Notices,
    Notification,
)
from backhaul.core.text import redacted, shown, visible
from backhaul.core.units import human_span

VERSION = 1  # of the JSON: docs/schema/notification.schema.json
SUBJECT_MOST = 160
GROUPS_SHOWN = 20
_LINE = 1000
_URI = 2000


def subject(notification: Notification) -> str:
    """One line of printable text: where, and what is most urgent."""
    parts = []
    if notification.health is not None:
        parts.append(_headline(notification.health))
    if notification.notices is not None:
        parts.append(_notices_line(notification.notices))
    if notification.deaths is not None:
        parts.append(_dead_line(notification.deaths))
    mark = "TEST: " if notification.is_test else ""
    where = shown(f"{notification.host} {notification.queue}", 80)
    return _line(f"[backhaul] {mark}{where}: {'; '.join(parts)}", SUBJECT_MOST)


def as_json(notification: Notification) -> str:
    """One object in ASCII, on one line, as the schema describes it."""
    document = {
        "v": VERSION,
        "id": notification.id,
        "name": notification.name,
        "about": list(notification.about),
        "at": _time(notification.at),
        "subject": subject(notification),
        "agent": {
            "host": shown(notification.host),
            "version": notification.version,
            "queue": shown(notification.queue),
            "region": shown(notification.region),
        },
        "health": notification.health and _health_fields(notification.health),
        "dead": notification.deaths and _dead_fields(notification.deaths),
        "data": notification.notices and _notices_fields(notification.notices),
    }
    return json.dumps(document) + "\n"


def text(notification: Notification) -> str:
    """For people: what, the fix, and the commands that show more."""
    parts = ["This is a test by backhaul notify test.\n"] if notification.is_test else []
    if notification.health is not None:
        parts.append(_health_text(notification.health))
    if notification.notices is not None:
        parts.append(_notices_text(notification.notices))
    if notification.deaths is not None:
        parts.append(_dead_text(notification.deaths))
    every = human_span(timedelta(seconds=notification.every_s))
    parts.append(
        f"-- \nBackhaul {notification.version} on {shown(notification.host)}, queue"
        f" {shown(notification.queue)} ({shown(notification.region)}).\n"
        f"Notification {notification.name}, {notification.id}. The next one comes in {every} at the"
        " earliest.\n"
    )
    return "\n".join(parts)


# ---------------------------------------------------------------- health


def _headline(change: HealthChange) -> str:
    sentence = _line(change.health.sentence)
    return f"well again: {sentence}" if change.is_recovery else sentence


def _health_fields(change: HealthChange) -> dict[str, Any]:
    health = change.health
    return {
        "change": "recovery" if change.is_recovery else "trouble",
        "state": health.state.value,
        "sentence": _line(health.sentence),
        "code": _line(health.code),
        "hint": _line(health.hint),
        "since": _time(health.since) if health.since else None,
    }


def _health_text(change: HealthChange) -> str:
    health = change.health
    lines = [_headline(change)]
    if health.hint:
        lines.append(f"Fix: {_line(health.hint)}")
    if health.since is not None:
        lines.append(f"Since: {_time(health.since)}")
    lines.append("More: backhaul status")
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- data that does not come


def _notices_line(notices: Notices) -> str:
    more = f" and {notices.count - 1} more" if notices.count > 1 else ""
    return f"{_line(notices.first[0].sentence)}{more}"


def _notices_fields(notices: Notices) -> dict[str, Any]:
    return {
        "count": notices.count,
        "notices": [
            {
                "about": one.about.value,
                "at": _time(one.at),
                "code": _line(one.code),
                "sentence": _line(one.sentence),
                "hint": _line(one.hint),
            }
            for one in notices.first
        ],
    }


def _notices_text(notices: Notices) -> str:
    lines = []
    for one in notices.first:
        lines.append(_line(one.sentence))
        if one.hint:
            lines.append(f"  Fix: {_line(one.hint)}")
    if left := notices.count - len(notices.first):
        lines += ["", f"and {left} more"]
    lines += ["", "More: backhaul expectations; backhaul status"]
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- the dead


def _dead_line(deaths: Deaths) -> str:
    by_code: dict[str, int] = {}
    for one in deaths.groups:
        by_code[one.code] = by_code.get(one.code, 0) + one.count
    codes = ", ".join(f"{_line(code)} {count}" for code, count in by_code.items())
    return f"{deaths.count} dead: {codes}"


def _dead_fields(deaths: Deaths) -> dict[str, Any]:
    return {
        "count": deaths.count,
        "first_at": _time(deaths.first_at),
        "last_at": _time(deaths.last_at),
        "groups": [
            {"code": _line(one.code), "route": _line(one.route), "count": one.count}
            for one in deaths.groups
        ],
        "examples": [_death_fields(one) for one in deaths.examples],
    }


def _death_fields(death: Death) -> dict[str, Any]:
    return {
        "transfer": _line(death.transfer_id),
        "message": _line(death.message_id),
        "at": _time(death.at),
        "code": _line(death.code),
        "reason": _line(death.reason),
        "hint": _line(death.hint),
        "attempts": death.attempts,
        "route": _line(death.route),
        "source": _line(death.source, _URI),
        "destination": _line(death.destination, _URI),
        "dead_letter_queue": death.dead_letter_queue and _line(death.dead_letter_queue),
        "show": f"backhaul show {_line(death.transfer_id)}",
    }


def _dead_text(deaths: Deaths) -> str:
    lines = [f"{deaths.count} dead, {_span(deaths)}:", ""]
    for one in deaths.groups[:GROUPS_SHOWN]:
        route = f"  route {_line(one.route)}" if one.route else ""
        lines.append(f"{one.count:>7}  {_line(one.code)}{route}")
    if left := sum(one.count for one in deaths.groups[GROUPS_SHOWN:]):
        lines.append(f"{left:>7}  of other codes and routes")
    for death in deaths.examples:
        lines += ["", *_death_lines(death)]
    if left := deaths.count - len(deaths.examples):
        lines += ["", f"and {left} more: backhaul history --state dead --limit {deaths.count}"]
    lines += ["", "When the cause is fixed: backhaul dlq redrive"]
    return "\n".join(lines) + "\n"


def _span(deaths: Deaths) -> str:
    if deaths.first_at == deaths.last_at:
        return f"at {_time(deaths.first_at)}"
    return f"from {_time(deaths.first_at)} to {_time(deaths.last_at)}"


def _death_lines(death: Death) -> list[str]:
    route = f", route {_line(death.route)}" if death.route else ""
    lines = [f"transfer {_line(death.transfer_id)}{route}"]
    if death.source:
        lines.append(f"  {_line(death.source, _URI)} -> {_line(death.destination, _URI)}")
    lines.append(f"  {_line(death.code)}: {_line(death.reason)}")
    if death.hint:
        lines.append(f"  Fix: {_line(death.hint)}")
    if death.dead_letter_queue is None:
        lines.append("  It is kept hidden in its queue, which has no dead-letter queue.")
    lines.append(f"  More: backhaul show {_line(death.transfer_id)}")
    return lines


# ---------------------------------------------------------------- pieces


def _line(foreign: str, limit: int = _LINE) -> str:
    """Without secrets, on one line; reasons were made printable once, so backslashes stay."""
    return visible(redacted(foreign), limit)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

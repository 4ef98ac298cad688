"""Each act on a page: what its confirmation shows, and what its form does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from backhaul.app import actions
from backhaul.app.budget import budget_views, raise_budget
from backhaul.app.queues import queue_of_command
from backhaul.core.cost.budget import BudgetUnit
from backhaul.core.errors import BadArgument
from backhaul.core.model import TransferState
from backhaul.core.ports import Act, Operator
from backhaul.core.rate_limit import ManualLimit
from backhaul.core.text import find_control, printable
from backhaul.core.units import human_bytes
from backhaul.settings.sizes import parse_rate

if TYPE_CHECKING:
    from starlette.requests import Request

    from backhaul.adapters.ledger import LedgerReader, RetryCandidate
    from backhaul.app.overview import Overview
    from backhaul.dashboard.website import Site

REASON_MOST = 200
RETRY_MOST = 500  # transfers at once; their ids are in the form
BATCHES_MOST = 20  # of dead transfers that are looked through for them
LETTERS_MOST = 10_000  # dead letters that are read for them
LASTING = {
    "": None,
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "2h": timedelta(hours=2),
    "8h": timedelta(hours=8),
    "1d": timedelta(days=1),
}


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What the page before an act has.

    Attributes:
        facts: What it concerns, by name.
        happens: What will happen, and what will not.
        fields: Sent along with the form.
        further: More fields of the form: `lasting`, `reason`, `rate`, `amount`.
        refused: Why there is no form; empty where there is one.
    """

    heading: str
    facts: list[tuple[str, str]]
    happens: str
    verb: str
    back: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    further: frozenset[str] = frozenset()
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class SentForm:
    """The fields of a form; one that is missing is empty."""

    fields: dict[str, list[str]]

    def one(self, name: str) -> str:
        return self.fields.get(name, [""])[-1].strip()

    def every(self, name: str) -> list[str]:
        return self.fields.get(name, [])


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Where an act leads to, or what its page shows."""

    back: str
    did: Act
    lines: list[str] = field(default_factory=list)


# ---------------------------------------------------------------- cancel


def _confirm_cancel(site: Site, request: Request) -> Confirmation:
    given = request.query_params.get("id", "")
    row = site.readers.call(lambda reader: reader.transfer(given))
    ended = f"It has ended: {row.state}." if row.state.is_final else ""
    if row.state is TransferState.PUBLISHING:
        ended = "Its files may be visible already, so it has to end by itself."
    return Confirmation(
        heading=f"Cancel transfer {row.id}",
        facts=[
            ("Source", row.source),
            ("Destination", row.destination),
            ("State", f"{row.state}, attempt {row.attempt}"),
            ("Concerns", _extent(1, row.objects_planned, row.bytes_planned)),
        ],
        happens="It ends for good, and its message with it; nothing of it is published. An"
        " application on YARN is killed. What was copied so far is removed.",
        verb="Cancel it",
        back=f"/transfer/{row.id}",
        fields=[("id", row.id)],
        refused=ended,
    )


def _cancel(site: Site, form: SentForm, by: Operator, warn: actions.Warn) -> Outcome:
    context = site.require_context()
    transfer_id = actions.cancel(context, by, form.one("id"), warn=warn)
    return Outcome(back=f"/transfer/{transfer_id}", did=Act.CANCEL)


# ---------------------------------------------------------------- retry


def _confirm_retry(site: Site, request: Request) -> Confirmation:
    given = request.query_params
    one = given.get("id", "")
    if one:
        found = [site.readers.call(lambda reader: reader.candidate(one))]
        back, is_cut = f"/transfer/{found[0].id}", False
    else:
        code, route = given.get("code", ""), given.get("route", "")
        found, is_cut = site.readers.call(lambda reader: _deaths(reader, code, route))
        back = f"/search?{urlencode({'state': 'dead', 'code': code, 'route': route})}"
    able = [one for one in found if not _why_not(one)]
    facts = [
        ("Concerns", _extent(len(able), *_sums(able)) + (", the newest" if is_cut else "")),
        ("Of routes", ", ".join(sorted({one.route or "(none)" for one in able})) or "–"),
        ("Causes", ", ".join(sorted({one.code or "(none)" for one in able})) or "–"),
    ]
    facts += [(one.id, f"not this one: {_why_not(one)}") for one in found if _why_not(one)][:20]
    return Confirmation(
        heading=f"Try {_count(len(able), 'dead transfer')} again",
        facts=facts,
        happens="Each dead letter goes back to its queue as a new message, then it is deleted. What"
        " is published already is found and not copied again. If the cause is not removed, they"
        " die again.",
        verb="Try again",
        back=back,
        fields=[("id", one.id) for one in able],
        refused="" if able else "None of them can be tried again from here.",
    )


def _deaths(reader: LedgerReader, code: str, route: str) -> tuple[list[RetryCandidate], bool]:
    """The newest that died of this, and whether there may be more."""
    found: list[RetryCandidate] = []
    for number, batch in enumerate(reader.open_deaths()):
        for one in batch:
            if code in {"", one.code} and route in {"", one.route} and not _why_not(one):
                found.append(one)
            if len(found) == RETRY_MOST:
                return found, True
        if number + 1 == BATCHES_MOST:
            return found, True
    return found, False


def _why_not(one: RetryCandidate) -> str:
    if one.state is not TransferState.DEAD:
        return f"it is {one.state}, not dead"
    if one.sent_again_as is not None:
        return f"it was sent again as message {one.sent_again_as}"
    if one.settled_at is not None:
        return "nothing is left to do about it"
    if not one.has_letter or not _region(one.queue):
        return "it has no dead letter: send a new message"
    return ""


def _region(queue: str | None) -> str:
    """From the ARN; empty for a transfer of no queue."""
    parts = (queue or "").split(":")
    return parts[3] if len(parts) == 6 else ""  # noqa: PLR2004 - arn:aws:sqs:REGION:ACCOUNT:NAME


def _retry(site: Site, form: SentForm, by: Operator, warn: actions.Warn) -> Outcome:
    ids = form.every("id")[:RETRY_MOST]
    every = site.readers.call(lambda reader: [reader.candidate(one) for one in ids])
    by_queue: dict[str, list[RetryCandidate]] = defaultdict(list)
    lines = []
    for one in every:
        if reason := _why_not(one):
            lines.append(f"{one.id}: not sent again: {reason}")
        else:
            by_queue[one.queue or ""].append(one)
    for queue, dead in by_queue.items():
        lines += _retry_on(site, queue, dead, by, warn)
    back = f"/transfer/{every[0].id}" if len(every) == 1 else "/"
    return Outcome(back=back, did=Act.RETRY, lines=lines or ["Nothing was chosen."])


def _retry_on(
    site: Site, queue: str, dead: Sequence[RetryCandidate], by: Operator, warn: actions.Warn
) -> Iterator[str]:
    sent: set[str] = set()
    shortened = actions.retry(
        site.settings.ledger_place,
        by,
        queue_of_command(queue, _region(queue), site.require_context().config_path),
        dead,
        most=LETTERS_MOST,
        sent=lambda one: sent.add(one.transfer_id),
        warn=warn,
    )
    name = queue.rpartition(":")[2]
    yield f"Sent {_count(len(sent), 'message')} again to {name}."
    for one in dead:
        if one.id in shortened:
            yield f"{one.id}: only the beginning of its message is left: send a new one."
        elif one.id not in sent:
            yield f"{one.id}: its dead letter is not on the dead-letter queue any more."


# ---------------------------------------------------------------- routes and the limit


def _confirm_pause(site: Site, request: Request) -> Confirmation:
    route = request.query_params.get("route", "")
    view = site.overview.get()
    found = next((one for one in view.routes if one.name == route), None)
    return Confirmation(
        heading=f"Pause route {route}",
        facts=[
            ("Running now", _count(found.running if found else 0, "transfer")),
            ("Waiting now", _waiting(view, route)),
        ],
        happens="No further transfer of this route begins; those under way finish. Its messages"
        " wait and spend nothing; other routes go on.",
        verb="Pause it",
        back="/",
        fields=[("route", route)],
        further=frozenset({"lasting", "reason"}),
        refused="" if found else "No route of this name is configured or was used within a day.",
    )


def _waiting(view: Overview, route: str) -> str:
    waiting = [one for one in view.waiting if one.route == route]
    size_bytes = sum(one.bytes_planned for one in waiting)
    least = "at least " if view.is_cut else ""
    return f"{least}{_count(len(waiting), 'transfer')}, {human_bytes(size_bytes)}"


def _pause(site: Site, form: SentForm, by: Operator, warn: actions.Warn) -> Outcome:
    lasting, reason = _lasting(form), _reason(form)
    actions.pause(site.settings, by, form.one("route"), lasting=lasting, reason=reason, warn=warn)
    return Outcome(back="/", did=Act.PAUSE)


def _reason(form: SentForm) -> str:
    reason = form.one("reason")
    if len(reason) > REASON_MOST or find_control(reason) is not None:
        raise BadArgument(
            "E_DASHBOARD_FORM",
            f"the reason {printable(reason, 60)!r} is too long or no text",
            hint=f"at most {REASON_MOST} characters",
        )
    return reason


def _confirm_resume(site: Site, request: Request) -> Confirmation:
    route = request.query_params.get("route", "")
    view = site.overview.get()
    found = next((one for one in view.routes if one.name == route), None)
    pause = found.paused if found else None
    return Confirmation(
        heading=f"Resume route {route}",
        facts=[
            ("Paused by", pause.operator if pause else "–"),
            ("Because", (pause.reason if pause else "") or "–"),
            ("Waiting now", _waiting(view, route)),
        ],
        happens="Its transfers begin again within some seconds.",
        verb="Resume it",
        back="/",
        fields=[("route", route)],
        refused="" if pause else "It is not paused.",
    )


def _resume(site: Site, form: SentForm, by: Operator, warn: actions.Warn) -> Outcome:
    actions.resume(site.settings, by, form.one("route"), warn=warn)
    return Outcome(back="/", did=Act.RESUME)


def _confirm_limit(site: Site, request: Request) -> Confirmation:
    del request
    from backhaul.dashboard.front import limit_view
    from backhaul.dashboard.rendering import rate

    view = site.overview.get()
    limit = limit_view(site)
    now = "none" if limit.rate is None else f"{human_bytes(limit.rate)}/s"
    return Confirmation(
        heading="Limit reading from S3",
        facts=[
            ("Limit now", f"{now}, {limit.why}"),
            ("Rate now", rate(view.bytes_per_s)),
            ("Concerns", _count(len(view.running), "running transfer")),
        ],
        happens="Every agent that shares this ledger applies it within a second, also in the middle"
        " of an object. `off` removes the limit, `default` returns to the configured one.",
        verb="Set the limit",
        back="/",
        further=frozenset({"rate", "lasting"}),
    )


def _limit(site: Site, form: SentForm, by: Operator, warn: actions.Warn) -> Outcome:
    text, lasting = form.one("rate"), _lasting(form)
    manual = None
    if text != "default":
        try:
            rate = parse_rate(text)
        except ValueError as error:
            raise BadArgument(
                "E_DASHBOARD_FORM",
                f"the rate {printable(text, 60)!r}: {error}",
                hint="write 50MB/s, off or default",
            ) from None
        until = None if lasting is None else datetime.now(UTC) + lasting
        manual = ManualLimit(bytes_per_s=rate if isinstance(rate, int) else None, until=until)
    actions.set_limit(site.settings, by, manual, warn=warn)
    return Outcome(back="/", did=Act.LIMIT)


# ---------------------------------------------------------------- budgets


def _confirm_budget(site: Site, request: Request) -> Confirmation:
    route = request.query_params.get("route", "")
    now = datetime.now(UTC)
    every = site.readers.call(lambda reader: budget_views(site.settings, reader, now))
    found = next((one for one in every if one.state.budget.route == route), None)
    if found is None:
        return Confirmation(
            heading="Raise a budget",
            facts=[("Route", route or "all of them together")],
            happens="",
            verb="",
            back="/",
            refused="It has no budget.",
        )
    state, budget = found.state, found.state.budget
    return Confirmation(
        heading=f"Raise {budget.owner}",
        facts=[
            ("Spent", f"{state.numbers}, {state.share:.0%}"),
            ("Left", budget.words(state.left)),
            ("Until", f"{state.period.ends_at:%Y-%m-%d %H:%M} UTC"),
            ("Held", _count(found.held_transfers, "transfer")),
        ],
        happens="What you write is added for this period alone, in "
        + ("bytes" if budget.unit is BudgetUnit.BYTES else "US dollars")
        + ". What waits and fits then goes on within some seconds; it costs what it costs.",
        verb="Raise it",
        back="/",
        fields=[("route", route)],
        further=frozenset({"amount", "reason"}),
    )


def _budget(site: Site, form: SentForm, by: Operator, warn: actions.Warn) -> Outcome:
    reason = _reason(form)
    amount = form.one("amount")
    raise_budget(site.settings, by, form.one("route"), amount, reason=reason, warn=warn)
    return Outcome(back="/", did=Act.BUDGET)


def _lasting(form: SentForm) -> timedelta | None:
    text = form.one("lasting")
    if text not in LASTING:
        raise BadArgument(
            "E_DASHBOARD_FORM",
            f"{printable(text, 60)!r} is no time of the list",
            hint=f"one of {', '.join(one for one in LASTING if one)}",
        )
    return LASTING[text]


def _extent(transfers: int, objects: int, size_bytes: int) -> str:
    return (
        f"{_count(transfers, 'transfer')}, {_count(objects, 'object')}, {human_bytes(size_bytes)}"
    )


def _sums(found: Sequence[RetryCandidate]) -> tuple[int, int]:
    return sum(one.objects_planned for one in found), sum(one.bytes_planned for one in found)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


CONFIRMATIONS: dict[Act, Callable[[Site, Request], Confirmation]] = {
    Act.CANCEL: _confirm_cancel,
    Act.RETRY: _confirm_retry,
    Act.PAUSE: _confirm_pause,
    Act.RESUME: _confirm_resume,
    Act.LIMIT: _confirm_limit,
    Act.BUDGET: _confirm_budget,
}
PERFORMED: dict[Act, Callable[[Site, SentForm, Operator, actions.Warn], Outcome]] = {
    Act.CANCEL: _cancel,
    Act.RETRY: _retry,
    Act.PAUSE: _pause,
    Act.RESUME: _resume,
    Act.LIMIT: _limit,
    Act.BUDGET: _budget,
}

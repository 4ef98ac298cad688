"""Notifications: what an operator learns from us without looking, as frozen data.

What is sent when is `core.agent.notifying.plan`; how it reads is `adapters.notify.rendering`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from backhaul.core.health import Health

EXAMPLES_MOST = 20
GROUPS_MOST = 100
NOTICES_MOST = 50
DELIVERY_S = 30.0  # one try of one message, from the first call to the last answer
OTHER = "other"  # code of the groups that found no place


class NotifyOn(StrEnum):
    """What a notification may be about."""

    HEALTH = "health"
    DEAD = "dead"
    EXPECTED = "expected"
    FORECAST = "forecast"


class MailTls(StrEnum):
    """How the connection to a mail server is encrypted, with the port that goes with it."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"

    @property
    def port(self) -> int:
        """Where servers listen for it."""
        return {MailTls.STARTTLS: 587, MailTls.TLS: 465, MailTls.NONE: 25}[self]


@dataclass(frozen=True, kw_only=True)
class MailRoute:
    """From whom to whom, and by which server.

    Attributes:
        user: With its password; None: the server wants none.
        ca_file: Certificates that the server's is checked with; None: the system's.
    """

    to: tuple[str, ...]
    sender: str
    host: str
    port: int
    tls: MailTls = MailTls.STARTTLS
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class NotifyRules:
    """About what one name is notified, and how often.

    Attributes:
        every_s: Least time from one message to the next.
        after_s: Health is reported once it has been as it is for so long.
    """

    name: str
    on: frozenset[NotifyOn] = frozenset(NotifyOn)
    every_s: float = 900.0
    after_s: float = 120.0


@dataclass(frozen=True, kw_only=True)
class Death:
    """One dead message, or one dead record of it.

    Attributes:
        route: Empty where none was known, as of a message that no route allows; likewise `source`
            and `destination`.
        dead_letter_queue: None: there is none, and the message stays hidden.
    """

    at: datetime
    transfer_id: str
    message_id: str
    code: str
    reason: str
    hint: str
    attempts: int
    dead_letter_queue: str | None
    route: str = ""
    source: str = ""
    destination: str = ""


@dataclass(frozen=True, kw_only=True)
class DeathGroup:
    """Dead ones of one code on one route."""

    code: str
    route: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Deaths:
    """Several dead ones together: all are counted, the first are examples.

    Attributes:
        groups: Largest first; past `GROUPS_MOST` the others are one group, `OTHER`.
        examples: `EXAMPLES_MOST` at most, oldest first.
    """

    count: int
    first_at: datetime
    last_at: datetime
    groups: tuple[DeathGroup, ...]
    examples: tuple[Death, ...]

    @classmethod
    def of(cls, death: Death) -> Deaths:
        """Of one alone."""
        return cls(
            count=1,
            first_at=death.at,
            last_at=death.at,
            groups=(DeathGroup(code=death.code, route=death.route, count=1),),
            examples=(death,),
        )

    def with_more(self, later: Deaths | None) -> Deaths:
        """These, and those that came later."""
        if later is None:
            return self
        counts = {(one.code, one.route): one.count for one in self.groups}
        for one in later.groups:
            key = (one.code, one.route)
            if key not in counts and len(counts) >= GROUPS_MOST - 1:
                key = (OTHER, "")
            counts[key] = counts.get(key, 0) + one.count
        groups = [
            DeathGroup(code=code, route=route, count=count)
            for (code, route), count in counts.items()
        ]
        return replace(
            self,
            count=self.count + later.count,
            first_at=min(self.first_at, later.first_at),
            last_at=max(self.last_at, later.last_at),
            groups=tuple(sorted(groups, key=lambda one: (-one.count, one.code, one.route))),
            examples=(*self.examples, *later.examples)[:EXAMPLES_MOST],
        )


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One thing about data: it did not come, came late, or will come too late.

    Attributes:
        about: `EXPECTED` or `FORECAST`.
        code: `W_EXPECTED_MISSING` and the like; empty for good news.
    """

    about: NotifyOn
    at: datetime
    sentence: str
    code: str = ""
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Notices:
    """Several together.

    Attributes:
        first: `NOTICES_MOST` at most, oldest first.
    """

    count: int
    first: tuple[Notice, ...]

    @classmethod
    def of(cls, notice: Notice) -> Notices:
        """Of one alone."""
        return cls(count=1, first=(notice,))

    def with_more(self, later: Notices | None) -> Notices:
        """These, and those that came later."""
        if later is None:
            return self
        first = (*self.first, *later.first)[:NOTICES_MOST]
        return Notices(count=self.count + later.count, first=first)


@dataclass(frozen=True, kw_only=True)
class HealthChange:
    """The health is worth a message: trouble, or its end.

    Attributes:
        key: Of the kind of trouble; empty for a recovery.
    """

    health: Health
    key: str

    @property
    def is_recovery(self) -> bool:
        """The trouble that was reported is over."""
        return not self.key


@dataclass(frozen=True, kw_only=True)
class Notification:
    """One message to one name.

    Attributes:
        id: The same in every try of it, so that a receiver knows a repeat.
        every_s: As configured; for its last line.
        is_test: It was made by `backhaul notify test`, and nothing has happened.
    """

    id: str
    name: str
    at: datetime
    host: str
    version: str
    queue: str
    region: str
    every_s: float
    health: HealthChange | None = None
    deaths: Deaths | None = None
    notices: Notices | None = None
    is_test: bool = False

    @property
    def about(self) -> tuple[str, ...]:
        """Of `health`, `recovery`, `dead`, `expected`, `forecast` and `test`, what it has."""
        found = []
        if self.health is not None:
            found.append("recovery" if self.health.is_recovery else "health")
        if self.deaths is not None:
            found.append("dead")
        if self.notices is not None:
            kinds = {one.about for one in self.notices.first}
            found += [one.value for one in NotifyOn if one in kinds]
        return (*found, "test") if self.is_test else tuple(found)


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """What one name's notifications need of the run before.

    Attributes:
        sent_at: Of the last message; None: none yet.
        troubles: Kinds of trouble that were reported and are not known to be over.
        deaths: Not reported yet.
        notices: Likewise.
    """

    sent_at: datetime | None = None
    troubles: frozenset[str] = frozenset()
    deaths: Deaths | None = None
    notices: Notices | None = None


# ---------------------------------------------------------------- facts


@dataclass(frozen=True, kw_only=True)
class NotificationSent:
    """It was taken over by the mail server, or its command ended with 0.

    Attributes:
        left_out: Who of several did not get it, and why; mostly empty.
    """

    name: str
    about: str
    dead: int
    seconds: float
    left_out: str = ""


@dataclass(frozen=True, kw_only=True)
class NotificationFailed:
    """It was not delivered in several tries; what it has goes into the next one.

    Attributes:
        dead: How many dead messages it is about.
    """

    name: str
    code: str
    reason: str
    hint: str
    dead: int
    retry_in_s: float


@dataclass(frozen=True, kw_only=True)
class NotificationKept:
    """The agent ends before it could be sent; the next start sends it."""

    name: str
    dead: int


@dataclass(frozen=True, kw_only=True)
class NotificationMemoryFailed:
    """What was reported cannot be kept across a restart; emitted once until it can."""

    code: str
    reason: str
    hint: str

"""When one name gets a message, and what is in it: grouped, one in each span, no death lost.

No time of its own, no thread, no call: `notifier` brings the facts and delivers. Deaths, and
notices of data, wait a moment for more of their kind, then for the least time between two messages;
all that came meanwhile is one message. Health is reported once it has been bad for a while. Short
interludes of health do not hide trouble, and each kind of trouble is reported once until a recovery
was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backhaul.core.agent_report import AgentIdentity
from backhaul.core.health import Health, HealthState
from backhaul.core.notification import (
    Death,
    Deaths,
    HealthChange,
    Notice,
    Notices,
    Notification,
    NotifyOn,
    NotifyRules,
    Remembered,
)

GATHER_S = 5.0  # a burst of deaths is one message
RETRY_S = (10.0, 60.0, 180.0)  # after the first, second and third failed try; then given up
_TROUBLES = frozenset({HealthState.NOT_POLLING, HealthState.HELD, HealthState.BUDGET})


@dataclass(frozen=True, kw_only=True)
class _Try:
    """A message under way: made once, tried several times."""

    notification: Notification
    failures: int = 0
    due_s: float


class NotificationPlan:
    """Of one name.

    Args:
        remembered: From the run before.
        now_s: Monotonic, as in every method.
    """

    def __init__(
        self,
        rules: NotifyRules,
        identity: AgentIdentity,
        remembered: Remembered,
        now_s: float,
        now: datetime,
    ) -> None:
        self.rules = rules
        self._identity = identity
        self._number = 0
        # What an earlier configuration wanted is not sent any more.
        self._deaths = remembered.deaths if NotifyOn.DEAD in rules.on else None
        self._gathered_s = now_s  # when the deaths have waited long enough for others
        self._notices = _wanted(remembered.notices, rules)
        self._noticed_s = now_s  # likewise
        self._under_way: _Try | None = None
        self._free_s = now_s  # from when on the next message may be sent
        self._sent_at = remembered.sent_at
        if remembered.sent_at is not None:
            # A clock that was set back must not silence it for longer than the span itself.
            passed_s = max(0.0, (now - remembered.sent_at).total_seconds())
            self._free_s = now_s + max(0.0, rules.every_s - passed_s)
        has_health = NotifyOn.HEALTH in rules.on
        self._reported = remembered.troubles if has_health else frozenset[str]()
        self._health: Health | None = None
        self._seen_s = now_s
        self._bad_s = self._good_s = self._same_s = 0.0

    # ------------------------------------------------------------ what happens

    def died(self, death: Death, now_s: float) -> None:
        """A message is dead."""
        if NotifyOn.DEAD not in self.rules.on:
            return
        if self._deaths is None:
            self._deaths, self._gathered_s = Deaths.of(death), now_s + GATHER_S
        else:
            self._deaths = self._deaths.with_more(Deaths.of(death))

    def noticed(self, notice: Notice, now_s: float) -> None:
        """Data did not come, or will come too late."""
        if notice.about not in self.rules.on:
            return
        if self._notices is None:
            self._notices, self._noticed_s = Notices.of(notice), now_s + GATHER_S
        else:
            self._notices = self._notices.with_more(Notices.of(notice))

    def observe(self, health: Health, now_s: float) -> None:
        """The health as it is now; called every few seconds. One that stops is neither."""
        if NotifyOn.HEALTH not in self.rules.on:
            return
        passed_s, self._seen_s = now_s - self._seen_s, now_s
        before = self._health
        if before is not None and before.state in _TROUBLES:
            self._bad_s, self._good_s = self._bad_s + passed_s, 0.0
        elif before is not None and before.is_healthy:
            self._good_s += passed_s
            if self._good_s >= self.rules.after_s:
                self._bad_s = 0.0
        is_same = before is not None and _kind(before) == _kind(health)
        self._same_s = self._same_s + passed_s if is_same else 0.0
        self._health = health

    # ------------------------------------------------------------ what is to be sent

    def due(self, now_s: float, now: datetime, *, is_last: bool = False) -> Notification | None:
        """The message to send now, and after a failed try the same once more.

        Args:
            is_last: The agent ends: deaths do not wait for others, but for the span they do.
        """
        if self._under_way is not None:
            is_due = is_last or now_s >= self._under_way.due_s
            return self._under_way.notification if is_due else None
        if now_s < self._free_s:
            return None
        change = self._change()
        is_gathered = self._deaths is not None and (is_last or now_s >= self._gathered_s)
        is_noticed = self._notices is not None and (is_last or now_s >= self._noticed_s)
        if change is None and not is_gathered and not is_noticed:
            return None
        self._number += 1
        identity = self._identity
        notification = Notification(
            id=f"{identity.id}-{self._number}",
            name=self.rules.name,
            at=now,
            host=identity.host,
            version=identity.version,
            queue=identity.queue,
            region=identity.region,
            every_s=self.rules.every_s,
            health=change,
            deaths=self._deaths,
            notices=self._notices,
        )
        self._under_way = _Try(notification=notification, due_s=now_s)
        self._deaths = self._notices = None
        return notification

    def _change(self) -> HealthChange | None:
        """What of the health is worth a message; None: nothing that was not reported."""
        health, after_s = self._health, self.rules.after_s
        if health is None:
            return None
        if health.state in _TROUBLES:
            kind = _kind(health)
            is_long = self._same_s >= after_s if self._reported else self._bad_s >= after_s
            if is_long and kind not in self._reported:
                return HealthChange(health=health, key=kind)
        elif health.is_healthy and self._reported and self._good_s >= after_s:
            return HealthChange(health=health, key="")
        return None

    def delivered(self, now_s: float, now: datetime) -> None:
        """The message under way has arrived."""
        sent, self._under_way = self._under_way, None
        self._free_s, self._sent_at = now_s + self.rules.every_s, now
        change = sent.notification.health if sent else None
        if change is not None:
            self._reported = frozenset() if change.is_recovery else self._reported | {change.key}

    def failed(self, now_s: float) -> float | None:
        """It has not; seconds until the same is tried again, None when it is given up.

        What is given up is part of the next message, after the span between two.
        """
        one = self._under_way
        if one is None:
            return None
        if one.failures < len(RETRY_S):
            delay_s = RETRY_S[one.failures]
            self._under_way = replace(one, failures=one.failures + 1, due_s=now_s + delay_s)
            return delay_s
        self._deaths, self._notices = self._undelivered(), self._unnoticed()
        self._under_way = None
        self._gathered_s = self._noticed_s = now_s
        self._free_s = now_s + self.rules.every_s
        return None

    @property
    def waiting_dead(self) -> int:
        """How many deaths are not reported yet."""
        found = self._undelivered()
        return found.count if found else 0

    def remembered(self) -> Remembered:
        """For the next run, in which nothing is under way."""
        return Remembered(
            sent_at=self._sent_at,
            troubles=self._reported,
            deaths=self._undelivered(),
            notices=self._unnoticed(),
        )

    def _undelivered(self) -> Deaths | None:
        under_way = self._under_way.notification.deaths if self._under_way else None
        return under_way.with_more(self._deaths) if under_way else self._deaths

    def _unnoticed(self) -> Notices | None:
        under_way = self._under_way.notification.notices if self._under_way else None
        return under_way.with_more(self._notices) if under_way else self._notices


def _wanted(notices: Notices | None, rules: NotifyRules) -> Notices | None:
    """Those that the configuration still wants."""
    first = tuple(one for one in notices.first if one.about in rules.on) if notices else ()
    return replace(notices, first=first) if notices and first else None


def _kind(health: Health) -> str:
    """`held:E_HDFS_SAFEMODE`; each kind of trouble is reported once."""
    return f"{health.state.value}:{health.code}"


def sample(name: str, identity: AgentIdentity, every_s: float, now: datetime) -> Notification:
    """What `backhaul notify test` sends."""
    health = Health(
        state=HealthState.HELD,
        sentence="Test: this is what trouble looks like; nothing has happened",
        code="E_HDFS_UNREACHABLE",
        hint="nothing is to be done: backhaul notify test sent this",
        since=now - timedelta(minutes=2),
    )
    death = Death(
        at=now,
        transfer_id="0000test",
        message_id="00000000-0000-0000-0000-000000000000",
        code="E_SRC_EMPTY",
        reason="this is what a dead message looks like; nothing has happened",
        hint="nothing is to be done: backhaul notify test sent this",
        attempts=1,
        dead_letter_queue=None,
        route="test",
        source="s3://bucket/prefix/",
        destination="hdfs://nameservice/directory",
    )
    return Notification(
        id=f"{identity.id}-test",
        name=name,
        at=now,
        host=identity.host,
        version=identity.version,
        queue=identity.queue,
        region=identity.region,
        every_s=every_s,
        health=HealthChange(health=health, key=_kind(health)),
        deaths=Deaths.of(death),
        is_test=True,
    )

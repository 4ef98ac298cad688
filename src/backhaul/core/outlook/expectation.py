"""Expected data: how much is to be where by which time, on which days, and whether it is there.

Pure: text of the settings becomes values here, deadlines are computed from a calendar with its time
zone, and counts of the ledger are compared. What is done about it is `core.agent.notifying.watch`.

A time of day that the clock skips, when summer time begins, counts from the clock before: 02:30
becomes 03:30. One that comes twice counts the first time. That is RFC 5545, section 3.3.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum

from backhaul.core.model import Location
from backhaul.core.units import human_bytes

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = frozenset(range(7))
_ONE_DAY = timedelta(days=1)
_MOMENT = timedelta(microseconds=1)
_TIME = re.compile(r"(?P<hour>[01]?[0-9]|2[0-3]):(?P<minute>[0-5][0-9])(?:[ \t]+(?P<zone>\S+))?")
_DATE = re.compile(r"\{date(?:-(?P<before>[0-9]{1,3})d)?(?::(?P<form>[^{}]*))?\}")
_DIRECTIVES = frozenset("YymdjHMGVu")
_LETTER = re.compile(r"%(.?)", re.DOTALL)
_DAY_OF_A_YEAR = (frozenset("md"), frozenset("j"))
_DAY_OF_A_WEEK_YEAR = frozenset("GVu")
_SOME_DATE = datetime(2026, 12, 31, 23, 59)  # noqa: DTZ001 - for the form of a path alone
_ISO_DATE = "%Y-%m-%d"
_FORM_HINT = 'write a path such as "day={date:%Y-%m-%d}/" below the route\'s destination'


@dataclass(frozen=True, kw_only=True)
class WallTime:
    """A time of day in a time zone.

    Attributes:
        zone_name: As in the settings, for people.
    """

    at: time
    zone: tzinfo
    zone_name: str

    def words(self, moment: datetime) -> str:
        """`2026-12-01 06:00 Europe/Berlin`."""
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M} {self.zone_name}"

    def on(self, day: date) -> datetime:
        """The moment, in UTC."""
        return datetime.combine(day, self.at, tzinfo=self.zone).astimezone(UTC)

    def day_of(self, moment: datetime) -> date:
        """The date there at this moment."""
        return moment.astimezone(self.zone).date()


def parse_wall_time(text: str) -> tuple[time, str | None]:
    """`06:00 Europe/Berlin`: the time, and the zone's name; None where there is none.

    Raises:
        ValueError: Not of this form, or no time of a day.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError('write a time of day such as "06:00 Europe/Berlin", 00:00 to 23:59')
    return time(int(match["hour"]), int(match["minute"])), match["zone"]


def parse_days(text: str) -> frozenset[int]:
    """`mon-fri`, `sat`, `mon,wed,fri`; 0 is Monday.

    Raises:
        ValueError: Not of this form, or no such day.
    """
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if first not in DAYS or last not in DAYS:
            raise ValueError(
                f'write days such as "mon-fri" or "mon,wed,sat"; they are {", ".join(DAYS)}'
            )
        begin = DAYS.index(first)
        count = (DAYS.index(last) - begin) % 7 + 1
        found |= {(begin + number) % 7 for number in range(count)}
    return frozenset(found)


def _form(date_found: re.Match[str]) -> str:
    return _ISO_DATE if date_found["form"] is None else date_found["form"]


def _letters(date_found: re.Match[str]) -> list[str]:
    """Of its directives; `%%` is none, but a percent sign."""
    return [one for one in _LETTER.findall(_form(date_found)) if one != "%"]


@dataclass(frozen=True, kw_only=True)
class PathPattern:
    """A path below a route's destination, with dates to be filled in.

    Attributes:
        text: As configured; empty: the destination itself.
    """

    text: str = ""

    @property
    def names_day(self) -> bool:
        """The path itself names the day, so it does not matter since when its data is there.

        `day=31` does not: it is there again each month, with the data of an earlier one.
        """
        letters = {one for found in _DATE.finditer(self.text) for one in _letters(found)}
        has_year = not letters.isdisjoint("Yy")
        has_day = any(day <= letters for day in _DAY_OF_A_YEAR)
        return (has_year and has_day) or letters >= _DAY_OF_A_WEEK_YEAR

    def on(self, local: datetime) -> str:
        """The path of this moment, without a slash at its end."""
        return self._filled(local).strip("/")

    def _filled(self, local: datetime) -> str:
        def filled(match: re.Match[str]) -> str:
            before = timedelta(days=int(match["before"] or 0))
            return (local - before).strftime(_form(match))

        return _DATE.sub(filled, self.text)

    def check(self) -> None:
        """Refuse what leads out of the destination, or cannot be filled in.

        Raises:
            ValueError
        """
        if any(not char.isprintable() for char in self.text):
            raise ValueError(f"has an unprintable character; {_FORM_HINT}")
        for match in _DATE.finditer(self.text):
            letters = _letters(match)
            if not letters or not set(letters) <= _DIRECTIVES:
                raise ValueError(
                    f"has {match[0]}, which is no date; a date has %Y %m %d %y %j %H %M %G %V %u"
                )
        if set("{}") & set(_DATE.sub("", self.text)):
            raise ValueError(f"has braces that are no date; {_FORM_HINT}")
        filled = self._filled(_SOME_DATE)
        if filled.startswith("/") or "://" in filled:
            raise ValueError(f"is not relative to the route's destination; {_FORM_HINT}")
        parts = filled.strip("/").split("/")
        if self.text and any(part in {"", ".", ".."} for part in parts):
            raise ValueError(f"has an empty part, '.' or '..'; {_FORM_HINT}")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The least that has to be there; None: does not matter."""

    objects: int | None = None
    size_bytes: int | None = None
    transfers: int | None = None

    def is_met_by(self, found: Arrived) -> bool:
        """All of it is there."""
        return all(
            least is None or there >= least
            for least, there in (
                (self.objects, found.objects),
                (self.size_bytes, found.size_bytes),
                (self.transfers, found.transfers),
            )
        )

    def words(self, found: Arrived) -> str:
        """`3 of 24 objects, 1.0 GiB of 5.0 GiB`."""
        parts = []
        if self.objects is not None:
            parts.append(f"{found.objects:,} of {self.objects:,} objects")
        if self.size_bytes is not None:
            parts.append(f"{human_bytes(found.size_bytes)} of {human_bytes(self.size_bytes)}")
        if self.transfers is not None:
            parts.append(f"{found.transfers:,} of {self.transfers:,} transfers")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """What is there, counted until it is enough: there may be more."""

    objects: int = 0
    size_bytes: int = 0
    transfers: int = 0


@dataclass(frozen=True, kw_only=True)
class ArrivalQuery:
    """What is to be counted in the ledger.

    Attributes:
        places: URIs of directories or files; empty: wherever the route published.
        since: Published after then; None: whenever.
        until: Published at or before then.
        wanted: Counting ends once this is met.
    """

    route: str
    places: tuple[str, ...]
    since: datetime | None
    until: datetime
    wanted: Wanted


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One `expect` of a route.

    Attributes:
        destinations: The route's; None: it has none, as one that allows any.
        since: Where what counts begins; None: at the deadline before.
    """

    route: str
    name: str
    by: WallTime
    wanted: Wanted
    days: frozenset[int] = EVERY_DAY
    since: time | None = None
    path: PathPattern = PathPattern()
    destinations: tuple[Location, ...] = ()

    @property
    def calendar(self) -> str:
        """Where this is the same, so are the deadlines."""
        days = ",".join(DAYS[number] for number in sorted(self.days))
        return f"{self.by.at:%H:%M} {self.by.zone_name} {days}"

    def has_deadline(self, moment: datetime) -> bool:
        """It is one of this calendar."""
        return self.deadline_after(moment - _MOMENT) == moment

    def deadline_after(self, moment: datetime) -> datetime:
        """The first one later than this moment."""
        day = self.by.day_of(moment) - _ONE_DAY
        return next(one for one in self._deadlines(day, _ONE_DAY) if one > moment)

    def deadline_before(self, moment: datetime) -> datetime:
        """The last one earlier than this moment."""
        day = self.by.day_of(moment) + _ONE_DAY
        return next(one for one in self._deadlines(day, -_ONE_DAY) if one < moment)

    def _deadlines(self, day: date, step: timedelta) -> Iterator[datetime]:
        while True:
            if day.weekday() in self.days:
                yield self.by.on(day)
            day += step

    def query(self, deadline: datetime, until: datetime) -> ArrivalQuery:
        """What counts for this deadline, as far as it was published by `until`."""
        path = self.path.on(deadline.astimezone(self.by.zone))
        places = tuple(one.join(path).uri if path else one.uri for one in self.destinations)
        return ArrivalQuery(
            route=self.route,
            places=places if path else (),
            since=None if self.path.names_day else self._since(deadline),
            until=until,
            wanted=self.wanted,
        )

    def place(self, deadline: datetime) -> str:
        """Where it is expected, for people."""
        found = self.query(deadline, deadline).places
        return found[0] if found else f"route {self.route}"

    def record(self, deadline: datetime, found: Arrived | None) -> ExpectationRecord:
        """A deadline that is due, with what is there; None: not counted yet."""
        return ExpectationRecord(
            route=self.route,
            name=self.name,
            deadline=deadline,
            calendar=self.calendar,
            due=self.by.words(deadline),
            place=self.place(deadline),
            state=ExpectationState.DUE,
            wanted=self.wanted,
            found=found,
        )

    def _since(self, deadline: datetime) -> datetime:
        if self.since is None:
            return self.deadline_before(deadline)
        begins = WallTime(at=self.since, zone=self.by.zone, zone_name=self.by.zone_name)
        day = self.by.day_of(deadline)
        found = begins.on(day)
        return found if found < deadline else begins.on(day - _ONE_DAY)


class ExpectationState(StrEnum):
    """Of one deadline."""

    DUE = "due"
    MET = "met"
    MISSED = "missed"
    LATE = "late"


@dataclass(frozen=True, kw_only=True)
class ExpectationRecord:
    """One deadline, as the ledger keeps it.

    Attributes:
        calendar: Of its expectation, when this was written; empty in an older ledger.
        due: The deadline as people there write it.
        found: None while nothing was counted: it is due, and was only noted.
        place: Where it is expected, for people.
        judged_at: After the deadline; None while it is due.
        arrived_at: When all of it was there, after it had been missed.
    """

    route: str
    name: str
    deadline: datetime
    calendar: str = ""
    due: str
    place: str
    state: ExpectationState
    wanted: Wanted
    found: Arrived | None
    judged_at: datetime | None = None
    arrived_at: datetime | None = None

    @property
    def is_met(self) -> bool:
        """All of it is there by now, as far as is known."""
        return self.found is not None and self.wanted.is_met_by(self.found)

    @property
    def subject(self) -> str:
        """`clickstream/daily`."""
        return f"{self.route}/{self.name}"

    @property
    def words(self) -> str:
        """`3 of 24 objects in hdfs://nn/landing/day=2026-12-01`."""
        where = "on" if self.place.startswith("route ") else "in"
        if self.found is None:
            return f"what is {where} {self.place} is not counted yet"
        return f"{self.wanted.words(self.found)} {where} {self.place}"


@dataclass(frozen=True, kw_only=True)
class ExpectationStatus:
    """One expectation of the configuration that the agent runs with.

    Attributes:
        next: The first deadline that is due, or has passed and is not judged yet.
        last: The last one that was judged.
    """

    next: ExpectationRecord
    last: ExpectationRecord | None

    @property
    def is_missed(self) -> bool:
        """The last deadline passed, and its data has still not come."""
        return self.last is not None and self.last.state is ExpectationState.MISSED

    def is_unjudged(self, now: datetime) -> bool:
        """Its deadline has passed and no agent has judged it: it is unknown whether it is met."""
        return self.next.deadline <= now


def statuses(records: list[ExpectationRecord]) -> list[ExpectationStatus]:
    """Of each expectation with a deadline that is due, by route and name."""
    found = []
    due: dict[tuple[str, str], ExpectationRecord] = {}
    for one in sorted(records, key=lambda one: (one.route, one.name, one.deadline)):
        if one.state is ExpectationState.DUE:
            due.setdefault((one.route, one.name), one)
    for one in due.values():
        judged = [
            other
            for other in records
            if other.subject == one.subject and other.state is not ExpectationState.DUE
        ]
        last = max(judged, key=lambda other: other.deadline, default=None)
        found.append(ExpectationStatus(next=one, last=last))
    return found

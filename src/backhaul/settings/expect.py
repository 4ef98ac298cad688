"""`expect` of a route: the data that should come, how much of it, and by when."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, field_validator, model_validator

from backhaul.core.errors import ConfigurationError
from backhaul.core.model import Route
from backhaul.core.outlook.expectation import (
    DAYS,
    Expectation,
    PathPattern,
    WallTime,
    Wanted,
    parse_days,
    parse_wall_time,
)
from backhaul.core.text import printable
from backhaul.settings.base import StrictModel
from backhaul.settings.sizes import parse_size

LOCAL = "local time"  # of this machine, where its zone has no name
_UNNAMED = "data"
_LOCALTIME = Path("/etc/localtime")
_ZONES = "/zoneinfo/"


def one_or_more(value: object) -> object:
    """A list of them, also where there is one alone."""
    return [value] if isinstance(value, str | dict) else value


class ExpectSettings(StrictModel):
    """Data that should have come by a time of day; an alarm where it has not."""

    name: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="its name; data if unset",
    )
    by: str = Field(description='the time of day, and its zone: "06:00 Europe/Berlin"')
    days: Annotated[list[str], BeforeValidator(one_or_more)] = Field(
        default_factory=list, description='such as "mon-fri"; every day if unset'
    )
    since: str | None = Field(
        None, description="time of day where what counts begins; the deadline before if unset"
    )
    path: str | None = Field(
        None,
        description="below the route's destination, such as day={date:%Y-%m-%d}/; all if unset",
    )
    objects: int | None = Field(None, ge=1, le=1_000_000, description="least number of objects")
    bytes: Annotated[int | None, BeforeValidator(parse_size)] = Field(
        None, ge=1, description="least size of them, a number, or such as 5GiB"
    )
    transfers: int | None = Field(None, ge=1, le=1_000_000, description="least number of transfers")

    @field_validator("by")
    @classmethod
    def _is_time(cls, text: str) -> str:
        _wall_time(text)
        return text

    @field_validator("since")
    @classmethod
    def _is_time_alone(cls, text: str | None) -> str | None:
        if text is not None and parse_wall_time(text)[1] is not None:
            raise ValueError("write a time alone, such as 00:00; its zone is that of `by`")
        return text

    @field_validator("days")
    @classmethod
    def _are_days(cls, texts: list[str]) -> list[str]:
        for text in texts:
            parse_days(text)
        return texts

    @field_validator("path")
    @classmethod
    def _is_pattern(cls, text: str | None) -> str | None:
        PathPattern(text=text or "").check()
        return text

    @model_validator(mode="after")
    def _has_a_condition(self) -> Self:
        if self.objects is None and self.bytes is None and self.transfers is None:
            raise ValueError("nothing is expected: write objects, bytes or transfers")
        return self

    @model_validator(mode="after")
    def _has_one_span(self) -> Self:
        if self.since is not None and PathPattern(text=self.path or "").names_day:
            raise ValueError(
                "since does not count where the path names the day: its files count whenever they"
                " came; take since or the date away"
            )
        return self

    @property
    def label(self) -> str:
        """Its name."""
        return self.name or _UNNAMED

    def expectation(self, route: Route) -> Expectation:
        """As the core judges by it."""
        days = self.days or list(DAYS)
        return self.into(
            Expectation,
            route=route.name,
            name=self.label,
            by=_wall_time(self.by),
            wanted=Wanted(objects=self.objects, size_bytes=self.bytes, transfers=self.transfers),
            days=frozenset().union(*map(parse_days, days)),
            since=None if self.since is None else parse_wall_time(self.since)[0],
            path=PathPattern(text=self.path or ""),
            destinations=route.destinations or (),
        )


def make_expectations(
    routes: Sequence[Route], expected: Sequence[Sequence[ExpectSettings]], path: Path | None
) -> tuple[Expectation, ...]:
    """What is expected of these routes.

    Args:
        expected: Of each route.

    Raises:
        ConfigurationError: E_CFG_ROUTE: two of one route have the same name.
    """
    found = []
    for route, settings in zip(routes, expected, strict=True):
        names: set[str] = set()
        for one in settings:
            if one.label in names:
                raise ConfigurationError(
                    "E_CFG_ROUTE",
                    f"{path}: route {route.name}: two of expect are named {one.label}",
                    hint="give each a name of its own: metrics and notifications have it",
                )
            names.add(one.label)
            found.append(one.expectation(route))
    return tuple(found)


def _wall_time(text: str) -> WallTime:
    at, name = parse_wall_time(text)
    zone, zone_name = _local_zone() if name is None else (_zone(name), name)
    return WallTime(at=at, zone=zone, zone_name=zone_name)


def _zone(name: str) -> tzinfo:
    """By its name in the IANA database: the machine's own, else that of package tzdata."""
    # A directory of zones, such as Europe, is an OSError; an unknown name is a KeyError.
    with suppress(KeyError, ValueError, OSError):
        return ZoneInfo(name)
    raise ValueError(
        f"there is no time zone {printable(name, 60)}; write one such as Europe/Berlin or UTC"
    )


def _local_zone() -> tuple[tzinfo, str]:
    """The machine's own zone, as the C library finds it: TZ, else /etc/localtime, else UTC.

    Raises:
        ValueError: There is one, and it cannot be used here: data would be late by another clock.
    """
    text = os.environ.get("TZ")
    name = None if text is None else text.removeprefix(":")
    if name == "" or (name is None and not os.path.lexists(_LOCALTIME)):
        return UTC, "UTC"
    try:
        if name is None:
            return _zone_of_file(_LOCALTIME)
        return _zone_of_file(Path(name)) if name.startswith("/") else (_zone(name), name)
    except (OSError, ValueError) as error:
        where = _LOCALTIME if name is None else f"TZ={printable(name, 60)}"
        raise ValueError(
            f"this machine's time zone, {where}, is not in the database of time zones: write the"
            ' zone, such as "06:00 Europe/Berlin"'
        ) from error


def _zone_of_file(path: Path) -> tuple[tzinfo, str]:
    """By its name where it is in the database, or a link to one there; else as the file says."""
    for place in (str(path), os.path.realpath(path)):
        if _ZONES in place:
            name = place.split(_ZONES, 1)[1]
            with suppress(ValueError):
                return _zone(name), name
    with path.open("rb") as file:
        return ZoneInfo.from_file(file, key=LOCAL), LOCAL

"""`expect` of a route: what it takes, and each mistake with its line and its fix."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from backhaul.core.errors import ConfigurationError
from backhaul.core.outlook.expectation import Expectation, Wanted
from backhaul.settings import expect
from backhaul.settings.expect import make_expectations
from backhaul.settings.load import load_settings
from backhaul.settings.routes import make_routes

ROUTE = """
[[route]]
name = "clicks"
source = ["s3://raw/click/"]
destination = ["/landing/", "/other/"]
"""
UNZONED = 'expect = { by = "06:00", objects = 1 }\n'


def expected(directory: Path, text: str) -> tuple[Expectation, ...]:
    path = directory / "backhaul.toml"
    path.write_text(ROUTE + text, encoding="utf-8")
    settings = load_settings(path)
    routes = make_routes(settings, path, "hdfs://ns1")
    return make_expectations(routes, [one.expect for one in settings.route], path)


def refused(directory: Path, text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        expected(directory, text)
    return caught.value


def test_one_may_stand_alone(tmp_path: Path) -> None:
    text = (
        'expect = { by = "06:00 Europe/Berlin", days = "mon-fri", objects = 24,'
        ' path = "day={date}/", bytes = "5GiB" }\n'
    )
    (one,) = expected(tmp_path, text)
    assert (one.route, one.name) == ("clicks", "data")
    assert (one.by.at, one.by.zone) == (time(6), ZoneInfo("Europe/Berlin"))
    assert one.days == frozenset(range(5))
    assert one.wanted == Wanted(objects=24, size_bytes=5 << 30)
    assert one.since is None
    deadline = datetime(2026, 12, 1, 5, tzinfo=UTC)
    assert one.query(deadline, deadline).places == (
        "hdfs://ns1/landing/day=2026-12-01",
        "hdfs://ns1/other/day=2026-12-01",
    )


def test_several_have_names(tmp_path: Path) -> None:
    text = """
[[route.expect]]
name = "a"
by = "05:30 America/New_York"
transfers = 1
days = ["sat", "sun"]

[[route.expect]]
name = "b"
by = "12:15 UTC"
since = "06:00"
path = "day={date:%d}/"
objects = 1
"""
    one, other = expected(tmp_path, text)
    assert (one.since, other.since) == (None, time(6))
    assert (one.name, one.days, one.wanted) == ("a", frozenset({5, 6}), Wanted(transfers=1))
    assert (other.name, len(other.days)) == ("b", 7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('by = "06:00 Europe/Bonn"\nobjects = 1', "there is no time zone Europe/Bonn"),
        ('by = "06:00 Europe"\nobjects = 1', "there is no time zone Europe"),
        ('by = "06:00 ../etc/passwd"\nobjects = 1', "there is no time zone"),
        ('by = "24:00 UTC"\nobjects = 1', "write a time of day"),
        ('by = "six"\nobjects = 1', "write a time of day"),
        ('by = "06:00 UTC"', "nothing is expected: write objects, bytes or transfers"),
        ('by = "06:00 UTC"\nobjects = 0', "must be a whole number from 1 to 1,000,000"),
        ('by = "06:00 UTC"\nobjects = 2000000', "must be a whole number from 1 to 1,000,000"),
        ('by = "06:00 UTC"\nbytes = "much"', "write a size"),
        ('by = "06:00 UTC"\nobjects = 1\ndays = "mon-fry"', "write days such as"),
        ('by = "06:00 UTC"\nobjects = 1\ndays = ["mon", "tues"]', "write days such as"),
        ('by = "06:00 UTC"\nobjects = 1\npath = "../x"', "an empty part, '.' or '..'"),
        ('by = "06:00 UTC"\nobjects = 1\npath = "/x"', "is not relative to the route's"),
        ('by = "06:00 UTC"\nobjects = 1\npath = "{day}"', "has braces that are no date"),
        ('by = "06:00 UTC"\nobjects = 1\nsince = "05:00 UTC"', "write a time alone"),
        ('by = "06:00 UTC"\nobjects = 1\nsince = "5"', "write a time of day"),
        (
            'by = "06:00 UTC"\nobjects = 1\nsince = "05:00"\npath = "{date}"',
            "since does not count where the path names the day",
        ),
        (
            'by = "06:00 UTC"\nobjects = 1\npath = "day={date:%Y/../..}"',
            "an empty part, '.' or '..'",
        ),
        ('by = "06:00 UTC"\nobjects = 1\nat = "x"', "unknown setting"),
        ("objects = 1", "by is missing"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    error = refused(tmp_path, f"\n[[route.expect]]\n{text}\n")
    assert error.code in {"E_CFG_VALUE", "E_CFG_UNKNOWN"}
    assert words in error.message
    assert "route.0.expect.0" in error.message


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    one = '[[route.expect]]\nby = "06:00 UTC"\nobjects = 1\n'
    error = refused(tmp_path, f"\n{one}\n{one}")
    assert error.code == "E_CFG_ROUTE"
    assert "route clicks: two of expect are named data" in error.message
    assert "metrics" in (error.hint or "")


def test_tables_of_a_route_do_not_move_the_lines_of_later_ones(tmp_path: Path) -> None:
    text = """
[[route.expect]]
by = "06:00 UTC"
objects = 1

[[route]]
name = "later"
source = ["s3://raw/later/"]
destination = ["/later/"]
on_exists = "maybe"
"""
    error = refused(tmp_path, text)
    line = 1 + (ROUTE + text).splitlines().index('on_exists = "maybe"')
    assert f"line {line}: route.1.on_exists" in error.message


# ---------------------------------------------------------------- this machine's zone


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One with TZ, and a link or a file in place of /etc/localtime."""

    directory: Path
    patch: pytest.MonkeyPatch

    def set(self, tz: str | None, localtime: Path | None = None) -> None:
        place = self.directory / "localtime"
        place.unlink(missing_ok=True)
        if localtime is not None:
            place.symlink_to(localtime)
        self.patch.setattr(expect, "_LOCALTIME", place)
        if tz is None:
            self.patch.delenv("TZ", raising=False)
        else:
            self.patch.setenv("TZ", tz)

    def zone(self, tz: str | None, localtime: Path | None = None) -> str:
        self.set(tz, localtime)
        (one,) = expected(self.directory, UNZONED)
        summer = datetime(2026, 7, 1, tzinfo=UTC)
        assert one.by.words(summer).endswith(f" {one.by.zone_name}")
        return f"{one.by.zone_name} {summer.astimezone(one.by.zone):%H}"

    def refused(self, tz: str | None, localtime: Path | None = None) -> str:
        self.set(tz, localtime)
        error = refused(self.directory, UNZONED)
        assert error.code == "E_CFG_VALUE"
        assert "route.0.expect.0.by" in error.message
        assert 'write the zone, such as "06:00 Europe/Berlin"' in error.message
        return error.message


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(directory=tmp_path, patch=monkeypatch)


def test_without_a_zone_it_is_that_of_the_machine(tmp_path: Path, machine: Machine) -> None:
    berlin = tmp_path / "zoneinfo" / "Europe" / "Berlin"
    berlin.parent.mkdir(parents=True)
    berlin.write_bytes(_zone_file())
    own = tmp_path / "zoneinfo" / "Our" / "Own"
    own.parent.mkdir()
    own.write_bytes(_zone_file())
    copied = tmp_path / "copied"
    copied.write_bytes(_zone_file())
    assert machine.zone(None, berlin) == "Europe/Berlin 02"
    assert machine.zone(None, tmp_path / "zoneinfo" / "Asia" / "Tokyo") == "Asia/Tokyo 09"
    assert machine.zone(None, copied) == f"{expect.LOCAL} 02"
    assert machine.zone(None, own) == f"{expect.LOCAL} 02"
    assert machine.zone(None) == "UTC 00"
    # TZ goes before; empty is UTC, and a path is one of the database, or of another file.
    assert machine.zone("America/New_York", berlin) == "America/New_York 20"
    assert machine.zone(":Asia/Tokyo", berlin) == "Asia/Tokyo 09"
    assert machine.zone("", berlin) == "UTC 00"
    assert machine.zone("/usr/share/zoneinfo/Asia/Tokyo", berlin) == "Asia/Tokyo 09"
    assert machine.zone(f":{berlin}") == "Europe/Berlin 02"
    assert machine.zone(f":{tmp_path / 'localtime'}", berlin) == "Europe/Berlin 02"
    assert machine.zone(str(copied)) == f"{expect.LOCAL} 02"


def test_a_zone_of_the_machine_that_cannot_be_used_is_refused(
    tmp_path: Path, machine: Machine
) -> None:
    no_zone = tmp_path / "no-zone"
    no_zone.write_text("no zone at all")
    rules = "CET-1CEST,M3.5.0,M10.5.0/3"
    assert f"zone, TZ={rules}," in machine.refused(rules)
    assert "zone, TZ=Europe/Bonn," in machine.refused("Europe/Bonn", no_zone)
    assert "zone, TZ=/nowhere," in machine.refused("/nowhere")
    assert "/localtime, is not in the database" in machine.refused(None, no_zone)
    assert "/localtime, is not in the database" in machine.refused(None, tmp_path / "nowhere")
    assert "/localtime, is not in the database" in machine.refused(None, tmp_path)


def test_it_does_not_matter_where_each_time_has_its_zone(tmp_path: Path, machine: Machine) -> None:
    machine.set("CET-1CEST")
    (one,) = expected(tmp_path, 'expect = { by = "06:00 Asia/Tokyo", objects = 1 }\n')
    assert one.by.zone_name == "Asia/Tokyo"


def _zone_file() -> bytes:
    from importlib.resources import files

    return (files("tzdata") / "zoneinfo" / "Europe" / "Berlin").read_bytes()

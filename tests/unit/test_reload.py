"""A reload: the routes of the whole file, or the former ones; and `config check` before it."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backhaul.app.context import Context, load_context, require_routes
from backhaul.app.reload import ConfigurationReload
from backhaul.cli import cli
from backhaul.core import facts
from backhaul.core.errors import ConfigurationError, NotAllowed, OutageError
from backhaul.core.file_systems import FileSystems
from backhaul.core.requests.policy import Policy

ROUTE = """
[[route]]
name = "{name}"
source = ["s3://raw/{name}/"]
destination = ["file://{place}/"]
"""


class Bed:
    """A configuration file, and a reload that reads it."""

    def __init__(self, directory: Path, more: str = "") -> None:
        self.landing = directory / "landing"
        self.landing.mkdir()
        self.file = directory / "backhaul.toml"
        self.emitted: list[Any] = []
        self.adopted: list[Context] = []
        self.refused_bucket: str | None = None
        self.outage: OutageError | None = None
        self.write("one", more=more)
        self.restart()

    def restart(self) -> None:
        """A process that begins with the file as it is."""
        context = self._read()
        emit: Any = self.emitted.append
        ports: Any = SimpleNamespace(pool=SimpleNamespace(session=self._session), emit=emit)
        self.reload = ConfigurationReload(
            context,
            read=self._read,
            check_sources=self._check_sources,
            adopt=(self.adopted.append,),
            ports=ports,
            emit=emit,
        )

    def write(self, *names: str, more: str = "") -> None:
        routes = "".join(ROUTE.format(name=name, place=self.landing / name) for name in names)
        self.file.write_text(more + routes, "utf-8")
        self.file.chmod(0o644)

    def turn(self) -> list[Any]:
        self.emitted.clear()
        self.reload.reload()
        return [fact for fact in self.emitted if not isinstance(fact, facts.InstallationWarned)]

    @property
    def names(self) -> list[str]:
        return [route.name for route in self.reload.policy.routes]

    def _read(self) -> Context:
        context = load_context(config=self.file)
        require_routes(context)
        return context

    def _check_sources(self, policy: Policy) -> None:
        buckets = {bucket for route in policy.routes for bucket, _ in route.sources or ()}
        if self.refused_bucket in buckets:
            raise ConfigurationError("E_CFG_HADOOP_VALUE", "no such endpoint", hint="fix it")

    def _session(self, *_who: object) -> Any:
        if self.outage is not None:
            raise self.outage
        return nullcontext(SimpleNamespace(write_access=lambda place: (place, None)))


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    return Bed(tmp_path)


def test_routes_that_come_change_and_go_are_in_force_and_reported(bed: Bed) -> None:
    bed.write("one", "two")
    assert bed.turn() == [
        facts.RoutesReloaded(added=("two",), changed=(), removed=(), needs_restart=())
    ]
    assert bed.names == ["one", "two"]
    assert bed.adopted[-1].policy is bed.reload.policy
    bed.file.write_text(bed.file.read_text().replace("raw/two", "raw/three"))
    (fact,) = bed.turn()
    assert (fact.added, fact.changed, fact.removed) == ((), ("two",), ())
    bed.write("two")
    (fact,) = bed.turn()
    assert (fact.removed, bed.names) == (("one",), ["two"])
    with pytest.raises(NotAllowed, match="no longer in the configuration"):
        bed.reload.policy.find("one")


def test_an_order_of_precedence_that_changes_is_a_change(bed: Bed) -> None:
    bed.write("one", "two")
    bed.turn()
    bed.write("two", "one")
    (fact,) = bed.turn()
    assert (fact.changed, bed.names) == (("two", "one"), ["two", "one"])


def test_what_a_route_expects_is_read_with_it(bed: Bed) -> None:
    bed.write("one", more="")
    with bed.file.open("a") as file:
        file.write('expect = { by = "06:00 UTC", objects = 24 }\n')
    (fact,) = bed.turn()
    assert fact.changed == ("one",)
    assert [one.wanted.objects for one in bed.adopted[-1].expectations] == [24]


def test_when_a_route_pauses_itself_is_read_with_it(bed: Bed) -> None:
    assert bed.reload.pause_after == {}
    with bed.file.open("a") as file:
        file.write("pause_after = 3\n")
    (fact,) = bed.turn()
    assert fact.changed == ("one",)
    assert bed.reload.pause_after == {"one": 3}


def test_the_same_file_is_no_event(bed: Bed) -> None:
    assert bed.turn() == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[[route]]\n", "E_CFG_VALUE"),
        ("not toml", "E_CFG_TOML"),
        ("agent.slot = 1\n", "E_CFG_UNKNOWN"),
        ("", "E_CFG_NO_ROUTE"),
    ],
)
def test_a_wrong_file_changes_nothing(bed: Bed, text: str, code: str) -> None:
    bed.file.write_text(text)
    (fact,) = bed.turn()
    assert isinstance(fact, facts.ReloadRefused)
    assert fact.code == code
    assert fact.hint
    assert (bed.names, bed.adopted) == (["one"], [])


def test_one_wrong_route_keeps_the_good_ones_out_too(bed: Bed) -> None:
    bed.write("two", "three")
    bed.file.write_text(bed.file.read_text().replace("s3://raw/three/", "s3://raw/three"))
    (fact,) = bed.turn()
    assert (fact.code, bed.names) == ("E_CFG_ROUTE", ["one"])
    bed.write("two")
    bed.refused_bucket = "raw"
    (fact,) = bed.turn()
    assert (fact.code, bed.names) == ("E_CFG_HADOOP_VALUE", ["one"])


def test_a_file_that_others_may_write_is_refused(bed: Bed) -> None:
    bed.write("two")
    bed.file.chmod(0o666)
    (fact,) = bed.turn()
    assert (fact.code, bed.names) == ("E_CFG_PERMISSIONS", ["one"])


def test_queues_stay_as_they_were_at_the_start(bed: Bed) -> None:
    queue = '[[queue]]\nname = "{}"\nregion = "us-west-2"\n'
    for more in (queue.format("a"), queue.format("a") + "min_slots = 1\n", queue.format("b"), ""):
        bed.write("one", more=queue.format("a") + queue.format("c"))
        bed.restart()
        bed.write("one", more=more)
        (fact,) = bed.turn()
        assert (fact.needs_restart, fact.changed) == (("queue",), ())
        assert [one.name for one in bed.adopted[-1].settings.queue] == ["a", "c"]


def test_other_settings_stay_and_are_named(bed: Bed) -> None:
    bed.write("one", "two", more="[agent]\nslots = 7\n[log]\nlevel = 'debug'\n")
    (fact,) = bed.turn()
    assert fact.needs_restart == ("agent.slots", "log.level")
    assert fact.added == ("two",)
    assert bed.adopted[-1].settings.agent.slots != 7


def test_another_default_file_system_takes_a_restart(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = bed._read
    systems = FileSystems(default="hdfs://other:8020")
    monkeypatch.setattr(bed.reload, "_read", lambda: replace(read(), default_fs=systems))
    bed.write("two")
    (fact,) = bed.turn()
    assert (fact.code, bed.names) == ("E_CFG_RELOAD", ["one"])
    assert "systemctl restart backhaul" in fact.hint


def test_another_table_takes_a_restart(bed: Bed) -> None:
    with bed.file.open("a") as file:
        file.write('hive = { database = "lake", table = "sales" }\n[hive]\ncommand = ["beeline"]\n')
    (fact,) = bed.turn()
    assert fact.code == "E_CFG_RELOAD"
    assert "[hive]" in fact.reason


REPLY_TO = 'reply_to = ["arn:aws:sns:us-west-2:123456789012:arrived"]\n'


def test_addresses_of_replies_are_read_again(bed: Bed) -> None:
    with bed.file.open("a") as file:
        file.write(REPLY_TO)
    (fact,) = bed.turn()
    assert fact.changed == ("one",)
    assert bed.reload.policy.routes[0].reply_to


QUEUE = "https://sqs.us-west-2.amazonaws.com/123456789012/replies"
OUT = f'[[reply]]\nname = "out"\nsqs = "{QUEUE}"\n'
MARK = '[[reply]]\nname = "mark"\nmarker = "_SUCCESS"\n'
LINEAGE = '[lineage]\nurl = "https://lineage.example.org"\n'
HIVE = '[hive]\ncommand = ["beeline"]\n'
TABLE = 'hive = { database = "lake", table = "sales" }\n'


def begin(bed: Bed, more: str, of_route: str = "") -> None:
    """A bed whose agent started with this."""
    bed.write("one", more=more)
    with bed.file.open("a") as file:
        file.write(of_route)
    bed.restart()


def change(bed: Bed, more: str, of_route: str = "") -> list[Any]:
    bed.write("one", more=more)
    with bed.file.open("a") as file:
        file.write(of_route + 'verify = "size"\n')
    return [fact for fact in bed.turn() if not isinstance(fact, facts.RouteWarned)]


@pytest.mark.parametrize(
    ("more", "of_route"),
    [
        (HIVE, TABLE),
        (LINEAGE, ""),
        (OUT, 'replies = ["out"]\n'),
        (OUT + MARK, 'replies = ["out", "mark"]\n'),
        ("", f'reply_to = ["{QUEUE}"]\n'),
        (HIVE + LINEAGE + OUT, TABLE + f'replies = ["out"]\nreply_to = ["{QUEUE}"]\n'),
    ],
)
def test_a_route_that_sends_replies_changes_like_any_other(
    bed: Bed, more: str, of_route: str
) -> None:
    begin(bed, more, of_route)
    (fact,) = change(bed, more, of_route)
    assert (fact.changed, fact.needs_restart) == (("one",), ())


@pytest.mark.parametrize(
    ("before", "after", "of_route", "what"),
    [
        ("", OUT, 'replies = ["out"]\n', "out"),
        (MARK, OUT.replace("out", "mark"), 'replies = ["mark"]\n', "mark"),
        ("", LINEAGE, "", "lineage"),
    ],
)
def test_a_target_that_is_new_takes_a_restart(
    bed: Bed, before: str, after: str, of_route: str, what: str
) -> None:
    begin(bed, before)
    (fact,) = change(bed, after, of_route)
    assert isinstance(fact, facts.ReloadRefused)
    assert (fact.code, bed.adopted) == ("E_CFG_RELOAD", [])
    assert fact.reason == f"route one sends replies to {what}, which is new"
    assert "systemctl restart backhaul" in fact.hint


def test_addresses_of_messages_come_back_where_replies_are_delivered(bed: Bed) -> None:
    begin(bed, "", f'reply_to = ["{QUEUE}"]\n')
    assert change(bed, "")[0].changed == ("one",)
    (fact,) = change(bed, "", f'reply_to = ["{QUEUE}"]\n')
    assert (fact.changed, fact.needs_restart) == (("one",), ())


@pytest.mark.parametrize(
    ("before", "after", "of_route", "named"),
    [
        (OUT, OUT.replace("/replies", "/other"), 'replies = ["out"]\n', "reply"),
        (OUT, OUT + 'role_arn = "arn:aws:iam::123456789012:role/r"\n', "", "reply"),
        (OUT, "", "", "reply"),
        (LINEAGE, LINEAGE.replace("lineage.", "other."), "", "lineage.url"),
        (LINEAGE, LINEAGE + 'timeout = "5s"\n', "", "lineage.timeout"),
        (LINEAGE, "", "", "lineage.url"),
    ],
)
def test_where_replies_go_stays_until_a_restart_and_the_line_names_it(
    bed: Bed, before: str, after: str, of_route: str, named: str
) -> None:
    begin(bed, before, of_route)
    (fact,) = change(bed, after, of_route)
    assert (fact.changed, fact.needs_restart) == (("one",), (named,))


@pytest.mark.parametrize("line", ['timeout = "90s"', 'user = "hive"', 'dialect = "impala"'])
def test_another_shell_of_hive_takes_a_restart(bed: Bed, line: str) -> None:
    begin(bed, HIVE, TABLE)
    (fact,) = change(bed, HIVE + line + "\n", TABLE)
    assert isinstance(fact, facts.ReloadRefused)
    assert (fact.code, bed.adopted) == ("E_CFG_RELOAD", [])
    assert "[hive], or hive of a route" in fact.reason


def test_what_a_reply_is_about_and_a_marker_are_of_the_routes(bed: Bed) -> None:
    begin(bed, OUT, 'replies = ["out"]\n')
    (fact,) = change(bed, OUT + 'on = ["dead"]\n' + MARK, 'replies = ["out", "mark"]\n')
    assert (fact.changed, fact.needs_restart) == (("one",), ())
    (route,) = bed.reload.policy.routes
    assert route.completion_marker == "_SUCCESS"
    assert [one.value for one in route.reply_wishes[0].events] == ["dead"]
    (fact,) = change(bed, OUT.replace("/replies", "/others"), 'replies = ["out"]\n')
    assert fact.needs_restart == ("reply",)


def test_a_key_in_a_new_variable_takes_a_restart(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers that run would know it."""
    monkeypatch.setenv("SIGNING", "k" * 64)
    with bed.file.open("a") as file:
        file.write('signature = { key_env = "SIGNING" }\n')
    (fact,) = bed.turn()
    assert fact.code == "E_CFG_RELOAD"
    assert "SIGNING" in fact.reason
    assert "k" * 64 not in fact.reason
    assert bed.reload.policy.routes[0].signature is None


def test_a_new_target_that_is_down_is_a_warning(bed: Bed) -> None:
    bed.write("one", "two", "three")
    bed.outage = OutageError.of("hdfs", "E_HDFS_UNREACHABLE", "no answer", hint="wait")
    reloaded, *warned = bed.turn()
    assert reloaded.added == ("two", "three")
    assert [fact.route for fact in warned] == ["two", "three"]
    assert {fact.code for fact in warned} == {"E_HDFS_UNREACHABLE"}


def check(bed: Bed, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["config", "check", "--config", str(bed.file), *arguments])


def test_config_check_shows_what_would_be_in_force(bed: Bed) -> None:
    bed.write("one", "three")
    found = check(bed)
    assert found.exit_code == 0, found.output
    assert f"{bed.file} is valid: 2 routes" in found.output
    assert f"  one    s3://raw/one/ → file://{bed.landing}/one" in found.output
    shown = json.loads(check(bed, "--json").output)
    assert [route["name"] for route in shown["routes"]] == ["one", "three"]
    assert (shown["v"], shown["file"]) == (1, str(bed.file))


def test_config_check_shows_a_risky_route(bed: Bed) -> None:
    with bed.file.open("a") as file:
        file.write('verify = "size"\n')
    assert "warning W_SIZE_ONLY: route one: " in check(bed).output


def test_config_check_refuses_what_a_start_would(bed: Bed) -> None:
    bed.file.write_text("agent.slot = 1\n")
    error = check(bed).exception
    assert isinstance(error, ConfigurationError)
    assert error.code == "E_CFG_UNKNOWN"
    assert f"{bed.file}: unknown setting agent.slot" in str(error)

"""What `status` and `top` print of the first screen, and what `check` makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backhaul.adapters.ledger.reading.observing import DeadTransfer, OpenJob, OpenTransfer
from backhaul.app.check import Checked, Level, judge
from backhaul.app.disk_space import DiskSpace
from backhaul.app.document import as_text
from backhaul.app.overview import (
    AgentView,
    DeadCode,
    Overview,
    QueueView,
    RouteView,
    RunningView,
    Today,
)
from backhaul.cli import cli
from backhaul.cli.screen import cells, middle, plain, screen, styled
from backhaul.core.agent_report import AgentIdentity, AgentRecord, AgentReport, RunningTransfer
from backhaul.core.errors import OutageError
from backhaul.core.health import Health, HealthState
from backhaul.core.model import TransferState
from backhaul.core.outlook.expectation import (
    Arrived,
    ExpectationRecord,
    ExpectationState,
    ExpectationStatus,
    Wanted,
)
from backhaul.core.outlook.forecast import Forecast
from backhaul.core.outlook.risks import Risk, RiskKind
from backhaul.core.ports import PausedRoute
from backhaul.core.reconciliation.values import ReconcileResult
from tests.docs.test_schemas import Checker

NOW = datetime(2026, 11, 30, 10, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RUNNING = Health(state=HealthState.RUNNING, sentence="Running: waiting for messages")
HELD = Health(
    state=HealthState.HELD,
    sentence="Held by hdfs for 3 min: E_X: no answer",
    code="E_X",
    hint="start it",
    since=NOW - 3 * MINUTE,
)


def agent(*, is_alive: bool = True, health: Health | None = RUNNING, **record: Any) -> AgentView:
    report = {name: record.pop(name) for name in ("failure",) if name in record}
    return AgentView(
        record=AgentRecord(
            identity=AgentIdentity(
                id="a",
                host="edge1",
                owner="o",
                version="0.2.0",
                queue="my-queue",
                region="us-east-1",
                slots=4,
                started_at=NOW - HOUR,
            ),
            report=AgentReport(at=NOW - MINUTE, in_hand=3, **report),
            beats=1,
            **record,
        ),
        is_alive=is_alive,
        health=health,
    )


def queue(**other: Any) -> QueueView:
    known: dict[str, Any] = {
        "name": "my-queue",
        "visible": 1204,
        "in_flight": 3,
        "at": NOW,
        "oldest_age": 14 * MINUTE,
        "retention": timedelta(days=4),
        "retention_used": 14 / 5760,
        "last_poll_at": NOW,
    }
    ahead: dict[str, Any] = {
        "messages": 1207,
        "size_bytes": 5 << 30,
        "per_minute": 6.0,
        "left": 3 * HOUR,
        "retention_share": 0.03,
    }
    ahead |= other.pop("ahead", {})
    return QueueView(**known | other, forecast=Forecast(queue="my-queue", at=NOW, **ahead))


RISK = Risk(
    kind=RiskKind.RETENTION,
    subject="retention/my-queue",
    code="W_FORECAST_RETENTION",
    sentence="my-queue: the backlog takes 3 h more",
    hint="raise it",
    queue="my-queue",
)


def expected(name: str, *, missed: bool = False, deadline: datetime = NOW) -> ExpectationStatus:
    """One whose last deadline was a day before the next."""
    due = ExpectationRecord(
        route="clicks",
        name=name,
        deadline=deadline + HOUR,
        due="2026-11-30 11:00 UTC",
        place="hdfs://ns1/land/day=30",
        state=ExpectationState.DUE,
        wanted=Wanted(objects=24),
        found=Arrived(objects=3),
    )
    last = replace(
        due,
        deadline=due.deadline - timedelta(days=1),
        due="2026-11-29 11:00 UTC",
        place="hdfs://ns1/land/day=29",
        state=ExpectationState.MISSED if missed else ExpectationState.MET,
        judged_at=NOW,
    )
    return ExpectationStatus(next=due, last=last)


def route(name: str = "clicks", **other: Any) -> RouteView:
    known: dict[str, Any] = dict.fromkeys(
        ("running", "waiting", "done", "dead", "failed", "bytes_done", "struggling"), 0
    )
    known |= {"sparks": (0,) * 12, "lag_p95": None, "held_by": (), "paused": None}
    return RouteView(**{"name": name, **known, **other})


def running(**other: Any) -> RunningView:
    outer = {name: other.pop(name) for name in ("left", "known") if name in other}
    known: dict[str, Any] = {
        "transfer_id": "t1",
        "message_id": "m1",
        "route": "clicks",
        "source": "s3://raw/p/",
        "destination": "hdfs://ns1/land",
        "attempt": 2,
        "started_at": NOW - MINUTE,
        "phase": "staging",
        "objects": 3,
        "objects_total": 12,
        "size_bytes": 1 << 30,
        "size_bytes_total": 5 << 30,
        "is_planned": True,
        "bytes_per_s": 123e6,
    }
    views: dict[str, Any] = {"left": 35 * MINUTE, "known": None}
    return RunningView(transfer=RunningTransfer(**known | other), host="edge1", **views | outer)


def waiting(**other: Any) -> OpenTransfer:
    known: dict[str, Any] = {
        "id": "t2",
        "message_id": "m2",
        "route": "clicks",
        "source": "s3://raw/q/",
        "destination": "/land",
        "state": TransferState.HELD,
        "attempt": 1,
        "failures": 0,
        "engine": None,
        "engine_reason": None,
        "objects_planned": 0,
        "bytes_planned": 0,
        "code": "E_HDFS",
        "reason": "no answer",
        "held_by": "hdfs",
        "held_since": NOW - 3 * MINUTE,
        "retry_at": NOW + timedelta(seconds=15),
        "first_seen_at": NOW,
        "updated_at": NOW,
    }
    return OpenTransfer(**known | other)


def dead(code: str = "E_SRC_GONE", count: int = 28) -> DeadCode:
    newest = DeadTransfer(
        id="t3",
        message_id="m3",
        route="clicks",
        source="s3://raw/r",
        destination="/land",
        code=code,
        reason="the object is gone",
        has_dead_letter=True,
        finished_at=NOW,
    )
    return DeadCode(code=code, count=count, routes=("clicks",), newest=newest)


def view(**other: Any) -> Overview:
    known: dict[str, Any] = {
        "now": NOW,
        "ledger": Path("/var/lib/backhaul/ledger.db"),
        "ledger_bytes": 1 << 20,
        "health": RUNNING,
        "agents": (agent(),),
        "queues": (queue(),),
        "bytes_per_s": 246e6,
        "today": Today(
            since=NOW.replace(hour=0),
            done=812,
            dead=3,
            objects=92_110,
            bytes_done=3 << 30,
            bytes_copied=2 << 30,
        ),
        **dict.fromkeys(("routes", "running", "waiting", "jobs", "dead"), ()),
        **dict.fromkeys(("expectations", "risks"), ()),
        "risks_known": frozenset(RiskKind),
        "is_cut": False,
    }
    return Overview(**known | other)


def lines(width: int | None = None, rows: int | None = None, **other: Any) -> list[str]:
    return [plain(one) for one in screen(view(**other), limit="none", width=width, rows=rows)]


# ---------------------------------------------------------------- the screen


def test_all_is_well_fits_on_a_few_lines() -> None:
    assert lines() == [
        "Running: waiting for messages",
        "queue   my-queue: 1,204 waiting, 3 in flight, oldest 14 min (0% of 4 days)",
        "        about 5.0 GiB to copy; done by 2026-11-30 13:00 UTC, in 3 h at 6.0 a minute",
        "agent   edge1, my-queue, version 0.2.0, since 2026-11-30 09:00:00 UTC, 3 of 4 slots busy",
        "rate    234.6 MiB/s, limit none",
        "today   812 done, 3 dead, 92,110 objects, 3.0 GiB (2.0 GiB read from S3) since 00:00 UTC",
        "ledger  /var/lib/backhaul/ledger.db, 1.0 MiB",
        "",
        "nothing is under way",
    ]


def test_trouble_comes_first_with_its_fix() -> None:
    assert lines(health=HELD)[:2] == ["Held by hdfs for 3 min: E_X: no answer", "fix     start it"]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_the_health_is_whole_at_every_width(width: int) -> None:
    long = replace(HELD, sentence="Held " + "by something " * 20, hint="do this " * 30)
    shown = lines(width=width, health=long)
    text = " ".join(" ".join(shown).replace("fix ", "").split())
    assert " ".join(long.sentence.split()) in text
    assert " ".join(long.hint.split()) in text


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"visible": None}, "my-queue: SQS has not given its counts yet"),
        ({"oldest_age": None}, "my-queue: 1,204 waiting, 3 in flight"),
        ({"retention_used": None}, "oldest 14 min"),
        (
            {"ahead": {"left": None, "unknown": "every route is paused"}},
            "        about 5.0 GiB to copy; end unknown: every route is paused",
        ),
        (
            {"ahead": {"size_bytes": None}},
            "        done by 2026-11-30 13:00 UTC, in 3 h at 6.0 a minute",
        ),
        (
            {"ahead": {"per_minute": None}},
            "done by 2026-11-30 13:00 UTC, in 3 h at the present rate",
        ),
    ],
)
def test_what_is_not_known_of_a_queue_is_left_out(other: dict[str, Any], words: str) -> None:
    shown = lines(queues=(queue(**other),))
    assert words in "\n".join(shown[1:3])


def test_an_empty_queue_has_no_backlog() -> None:
    empty = {"messages": 0, "left": timedelta()}
    assert "done by" not in "\n".join(lines(queues=(queue(visible=0, ahead=empty),)))


def test_what_is_missing_and_what_is_at_risk_come_first() -> None:
    later = expected("b", deadline=NOW + HOUR)
    shown = lines(expectations=(expected("a", missed=True), later), risks=(RISK,))
    there = "3 of 24 objects in hdfs://ns1/land"
    assert shown[1:4] == [
        "at risk my-queue: the backlog takes 3 h more",
        f"data    clicks/a due 2026-11-29 11:00 UTC is missing: {there}/day=29",
        f"        1 of 2 met; next clicks/a by 2026-11-30 11:00 UTC: {there}/day=30",
    ]
    assert lines(expectations=(later,))[1].startswith("data    1 of 1 met; next clicks/b by")
    new = replace(later, last=None)
    unjudged = lines(expectations=(new, later))[1]
    assert unjudged.startswith("data    1 of 2 met, 1 not judged yet; next clicks/b by")
    narrow = lines(width=60, expectations=(expected("a", missed=True),), risks=(RISK,))
    assert all(len(line) <= 60 for line in narrow[:5])
    assert "day=29" in " ".join(narrow), "nothing of it is cut"
    many = tuple(expected(f"e{number}", missed=True) for number in range(25))
    assert "        and 5 more are missing" in lines(expectations=many)


def test_the_last_comparison_of_each_route_is_shown() -> None:
    of: dict[str, Any] = {"route": "clicks", "started_at": NOW, "finished_at": NOW}
    whole = ReconcileResult(**of, totals={"same": (7, 70), "too young": (1, 1)})
    found = ReconcileResult(**of, totals={"same": (7, 70), "missing": (1200, 2), "dead": (3, 1)})
    shown = lines(reconciled=(whole, found))
    (first,) = [number for number, one in enumerate(shown) if one.startswith("compare ")]
    assert shown[first].startswith("compare clicks 2026-11-30 10:00")
    assert shown[first].endswith(": all arrived")
    assert shown[first + 1].endswith(": 1,200 missing, 3 dead")
    assert (whole.findings, found.findings) == (0, 1203)


def test_monitoring_knows_what_is_missing_and_what_is_at_risk() -> None:
    found = view(expectations=(expected("a", missed=True), expected("b")), risks=(RISK,))
    checked = judge(found, {}, {})
    assert checked.level is Level.CRITICAL
    assert "missed=1;;1;0 at_risk=1;1;;0" in checked.line
    assert checked.reasons == (
        "missing since 2026-11-29 11:00 UTC: 3 of 24 objects in hdfs://ns1/land/day=29",
        "my-queue: the backlog takes 3 h more",
    )
    quiet = judge(found, {"at_risk": None}, {"missed": None})
    assert quiet.level is Level.OK
    assert judge(view(risks=(RISK,)), {}, {}).level is Level.WARNING


def test_messages_that_are_parked_are_counted() -> None:
    one = agent()
    report = replace(one.record.report, parked=1200)
    parking = replace(one, record=replace(one.record, report=report))
    assert "3 of 4 slots busy, 1,200 parked for paused routes" in lines(agents=(parking,))[3]


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (agent(is_alive=False), "silent for 60 s"),
        (agent(is_alive=False, health=None), "gone; last seen 2026-11-30 09:59:00 UTC"),
        (agent(is_alive=False, health=None, ended_at=NOW), "stopped 2026-11-30 10:00:00 UTC"),
        (
            agent(is_alive=False, health=None, ended_at=NOW, failure="E_BUG"),
            "ended with E_BUG 2026-11-30 10:00:00 UTC",
        ),
    ],
)
def test_an_agent_that_does_not_work_is_shown_so(shown: AgentView, words: str) -> None:
    assert words in lines(agents=(shown,))[3]


def test_routes_are_shown_when_they_have_trouble() -> None:
    paused = PausedRoute(
        route="b", since=NOW, until=NOW + HOUR, operator="me@edge1", reason="cluster is moved"
    )
    shown = lines(
        routes=(
            route("a", held_by=("hdfs",), running=2, lag_p95=3 * HOUR),
            route("b", paused=paused, waiting=1200),
            route("c", paused=replace(paused, until=None, reason="")),
            route("", dead=12, struggling=3),
            route("well"),
        )
    )
    start = shown.index("routes with trouble")
    assert shown[start + 1 : start + 5] == [
        "a           held by hdfs; 2 under way, 0 waiting, p95 lag 3 h",
        (
            "b           paused by me@edge1 for 60 min more: cluster is moved; "
            "0 under way, 1,200 waiting"
        ),
        "c           paused by me@edge1; 0 under way, 0 waiting",
        "(no route)  12 dead in 24 h, 3 in a second try or later; 0 under way, 0 waiting",
    ]
    assert "well" not in "\n".join(shown)


def test_many_troubled_routes_and_codes_are_cut_and_counted() -> None:
    routes = tuple(route(f"r{number}", dead=1) for number in range(25))
    codes = tuple(dead(f"E_{number}") for number in range(12))
    text = "\n".join(lines(routes=routes, dead=codes))
    assert "r19 " in text
    assert "r20 " not in text
    assert "and 5 more" in text
    assert "and 2 more codes" in text


def test_the_dead_are_shown_by_code_with_an_example() -> None:
    shown = lines(dead=(dead(),))
    start = shown.index("dead in 24 h, not sent again")
    assert shown[start + 1] == "   28  E_SRC_GONE: the object is gone"
    assert "backhaul history --state dead" in shown[start + 2]
    assert "backhaul retry --code CODE" in shown[start + 2]


def test_a_transfer_under_way_shows_how_far_it_is() -> None:
    shown = lines(running=(running(engine="distcp", engine_reason="large"),))
    assert shown[-3:] == [
        (
            "t1  staging, attempt 2, since 2026-11-30 09:59:00 UTC: 3 of 12 objects, "
            "1.0 GiB of 5.0 GiB, 117.3 MiB/s, 35 min left"
        ),
        "  s3://raw/p/ \u2192 hdfs://ns1/land",
        "  distcp: large",
    ]


def test_a_transfer_that_begins_or_is_still_listed_shows_that() -> None:
    fresh = running(
        phase="", objects_total=0, is_planned=False, bytes_per_s=None, left=None, objects=0
    )
    listed = running(is_planned=False, left=None)
    shown = lines(running=(fresh, listed))
    assert "t1  starting, attempt 2, since 2026-11-30 09:59:00 UTC: not listed yet" in shown
    assert "3 of 12 or more objects" in "\n".join(shown)


def test_a_transfer_under_way_that_waits_shows_for_what() -> None:
    shown = lines(running=(running(waits_for="hdfs", known=waiting()),))
    assert shown[-3].startswith("t1  waiting for hdfs, attempt 2")
    assert shown[-1] == ("  held by hdfs for 3 min: E_HDFS: no answer; next try in 15 s")


def test_a_transfer_that_waits_shows_its_plan_and_its_application() -> None:
    job = OpenJob(
        transfer_id="t2",
        tag="tag",
        application_id="application_1",
        state="running",
        tracking_url="http://rm/1",
        maps_done=3,
        maps=7,
        size_bytes=1 << 20,
    )
    bare = replace(job, application_id=None, tracking_url=None, maps=None, size_bytes=None)
    shown = lines(
        waiting=(waiting(objects_planned=2, bytes_planned=300, code=None),), jobs=(job, bare)
    )
    assert shown[-5:] == [
        "t2  held, attempt 1, since 2026-11-30 10:00:00 UTC: 2 objects, 300 B",
        "  s3://raw/q/ \u2192 /land",
        "  application_1: running, maps 3 of 7, 1.0 MiB",
        "  http://rm/1",
        "  tag: running",
    ]


def test_many_that_wait_are_cut_on_a_terminal_and_whole_in_a_pipe() -> None:
    many = tuple(waiting(id=f"w{number}") for number in range(60))
    assert "and 20 more: backhaul status | less" in lines(width=200, waiting=many)
    assert sum(one.startswith("w") for one in lines(waiting=many)) == 60
    assert "and more, which are not shown: backhaul history" in lines(waiting=many, is_cut=True)


def test_lines_beyond_the_screen_are_counted() -> None:
    shown = lines(rows=5)
    assert len(shown) == 5
    assert shown[-1] == "5 more lines"
    assert lines(rows=9) == lines()


# ---------------------------------------------------------------- names


HOSTILE = "s3://raw/\x1b[2J\u202egpj.exe\n\r\t\x07"


def test_hostile_names_do_nothing_to_a_terminal() -> None:
    shown = screen(
        view(
            running=(running(source=HOSTILE, waits_for=HOSTILE, engine=HOSTILE),),
            waiting=(waiting(id=HOSTILE, destination=HOSTILE, reason=HOSTILE),),
            dead=(dead(HOSTILE),),
            routes=(route(HOSTILE, dead=1, held_by=(HOSTILE,)),),
            queues=(queue(name=HOSTILE),),
            health=replace(HELD, sentence=HOSTILE, hint=HOSTILE),
        ),
        limit="none",
        width=100,
    )
    for text in ("".join(plain(one) for one in shown), "".join(map(styled, shown))):
        for sign in ("\x1b[2J", "\u202e", "\n", "\r", "\t", "\x07"):
            assert sign not in text


@pytest.mark.parametrize("width", [40, 60, 90])
def test_names_are_cut_in_their_middle_to_the_width(width: int) -> None:
    long = "s3://acme-raw/" + "x" * 300 + "/part-0.parquet"
    for source, destination in ((long, long), (long, "/land"), ("s3://raw/a", long)):
        shown = lines(width=width, waiting=(waiting(source=source, destination=destination),))
        (path,) = [one for one in shown if "\u2192" in one]
        assert cells(path) <= width
        assert path.endswith("parquet" if destination == long else "/land")
        assert path.startswith("  s3://")
    assert any(long in one for one in lines(waiting=(waiting(source=long),)))


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefghij", 7, "ab\u2026ghij"),
        ("abcdef", 1, "\u2026"),
        ("abcdef", 0, "\u2026"),
        ("\u6771\u4eac\u90fd\u5e81\u820e\u3067\u3059", 7, "\u6771\u2026\u3067\u3059"),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
    ],
)
def test_a_name_is_cut_by_the_columns_that_it_needs(text: str, width: int, cut: str) -> None:
    assert middle(text, width) == cut


# ---------------------------------------------------------------- the command


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What reading the ledger gives, under `found`."""
    given: dict[str, Any] = {"found": view()}
    monkeypatch.setattr("backhaul.app.overview.read_overview", lambda _path, _now: _given(given))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BACKHAUL_CONFIG", raising=False)
    return given


def _given(given: dict[str, Any]) -> Overview | None:
    found = given["found"]
    if isinstance(found, Exception):
        raise found
    return found if found is None else replace(found)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--ledger", "/nowhere.db"], standalone_mode=False)


def test_in_a_pipe_there_are_no_colours(shown: dict[str, Any]) -> None:
    shown["found"] = view(health=HELD)
    done = invoke("status")
    assert done.return_value == 0
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith("Held by hdfs for 3 min: E_X: no answer\nfix     start it\n")


def test_without_a_ledger_status_top_and_check_name_the_path(shown: dict[str, Any]) -> None:
    shown["found"] = None
    for command in ("status", "top"):
        done = invoke(command)
        assert (done.return_value, done.stdout) == (0, "")
        assert "no ledger yet at /nowhere.db" in done.stderr
    done = invoke("check")
    assert done.return_value == 3
    assert done.stdout.startswith("UNKNOWN: no ledger yet at /nowhere.db")


def test_top_without_a_terminal_prints_one_frame(shown: dict[str, Any]) -> None:
    done = invoke("top")
    assert done.return_value == 0
    assert done.stdout.splitlines()[1:] == lines()
    assert "\x1b" not in done.stdout


def test_watching_is_not_for_programs(shown: dict[str, Any]) -> None:
    done = invoke("status", "--watch", "--json")
    assert "--watch is for people" in str(done.exception)


def test_watching_goes_on_while_the_ledger_is_locked(
    shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: list[float] = []

    def sleep(seconds: float) -> None:
        frames.append(seconds)
        shown["found"] = OutageError.of("ledger", "E_LEDGER_LOCKED", "in use")
        if len(frames) == 2:
            shown["found"] = None
        if len(frames) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("backhaul.cli.status.time.sleep", sleep)
    done = CliRunner().invoke(
        cli, ["status", "--watch", "7", "--ledger", "/nowhere.db"], standalone_mode=False
    )
    assert frames == [7.0] * 3
    assert done.stdout.count("nothing is under way") == 1
    assert done.stdout.count("E_LEDGER_LOCKED: in use") == 1
    assert done.stdout.endswith("no ledger yet at /nowhere.db\n\n")


# ---------------------------------------------------------------- check


def checked(
    warn: dict[str, Any] | None = None, critical: dict[str, Any] | None = None, **other: Any
) -> Checked:
    return judge(view(**other), warn or {}, critical or {})


def test_all_is_well_is_ok_with_measurements() -> None:
    found = checked()
    assert found.level is Level.OK
    assert found.line == (
        "OK: Running: waiting for messages | queue=1204;;;0 oldest=840s;;;0 "
        "retention=0.2%;50;80;0 dead_24h=0;1;;0 dead_replies=0;1;;0 held=0s;0;900;0 "
        "rate=246000000B;;;0 "
        "missed=0;;1;0 at_risk=0;1;;0"
    )


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (HealthState.RUNNING, Level.OK),
        (HealthState.STOPPING, Level.WARNING),
        (HealthState.NOT_POLLING, Level.CRITICAL),
        (HealthState.SILENT, Level.CRITICAL),
        (HealthState.NOT_RUNNING, Level.CRITICAL),
    ],
)
def test_each_state_has_its_level(state: HealthState, level: Level) -> None:
    found = checked(health=replace(RUNNING, state=state))
    assert found.level is level
    assert found.reasons == (() if level is Level.OK else (RUNNING.sentence,))


@pytest.mark.parametrize(
    ("minutes", "level"), [(0, Level.WARNING), (14, Level.WARNING), (15, Level.CRITICAL)]
)
def test_a_hold_is_a_warning_and_then_critical(minutes: int, level: Level) -> None:
    found = checked(health=replace(HELD, since=NOW - minutes * MINUTE))
    assert found.level is level
    assert found.reasons == (HELD.sentence,)
    assert f"held={60 * minutes}s;0;900;0" in found.line
    assert checked({"held": None}, {"held": None}, health=HELD).level is Level.OK


@pytest.mark.parametrize(
    ("warn", "critical", "level", "reason"),
    [
        ({"queue": 1204}, {}, Level.WARNING, "queue 1204 (warning from 1204)"),
        ({"queue": 1205}, {}, Level.OK, None),
        ({"queue": 1}, {"queue": 1000}, Level.CRITICAL, "queue 1204 (critical from 1000)"),
        ({}, {"oldest": 600}, Level.CRITICAL, "oldest 14 min (critical from 10 min)"),
    ],
)
def test_a_threshold_counts_from_its_value_on(
    warn: dict[str, Any], critical: dict[str, Any], level: Level, reason: str | None
) -> None:
    found = checked(warn, critical)
    assert (found.level, list(found.reasons)) == (level, [reason] if reason else [])


def test_retention_and_deaths_have_defaults() -> None:
    assert checked(queues=(queue(retention_used=0.5),)).level is Level.WARNING
    late = checked(queues=(queue(retention_used=0.8), queue(retention_used=0.1)))
    assert (late.level, late.reasons) == (Level.CRITICAL, ("retention 80 % (critical from 80 %)",))
    died = checked(dead=(dead(count=3), dead("E_B", 4)))
    assert (died.level, died.reasons) == (Level.WARNING, ("dead_24h 7 (warning from 1)",))
    assert checked({"dead_24h": None}, dead=(dead(),)).level is Level.OK


def test_what_is_not_known_is_marked_and_judges_nothing() -> None:
    found = checked({"queue": 0, "oldest": 0, "retention": 0}, queues=(queue(visible=None),))
    assert found.level is Level.OK
    assert "queue=U;0;;0 oldest=U;0;;0 retention=U;0;80;0" in found.line


def test_what_waits_has_an_age_that_may_be_unknown_and_never_none_at_all() -> None:
    nothing_known = {"oldest_age": None, "retention_used": None}
    waits = checked({"oldest": 0}, queues=(queue(**nothing_known),))
    assert "queue=1204;;;0 oldest=U;0;;0 retention=U;50;80;0" in waits.line
    empty = checked(queues=(queue(visible=0, **nothing_known),))
    assert "queue=0;;;0 oldest=0s;;;0 retention=0%;50;80;0" in empty.line
    alone = checked(queues=(queue(retention=None, retention_used=None),))
    assert "oldest=840s;;;0 retention=U;" in alone.line


def test_a_risk_that_may_be_there_is_unknown_and_not_none() -> None:
    nothing_known: dict[str, Any] = {"risks_known": frozenset()}
    assert checked(**nothing_known).line.endswith(" at_risk=U;1;;0")
    assert checked(risks_known=frozenset({RiskKind.DEADLINE})).line.endswith(" at_risk=U;1;;0")
    assert checked(**nothing_known).level is Level.OK
    there = checked(risks=(RISK,), **nothing_known)
    assert (there.level, there.line.endswith(" at_risk=1;1;;0")) == (Level.WARNING, True)


def test_a_deadline_that_no_agent_has_judged_is_unknown_and_not_met() -> None:
    """No agent ran when it passed."""
    passed = expected("late", deadline=NOW - 2 * HOUR)
    found = checked(expectations=(passed, expected("b")))
    assert "missed=U;;1;0" in found.line
    shown = lines(expectations=(passed, expected("b")))[1]
    assert shown.startswith("data    1 of 2 met, 1 not judged yet; no agent has judged clicks/late")
    there = checked(expectations=(passed, expected("a", missed=True)))
    assert "missed=1;;1;0" in there.line


def test_without_an_agent_the_rate_is_unknown() -> None:
    assert " rate=U;;;0 " in checked(bytes_per_s=None).line
    assert "rate    unknown, no agent is alive, limit none" in lines(bytes_per_s=None)


def test_the_line_has_one_bar_and_one_line() -> None:
    found = checked(health=replace(HELD, sentence="Held | by\nhdfs"))
    assert found.line.count("|") == 1
    assert len(found.line.splitlines()) == 1


@pytest.mark.parametrize(
    ("health", "code"),
    [(RUNNING, 0), (HELD, 1), (replace(HELD, state=HealthState.NOT_POLLING), 2)],
)
def test_check_ends_as_nagios_has_it(shown: dict[str, Any], health: Health, code: int) -> None:
    shown["found"] = view(health=health)
    done = invoke("check")
    assert done.return_value == code
    assert done.stdout.splitlines()[1:] == (["fix: start it"] if code else [])
    assert invoke("check", "--json").return_value == code


def test_check_of_a_ledger_that_cannot_be_read_is_unknown(shown: dict[str, Any]) -> None:
    shown["found"] = OutageError.of("ledger", "E_LEDGER_LOCKED", "a | b", hint="wait")
    done = invoke("check")
    assert (done.return_value, done.stdout) == (
        3,
        "UNKNOWN: E_LEDGER_LOCKED: a / b\nhint: wait\n",
    )


@pytest.mark.parametrize(
    "given",
    ["queue", "queue=", "queue=many", "queue=-1", "queue=1.5", "oldest=5", "held=x", "other=1",
     "retention=50 %", "queue=\u0665"],
)  # fmt: skip
def test_a_threshold_that_is_none_is_refused(shown: dict[str, Any], given: str) -> None:
    done = invoke("check", "--warn", given)
    assert given in str(done.exception)


def test_thresholds_are_read_in_their_units(shown: dict[str, Any]) -> None:
    shown["found"] = view(queues=(queue(retention_used=0.6),), dead=(dead(),))
    given = ("--warn", "oldest=2h", "--warn", "dead_24h=off", "--critical", "retention=60%")
    done = invoke("check", *given, "--critical", "held=off")
    assert done.return_value == 2
    assert (
        "oldest=840s;7200;;0 retention=60%;50;60;0 dead_24h=28;;;0 dead_replies=0;1;;0 held=0s;0;;0"
        in done.stdout
    )


# ---------------------------------------------------------------- the document


def schema() -> dict[str, Any]:
    path = Path(__file__).parents[2] / "docs" / "schema" / "check.schema.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


@pytest.mark.parametrize(
    "other",
    [
        {},
        {
            "health": HELD,
            "agents": (agent(), agent(is_alive=False, ended_at=NOW)),
            "queues": (
                queue(),
                queue(visible=None, oldest_age=None, ahead={"left": None, "per_minute": None}),
            ),
            "expectations": (expected("a", missed=True), expected("b")),
            "risks": (RISK,),
            "risks_known": frozenset({RiskKind.DEADLINE}),
            "bytes_per_s": None,
            "routes": (route(lag_p95=HOUR), route(""), route(held_by=("s3",))),
            "running": (running(), running(left=None, bytes_per_s=None)),
            "waiting": (waiting(), waiting(code=None, held_by=None, held_since=None)),
            "dead": (dead(),),
        },
    ],
)
def test_the_document_has_the_form_of_its_schema(other: dict[str, Any]) -> None:
    whole = view(**other)
    document = json.loads(as_text(whole, judge(whole, {}, {})))
    assert Checker(schema()).accepts(document)
    assert document["v"] == 1
    assert document["health"]["sentence"] == whole.health.sentence
    for name in ("agents", "queues", "routes", "running", "waiting", "dead"):
        assert len(document[name]) == len(getattr(whole, name))


def test_every_field_of_the_document_is_required_by_its_schema() -> None:
    for part in (schema(), *schema()["$defs"].values()):
        if "properties" in part:
            assert set(part["required"]) == set(part["properties"])


@pytest.mark.parametrize(("used", "style"), [(0.79, ""), (0.8, "yellow"), (0.97, "yellow")])
def test_a_disk_of_the_ledger_that_fills_up_is_a_warning(used: float, style: str) -> None:
    disk = DiskSpace(free_bytes=12 << 30, used=used)
    shown = screen(view(ledger_disk=disk), limit="none")
    (line,) = [one for one in shown if plain(one).startswith("ledger")]
    warned = f": its disk is {used:.0%} full, 12.0 GiB are free" in line[1].text
    assert (warned, line[1].style) == (bool(style), style)

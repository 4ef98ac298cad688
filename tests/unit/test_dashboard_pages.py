"""What the pages show, hostile text on them, and the page that comes where there is none."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.system import trusted_files
from backhaul.app import search
from backhaul.app.budget import read_budgets
from backhaul.app.overview import RouteView
from backhaul.core.agent_report import AgentReport, QueueDepth, QueueReport, RunningTransfer
from backhaul.core.cost.budget import BudgetPer, BudgetRaise, BudgetUnit, period_at
from backhaul.core.cost.egress import Egress, EgressCount
from backhaul.core.cost.prices import GB
from backhaul.core.ports import Act, Operator, OperatorEntry
from backhaul.core.units import human_bytes
from backhaul.dashboard import readers, rendering
from backhaul.dashboard.application import application
from backhaul.dashboard.front import ROUTES_MOST, shown_routes
from backhaul.dashboard.guard import HEADERS, Admission
from backhaul.dashboard.login import LinkToken
from backhaul.dashboard.rendering import Renderer, path, spark
from backhaul.dashboard.search import search_of
from backhaul.dashboard.transfer import in_hex
from backhaul.dashboard.website import Site
from backhaul.settings.model import Settings
from tests.dashboard_ledger import (
    CANARY,
    HOUR,
    MINUTE,
    SCRIPT,
    SECRETS,
    Filler,
    filled,
    held_report,
    hostile_texts,
    identity,
    report,
)
from tests.unit.test_status_screen import expected
from tests.web import Answer, Browser

pytestmark = pytest.mark.slow

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
TOKEN = LinkToken("t" * 43)
ROUTES = [
    {
        "name": "click",
        "source": ["s3://raw/click/"],
        "destination": ["/landing/click/"],
        "limits": {"in_flight": 8},
    },
    {"name": "quiet", "source": ["s3://raw/quiet/"], "destination": ["/landing/quiet/"]},
]


@dataclass(kw_only=True)
class PageBrowser(Browser):
    """With what is behind the pages."""

    site: Site


def browser_of(ledger: Path, *, now: datetime = NOW, **settings: Any) -> PageBrowser:
    site = Site(settings=Settings(ledger=ledger, **settings), login=TOKEN, clock=now.astimezone)
    admission = Admission(login=TOKEN, names=frozenset({"127.0.0.1"}))
    found = PageBrowser(app=application(site, admission), site=site)
    found.cookies = {TOKEN.cookie_name: TOKEN.cookie}
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Filler]:
    ledger = tmp_path_factory.mktemp("pages") / "ledger.db"
    return ledger, filled(ledger, NOW)


@pytest.fixture(scope="module")
def browser(world: tuple[Path, Filler]) -> Browser:
    return browser_of(world[0], route=ROUTES, bandwidth={"limit": 400_000_000})


@pytest.fixture(autouse=True)
def _searches_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a busy machine."""
    monkeypatch.setattr(search, "BUDGET_S", 60.0)


@pytest.fixture
def ids(world: tuple[Path, Filler]) -> dict[str, str]:
    return world[1].ids


def words(answer: Answer) -> str:
    """What a person reads: without tags, blanks joined."""
    text = re.sub(r"<(script|style|title)\b.*?</\1>", " ", answer.text, flags=re.DOTALL)
    return _without_tags(text)


def _without_tags(html: str) -> str:
    """A path is in two parts without anything between them."""
    text = html.replace('</span><span class="tail">', "")
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())


def section(answer: Answer, name: str) -> str:
    """The words of one section by its id."""
    match = re.search(rf'<section[^>]* id="{name}".*?</section>', answer.text, re.DOTALL)
    assert match is not None, name
    return _without_tags(match[0])


class Checker(HTMLParser):
    """Every element is closed, every id comes once, every label has its field."""

    VOID = frozenset({"meta", "link", "br", "input", "col", "rect", "path"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.named: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} {name}"
            assert name != "style"
            if name == "id":
                self.ids.append(value or "")
            elif name in {"aria-labelledby", "for", "list"}:
                self.named += (value or "").split()
            elif name in {"href", "src", "action", "hx-get"}:
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(answer: Answer) -> Checker:
    found = Checker()
    found.feed(answer.text)
    found.close()
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    assert set(found.named) <= set(found.ids)
    return found


PAGES = ["/", "/search", "/search?q=x", "/plots", "/plots?range=90d&route=click", "/journal"]


@pytest.mark.parametrize("url", PAGES)
def test_every_page_is_well_formed_small_and_asks_nobody_else(browser: Browser, url: str) -> None:
    answer = browser.get(url)
    assert answer.status == 200
    found = checked(answer)
    for link in found.links:
        if not link.startswith("http://rm1:8088/"):  # YARN's own page, of an application
            assert link.startswith(("/", "#")), link
            assert not link.startswith("//")
    loaded = re.findall(r'(?:src|href)="(/static/[^"]*)"', answer.text)
    assert len(loaded) >= 4
    weight = len(answer.body) + sum(len(browser.get(one).body) for one in loaded)
    assert weight < 250_000
    for one in loaded:
        assert browser.get(one).status == 200
    assert '<a class="skip" href="#main">' in answer.text
    assert answer.text.count("<main") == answer.text.count("<h1") == 1


def test_the_front_page_has_what_an_administrator_wants(browser: Browser) -> None:
    answer = browser.get("/")
    assert 'data-state="running"' in answer.text
    assert section(answer, "health").startswith("Running: 2 transfers under way")
    queue = section(answer, "queue-1")
    for text in ("Queue work", "Waiting 1,234", "In flight 3", "Oldest 3 h", "Retention used 3 %"):
        assert text in queue
    assert "Backlog about 2.7 TiB" in queue, "most of it is in the transfer under way"
    assert re.search(r"Done by \w{3} 2026-12-\d\d \d\d:\d\d UTC , in \d days", queue)
    assert "334.7 MiB/s Limit 381.5 MiB/s Used 88 % configured" in section(answer, "rate")
    assert "Dead 9" in section(answer, "today")


def test_problem_routes_come_first(browser: Browser) -> None:
    answer = browser.get("/")
    names = re.findall(r'<tr id="route-([^"]*)"', answer.text)
    assert names == ["events", "models", "click", "quiet"]
    routes = section(answer, "routes")
    assert "held by hdfs" in routes
    assert "paused by ann@edge1 until 13:00 UTC : maintenance of nn1" in routes
    assert "1 / 8" in routes
    assert answer.text.count('<svg class="spark"') == 4
    assert "Bytes in each 5 minutes of the last hour, at most 36.0 MiB" in answer.text


def test_many_routes_without_trouble_leave_room_for_what_is_below(
    world: tuple[Path, Filler],
) -> None:
    more = [
        {"name": f"r{number:02}", "source": ["s3://raw/"], "destination": ["/landing/"]}
        for number in range(30)
    ]
    browser = browser_of(world[0], route=[*ROUTES, *more])
    few = browser.get("/")
    names = re.findall(r'<tr id="route-([^"]*)"', few.text)
    assert names[:3] == ["events", "models", "click"]
    assert len(names) == ROUTES_MOST
    assert f"{34 - ROUTES_MOST} more, all without trouble" in section(few, "routes")
    every = browser.get("/?routes=all")
    assert len(re.findall(r'<tr id="route-', every.text)) == 34
    assert 'hx-get="/?routes=all"' in every.text
    assert "Only those with trouble" in section(every, "routes")
    assert "Only those" not in section(browser_of(world[0]).get("/?routes=all"), "routes")


def test_a_route_with_trouble_is_shown_however_many_there_are() -> None:
    troubled = [route_view(f"t{number}", dead=1) for number in range(ROUTES_MOST + 3)]
    well = [route_view("well", dead=0)]
    assert shown_routes([*troubled, *well], is_all=False) == troubled
    assert shown_routes([*troubled, *well], is_all=True) == troubled + well
    assert shown_routes(well, is_all=False) == well


def route_view(name: str, *, dead: int) -> RouteView:
    return RouteView(
        name=name,
        running=0,
        waiting=0,
        sparks=(0,) * 12,
        done=0,
        dead=dead,
        failed=0,
        bytes_done=0,
        lag_p95=None,
        struggling=0,
        held_by=(),
        paused=None,
    )


def test_a_running_transfer_has_source_destination_and_how_far_it_is(
    browser: Browser, ids: dict[str, str]
) -> None:
    running = section(browser.get("/"), "running")
    for text in (
        *("s3://raw/click/day=running/", "hdfs://nn1:8020/landing/click/day=running"),
        *("attempt 2", "copying", "505.4 MiB of 820.0 MiB, 30 of 40 objects", "39.1 MiB/s"),
        *("8 s left", "native", "below distcp.auto_min_bytes", "edge1", ids["running"]),
        *("distcp", "application_1764547200000_0042"),
    ):
        assert text in running
    assert 'href="http://rm1:8088/proxy/application_1764547200000_0042/"' in browser.get("/").text


def test_what_waits_has_its_reason_and_what_is_dead_the_manuals_text(browser: Browser) -> None:
    answer = browser.get("/")
    waiting = section(answer, "waiting")
    assert "Waiting and held (2)" in waiting
    assert "by hdfs for 12 min" in waiting
    assert "E_HDFS_UNREACHABLE nn1:8020 does not answer: connection refused" in waiting
    assert "E_CHECKSUM part-00001: bytes differ" in waiting
    dead = section(answer, "dead")
    assert "E_SRC_EMPTY" in dead
    assert "Fix: was the data written before the message? is the slash right?" in dead
    assert 'href="/search?state=dead&amp;code=E_SRC_EMPTY"' in answer.text


def test_what_has_just_begun_is_running_and_what_lost_its_agent_waits(
    world: tuple[Path, Filler], ids: dict[str, str], tmp_path: Path
) -> None:
    ledger = Path(shutil.copy(world[0], tmp_path))
    with closing(open_ledger(ledger, create=False)) as opened:
        filler = Filler(ledger=opened, now=NOW, ids=dict(ids))
        new = filler.transfer("new", timedelta(seconds=3), route="quiet")
        old = filler.transfer("older", timedelta(seconds=40), route="quiet")
    answer = browser_of(ledger).get("/")
    running, waiting = section(answer, "running"), section(answer, "waiting")
    assert "Running (3)" in running
    assert new in running
    assert "just begun" in running
    assert old in waiting
    assert "not begun, or its agent is gone" in waiting


def test_the_front_page_has_what_is_missing_and_what_is_at_risk(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    depth = QueueDepth(visible=10, in_flight=0, delayed=0, retention_s=600, at=NOW)
    with_report(ledger, report(NOW, depth=depth, running=()))
    answer = browser_of(ledger).get("/")
    assert "No end is known: no rate yet" in section(answer, "queue-1")
    assert 'id="expected"' not in answer.text
    with closing(open_ledger(ledger, create=False)) as opened:
        for status in (expected("well"), expected("a<b", missed=True)):
            opened.note_expectation(status.next)
            if status.last is not None:
                opened.note_expectation(status.last)
    slow = RunningTransfer(
        transfer_id="t1",
        message_id="m1",
        route="clicks",
        source="s3://raw/",
        destination="/land",
        attempt=1,
        started_at=NOW,
        size_bytes_total=1_000_000,
        is_planned=True,
    )
    alone = replace(depth, visible=0, in_flight=1)
    with_report(ledger, report(NOW, depth=alone, running=(slow,), bytes_per_s=100.0))
    answer = browser_of(ledger).get("/")
    checked(answer)
    assert "At risk:</strong> work: its oldest message is 3 h old, and the backlog" in answer.text
    assert "Backlog about 976.6 KiB" in section(answer, "queue-1")
    shown = section(answer, "expected")
    assert shown.index("clicks/a<b missing") < shown.index("clicks/well met")
    assert "2026-11-29 11:00 UTC: 3 of 24 objects in hdfs://ns1/land/day=29" in shown


def test_what_only_an_agent_knows_is_not_shown_as_none_without_one(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    passed = expected("well", deadline=NOW - timedelta(hours=2))
    with closing(open_ledger(ledger, create=True)) as opened:
        opened.note_expectation(passed.next)
        assert passed.last is not None
        opened.note_expectation(passed.last)
    answer = browser_of(ledger).get("/")
    assert "Rate now –" in section(answer, "rate")
    assert "11:00 UTC not judged yet" in section(answer, "expected")


def test_the_rate_of_messages_is_unknown_where_two_queues_share_a_ledger(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    for name in ("a", "b"):
        with_report(ledger, report(NOW), host=name, queue=name)
    assert "Messages a minute: unknown" in section(browser_of(ledger).get("/"), "queue-1")


def test_each_queue_of_one_agent_has_a_card(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    depth = QueueDepth(visible=5, in_flight=1, delayed=0, retention_s=345_600, at=NOW)
    queues = (
        QueueReport(queue="orders", region="us-west-2", last_poll_at=NOW, depth=depth),
        QueueReport(
            queue="events",
            region="eu-west-1",
            failed_polls=5,
            failing_since=NOW - 9 * MINUTE,
            poll_code="E_AWS_DENIED",
            poll_hint="allow it",
        ),
    )
    made = report(NOW, queues=queues, running=(), last_poll_at=NOW)
    with_report(ledger, made, queue="orders, events", region="us-west-2, eu-west-1")
    answer = browser_of(ledger).get("/")
    checked(answer)
    events, orders = section(answer, "queue-1"), section(answer, "queue-2")
    assert "Queue events Waiting –" in events
    assert "No end is known: SQS has not given its counts yet" in events
    assert "Queue orders Waiting 5 In flight 1" in orders
    assert "No end is known: several queues share this ledger" in orders
    assert 'id="queue-3"' not in answer.text
    assert "Not polling events for 9 min" in words(answer)
    assert "of 2 queues 1 polled" in words(answer)


def test_an_empty_queue_has_nothing_to_be_done_by(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    depth = QueueDepth(visible=0, in_flight=0, delayed=0, retention_s=345_600, at=NOW)
    with_report(ledger, report(NOW, depth=depth))
    queue = section(browser_of(ledger).get("/"), "queue-1")
    assert "Backlog nothing waits" in queue
    assert "Done by" not in queue


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("C63K/g==", "0badcafe"),
        ("C63K/g==-3", "0badcafe-3"),
        ("d41d8cd98f00b204e9800998ecf8427e", "d41d8cd98f00b204e9800998ecf8427e"),
        ("d41d8cd98f00b204e9800998ecf8427e-2", "d41d8cd98f00b204e9800998ecf8427e-2"),
        ("no base64!", "no base64!"),
        ("", ""),
    ],
)
def test_a_checksum_of_s3_is_shown_as_the_targets_is(given: str, shown: str) -> None:
    assert in_hex(given) == shown


def test_the_title_and_the_announcement_have_no_time_that_changes(browser: Browser) -> None:
    """Else a screen reader would read the page aloud every five seconds."""
    answer = browser.get("/")
    assert "<title>Running · Backhaul</title>" in answer.text
    said = re.search(r'role="status"[^>]*>([^<]*)<', answer.text)
    assert said is not None
    assert said[1] == "State: running"


def with_report(ledger: Path, made: AgentReport, **who: object) -> None:
    with closing(open_ledger(ledger, create=True)) as opened:
        opened.beat(identity(NOW, **who), made)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "state", "texts"),
    [
        (held_report(NOW), "held", ["Held by hdfs for 12 min, 1 transfer waits", "NameNode"]),
        (report(NOW - HOUR), "not-running", ["last seen 60 min ago", "systemctl start backhaul"]),
        (report(NOW, is_stopping=True), "stopping", ["Stopping"]),
        (
            report(
                NOW,
                failed_polls=5,
                failing_since=NOW - 9 * MINUTE,
                poll_code="E_SQS_UNREACHABLE",
                poll_reason="no route to host",
            ),
            "not-polling",
            ["Not polling work for 9 min", "E_SQS_UNREACHABLE", "Fix:"],
        ),
    ],
)
def test_health_is_the_first_thing_with_its_fix(
    tmp_path: Path, made: AgentReport, state: str, texts: list[str]
) -> None:
    ledger = tmp_path / "ledger.db"
    with_report(ledger, made)
    answer = browser_of(ledger).get("/")
    assert f'data-state="{state}"' in answer.text
    for text in texts:
        assert text in section(answer, "health")
    checked(answer)


def test_a_clock_that_is_ahead_is_named(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    with_report(ledger, report(NOW + timedelta(seconds=300)), host="edge7")
    answer = browser_of(ledger).get("/")
    assert "The clock of edge7 is 300 s ahead" in words(answer)
    assert "timedatectl" in words(answer)
    with_report(ledger, report(NOW), host="edge7")
    assert "The clock of" not in words(browser_of(ledger).get("/"))


def test_a_ledger_of_another_machine_is_known_by_its_agents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backhaul.dashboard.front.host_name", lambda: "laptop")
    ledger = tmp_path / "ledger.db"
    with_report(ledger, report(NOW - HOUR), host="edge7")
    assert "ran on edge7, and this is laptop" in words(browser_of(ledger).get("/"))
    with_report(ledger, report(NOW), host="edge7")
    assert "and this is laptop" not in words(browser_of(ledger).get("/"))
    with_report(ledger, report(NOW - HOUR), host="edge7")
    with_report(ledger, report(NOW - HOUR), host="laptop")
    assert "and this is laptop" not in words(browser_of(ledger).get("/"))


def test_a_ledger_on_a_network_file_system_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.db"
    with_report(ledger, report(NOW))
    assert "network file system" not in words(browser_of(ledger).get("/"))
    monkeypatch.setattr(trusted_files, "filesystem_type", lambda path: "nfs4")
    assert "The ledger is on nfs4" in words(browser_of(ledger).get("/"))


def test_an_empty_ledger_has_a_page_that_says_what_to_do(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    open_ledger(ledger, create=True).close()
    empty = browser_of(ledger)
    assert "no agent has worked on this ledger yet" in words(empty.get("/"))
    for url in PAGES:
        answer = empty.get(url)
        assert answer.status == 200
        checked(answer)
    assert "No transfer ended and none failed in this time" in words(empty.get("/plots"))
    assert "No operator has done anything" in words(empty.get("/journal"))


def test_a_limit_that_cannot_be_read_hides_nothing_else(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    open_ledger(ledger, create=True).close()
    (tmp_path / "ledger.db.limit").write_text("{")
    answer = browser_of(ledger).get("/")
    assert answer.status == 200
    assert "E_LIMIT_FILE" in section(answer, "rate")


# ---------------------------------------------------------------- refreshing


def test_a_page_refreshes_a_part_of_itself(browser: Browser) -> None:
    whole = browser.get("/")
    assert 'hx-get="/" hx-trigger="every 5s" hx-swap="outerMorph"' in whole.text
    part = browser.get("/", hx_request="true")
    assert part.status == 200
    assert part.text.lstrip().startswith("<title>")
    assert "<html" not in part.text
    assert part.header("vary") == "HX-Request"
    assert part.text.split('<div id="live"', 1)[1][:400] in whole.text


def test_the_rate_of_refresh_is_in_the_url_and_kept(world: tuple[Path, Filler]) -> None:
    own = browser_of(world[0])
    paused = own.get("/?refresh=0")
    assert "hx-get" not in paused.text
    assert '<a href="/?refresh=0" aria-current="true">Paused</a>' in paused.text
    line = paused.cookie("backhaul_refresh").lower()
    assert "httponly" in line
    assert "samesite=strict" in line
    assert "hx-get" not in own.get("/").text
    assert 'hx-trigger="every 60s"' in own.get("/?refresh=60").text
    for odd in ("1", "x", "", "-5", "5 "):
        own.cookies.pop("backhaul_refresh", None)
        assert 'hx-trigger="every 5s"' in own.get(f"/?refresh={odd.strip() or '%20'}").text


def test_a_transfer_that_has_ended_is_not_refreshed(browser: Browser, ids: dict[str, str]) -> None:
    assert "hx-get" not in browser.get(f"/transfer/{ids['05']}").text
    assert "hx-get" in browser.get(f"/transfer/{ids['held']}").text


# ---------------------------------------------------------------- one transfer


def test_the_page_of_a_transfer_tells_its_story(browser: Browser, ids: dict[str, str]) -> None:
    answer = browser.get(f"/transfer/{ids['held']}")
    checked(answer)
    assert "raw/events/day=held/" in section(answer, "what")
    assert "E_HDFS_UNREACHABLE held by hdfs for 12 min" in section(answer, "reason")
    timeline = section(answer, "timeline")
    assert timeline.index("held") < timeline.index("staging") < timeline.index("received")
    message = section(answer, "message")
    for text in ("AROAEXAMPLEID:emr-step", "00-4bf92f3577b34da6", "Root=1-5759e988", QUEUE_NAME):
        assert text in message
    evidence = section(answer, "evidence")
    assert "direct 2 3.0 MiB not yet 1 3.0 MiB" in evidence
    assert "S3 CRC32C 0badcafe (full object) received CRC32C 0badcafe" in evidence
    assert "target COMPOSITE-CRC32C 0badcafe, from datanode" in evidence
    assert 'title="C63K/g=="' in answer.text
    assert f"backhaul cancel {ids['held']}" in section(answer, "commands")


QUEUE_NAME = "arn:aws:sqs:us-west-2:123456789012:work"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("05", "backhaul verify {}"),
        ("05", "backhaul receipt {}"),
        ("held", "backhaul cancel {}"),
        ("denied", "backhaul retry {}"),
        ("running", "backhaul show {} --evidence"),
    ],
)
def test_each_command_is_there_to_copy(
    browser: Browser, ids: dict[str, str], name: str, command: str
) -> None:
    text = browser.get(f"/transfer/{ids[name]}").text
    match = re.search(rf'<pre id="([^"]*)">{re.escape(command.format(ids[name]))}</pre>', text)
    assert match is not None
    assert f'data-copy="{match[1]}"' in text


def test_a_transfer_shows_what_operators_did_and_how_far_its_agent_is(
    browser: Browser, ids: dict[str, str]
) -> None:
    assert "ben@edge1 cancel done" in section(browser.get(f"/transfer/{ids['denied']}"), "acts")
    progress = section(browser.get(f"/transfer/{ids['running']}"), "progress")
    assert "Under way on edge1 copying 505.4 MiB of 820.0 MiB" in progress
    assert "Seal of the manifest" in section(browser.get(f"/transfer/{ids['05']}"), "evidence")
    copied = section(browser.get(f"/transfer/{ids['copied']}"), "message")
    assert "it was run by backhaul copy" in copied


@pytest.mark.parametrize("given", ["0zzzzzz", "nothing", SCRIPT.replace("/", "")])
def test_an_unknown_id_leads_to_the_search(browser: Browser, given: str) -> None:
    answer = browser.get(f"/transfer/{quote(given)}")
    assert answer.status == 404
    assert "E_NO_SUCH_TRANSFER" in answer.text
    assert "<code>backhaul history</code> lists the ids" in answer.text
    assert "/search?q=" in answer.text
    assert "<script>alert" not in answer.text
    checked(answer)


def test_the_beginning_of_several_ids_is_no_page(browser: Browser) -> None:
    answer = browser.get("/transfer/0")
    assert answer.status == 404
    assert "more than one transfer" in words(answer)


# ---------------------------------------------------------------- search, journal, plots


def test_filters_are_in_the_url_and_in_the_form(browser: Browser, ids: dict[str, str]) -> None:
    url = "/search?q=&state=dead&route=click&code=E_SRC_EMPTY&since=2026-12-01+09:00Z&until=10m"
    answer = browser.get(url)
    assert set(re.findall(r'<tr id="found-([^"]*)"', answer.text)) == {
        *(ids["empty"], ids["empty2"]),
    }
    assert "<option selected>dead</option>" in answer.text
    assert 'value="E_SRC_EMPTY"' in answer.text
    assert 'value="2026-12-01 09:00Z"' in answer.text
    checked(answer)


def test_a_search_goes_on_further_back(
    world: tuple[Path, Filler], ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backhaul.app.search.PAGE", 20)
    own = browser_of(world[0])
    found: list[str] = []
    url = "/search?q=day%3D"
    while url:
        answer = own.get(url)
        found += re.findall(r'<tr id="found-([^"]*)"', answer.text)
        more = re.search(r'<a href="([^"]*)" rel="next">', answer.text)
        url = unescape(more[1]) if more else ""
        assert not url or url.startswith("/search?q=day%3D&before=")
    assert len(found) == len(set(found)) > 20
    assert ids["00"] in found


def test_a_search_without_a_result_helps(browser: Browser) -> None:
    assert "Nothing in this ledger matches" in words(browser.get("/search?q=zzz"))
    assert "Choose “part of source" in words(browser.get("/search?q=0zzzzzz"))


@pytest.mark.parametrize(
    "query",
    [
        *("state=gone", "in=x", "since=yesterday", "until=13:00", "since=99999999999d", "before=X"),
        *("since=2026-13-01", "q=" + "x" * 2001, "since=" + "9" * 400 + "h", "since=٣h"),
    ],
)
def test_a_field_that_cannot_be_read_has_a_page_of_its_own(browser: Browser, query: str) -> None:
    answer = browser.get(f"/search?{query}")
    assert answer.status == 400
    assert "E_SEARCH" in answer.text
    assert "What to do:" in answer.text


@pytest.mark.parametrize("at", ["0001-01-01T00:00Z", "9999-12-31T23:59Z"])
def test_the_ends_of_the_calendar_are_times(browser: Browser, at: str) -> None:
    """Elsewhere than in UTC one of the two may be no time any more."""
    for field in ("since", "until"):
        assert browser.get(f"/search?{field}={at}").status in {200, 400}


@pytest.mark.parametrize("url", ["/plots?range=1y", "/plots.json?range=", "/journal?before=x"])
def test_so_has_a_range_and_a_line(browser: Browser, url: str) -> None:
    assert browser.get(url).status == (200 if url.endswith("range=") else 400)


def test_spans_and_dates_are_in_the_zone_of_the_pages() -> None:
    zone = timezone(timedelta(hours=2), "CEST")
    now = datetime(2026, 7, 1, 12, 0, tzinfo=zone)
    empty = dict.fromkeys(("q", "in", "route", "code", "sender", "since", "until"), "")
    filters = search_of(empty | {"since": "2h", "until": "2026-07-01T11:30+02:00"}, [], now).filters
    assert filters.since == now - 2 * HOUR
    assert filters.until == now - 30 * MINUTE


def test_the_journal_has_every_act(browser: Browser) -> None:
    journal = section(browser.get("/journal"), "journal")
    assert "ben@edge1 command limit 50.000 MB/s" in journal
    assert "ann@edge1 command pause models" in journal
    assert browser.get("/journal?before=1").text.count('<tr id="line-') == 0


def test_plots_have_their_data_and_the_same_as_a_table(browser: Browser) -> None:
    answer = browser.get("/plots?range=24h&route=click")
    url = re.search(r'data-url="([^"]*)"', answer.text)
    assert url is not None
    data = json.loads(browser.get(unescape(url[1])).text)
    lengths = {name: len(one) for name, one in data.items() if isinstance(one, list)}
    assert set(lengths.values()) == {lengths["time"]}
    assert lengths["time"] == 289
    assert data["step_s"] == 300
    assert sum(data["done"]) == 30
    assert sum(data["dead"]) == 4
    assert sum(data["failed"]) == 1
    assert {one for one in data["lag_mean_s"] if one is not None} == {65.0}
    assert max(data["bytes_per_s"]) == max(data["bytes"]) / 300
    assert "Lag, longest" in section(answer, "numbers")
    for chosen in ("1h", "7d", "90d"):
        own = json.loads(browser.get(f"/plots.json?range={chosen}").text)
        assert sum(own["dead"]) == (8 if chosen == "1h" else 9), chosen


# ---------------------------------------------------------------- hostile text, secrets


def every_page(browser: Browser, ids: dict[str, str]) -> Iterator[tuple[str, Answer]]:
    urls = [*PAGES, "/search?state=dead", "/plots.json", "/nowhere"]
    urls += [f"/transfer/{one}" for one in ids.values()]
    for url in urls:
        yield url, browser.get(url)


def test_hostile_names_are_text_on_every_page(browser: Browser, ids: dict[str, str]) -> None:
    shown = ""
    for url, answer in every_page(browser, ids):
        for text in hostile_texts():
            assert text not in answer.text, url
        shown += words(answer)
        if not url.endswith(".json"):
            checked(answer)
    for text in ("<script>alert(1)</script>", "abc\\u202egpj.exe", "two\\nlines\\rand\\x1b[31mred"):
        assert text in shown
    assert "{{7*7}}" in shown
    assert "/tail-of-a-long-key.parquet" in shown


def test_a_hostile_query_is_text(browser: Browser) -> None:
    for text in (
        SCRIPT,
        "\u202eabc",
        '"><script>alert(3)</script>',
        "\x00",
        "a\r\nSet-Cookie: x=y",
    ):
        for field in ("q", "route", "code", "sender", "since"):
            answer = browser.get(f"/search?{field}={quote_plus(text)}")
            assert answer.status in {200, 400}
            assert "<script>alert" not in answer.text
            assert not any("x=y" in value for name, value in answer.headers if name != "location")


def test_no_page_has_a_secret(browser: Browser, ids: dict[str, str]) -> None:
    canaries = {*SECRETS.values(), CANARY[4:], TOKEN.token, TOKEN.cookie, TOKEN.form_token}
    for url, answer in every_page(browser, ids):
        text = answer.text + str(answer.headers)
        for canary in canaries:
            assert canary not in text, url


def test_a_path_is_whole_for_hovering_and_copying() -> None:
    text = "s3://raw/" + "x" * 500 + "/end"
    html = str(path(text))
    assert f'title="{text}"' in html
    assert re.sub(r"<[^>]*>", "", html) == text
    assert str(path("short")) == '<span class="path" title="short">short</span>'


def test_a_sparkline_is_a_picture_with_words() -> None:
    html = str(spark([0, 5, 10], "label <1>"))
    heights = [float(one) for one in re.findall(r'height="([\d.]+)"/>', html)]
    assert heights == sorted(heights)
    assert 'aria-label="label &lt;1&gt;"' in html
    assert "<rect" not in str(spark([], "none"))


# ---------------------------------------------------------------- where there is no page


def damage(ledger: Path) -> None:
    ledger.write_bytes(b"SQLite format 3\x00" + b"\x00" * 4096)


def stamp(revision: str) -> Any:
    def change(ledger: Path) -> None:
        with closing(sqlite3.connect(ledger)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
            connection.commit()

    return change


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (Path.unlink, "E_LEDGER_MISSING"),
        (damage, "E_LEDGER_CORRUPT"),
        (stamp("9999"), "E_LEDGER_NEWER"),
        (stamp("0003"), "E_LEDGER_OLDER"),
    ],
)
def test_a_ledger_that_cannot_be_shown_has_a_page_with_the_reason(
    tmp_path: Path, spoil: Any, code: str
) -> None:
    ledger = tmp_path / "ledger.db"
    open_ledger(ledger, create=True).close()
    own = browser_of(ledger)
    assert own.get("/").status == 200
    own.site.readers.close()
    spoil(ledger)
    own = browser_of(ledger)
    for url in PAGES:
        answer = own.get(url)
        assert answer.status == 503, url
        text = section(answer, "error")
        assert code in text
        assert "What to do:" in text
        checked(answer)
    assert 'hx-trigger="every 5s"' in own.get("/").text, "it comes back by itself"


def test_a_ledger_that_this_user_may_not_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.db"
    open_ledger(ledger, create=True).close()
    # Root, as whom tests may run, may read everything.
    monkeypatch.setattr("backhaul.adapters.ledger.opening.files.may_read", lambda path: False)
    assert "E_LEDGER_DENIED" in browser_of(ledger).get("/").text


def test_a_locked_ledger_is_an_outage_that_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "LOCKED_S", 0.0)
    ledger = tmp_path / "ledger.db"
    open_ledger(ledger, create=True).close()
    own = browser_of(ledger)
    with closing(sqlite3.connect(ledger, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        answer = own.get("/")
        assert answer.status == 503
        assert "E_LEDGER_LOCKED" in section(answer, "error")
        writer.execute("COMMIT")
    assert own.get("/").status == 200


def test_a_ledger_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    ledger, other = tmp_path / "ledger.db", tmp_path / "other.db"
    with_report(ledger, report(NOW), host="old-host")
    own = browser_of(ledger)
    assert "old-host" in own.get("/").text
    with_report(other, report(NOW), host="new-host")
    other.replace(ledger)
    own.site.overview.forget()
    assert "new-host" in own.get("/").text


def test_an_address_without_a_page_says_so(browser: Browser) -> None:
    answer = browser.get("/nowhere")
    assert answer.status == 404
    assert "There is no such page" in words(answer)
    assert browser.post("/", {}).status == 405
    checked(answer)


def test_a_defect_has_a_page_with_all_headers_and_no_details(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(text: str) -> None:
        raise RuntimeError("c4n4ry detail")

    monkeypatch.setattr("backhaul.dashboard.journal._number", broken)
    answer = browser.get("/journal")
    assert answer.status == 500
    assert "E_BUG" in section(answer, "error")
    assert "c4n4ry" not in answer.text
    assert isinstance(answer.defect, RuntimeError), "for the server, which writes the traceback"
    for name, value in HEADERS.items():
        assert answer.header(name) == value


def test_an_upgrade_does_not_reach_a_dashboard_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New templates want values that the old code does not have."""
    shutil.copytree(rendering.HERE / "templates", tmp_path / "templates")
    monkeypatch.setattr(rendering, "HERE", tmp_path)
    renderer = rendering.Renderer(static=str, pages=(), version="1", ledger="l", has_actions=False)
    before = renderer.page("refused.html", reason="method", style="")
    changed = tmp_path / "templates" / "refused.html"
    changed.write_text("{{ of_the_new_version }}")
    os.utime(changed, (1, 1))
    assert renderer.page("refused.html", reason="method", style="") == before


def test_templates_refuse_a_value_that_is_missing() -> None:
    with pytest.raises(Exception, match="undefined"):
        Renderer().page("refused.html", reason="host", style="")


# ---------------------------------------------------------------- money


def test_what_left_s3_has_its_price_on_the_front_page_and_on_its_transfer(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    with closing(open_ledger(ledger, create=True)) as opened:
        for transfer_id in ("cheap", "dear"):
            opened.begin(None, transfer_id, "raw/a", "/landing/a", NOW)
        read = Egress(copy=190 * GB, retry=10 * GB)
        opened.note_egress("dear", EgressCount(at=NOW, native=read))
    browser = browser_of(ledger)
    assert "Cost this month $9.00" in section(browser.get("/"), "today")
    shown = section(browser.get("/transfer/dear"), "what")
    assert "Left S3 200.0 GiB, 10.0 GiB of it once more: $9.00 by AWS's list price" in shown
    assert "Left S3" not in section(browser.get("/transfer/cheap"), "what")


def test_budgets_have_what_budget_show_says_of_them(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    by = Operator(name="alice@edge1")
    with closing(open_ledger(ledger, create=True)) as opened:
        opened.begin(None, "t", "raw/a", "/landing/a", NOW, route="click")
        opened.note_egress("t", EgressCount(at=NOW, native=Egress(copy=9 * GB)))
        raised = BudgetRaise(
            route="click",
            period=period_at(BudgetPer.MONTH, NOW).begins_at,
            per=BudgetPer.MONTH,
            unit=BudgetUnit.BYTES,
            amount=2 * GB,
            at=NOW,
            operator=by.name,
            reason="",
        )
        opened.raise_budget(raised, OperatorEntry(at=NOW, by=by, act=Act.BUDGET, subject="s"))
    routes = [
        {
            "name": "click",
            "source": ["s3://raw/"],
            "destination": ["/landing/"],
            "budget": {"bytes": 8 * GB, "per": "month"},
        }
    ]
    budget = {"usd": 5, "per": "day"}
    browser = browser_of(ledger, route=routes, budget=budget)
    (_, click) = read_budgets(browser.site.settings, NOW)
    shown = section(browser.get("/"), "budgets")
    ends = click.state.period.ends_at.astimezone(NOW.astimezone().tzinfo)
    for text in (
        "the budget of route click nearly used up 9.0 GiB 10.0 GiB a month (2.0 GiB added by hand)",
        f"90 % 1.0 GiB {human_bytes(click.state.forecast(NOW))} ",
        f"{ends:%Y-%m-%d %H:%M %Z}",
        "backhaul budget raise click AMOUNT",
        "the budget over all routes fits 0.00 USD 5.00 USD a day 0 % 5.00 USD",
        "backhaul budget raise --all AMOUNT",
    ):
        assert text in shown, shown
    assert "Raise…" not in shown, "this dashboard changes nothing"


def test_without_budgets_there_is_no_panel_of_them(browser: PageBrowser) -> None:
    assert 'id="budgets"' not in browser.get("/").text

"""What pages can do with `--actions`: a confirmation, our own form, a line in the journal."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.ledger import open_ledger, open_reader
from backhaul.app import actions, dlq
from backhaul.app.context import Context, load_context
from backhaul.app.queues import ChosenQueue
from backhaul.core.errors import ConfigurationError, OutageError
from backhaul.core.ports import SentAgain
from backhaul.dashboard import each_act
from backhaul.dashboard.application import application
from backhaul.dashboard.guard import HEADERS, Admission
from backhaul.dashboard.login import LinkToken
from backhaul.dashboard.website import Site
from tests.dashboard_ledger import HOUR, SCRIPT, Filler, filled
from tests.web import Answer, Browser

pytestmark = pytest.mark.slow

NOW = datetime.now(UTC)
TOKEN = LinkToken("t" * 43)
TEXT = """
[[route]]
name = "click"
source = ["s3://raw/click/"]
destination = ["file:///landing/click/"]
budget = { bytes = "5GiB", per = "month" }
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Filler]:
    ledger = tmp_path_factory.mktemp("acts") / "ledger.db"
    return ledger, filled(ledger, datetime.now(UTC))


@pytest.fixture
def world(original: tuple[Path, Filler], tmp_path: Path) -> tuple[Path, Filler]:
    ledger, filler = original
    path = Path(shutil.copy(ledger, tmp_path))
    with closing(open_reader(path)) as reader:
        records = [one.record for one in reader.agents()]
    with closing(open_ledger(path, create=False)) as opened:
        for one in records:  # an agent that reports: the copy may be older than its silence
            opened.beat(one.identity, replace(one.report, at=datetime.now(UTC)))
    return path, filler


@pytest.fixture
def ids(world: tuple[Path, Filler]) -> dict[str, str]:
    return world[1].ids


@pytest.fixture
def context(world: tuple[Path, Filler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    config = tmp_path / "backhaul.toml"
    config.write_text(TEXT)
    config.chmod(0o600)
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    return load_context(config=config, ledger=world[0], is_policy_needed=False)


def browser_of(settings: Any, context: Context | None) -> Browser:
    site = Site(settings=settings, login=TOKEN, context=context)
    admission = Admission(login=TOKEN, names=frozenset({"127.0.0.1"}))
    found = Browser(app=application(site, admission))
    found.cookies = {TOKEN.cookie_name: TOKEN.cookie}
    return found


@pytest.fixture
def browser(context: Context) -> Browser:
    return browser_of(context.settings, context)


def words(answer: Answer) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def form_of(answer: Answer, **changes: str) -> dict[str, str]:
    """As a browser would send it."""
    found = {
        name: unescape(value)
        for name, value in re.findall(
            r'<input type="hidden" name="(\w+)" value="([^"]*)"', answer.text
        )
    }
    return found | {"operator": "Ann"} | changes


def newest_line(ledger: Path) -> tuple[str, str, str, str, str]:
    with closing(open_reader(ledger)) as reader:
        line = reader.operator_actions(most=1)[0]
    return line.operator, line.origin, line.action, line.subject, line.outcome


# ---------------------------------------------------------------- each act


def test_a_transfer_is_cancelled_after_a_page_that_names_it(
    browser: Browser, ids: dict[str, str], world: tuple[Path, Filler]
) -> None:
    held = ids["held"]
    page = browser.get(f"/transfer/{held}")
    assert f'href="/act/cancel?id={held}"' in page.text
    asked = browser.get(f"/act/cancel?id={held}")
    assert f"Cancel transfer {held}?" in words(asked)
    assert "1 transfer, 3 objects, 6.0 MiB" in words(asked)
    done = browser.post("/act/cancel", form_of(asked))
    assert (done.status, done.header("location")) == (303, f"/transfer/{held}?did=cancel")
    assert newest_line(world[0]) == ("Ann", "dashboard", "cancel", held, "done")
    page = browser.get(f"/transfer/{held}?did=cancel")
    assert "The transfer was cancelled." in words(page)
    assert "E_CANCELLED" in page.text or "dead" in words(page)
    again = browser.post("/act/cancel", form_of(asked))
    assert again.status == 404
    assert "E_ENDED" in again.text
    assert "It has ended: dead." in words(browser.get(f"/act/cancel?id={held}"))


def test_a_route_is_paused_and_resumed(browser: Browser, world: tuple[Path, Filler]) -> None:
    front = browser.get("/")
    assert 'href="/act/pause?route=click"' in front.text
    assert 'href="/act/resume?route=models"' in front.text
    asked = browser.get("/act/pause?route=click")
    assert "Running now 1 transfer" in words(asked)
    assert "Waiting now 1 transfer, 6.0 MiB" in words(asked)
    done = browser.post("/act/pause", form_of(asked, lasting="2h", reason="NameNode upgrade"))
    assert (done.status, done.header("location")) == (303, "/?did=pause")
    with closing(open_reader(world[0])) as reader:
        paused = {one.route: one for one in reader.paused_routes(datetime.now(UTC))}
    assert paused["click"].operator == "Ann"
    assert paused["click"].reason == "NameNode upgrade"
    until = paused["click"].until
    assert until is not None
    assert timedelta(hours=1) < until - datetime.now(UTC) <= timedelta(hours=2)
    shown = words(browser.get("/?did=pause"))
    assert "The route is paused" in shown
    assert "NameNode upgrade" in shown
    asked = browser.get("/act/resume?route=click")
    assert "Because NameNode upgrade" in words(asked)
    done = browser.post("/act/resume", form_of(asked))
    assert done.header("location") == "/?did=resume"
    assert newest_line(world[0]) == ("Ann", "dashboard", "resume", "click", "done")
    assert "It is not paused" in words(browser.get("/act/resume?route=click"))


def test_a_route_that_is_none_is_not_paused(browser: Browser) -> None:
    page = browser.get("/act/pause?route=%3Cb%3Enope")
    assert "No route of this name" in words(page)
    assert "<form" not in page.text
    assert "<b>nope" not in page.text


def test_more_may_wait_than_was_counted(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backhaul.app.overview.OPEN_MOST", 1)
    assert "Waiting now at least " in words(browser.get("/act/pause?route=click"))


@pytest.mark.parametrize(
    ("rate", "lasting", "shown"),
    [("50MB/s", "1h", "47.7 MiB/s"), ("off", "", "Limit none"), ("default", "", "configured")],
)
def test_the_limit_is_changed(
    browser: Browser, world: tuple[Path, Filler], rate: str, lasting: str, shown: str
) -> None:
    asked = browser.get("/act/limit")
    assert "Limit now none, configured" in words(asked)
    done = browser.post("/act/limit", form_of(asked, rate=rate, lasting=lasting))
    assert done.header("location") == "/?did=limit"
    assert shown in words(browser.get("/"))
    assert newest_line(world[0])[:3] == ("Ann", "dashboard", "limit")


def test_a_budget_is_raised(browser: Browser, world: tuple[Path, Filler]) -> None:
    assert 'href="/act/budget?route=click"' in browser.get("/").text
    asked = browser.get("/act/budget?route=click")
    assert "0 B of 5.0 GiB are spent this month" in words(asked)
    answer = browser.post("/act/budget", form_of(asked, amount="7", reason=""))
    assert answer.header("location") == "/?did=budget"
    assert newest_line(world[0])[:3] == ("Ann", "dashboard", "budget")
    asked = browser.get("/act/budget?route=click")
    browser.post("/act/budget", form_of(asked, amount="500GiB", reason="backfill"))
    assert "505.0 GiB a month (500.0 GiB added by hand)" in words(browser.get("/"))
    assert "backfill" in words(browser.get("/journal"))


def test_a_route_without_a_budget_has_none_to_raise(browser: Browser) -> None:
    assert "It has no budget." in words(browser.get("/act/budget?route="))
    assert "<form" not in browser.get("/act/budget?route=fly").text.partition("<main")[2]


@pytest.fixture
def resent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, set[str]]]:
    """Calls to the dead-letter queue: what died of `empty2` is not on it, of `denied` half is."""
    calls: list[tuple[str, str, set[str]]] = []

    def redrive(queue: ChosenQueue, transfer_ids: set[str], *, most: int, sent: Any) -> set[str]:
        assert most > 0
        calls.append((queue.text, queue.region, set(transfer_ids)))
        for number, one in enumerate(sorted(transfer_ids)):
            if number == 0:
                sent(SentAgain(dead_letter_id="d", transfer_id=one, message_id=f"again-{one}"))
        return set(sorted(transfer_ids)[2:])

    monkeypatch.setattr(dlq, "redrive_transfers", redrive)
    return calls


def test_what_died_is_tried_again_by_its_cause(
    browser: Browser,
    ids: dict[str, str],
    world: tuple[Path, Filler],
    resent: list[tuple[str, str, set[str]]],
) -> None:
    assert 'href="/act/retry?code=E_SRC_EMPTY"' in browser.get("/").text
    asked = browser.get("/act/retry?code=E_SRC_EMPTY")
    assert "Try 2 dead transfers again?" in words(asked)
    assert "2 transfers, 6 objects, 12.0 MiB" in words(asked)
    form = [("form_token", TOKEN.form_token), ("operator", "Ann")]
    form += [("id", ids["empty"]), ("id", ids["empty2"])]
    done = browser.post("/act/retry", form)
    assert done.status == 200
    assert "Sent 1 message again to work." in words(done)
    assert f"{ids['empty2']}: its dead letter is not on the dead-letter queue" in words(done)
    ((queue, region, chosen),) = resent
    assert (queue, region) == ("arn:aws:sqs:us-west-2:123456789012:work", "us-west-2")
    assert chosen == {ids["empty"], ids["empty2"]}
    operator, origin, action, _, outcome = newest_line(world[0])
    assert (operator, origin, action, outcome) == ("Ann", "dashboard", "retry", "done")
    page = words(browser.get(f"/transfer/{ids['empty']}"))
    assert f"message again-{ids['empty']}" in page
    asked = browser.get(f"/act/retry?id={ids['empty']}")
    assert "it was sent again as message again-" in words(asked)
    assert "None of them can be tried again" in words(asked)


def test_a_message_of_which_too_little_is_left_is_named(
    browser: Browser, ids: dict[str, str], resent: list[tuple[str, str, set[str]]]
) -> None:
    names = sorted(ids[f"hostile-{one}"] for one in ("script", "bidi", "lines"))
    form = [("form_token", TOKEN.form_token), ("operator", "Ann")]
    done = browser.post("/act/retry", form + [("id", one) for one in names])
    assert f"{names[2]}: only the beginning of its message is left" in words(done)
    assert resent


def test_a_retry_takes_no_more_than_the_page_can_name(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(each_act, "RETRY_MOST", 3)
    asked = browser.get("/act/retry")
    assert asked.text.count('name="id"') == 3
    assert "the newest" in words(asked)
    monkeypatch.setattr(each_act, "RETRY_MOST", 500)
    monkeypatch.setattr(each_act, "BATCHES_MOST", 1)
    assert "the newest" in words(browser.get("/act/retry"))
    assert "None of them" in words(browser.get("/act/retry?code=E_NONE"))


@pytest.mark.parametrize("name", ["held", "05", "copied"])
def test_what_is_not_dead_is_not_tried_again(
    browser: Browser, ids: dict[str, str], name: str, resent: list[tuple[str, str, set[str]]]
) -> None:
    assert "None of them can be tried again" in words(browser.get(f"/act/retry?id={ids[name]}"))
    form = {"form_token": TOKEN.form_token, "operator": "Ann", "id": ids[name]}
    assert "not sent again" in words(browser.post("/act/retry", form))
    assert resent == []


# ---------------------------------------------------------------- whose form it is


def test_a_foreign_form_does_nothing(
    browser: Browser, ids: dict[str, str], world: tuple[Path, Filler]
) -> None:
    before = newest_line(world[0])
    ours = form_of(browser.get(f"/act/cancel?id={ids['held']}"))
    for form, headers in (
        (ours | {"form_token": ""}, {}),
        (ours | {"form_token": "x" * 64}, {}),
        (ours | {"form_token": TOKEN.cookie}, {}),
        ({name: value for name, value in ours.items() if name != "form_token"}, {}),
        (ours, {"sec_fetch_site": "cross-site"}),
        (ours, {"sec_fetch_site": "same-site"}),
    ):
        answer = browser.post("/act/cancel", form, **headers)
        assert answer.status == 403
        assert "E_DASHBOARD_FORM" in answer.text
        for name, value in HEADERS.items():
            assert answer.header(name) == value
    assert newest_line(world[0]) == before
    browser.cookies = {}
    assert browser.post("/act/cancel", ours).status == 401
    assert newest_line(world[0]) == before
    link = f"/act/cancel?token={TOKEN.token}"
    assert browser.post(link, ours).status == 401, "a link opens pages and does nothing"


def test_an_act_is_never_done_by_a_link(browser: Browser, ids: dict[str, str]) -> None:
    url = f"/act/cancel?id={ids['held']}&form_token={TOKEN.form_token}&operator=Ann"
    assert browser.get(url).status == 200
    assert "held" in words(browser.get(f"/transfer/{ids['held']}"))


@pytest.mark.parametrize(
    "name", ["", " ", "x" * 65, "a\nb", "a\u202eb", "a\x00", "a\u200bb", "\x1b[2J"]
)
def test_a_name_that_is_none_is_refused(
    browser: Browser, world: tuple[Path, Filler], name: str
) -> None:
    before = newest_line(world[0])
    form = form_of(browser.get("/act/limit"), operator=name, rate="off")
    answer = browser.post("/act/limit", form)
    assert answer.status == 400
    assert "is no name" in words(answer)
    assert newest_line(world[0]) == before


def test_the_name_is_kept_by_the_browser(browser: Browser) -> None:
    done = browser.post(
        "/act/limit", form_of(browser.get("/act/limit"), operator='Zoë; "Q"', rate="off")
    )
    line = done.cookie("backhaul_operator").lower()
    assert "httponly" in line
    assert "samesite=strict" in line
    assert 'value="Zoë; &#34;Q&#34;"' in browser.get("/act/limit").text


def test_a_hostile_name_is_text(browser: Browser, world: tuple[Path, Filler]) -> None:
    name = SCRIPT[:60]
    browser.post("/act/limit", form_of(browser.get("/act/limit"), operator=name, rate="off"))
    assert newest_line(world[0])[0] == name
    for url in ("/journal", "/act/limit"):
        assert "<script>alert" not in browser.get(url).text


# ---------------------------------------------------------------- what cannot be done


def test_a_read_only_dashboard_has_no_forms(context: Context, ids: dict[str, str]) -> None:
    own = browser_of(context.settings, None)
    for url in ("/", f"/transfer/{ids['held']}", f"/transfer/{ids['empty']}"):
        answer = own.get(url)
        assert "/act/" not in answer.text
        assert "read-only" in words(answer)
    for url in ("/act/limit", "/act/cancel?id=0"):
        assert own.get(url).status == 404
    form = {"form_token": TOKEN.form_token, "operator": "Ann", "rate": "off"}
    answer = own.post("/act/limit", form)
    assert answer.status == 404
    assert "start it with --actions" in words(answer)


@pytest.mark.parametrize(
    ("act", "fields", "status", "text"),
    [
        ("limit", {"rate": "fast"}, 400, "fast"),
        ("budget", {"route": "click", "amount": "much"}, 400, "E_BUDGET_AMOUNT"),
        ("budget", {"route": "fly", "amount": "5GiB"}, 400, "E_NO_BUDGET"),
        ("budget", {"route": "click", "amount": "1", "reason": "x" * 201}, 400, "too long"),
        ("limit", {"rate": ""}, 400, "E_DASHBOARD_FORM"),
        ("limit", {"rate": "off", "lasting": "9y"}, 400, "9y"),
        ("pause", {"route": "nowhere"}, 400, "E_ROUTE_UNKNOWN"),
        ("pause", {"route": "click", "reason": "x" * 201}, 400, "at most 200"),
        ("pause", {"route": "click", "reason": "a\nb"}, 400, "no text"),
        ("resume", {"route": "nowhere"}, 400, "E_ROUTE_UNKNOWN"),
        ("cancel", {"id": "0zzz"}, 404, "E_NO_SUCH_TRANSFER"),
        ("cancel", {}, 404, "E_NO_SUCH_TRANSFER"),
        ("retry", {"id": "0zzz"}, 404, "E_NO_SUCH_TRANSFER"),
        ("redrive", {}, 404, "no act is called"),
        ("nothing", {}, 404, "no act is called"),
    ],
)
def test_a_form_that_cannot_be_is_refused(
    browser: Browser, act: str, fields: dict[str, str], status: int, text: str
) -> None:
    form = {"form_token": TOKEN.form_token, "operator": "Ann"} | fields
    answer = browser.post(f"/act/{act}", form)
    assert answer.status == status, words(answer)
    assert text in words(answer)


def test_a_form_without_a_choice_does_nothing(browser: Browser) -> None:
    form = {"form_token": TOKEN.form_token, "operator": "Ann"}
    assert "Nothing was chosen." in words(browser.post("/act/retry", form))


def test_an_act_that_fails_has_a_page_with_its_error(
    browser: Browser, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object, **kwargs: object) -> None:
        raise ConfigurationError(
            "E_DLQ_NONE", "queue work has no dead-letter queue", hint="add one"
        )

    monkeypatch.setattr(dlq, "redrive_transfers", away)
    form = {"form_token": TOKEN.form_token, "operator": "Ann", "id": ids["empty"]}
    answer = browser.post("/act/retry", form)
    assert answer.status == 503
    assert "It was not done, or not to its end" in words(answer)
    assert "E_DLQ_NONE" in answer.text
    assert "hx-get" not in answer.text, "a page that is refreshed would send the form again"


def test_an_act_whose_line_is_not_written_says_so(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OutageError.of("ledger", "E_LEDGER_FULL", "no room", hint="free space")

    asked = browser.get("/act/limit")
    monkeypatch.setattr(actions, "open_ledger", full)
    answer = browser.post("/act/limit", form_of(asked, rate="off"))
    assert answer.status == 200
    assert "no line in the operators' journal: no room" in words(answer)


def test_acts_are_known_by_name_in_the_journal(
    browser: Browser, world: tuple[Path, Filler]
) -> None:
    browser.post("/act/limit", form_of(browser.get("/act/limit"), rate="off"))
    assert "Ann dashboard limit off" in words(browser.get("/journal"))
    with closing(open_ledger(world[0], create=False)) as ledger:
        assert ledger.paused_routes(datetime.now(UTC) + HOUR / 2)

"""`--actions` in a browser: what an act concerns is shown first, and no other site can do it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from backhaul.adapters.ledger import open_reader
from tests.browser.conftest import Shown, Template, show
from tests.browser.elsewhere import Elsewhere
from tests.browser.looking import NARROW, View, signed_in
from tests.browser.processes import now

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("actions") / "ledger.db"


@pytest.fixture(scope="module")
def acting(ledger: Path, template: Template) -> Iterator[Shown]:
    with ExitStack() as stack:
        yield show(stack, template, ledger, "--actions")


def paused(ledger: Path) -> set[str]:
    with closing(open_reader(ledger)) as reader:
        return {one.route for one in reader.paused_routes(now())}


@pytest.mark.parametrize("view", [View(), View(width=NARROW, scheme="dark")], ids=str)
def test_the_pages_of_acts_have_no_fault(view: View, chromium: Browser, acting: Shown) -> None:
    ids = acting.filler.ids
    with signed_in(chromium, acting.link, view) as tab:
        for address in (
            "/",
            f"/transfer/{ids['waiting']}",
            f"/act/cancel?id={ids['waiting']}",
            f"/act/cancel?id={ids['05']}",  # has ended: refused
            f"/act/retry?id={ids['denied']}",
            "/act/retry?code=E_KEY_CONTROL",
            "/act/pause?route=click",
            "/act/resume?route=models",
            "/act/limit",
        ):
            assert tab.go(address) == 200, address
            assert tab.accessibility() == [], address
            assert tab.sideways() <= 0, address
            assert tab.all_faults() == [], address


def test_a_route_is_paused_and_resumed_by_keyboard_and_the_journal_names_who(
    chromium: Browser, acting: Shown, ledger: Path
) -> None:
    before = paused(ledger)
    with signed_in(chromium, acting.link) as tab:
        page = tab.page
        tab.go("/")
        page.get_by_role("link", name="Pause route click").focus()
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Pause route click?").wait_for()
        assert paused(ledger) == before, "a page that only shows must not act"
        page.get_by_label("For how long").select_option("2h")
        page.get_by_label("Why").fill("<b>maintenance</b>")
        page.get_by_label("Your name").fill("zoë")
        page.keyboard.press("Enter")

        page.wait_for_url("**/?did=pause")
        row = page.locator("#route-click")
        assert "paused by zoë" in row.inner_text()
        assert "<b>maintenance</b>" in row.inner_text()
        assert paused(ledger) == before | {"click"}

        page.get_by_role("link", name="Resume route click").focus()
        page.keyboard.press("Enter")
        assert page.get_by_label("Your name").input_value() == "zoë"
        page.get_by_role("button", name="Resume it").focus()
        page.keyboard.press("Enter")

        page.wait_for_url("**/?did=resume")
        assert "paused" not in row.inner_text()
        assert paused(ledger) == before
        tab.go("/journal")
        lines = page.locator("tbody tr").all_inner_texts()
        assert ["zoë" in line for line in lines[:2]] == [True, True]
        assert "resume" in lines[0]
        assert "pause" in lines[1]
        assert tab.all_faults() == []


def test_a_transfer_is_cancelled_after_its_size_was_shown(chromium: Browser, acting: Shown) -> None:
    waiting = acting.filler.ids["waiting"]
    with signed_in(chromium, acting.link) as tab:
        tab.go(f"/transfer/{waiting}")
        tab.page.get_by_role("link", name="Cancel it").click()
        facts = tab.page.inner_text("#facts")
        assert "1 transfer, 3 objects, 6.0 MiB" in facts
        tab.page.get_by_label("Your name").fill("ann")
        tab.page.get_by_role("button", name="Cancel it").click()

        tab.page.wait_for_url(f"**/transfer/{waiting}?did=cancel")
        assert "ann" in tab.page.inner_text("#acts")


@pytest.mark.parametrize("site", ["127.0.0.1", "localhost"])
def test_a_form_of_another_site_does_nothing(
    site: str, chromium: Browser, acting: Shown, ledger: Path
) -> None:
    fields = {"route": "events", "lasting": "", "reason": "", "operator": "eve", "form_token": "x"}
    inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())
    html = (
        f'<form method="post" action="{acting.link.base}/act/pause">{inputs}'
        "<button>win a prize</button></form>"
    )
    with Elsewhere(site, html) as other, signed_in(chromium, acting.link) as tab:
        tab.page.goto(other.base)
        with tab.page.expect_navigation() as navigation:
            tab.page.get_by_role("button").click()
        answer = navigation.value
        assert answer is not None
        assert answer.status in {400, 401, 403}
        assert "events" not in paused(ledger)


def test_a_dashboard_without_actions_offers_none_and_refuses_them(
    chromium: Browser, shown: Shown
) -> None:
    with signed_in(chromium, shown.link) as tab:
        for address in ("/", f"/transfer/{shown.filler.ids['waiting']}"):
            tab.go(address)
            assert tab.page.locator("a[href*='/act/'], form[method=post]").count() == 0
        assert tab.go("/act/pause?route=click") == 404
        answer = tab.page.request.post(f"{shown.link.base}/act/pause", form={"route": "click"})
        assert answer.status >= 400
        assert "--actions" in answer.text()

"""Pages that refresh themselves: they do, they do not jump, and they stop when they are paused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Shown
from tests.browser.looking import NARROW, WIDE, View, Watched, signed_in
from tests.browser.processes import now

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.integration, pytest.mark.slow]

REFRESH_MS = 5_000
# Counts refreshes, from the page's start.
COUNT_SWAPS = """
window.swaps = 0;
document.addEventListener("htmx:after:swap", () => { window.swaps += 1; });
"""
# Where things are, what is focused and selected, how far it is scrolled.
STATE = """() => ({
  boxes: [...document.querySelectorAll("section, table, tr, header, footer, h1, h2, dl")].map(
    (one) => {
      const box = one.getBoundingClientRect();
      return [one.id || one.tagName, box.x, box.y, box.width, box.height].join(" ");
    }),
  scroll: scrollY,
  focus: [document.activeElement.tagName, document.activeElement.href].join(" "),
  selected: getSelection().toString(),
})"""


def live(tab: Watched, address: str) -> None:
    """The page with a clock that the test moves."""
    tab.page.clock.install()
    tab.page.add_init_script(COUNT_SWAPS)
    tab.go(address)


def refresh(tab: Watched) -> None:
    """Let the time of one refresh pass, and wait until the page has it."""
    before = tab.page.evaluate("window.swaps")
    tab.page.clock.run_for(REFRESH_MS)
    tab.page.wait_for_function("(before) => window.swaps > before", arg=before)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_refresh_with_equal_data_moves_nothing(
    width: int, chromium: Browser, shown: Shown
) -> None:
    with signed_in(chromium, shown.link, View(width=width)) as tab:
        live(tab, f"/transfer/{shown.filler.ids['running']}")
        refresh(tab)
        before = tab.page.evaluate(STATE)
        refresh(tab)
        assert tab.page.evaluate(STATE) == before

        live(tab, "/")
        refresh(tab)  # now all ages are as old as they will be
        tab.page.locator("#dead a").first.focus()
        tab.page.locator("#running .path").first.evaluate(
            "one => getSelection().selectAllChildren(one)"
        )
        tab.page.evaluate("scrollTo(0, 400)")
        before = tab.page.evaluate(STATE)

        refresh(tab)

        assert tab.page.evaluate(STATE) == before
        assert before["scroll"] == 400
        assert "E_" in before["focus"]
        assert before["selected"].startswith("s3://")
        assert tab.all_faults() == []


def test_a_new_transfer_is_on_the_page_after_the_next_refresh(
    chromium: Browser, own: Shown
) -> None:
    with signed_in(chromium, own.link) as tab:
        live(tab, "/")
        assert tab.page.get_by_text("day=brand-new").count() == 0

        own.filler.dead("brand-new", now() - own.filler.now, "E_TGT_DENIED", "not writable")
        tab.page.clock.run_for(REFRESH_MS)

        tab.page.get_by_text("day=brand-new").first.wait_for()
        assert "E_TGT_DENIED" in tab.page.inner_text("#dead")


def test_a_change_of_health_is_read_aloud_and_in_the_title(chromium: Browser, own: Shown) -> None:
    with signed_in(chromium, own.link) as tab:
        live(tab, "/")
        assert tab.page.title().startswith("Running")
        status = tab.page.get_by_role("status")
        assert "running" in (status.text_content() or "").lower()
        status.evaluate("one => { one.isKept = true }")

        own.heart.beat(is_stopping=True)
        tab.page.clock.run_for(REFRESH_MS)

        tab.page.get_by_role("heading", name="Stopping").wait_for()
        assert tab.page.title().startswith("Stopping")
        assert "stopping" in (status.text_content() or "").lower()
        # A region that is replaced as a whole is not read.
        assert status.evaluate("one => one.isKept === true")


def test_a_paused_page_sends_no_request_and_goes_on_when_it_is_resumed(
    chromium: Browser, shown: Shown
) -> None:
    with signed_in(chromium, shown.link) as tab:
        live(tab, "/")
        tab.page.get_by_role("link", name="Paused").click()
        tab.page.wait_for_url("**/?refresh=0")
        sent: list[Any] = []
        tab.page.on(
            "request", lambda one: sent.append(one.url) if "/static/" not in one.url else None
        )
        tab.page.clock.run_for(10 * 60_000)
        assert sent == []

        # The choice stays with the browser, not only in this address.
        tab.go("/")
        tab.page.clock.run_for(10 * 60_000)
        assert tab.page.evaluate("window.swaps") == 0
        tab.page.get_by_role("link", name="5 s", exact=True).click()
        tab.page.wait_for_url("**/?refresh=5")
        refresh(tab)


def test_a_page_without_answers_says_that_it_is_old(chromium: Browser, shown: Shown) -> None:
    with signed_in(chromium, shown.link) as tab:
        live(tab, "/")
        assert not tab.page.get_by_text("No answer from the dashboard").is_visible()

        tab.page.context.set_offline(offline=True)
        tab.page.clock.run_for(REFRESH_MS)
        tab.page.get_by_text("No answer from the dashboard since").wait_for()

        tab.page.context.set_offline(offline=False)
        refresh(tab)
        tab.page.get_by_text("No answer from the dashboard since").wait_for(state="hidden")


def test_filters_are_in_the_address_and_survive_a_reload(chromium: Browser, shown: Shown) -> None:
    with signed_in(chromium, shown.link) as tab:
        tab.go("/search")
        tab.page.get_by_label("State").select_option("dead")
        tab.page.get_by_label("Route").fill("events")
        tab.page.get_by_label("First seen since").fill("2d")
        tab.page.get_by_role("button", name="Search").click()
        tab.page.wait_for_url("**/search?*state=dead*")
        newest = tab.page.locator("#results tbody tr").first.inner_text()
        assert "events" in newest

        tab.page.reload()

        assert tab.page.get_by_label("State").input_value() == "dead"
        assert tab.page.get_by_label("Route").input_value() == "events"
        assert tab.page.get_by_label("First seen since").input_value() == "2d"
        assert tab.page.locator("#results tbody tr").first.inner_text() == newest

        tab.go("/plots")
        tab.page.get_by_role("link", name="7d").click()
        tab.page.get_by_label("Route").select_option("events")
        tab.page.get_by_role("button", name="Show").click()
        tab.page.wait_for_url("**/plots?range=7d&route=events")
        tab.page.reload()
        assert "7d, route events" in tab.page.inner_text("h1")


def test_nothing_moves_by_itself_where_motion_is_not_wanted(
    chromium: Browser, shown: Shown
) -> None:
    with signed_in(chromium, shown.link, View(is_still=True)) as tab:
        live(tab, "/")
        tab.page.evaluate(
            """() => {
              window.moved = 0;
              for (const kind of ["animationstart", "transitionstart"])
                document.addEventListener(kind, () => { window.moved += 1; });
            }"""
        )
        refresh(tab)
        tab.page.locator("#dead a").first.hover()
        assert tab.page.evaluate("window.moved + document.getAnimations().length") == 0

"""Every page, as wide as a desk and as narrow as a phone, light, dark, with and without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Shown
from tests.browser.looking import NARROW, VIEWS, View, Watched, signed_in
from tests.browser.many import CANARIES, UNICODE, WIDEST
from tests.dashboard_ledger import LONG, SECRETS, hostile_texts

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Request

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PAGE_MOST_BYTES = 250_000
Tab = Callable[[View], Watched]

# axe is a script; without scripts the page's HTML is the same.
THOROUGH = [View(), View(scheme="dark"), View(width=NARROW)]
# By name; `{name}` is the id of a transfer of the filled ledger.
PAGES = {
    "front": ("/", 200),
    "search": ("/search", 200),
    "found": ("/search?q=raw%2Fclick", 200),
    "hostile": ("/search?code=E_KEY_CONTROL", 200),
    "none-found": ("/search?q=no-such-thing&route=click", 200),
    "plots": ("/plots", 200),
    "plots-90d": ("/plots?range=90d", 200),
    "plots-empty": ("/plots?route=no-such-route", 200),
    "journal": ("/journal", 200),
    "running": ("/transfer/{running}", 200),
    "cluster": ("/transfer/{cluster}", 200),
    "done": ("/transfer/{05}", 200),
    "dead": ("/transfer/{denied}", 200),
    "held": ("/transfer/{held}", 200),
    "unicode": ("/transfer/{unicode}", 200),
    "cancelled": ("/transfer/{cancelled}", 200),
    "received": ("/transfer/{received}", 200),
    "script": ("/transfer/{hostile-script}", 200),
    "long": ("/transfer/{hostile-long}", 200),
    "unknown-id": ("/transfer/zzzzzzzzzzzz", 404),
    "no-page": ("/no-such-page", 404),
    "bad-time": ("/search?since=yesterdayish", 400),
}


# Of the others only what is on them differs: their look is theirs, too, and is looked at by
# `./dev prove --long`.
IN_EVERY_VIEW = ("front", "hostile", "plots", "done")
OFTEN = [View(), View(width=NARROW)]
PAGES_AND_VIEWS = [
    pytest.param(
        *(page, view),
        id=f"{page}-{view}",
        marks=[] if page in IN_EVERY_VIEW or view in OFTEN else pytest.mark.long,
    )
    for page in PAGES
    for view in VIEWS
]


def address_of(page: str, shown: Shown) -> str:
    address, _ = PAGES[page]
    name = re.search("{(.*)}", address)
    return address if name is None else address.replace(name[0], shown.filler.ids[name[1]])


@pytest.mark.parametrize(("page", "view"), PAGES_AND_VIEWS)
def test_a_page_has_no_fault(page: str, view: View, shown: Shown, tab_of: Tab) -> None:
    tab = tab_of(view)

    assert tab.go(address_of(page, shown)) == PAGES[page][1]
    if view.has_script:
        tab.wait_for_plots()
    if view in THOROUGH:
        assert tab.accessibility() == []
    assert tab.sideways() <= 0
    assert tab.all_faults() == []


def test_the_checks_notice_what_they_are_for(chromium: Browser, shown: Shown) -> None:
    with signed_in(chromium, shown.link, View(width=NARROW)) as tab:
        tab.go("/")
        tab.page.evaluate(
            """() => {
              const image = document.createElement("img");
              image.src = "https://elsewhere.invalid/x.png";
              document.body.append(image);
              const wide = document.createElement("p");
              wide.style.width = "500px";
              wide.textContent = "x";
              document.body.append(wide);
              console.error("a mistake");
            }"""
        )
        faults = "\n".join(tab.all_faults())

        assert "critical image-alt" in "\n".join(tab.accessibility())
        assert tab.sideways() > 0
        assert "img-src https://elsewhere.invalid/x.png" in faults
        assert "console: a mistake" in faults


@pytest.mark.parametrize("page", ["front", "hostile", "plots", "journal", "running", "no-page"])
def test_the_first_load_of_a_page_is_small(page: str, chromium: Browser, shown: Shown) -> None:
    with signed_in(chromium, shown.link) as tab:
        tab.page.goto("about:blank")
        tab.page.context.new_cdp_session(tab.page).send("Network.clearBrowserCache")
        loaded: dict[str, Request] = {}
        tab.page.on("requestfinished", lambda one: loaded.update({one.url: one}))

        tab.go(address_of(page, shown))
        tab.wait_for_plots()

        parts = {url: one.sizes() for url, one in list(loaded.items())}
        sizes = {
            url: one["responseHeadersSize"] + one["responseBodySize"] for url, one in parts.items()
        }
        assert sum(sizes.values()) < PAGE_MOST_BYTES, sizes
        assert any("app.css" in url for url in sizes), "the cache was not empty"


@pytest.mark.parametrize("page", ["front", "found", "hostile", "done", "plots", "journal"])
def test_each_time_has_its_zone(page: str, shown: Shown, tab_of: Tab) -> None:
    tab = tab_of(View())
    tab.go(address_of(page, shown))

    times = tab.page.locator("time").all()

    assert times
    for one in times:
        assert (one.text_content() or "").endswith(" IST")
        assert (one.get_attribute("title") or "").endswith(" UTC")


@pytest.mark.parametrize("page", PAGES)
def test_hostile_text_and_secrets_are_on_no_page(page: str, shown: Shown, tab_of: Tab) -> None:
    tab = tab_of(View())
    tab.go(address_of(page, shown))

    html = tab.page.request.get(tab.page.url).text()

    assert [text for text in hostile_texts() if text in html] == []
    assert [text for text in (*SECRETS.values(), *CANARIES) if text in html] == []
    # In the document, too: as text it is no element.
    assert tab.page.locator("main img, main script").count() == 0


def test_a_command_is_copied_by_its_button(chromium: Browser, shown: Shown) -> None:
    with signed_in(chromium, shown.link) as tab:
        tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        waiting = shown.filler.ids["waiting"]
        tab.go(f"/transfer/{waiting}")

        tab.page.get_by_role("button", name=f"Copy backhaul cancel {waiting}").click()

        tab.page.get_by_text("Copied").wait_for()
        copied = tab.page.evaluate("navigator.clipboard.readText()")
        assert copied == f"backhaul cancel {waiting}"
        assert tab.all_faults() == []


def test_any_script_is_shown_as_it_is(shown: Shown, tab_of: Tab) -> None:
    tab = tab_of(View())
    for name, text in (("unicode", UNICODE), ("widest", WIDEST)):
        tab.go(f"/transfer/{shown.filler.ids[name]}")
        assert text in tab.page.inner_text("#what")


@pytest.mark.parametrize("width", [1440, 400])
def test_a_long_name_is_cut_in_its_middle_and_is_whole_on_hover_and_when_copied(
    width: int, shown: Shown, tab_of: Tab
) -> None:
    tab = tab_of(View(width=width))
    tab.go("/")
    path = tab.page.locator("#dead .path", has_text="tail-of-a-long-key").first

    assert path.get_attribute("title") == f"raw/{LONG}"
    copied = path.evaluate(
        """(place) => {
          getSelection().selectAllChildren(place);
          return getSelection().toString();
        }"""
    )
    assert copied == f"raw/{LONG}"
    # One line; its end can be seen, and so can its beginning.
    box, tail = path.bounding_box(), path.locator(".tail").bounding_box()
    head = path.locator(".head").bounding_box()
    assert box is not None
    assert tail is not None
    assert head is not None
    assert box["height"] < 30
    assert tail["x"] + tail["width"] <= box["x"] + box["width"] + 1
    assert head["width"] > 60

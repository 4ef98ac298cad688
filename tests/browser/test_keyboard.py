"""By keyboard alone: every control is reached, in the page's order, and it can be seen which."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import Shown
from tests.browser.looking import NARROW, WIDE, View, Watched
from tests.browser.test_pages import address_of

pytestmark = [pytest.mark.integration, pytest.mark.slow]

Tab = Callable[[View], Watched]
# Numbers what a keyboard must reach, in the order of the document.
NUMBER = """() => {
  const every = document.querySelectorAll(
    "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']");
  const seen = [...every].filter((one) => one.checkVisibility() && !one.disabled);
  seen.forEach((one, number) => one.dataset.number = number);
  return seen.length;
}"""
# What has the focus: its number, how thick its outline is, whether all of its height is in view.
FOCUSED = """() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  return {
    number: one.dataset.number ?? "",
    what: one.outerHTML.slice(0, 120),
    outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
    inView: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
  };
}"""


# A refresh under way may bring a row more or less, and makes elements anew, without their number.
NO_REFRESH = """() => document.addEventListener(
  "htmx:before:request", (event) => event.preventDefault())"""


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("page", ["front", "hostile", "plots", "journal", "running", "no-page"])
def test_the_tab_key_reaches_every_control_in_order(
    page: str, width: int, shown: Shown, tab_of: Tab
) -> None:
    tab = tab_of(View(width=width))
    tab.go(address_of(page, shown))
    tab.page.evaluate(NO_REFRESH)
    tab.wait_for_plots()
    count = tab.page.evaluate(NUMBER)

    reached: list[int] = []
    unseen = []
    for _ in range(count + 20):  # some areas that scroll take the focus, too
        tab.page.keyboard.press("Tab")
        focused = tab.page.evaluate(FOCUSED)
        if focused["number"] == "0" and reached:
            break  # round again
        if focused["number"]:
            reached.append(int(focused["number"]))
            if focused["outline"] < 2 or not focused["inView"]:
                unseen.append(focused)

    assert reached == list(range(count))
    assert unseen == []


def test_the_first_key_leads_past_the_navigation(shown: Shown, tab_of: Tab) -> None:
    tab = tab_of(View())
    tab.go("/")

    tab.page.keyboard.press("Tab")
    skip = tab.page.get_by_role("link", name="Skip to content")
    box = skip.bounding_box()
    assert box is not None
    assert box["x"] >= 0

    tab.page.keyboard.press("Enter")
    assert tab.page.evaluate("document.activeElement.id") == "main"
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.closest('main') !== null")


def test_a_search_is_made_and_a_transfer_opened_without_a_mouse(shown: Shown, tab_of: Tab) -> None:
    tab = tab_of(View())
    denied = shown.filler.ids["denied"]
    tab.go("/search")

    tab.page.get_by_role("searchbox").focus()
    tab.page.keyboard.type(denied)
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url(f"**/search?q={denied}*")
    tab.page.get_by_role("link", name=denied).focus()
    tab.page.keyboard.press("Enter")

    tab.page.wait_for_url(f"**/transfer/{denied}")
    assert "E_SRC_DENIED" in tab.page.inner_text("#reason")

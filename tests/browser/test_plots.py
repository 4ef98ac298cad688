"""The plots: drawn by a script in the browser's colours and width, and a table without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Shown
from tests.browser.looking import HEIGHT, NARROW, WIDE, View, signed_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.integration, pytest.mark.slow]

CHARTS = 4
# How many pixels of the canvas are drawn, and the first colour among them that is no grey.
DRAWN = """(figure) => {
  const canvas = figure.querySelector("canvas");
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let drawn = 0, color = "";
  for (let at = 0; at < data.length; at += 4) {
    if (!data[at + 3]) continue;
    drawn += 1;
    const [red, , blue] = data.slice(at, at + 3);
    if (!color && data[at + 3] === 255 && blue - red > 60) color = data.slice(at, at + 3).join();
  }
  return [drawn, color];
}"""


def drawn(page: Page, chart: str) -> tuple[int, str]:
    found: tuple[int, str] = page.locator(f"#{chart}").evaluate(DRAWN)
    return found


def test_plots_are_drawn_and_show_their_values_under_the_mouse(
    chromium: Browser, shown: Shown
) -> None:
    with signed_in(chromium, shown.link) as tab:
        tab.go("/plots?range=1h")
        tab.wait_for_plots()
        for chart in ("chart-rate", "chart-bytes", "chart-lag", "chart-dead"):
            assert drawn(tab.page, chart)[0] > 500, chart

        legend = tab.page.locator("#chart-bytes .u-legend")
        assert "MiB" not in legend.inner_text()
        tab.page.locator("#chart-bytes .u-over").hover(position={"x": 300, "y": 60})
        assert "2" in legend.inner_text().split("Time")[1]
        assert tab.all_faults() == []


def test_plots_follow_the_window_and_the_colour_scheme(chromium: Browser, shown: Shown) -> None:
    with signed_in(chromium, shown.link) as tab:
        tab.go("/plots")
        tab.wait_for_plots()
        _, light = drawn(tab.page, "chart-bytes")

        tab.page.set_viewport_size({"width": NARROW, "height": HEIGHT})
        tab.page.wait_for_function(
            "(most) => document.querySelector('#charts canvas').clientWidth < most", arg=NARROW
        )
        assert tab.sideways() <= 0
        tab.page.set_viewport_size({"width": WIDE, "height": HEIGHT})
        tab.page.wait_for_function(
            "(least) => document.querySelector('#charts canvas').clientWidth > least", arg=NARROW
        )

        tab.page.emulate_media(color_scheme="dark")
        _, dark = drawn(tab.page, "chart-bytes")
        assert light
        assert dark
        assert light != dark
        assert tab.page.locator("#charts .uplot").count() == CHARTS
        assert tab.all_faults() == []


def test_without_its_data_the_table_remains(chromium: Browser, shown: Shown) -> None:
    with signed_in(chromium, shown.link) as tab:
        tab.page.route("**/plots.json*", lambda route: route.fulfill(status=503))
        tab.go("/plots")
        tab.page.locator("#charts").wait_for(state="detached")
        assert tab.page.locator("#numbers tbody tr").count() > 20

    with signed_in(chromium, shown.link) as tab:
        tab.page.route("**/plots.json*", lambda route: route.abort())
        tab.go("/plots")
        tab.page.locator("#charts").wait_for(state="detached")
        assert [one for one in tab.all_faults() if one.startswith("exception")] == []


def test_without_scripts_there_is_the_table_alone(chromium: Browser, shown: Shown) -> None:
    with signed_in(chromium, shown.link, View(has_script=False)) as tab:
        tab.go("/plots")
        assert not tab.page.locator("#charts").is_visible()
        assert "MiB" in tab.page.inner_text("#numbers")

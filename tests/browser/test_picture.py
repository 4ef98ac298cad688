"""`scripts/screenshot.py` makes README's picture of a page that shows something."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.screenshot import HEIGHT, IS_GOOD, MOST_BYTES, WIDTH, take
from tests.browser.conftest import Shown
from tests.browser.processes import DashboardProcess, writer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_the_picture_is_made_once_transfers_are_under_way(
    chromium: Browser, shown: Shown, tmp_path: Path
) -> None:
    context = chromium.new_context(viewport={"width": WIDTH, "height": HEIGHT})

    take(context.new_page(), shown.link.url, tmp_path / "new" / "picture.png")

    context.close()
    picture = (tmp_path / "new" / "picture.png").read_bytes()
    assert struct.unpack(">II", picture[16:24]) == (WIDTH, HEIGHT)
    assert 20_000 < len(picture) < MOST_BYTES


def test_a_page_on_which_nothing_runs_is_not_good_enough(chromium: Browser, tmp_path: Path) -> None:
    with writer(tmp_path / "ledger.db"):
        pass
    with DashboardProcess(tmp_path / "ledger.db") as dashboard:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(dashboard.link.url)
        assert page.evaluate(IS_GOOD) is False
        context.close()

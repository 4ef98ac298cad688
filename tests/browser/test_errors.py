"""What cannot be shown has a page that says so and what to do, and that comes back by itself."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backhaul.dashboard.website import OVERVIEW_KEPT_S
from tests.browser.looking import NARROW, View, Watched, signed_in
from tests.browser.processes import DashboardProcess, Link, now, writer
from tests.dashboard_ledger import identity, report

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.integration, pytest.mark.slow]

REFRESH_MS = 5_000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the ledger is, as soon as a test has put one there."""
    return tmp_path_factory.mktemp("errors") / "ledger.db"


@pytest.fixture(scope="module")
def link(place: Path) -> Iterator[Link]:
    with DashboardProcess(place) as dashboard:
        yield dashboard.link


def missing(path: Path) -> None:
    """No file at all."""


def empty(path: Path) -> None:
    path.touch(mode=0o600)


def damaged(path: Path) -> None:
    with writer(path):
        pass
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


def no_database(path: Path) -> None:
    path.write_text("this is a letter, not a ledger\n" * 200)
    path.chmod(0o600)


def newer(path: Path) -> None:
    with writer(path):
        pass
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE alembic_version SET version_num = '9999'")


def older(path: Path) -> None:
    with writer(path):
        pass
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE alembic_version SET version_num = '0001'")


BROKEN: dict[Callable[[Path], None], str] = {
    missing: "E_LEDGER_MISSING",
    empty: "E_LEDGER_OLDER",
    damaged: "E_LEDGER_CORRUPT",
    no_database: "E_LEDGER_CORRUPT",
    newer: "E_LEDGER_NEWER",
    older: "E_LEDGER_OLDER",
}


def remove(path: Path) -> None:
    for one in path.parent.glob(f"{path.name}*"):
        if not one.name.endswith(".dashboard"):  # the token
            one.unlink()


def check_error(tab: Watched) -> None:
    """It has a fix, and is as good as any page."""
    assert "What to do:" in tab.page.inner_text("#error")
    assert tab.accessibility() == []
    assert tab.sideways() <= 0
    assert tab.all_faults() == []


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_a_ledger_that_cannot_be_read_is_said_on_every_page_and_its_return_shown(
    make: Callable[[Path], None], chromium: Browser, link: Link, place: Path
) -> None:
    remove(place)
    make(place)
    time.sleep(OVERVIEW_KEPT_S)  # so long the front page shows what it read last
    for view in (View(), View(width=NARROW, scheme="dark")):
        with signed_in(chromium, link, view) as tab:
            for address in ("/search", "/plots", "/journal", "/transfer/abc", "/"):
                assert tab.go(address) == 503, address
                assert BROKEN[make] in tab.page.inner_text("#error")
            check_error(tab)

    with signed_in(chromium, link) as tab:
        tab.page.clock.install()
        tab.go("/")
        remove(place)
        with writer(place):
            pass
        tab.page.clock.run_for(REFRESH_MS)
        tab.page.locator("#health").wait_for()
        assert tab.page.locator("#error").count() == 0


@pytest.mark.parametrize("view", [View(), View(width=NARROW, scheme="dark")], ids=str)
def test_an_agent_that_is_dead_is_the_first_thing_to_see(
    view: View, chromium: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    at = now() - timedelta(minutes=20)
    with writer(path) as ledger:
        ledger.beat(identity(at), report(at))
    with ExitStack() as stack:
        dashboard = stack.enter_context(DashboardProcess(path))
        tab = stack.enter_context(signed_in(chromium, dashboard.link, view))
        tab.go("/")

        assert tab.page.title().startswith("Not running")
        heading = tab.page.locator("h1")
        assert "edge1" in heading.inner_text()
        assert "systemctl start backhaul" in tab.page.inner_text("#health")
        box = heading.bounding_box()
        assert box is not None
        assert box["y"] < 200
        # What it did last is not shown as the present.
        assert "Nothing is being copied" in tab.page.inner_text("#running")
        assert tab.accessibility() == []
        assert tab.sideways() <= 0
        assert tab.all_faults() == []


def test_a_ledger_without_a_transfer_is_a_whole_page(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with writer(path):
        pass
    with ExitStack() as stack:
        dashboard = stack.enter_context(DashboardProcess(path))
        for view in (View(), View(width=NARROW, scheme="dark")):
            tab = stack.enter_context(signed_in(chromium, dashboard.link, view))
            for address in ("/", "/search", "/plots", "/journal"):
                assert tab.go(address) == 200
                tab.wait_for_plots()
                assert tab.accessibility() == []
                assert tab.sideways() <= 0
                assert tab.all_faults() == []

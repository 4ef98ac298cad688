"""A Chromium, and a dashboard on a ledger with something of everything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import many
from tests.browser.looking import AXE, View, Watched, new_context, open_tab
from tests.browser.processes import DashboardProcess, Heart, Link, now, writer
from tests.dashboard_ledger import Filler, fill

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REBOUND = "rebound.example"  # a foreign name that was made to point here
# No GPU, no display, and nothing that asks its maker's servers.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1",
]
LONG_NAME = "a-directory-whose-name-is-wider-than-a-phone-and-in-the-footer-of-every-page"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A dashboard, its ledger, and the agent's heart that beats in it.

    Attributes:
        filler: Has the ids of the transfers, by name.
    """

    link: Link
    filler: Filler
    heart: Heart


def _missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"needed in CI: {what}", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """For a module: until it ends this thread has a running event loop, and others need none."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        _missing("no chromium on the PATH; ./dev test installs it as root")
    if not AXE.is_file():
        _missing(f"no {AXE}; ./dev test fetches it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass(frozen=True)
class Template:
    """A filled ledger, closed; each dashboard gets a copy."""

    path: Path
    filler: Filler


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    with writer(path) as ledger:
        filler = fill(ledger, now())
        many.add(filler)
        return Template(path, filler)


def show(stack: ExitStack, template: Template, path: Path, *options: str) -> Shown:
    """A copy of the filled ledger at this path, with a dashboard on it, until the stack unwinds."""
    shutil.copy(template.path, path)
    ledger = stack.enter_context(writer(path))
    filler = replace(template.filler, ledger=ledger)
    heart = stack.enter_context(Heart(ledger, path))
    dashboard = stack.enter_context(DashboardProcess(path, *options))
    return Shown(link=dashboard.link, filler=filler, heart=heart)


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory, template: Template) -> Iterator[Shown]:
    """For tests that change nothing."""
    with ExitStack() as stack:
        yield show(stack, template, tmp_path_factory.mktemp(LONG_NAME) / "ledger.db")


@pytest.fixture
def own(tmp_path: Path, template: Template) -> Iterator[Shown]:
    """For one test, which may change it."""
    with ExitStack() as stack:
        yield show(stack, template, tmp_path / "ledger.db")


@pytest.fixture(scope="module")
def tab_of(chromium: Browser, shown: Shown) -> Iterator[Callable[[View], Watched]]:
    """`tab_of(view)`: a tab that is signed in, one for each view; its faults begin anew."""
    tabs: dict[View, Watched] = {}

    def take(view: View) -> Watched:
        if view not in tabs:
            tabs[view] = open_tab(new_context(chromium, view), shown.link)
        tabs[view].faults.clear()
        return tabs[view]

    yield take
    for one in tabs.values():
        one.page.context.close()

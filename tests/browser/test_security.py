"""What a browser lets others do with the dashboard: nothing."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import REBOUND, Shown
from tests.browser.elsewhere import Elsewhere
from tests.browser.looking import View, Watched, new_context, open_tab, signed_in
from tests.browser.processes import DashboardProcess, writer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# 127.0.0.1 with another port is the same site to a browser, so the cookie goes along.
SITES = ["127.0.0.1", "localhost"]
SECRET = "Routes"  # a word of the front page


def test_the_token_is_in_the_link_and_nowhere_after(chromium: Browser, shown: Shown) -> None:
    context = new_context(chromium, View())
    page = context.new_page()
    page.goto("about:blank")
    page.goto(shown.link.url)

    assert page.url == f"{shown.link.base}/"
    session = context.new_cdp_session(page)
    entries = session.send("Page.getNavigationHistory")["entries"]
    assert [one["url"] for one in entries] == ["about:blank", f"{shown.link.base}/"]
    everywhere = page.content() + page.evaluate(
        """JSON.stringify(
          [document.cookie, {...localStorage}, {...sessionStorage}, document.referrer])"""
    )
    assert shown.link.token not in everywhere
    (cookie,) = context.cookies()
    assert shown.link.token not in cookie["value"]
    context.close()


def test_the_cookie_is_for_this_site_and_no_script(chromium: Browser, shown: Shown) -> None:
    with signed_in(chromium, shown.link) as tab:
        (cookie,) = tab.page.context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert not cookie["secure"]  # a browser would drop it on http
        assert tab.page.evaluate("document.cookie") == ""


def test_with_tls_the_cookie_goes_by_tls_alone(chromium: Browser, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    options = ("--tls-cert", str(certificate), "--tls-key", str(key))
    with ExitStack() as stack:
        stack.enter_context(writer(tmp_path / "ledger.db"))
        dashboard = stack.enter_context(DashboardProcess(tmp_path / "ledger.db", *options))
        context = chromium.new_context(ignore_https_errors=True)
        stack.callback(context.close)

        tab = open_tab(context, dashboard.link)

        assert dashboard.link.base.startswith("https://")
        (cookie,) = context.cookies()
        assert cookie["secure"]
        assert "Backhaul" in tab.page.inner_text("header")


def test_without_the_link_there_is_a_page_that_says_how_to_get_it(
    chromium: Browser, shown: Shown
) -> None:
    for options in (View(), View(has_script=False, width=400, scheme="dark")):
        context = new_context(chromium, options)
        tab = Watched(page=context.new_page(), base=shown.link.base)
        tab.watch()
        page = tab.page
        for address in ("/", "/search?q=raw", "/static/app.css", "/?token=wrong"):
            answer = page.goto(f"{shown.link.base}{address}")
            assert answer is not None
            assert answer.status == 401
            assert "backhaul dashboard --link" in page.inner_text("main")
            assert SECRET not in page.content()
            assert tab.sideways() <= 0
            if options.has_script:
                assert tab.accessibility() == []
        # It has a style, though it may load none.
        main = page.locator("main")
        assert main.evaluate("one => getComputedStyle(one).maxWidth") == "640px"
        assert [one for one in tab.all_faults() if "/favicon.ico" not in one] == []
        context.close()


@pytest.mark.parametrize("site", SITES)
def test_another_site_cannot_put_it_into_a_frame(
    site: str, chromium: Browser, shown: Shown
) -> None:
    html = f'<iframe src="{shown.link.base}/"></iframe><object data="{shown.link.base}/"></object>'
    with Elsewhere(site, html) as other, signed_in(chromium, shown.link) as tab:
        tab.page.goto(other.base)
        tab.page.wait_for_load_state("networkidle")

        texts = [one.content() for one in tab.page.frames]
        assert len(texts) > 1
        assert [text for text in texts if SECRET in text or "Backhaul" in text] == []


@pytest.mark.parametrize("site", SITES)
def test_another_site_cannot_read_it(site: str, chromium: Browser, shown: Shown) -> None:
    base = shown.link.base
    with Elsewhere(site) as other, signed_in(chromium, shown.link) as tab:
        tab.page.goto(other.base)
        for address in ("/", "/plots.json"):
            for mode in ("cors", "no-cors"):
                read = tab.page.evaluate(
                    """([url, mode]) => fetch(url, {credentials: "include", mode})
                        .then((answer) => answer.text(), (error) => `refused: ${error}`)""",
                    [base + address, mode],
                )
                assert read.startswith("refused") or read == ""
        # As a script, or by a window that it has opened.
        loaded = tab.page.evaluate(
            """(url) => new Promise((done) => {
              const script = document.createElement("script");
              script.onload = () => done("loaded");
              script.onerror = () => done("refused");
              script.src = url;
              document.body.append(script);
            })""",
            f"{base}/plots.json",
        )
        assert loaded == "refused"
        with tab.page.expect_popup() as popup:
            tab.page.evaluate("(url) => { window.opened = open(url); }", f"{base}/")
        # The new window's first page is empty and belongs to its opener: the handle is
        # taken away only with the answer of the dashboard.
        popup.value.wait_for_url(f"{base}/**")
        tab.page.wait_for_function("window.opened.closed", timeout=10_000)


@pytest.mark.parametrize("site", SITES)
def test_a_form_of_another_site_changes_nothing(site: str, chromium: Browser, shown: Shown) -> None:
    base = shown.link.base
    html = f'<form method="post" action="{base}/"><button>go</button></form>'
    with Elsewhere(site, html) as other, signed_in(chromium, shown.link) as tab:
        tab.page.goto(other.base)
        with tab.page.expect_navigation() as navigation:
            tab.page.get_by_role("button").click()
        answer = navigation.value
        assert answer is not None
        assert answer.status in {401, 403, 405}


def test_a_foreign_name_that_points_here_gets_nothing(chromium: Browser, shown: Shown) -> None:
    context = new_context(chromium, View())
    page = context.new_page()
    foreign = f"http://{REBOUND}:{shown.link.port}"
    for address in ("/", f"/?token={shown.link.token}", "/static/app.css"):
        answer = page.goto(f"{foreign}{address}")
        assert answer is not None
        assert answer.status == 421
        assert "has another name" in page.inner_text("h1")
    assert context.cookies() == []
    context.close()


def test_a_link_from_another_site_leads_in_after_one_more_click(
    chromium: Browser, shown: Shown
) -> None:
    transfer = f"/transfer/{shown.filler.ids['denied']}"
    html = f'<a href="{shown.link.base}{transfer}">from a ticket</a>'
    with Elsewhere("localhost", html) as other, signed_in(chromium, shown.link) as tab:
        tab.page.goto(other.base)
        tab.page.get_by_role("link").click()
        tab.page.get_by_role("link", name="open the page").click()
        tab.page.wait_for_url(f"**{transfer}")
        assert "E_SRC_DENIED" in tab.page.content()


def test_the_way_to_yarn_does_not_say_where_it_came_from(chromium: Browser, own: Shown) -> None:
    with Elsewhere("127.0.0.1") as yarn, signed_in(chromium, own.link) as tab:
        running = own.heart.record.report.running
        hostile = 'javascript:document.title="run"'
        urls = (f"{yarn.base}/proxy/application_1/", hostile)
        both = zip(running, urls, strict=True)
        own.heart.beat(running=tuple(replace(one, tracking_url=url) for one, url in both))
        tab.page.wait_for_timeout(1_100)  # the overview is kept for a second
        tab.go("/")

        assert tab.page.locator("a[href^='javascript:']").count() == 0
        tab.page.locator(f"a[href^='{yarn.base}']").click()
        tab.page.wait_for_url(f"{yarn.base}/**")

        assert "referer" not in yarn.headers[0]

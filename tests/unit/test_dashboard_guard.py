"""Who sees a page of the dashboard, and what every answer carries."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backhaul.adapters.ledger import open_ledger
from backhaul.dashboard.application import application
from backhaul.dashboard.guard import HEADERS, Admission, host_name_of
from backhaul.dashboard.login import LinkToken
from backhaul.dashboard.website import Site
from backhaul.settings.model import Settings
from tests.web import Browser

pytestmark = pytest.mark.slow

TOKEN = "t" * 43
LOGIN = LinkToken(TOKEN)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("guard") / "ledger.db"
    open_ledger(path, create=True).close()
    return path


def browser_of(ledger: Path, **admission: object) -> Browser:
    names = frozenset({"localhost", "127.0.0.1", "::1"})
    chosen = Admission(**{"login": LOGIN, "names": names} | admission)  # type: ignore[arg-type]
    site = Site(settings=Settings(ledger=ledger), login=LOGIN)
    return Browser(app=application(site, chosen))


@pytest.fixture
def browser(ledger: Path) -> Browser:
    return browser_of(ledger)


@pytest.mark.parametrize(
    "url",
    ["/", "/?token=", f"/?token={TOKEN}x", f"/?token={TOKEN[:-1]}", "/static/app.css", "/nowhere"],
)
def test_there_is_no_page_without_the_link(browser: Browser, url: str) -> None:
    answer = browser.get(url)
    assert answer.status == 401
    assert "backhaul dashboard --link" in answer.text
    assert browser.cookies == {}


def test_a_wrong_cookie_is_none(browser: Browser) -> None:
    for value in ("", "x", TOKEN, LOGIN.cookie[:-1], "\xe9", LOGIN.form_token):
        browser.cookies = {LOGIN.cookie_name: value}
        assert browser.get("/").status == 401
    browser.cookies = {"other": LOGIN.cookie}
    assert browser.get("/").status == 401
    assert browser.get("/", cookie="a=\x01; ;;=").status == 401


def test_the_link_sets_a_cookie_and_goes_on_without_the_token(browser: Browser) -> None:
    answer = browser.get(f"/search?q=a%26b&token={TOKEN}&state=dead")
    assert (answer.status, answer.header("location")) == (303, "/search?q=a%26b&state=dead")
    line = answer.cookie("backhaul_").lower()
    assert "httponly" in line
    assert "samesite=strict" in line
    assert "path=/" in line
    assert "secure" not in line
    assert TOKEN not in line
    assert browser.get("/").status == 200


def test_a_link_that_another_site_shows_works_too(browser: Browser) -> None:
    """A redirect would count as that site's request, for which the cookie stays at home."""
    answer = browser.get(f"/?token={TOKEN}", sec_fetch_site="cross-site")
    assert answer.status == 200
    assert TOKEN not in answer.text
    assert browser.get("/").status == 200
    browser.cookies = {}
    assert '<a href="/search?q=1">' in browser.get("/search?q=1", sec_fetch_site="cross-site").text


def test_the_redirect_leads_to_no_other_host(browser: Browser) -> None:
    for path in ("//evil.example/x", "/\\evil.example/x", "///evil.example/x"):
        app_path = Browser(app=browser.app)
        answer = app_path.send("GET", f"http://h{path}?token={TOKEN}", b"", {})
        assert re.match(r"/[^/\\]", answer.header("location"))


@pytest.mark.parametrize("blank", ["%09", "%0A", "%0D", "%0D%0A", "%5C", "%20"])
def test_no_link_leads_to_another_host(browser: Browser, blank: str) -> None:
    """Browsers leave tabs and line breaks out of a URL."""
    url = f"/{blank}/evil.example/"
    for given in (url, f"{url}?token={TOKEN}"):
        text = browser.get(given, sec_fetch_site="cross-site").text
        (link,) = re.findall(r'href="([^"]*evil[^"]*)"', text)
        assert re.match(r"/[^/\\\s]", link), link
        browser.cookies = {}


def test_the_cookie_is_for_https_alone_where_the_browser_came_by_https(ledger: Path) -> None:
    secure = browser_of(ledger)
    secure.scheme = "https"
    assert "secure" in secure.get(f"/?token={TOKEN}").cookie("backhaul_").lower()
    proxied = browser_of(ledger, is_behind_proxy=True)
    answer = proxied.get(f"/?token={TOKEN}", x_forwarded_proto="https")
    assert "secure" in answer.cookie("backhaul_").lower()
    direct = browser_of(ledger)
    answer = direct.get(f"/?token={TOKEN}", x_forwarded_proto="https")
    assert "secure" not in answer.cookie("backhaul_").lower()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8787", 401),
        ("localhost", 401),
        ("LOCALHOST.:8787", 401),
        ("[::1]:8787", 401),
        ("evil.example:8787", 421),
        ("127.0.0.1.evil.example", 421),
        ("10.0.0.5:8787", 421),
        ("localhost:8787@evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_a_foreign_name_gets_nothing(browser: Browser, host: str, status: int) -> None:
    """Without this a page of that name could read the dashboard: DNS rebinding."""
    assert browser.get("/", host=host).status == status
    if status == 421:
        browser.get(f"/?token={TOKEN}", host=host)
        assert browser.cookies == {}


def test_where_it_listens_on_every_address_each_address_is_a_name(ledger: Path) -> None:
    everywhere = browser_of(ledger, is_any_address=True)
    assert everywhere.get("/", host="10.0.0.5:8787").status == 401
    assert everywhere.get("/", host="evil.example").status == 421
    assert host_name_of("[fe80::1]:1") == "fe80::1"


@pytest.mark.parametrize("url", ["/", f"/?token={TOKEN}", "/nowhere", "/static/app.css"])
def test_every_answer_carries_the_policy(browser: Browser, url: str) -> None:
    for status in (browser.get(url).status, 0):
        answer = browser.get(url)
        for name, value in HEADERS.items():
            assert answer.header(name) == value, status
        browser.get(f"/?token={TOKEN}")
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_only_static_files_are_kept_by_the_browser(browser: Browser) -> None:
    browser.get(f"/?token={TOKEN}")
    assert browser.get("/").header("cache-control") == "no-store"
    assert "immutable" in browser.get("/static/app.css").header("cache-control")
    assert browser.get("/static/vendor/vendor.toml").status == 404
    assert browser.get("/static/../run.py").status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "QUERY"])
def test_other_methods_are_refused(browser: Browser, method: str) -> None:
    browser.get(f"/?token={TOKEN}")
    assert browser.send(method, "/", b"", {}).status == 405


def test_a_body_that_is_too_large_is_refused(browser: Browser) -> None:
    browser.get(f"/?token={TOKEN}")
    assert browser.send("POST", "/", b"x" * 70_000, {}).status == 413


def test_pages_have_no_inline_script_or_style(browser: Browser) -> None:
    """The policy would stop them, so the page would be broken."""
    browser.get(f"/?token={TOKEN}")
    text = browser.get("/").text
    assert not re.search(r"<style|<script(?![^>]* src=)|\sstyle=|\son[a-z]+=|javascript:", text)
    assert not re.search(r"(?:src|href|action)=[\"']?(?:https?:)?//", text)

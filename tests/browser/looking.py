"""A page in Chromium that notices what must not happen, whatever a test is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict
from urllib.parse import urlsplit

from tests.browser.processes import Link

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

AXE = Path(__file__).parents[2] / "build" / "npm" / "node_modules" / "axe-core" / "axe.min.js"
WIDE, NARROW = 1440, 400
HEIGHT = 900
SLOWEST_MS = 15_000
# Reports what the Content-Security-Policy refused, in a place that the test reads.
_NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


class _Options(TypedDict, total=False):
    color_scheme: Literal["light", "dark"]
    forced_colors: Literal["active"]
    reduced_motion: Literal["reduce"]
    java_script_enabled: bool


@dataclass(frozen=True, kw_only=True)
class View:
    """How a browser is set; its words are the test's name."""

    width: int = WIDE
    scheme: Literal["light", "dark"] = "light"
    has_script: bool = True
    is_forced: bool = False
    is_still: bool = False

    def __str__(self) -> str:
        words = [str(self.width), self.scheme]
        words += ["no-script"] if not self.has_script else []
        words += ["forced-colours"] if self.is_forced else []
        words += ["reduced-motion"] if self.is_still else []
        return "-".join(words)

    @property
    def options(self) -> _Options:
        found: _Options = {"color_scheme": self.scheme, "java_script_enabled": self.has_script}
        if self.is_forced:
            found["forced_colors"] = "active"
        if self.is_still:
            found["reduced_motion"] = "reduce"
        return found


VIEWS = [
    *(
        View(width=width, scheme=scheme, has_script=has_script)
        for width in (WIDE, NARROW)
        for scheme in ("light", "dark")
        for has_script in (True, False)
    ),
    View(is_forced=True),
    View(width=NARROW, scheme="dark", is_still=True),
]


@dataclass(kw_only=True)
class Watched:
    """One tab.

    Attributes:
        faults: What went wrong in it: messages of the console, refusals of the policy, requests to
            another origin, exceptions of a script.
    """

    page: Page
    base: str
    faults: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.set_default_timeout(SLOWEST_MS)
        self.page.add_init_script(_NOTE_VIOLATIONS)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))
        self.page.on("request", self._request)

    def go(self, address: str) -> int:
        """The status of the page at this address of the dashboard, once it is loaded."""
        answer = self.page.goto(f"{self.base}{address}")
        assert answer is not None
        return answer.status

    def wait_for_plots(self) -> None:
        """Until each place for a plot has one."""
        for place in self.page.locator("#charts figure").all():
            place.locator("canvas").wait_for()

    def all_faults(self) -> list[str]:
        """With what the policy refused on the page that is open."""
        return self.faults + list(self.page.evaluate("window.violations || []"))

    def sideways(self) -> int:
        """By how many pixels something on the page is wider than the page."""
        found = self.page.evaluate(
            "document.documentElement.scrollWidth - document.body.getBoundingClientRect().width"
        )
        return int(found)

    def accessibility(self) -> list[str]:
        """What axe finds, one line for each element."""
        if not self.page.evaluate("typeof window.axe === 'object'"):
            self.page.evaluate(AXE.read_text("utf-8"))
        found: dict[str, Any] = self.page.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{one['impact']} {one['id']}: {node['html'][:200]} {node['failureSummary']}"
            for one in found["violations"]
            for node in one["nodes"]
        ]

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium calls it an error when a page has a status such as 404; the page itself does.
        is_own_status = message.text.startswith("Failed to load resource") and (
            message.location["url"].split("#")[0] == self.page.url.split("#")[0]
        )
        if message.type in {"error", "warning"} and not is_own_status:
            self.faults.append(f"console: {message.text} {message.location['url']}")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if f"{parts.scheme}://{parts.netloc}" != self.base and parts.scheme != "data":
            self.faults.append(f"request to elsewhere: {request.url}")


def new_context(browser: Browser, view: View) -> BrowserContext:
    return browser.new_context(
        viewport={"width": view.width, "height": HEIGHT}, locale="en-GB", **view.options
    )


def open_tab(context: BrowserContext, link: Link) -> Watched:
    """A tab that has followed the link."""
    tab = Watched(page=context.new_page(), base=link.base)
    tab.watch()
    tab.page.goto(link.url)
    return tab


@contextmanager
def signed_in(browser: Browser, link: Link, view: View | None = None) -> Iterator[Watched]:
    """A fresh browser that has followed the link."""
    context = new_context(browser, view or View())
    try:
        yield open_tab(context, link)
    finally:
        context.close()

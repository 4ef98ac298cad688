"""Make docs/images/dashboard.png: the front page on the demo, while it copies.

    python scripts/screenshot.py [FILE] [--hdfs]

It runs `backhaul demo --dashboard` and waits until transfers are under way and one has died; that
takes a minute. Needs Chromium and playwright, which `./dev test` installs; with --hdfs also a JDK.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Page

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "dashboard.png"
WIDTH, HEIGHT = 1440, 900
MOST_BYTES = 300_000
WAIT_S = 300.0
LINK = re.compile(r"The dashboard: (\S+)")
# Two transfers under way, one of them half done and with a time left, and a dead one.
IS_GOOD = """() => {
  const shares = [...document.querySelectorAll("#running progress")].map((one) => one.value);
  return shares.length > 1 && shares.some((share) => share > 0.3 && share < 0.9)
    && document.querySelector("#running").innerText.includes(" left")
    && document.querySelectorAll("#dead tbody tr").length > 0;
}"""


def link_of(demo: subprocess.Popen[str]) -> str:
    """What it prints once the dashboard is up."""
    assert demo.stdout is not None  # noqa: S101 - it is a pipe
    for line in demo.stdout:
        sys.stderr.write(line)
        if found := LINK.search(line):
            return found[1]
    sys.exit(f"the demo ended with {demo.wait()}; its lines are above")


def take(page: Page, link: str, path: Path) -> None:
    """Wait for a good moment, and make the picture."""
    page.goto(link)
    deadline_s = time.monotonic() + WAIT_S
    while not page.evaluate(IS_GOOD):
        if time.monotonic() > deadline_s:
            sys.exit(f"no good moment within {WAIT_S:.0f} s; the page is {page.inner_text('main')}")
        page.wait_for_timeout(1000)
        page.reload()
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path)


def main() -> None:
    """As the module says."""
    options = [one for one in sys.argv[1:] if one.startswith("--")]
    names = [one for one in sys.argv[1:] if not one.startswith("--")]
    path = Path(names[0]) if names else PICTURE
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        sys.exit("no chromium on the PATH: sudo apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="backhaul-") as directory:
        command = [sys.executable, "-m", "backhaul", "demo", "--dashboard", "--keep", directory]
        command += ["--listen", "127.0.0.1:0", *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
            try:
                link = link_of(demo)
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(
                        executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"]
                    )
                    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
                    take(context.new_page(), link, path)
                    browser.close()
            finally:
                demo.send_signal(signal.SIGINT)
                demo.communicate()
    size_bytes = path.stat().st_size
    if size_bytes > MOST_BYTES:
        sys.exit(f"{path} has {size_bytes:,} bytes, more than {MOST_BYTES:,}")
    sys.stderr.write(f"{path}: {size_bytes:,} bytes\n")


if __name__ == "__main__":
    main()

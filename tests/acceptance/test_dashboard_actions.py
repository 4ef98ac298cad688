"""`backhaul dashboard --actions` beside a real agent on real servers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape

import pytest
import urllib3

from tests.acceptance.installation import PROGRAM, Installation, eventually
from tests.children import child

pytestmark = pytest.mark.integration
WITHIN_S = 60.0
HTTP = urllib3.PoolManager(timeout=WITHIN_S, retries=False)


class Visitor:
    """A browser with the cookie, on one dashboard."""

    def __init__(self, link: str) -> None:
        self._base = link.partition("/?")[0]
        answer = HTTP.request("GET", link, redirect=False)
        self._cookie = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}

    def get(self, path: str, *statuses: int) -> str:
        answer = HTTP.request("GET", self._base + path, headers=self._cookie, redirect=False)
        assert answer.status in {200, *statuses}, answer.data.decode()
        return answer.data.decode()

    def send(self, path: str, **fields: str) -> str:
        """The form of this page, filled in; the page that comes back, or where it leads."""
        page = self.get(path)
        form = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)
        action = re.search(r'<form class="act" action="([^"]*)"', page)
        assert action is not None, page
        answer = HTTP.request(
            "POST",
            self._base + action[1],
            fields={name: unescape(value) for name, value in form} | {"operator": "Ann"} | fields,
            encode_multipart=False,
            headers=self._cookie,
            redirect=False,
        )
        if answer.status == 303:
            return self.get(answer.headers["Location"])
        assert answer.status == 200, answer.data.decode()
        return answer.data.decode()


@contextmanager
def visiting(it: Installation, *arguments: str) -> Iterator[Visitor]:
    command = [*PROGRAM, "dashboard", "--listen", "127.0.0.1:0", *arguments]
    with child(
        command, env=it.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        link = process.stdout.readline().strip()
        assert link.startswith("http://"), process.communicate(timeout=WITHIN_S)
        try:
            yield Visitor(link)
        finally:
            process.terminate()
            out, err = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, out, err) == (0, "", "")


def test_what_died_is_tried_again_from_its_page_and_arrives(local: Installation) -> None:
    it = local
    it.ask_for("later/")
    it.drained()
    (row,) = it.history()
    assert (row["state"], row["code"]) == ("dead", "E_SRC_EMPTY")
    it.put("later/a", b"now it is there")
    with visiting(it, "--actions") as visitor:
        page = visitor.get(f"/transfer/{row['id']}")
        assert "was the data written before the message?" in page
        assert f'href="/act/retry?id={row["id"]}"' in page
        done = visitor.send(f"/act/retry?id={row['id']}")
        assert "Sent 1 message again" in done
        it.drained()
        assert it.landing.files() == {"a": b"now it is there"}
        assert "Sent again" in visitor.get(f"/transfer/{row['id']}")
        journal = visitor.get("/journal")
        assert "Ann" in journal
        assert "retry" in journal


def test_a_page_shows_the_agent_at_work_and_pauses_its_route(local: Installation) -> None:
    it = local
    it.put("p/a", b"x" * 1000)
    agent = it.start()
    with visiting(it, "--actions") as visitor:
        # 503 until the agent has made its ledger.
        eventually(lambda: 'data-state="running"' in visitor.get("/", 503))
        it.ask_for("p/a")
        agent.logged("transfer done")
        eventually(lambda: re.search(r"Transfers done</dt><dd>1<", visitor.get("/")))
        # The agent's report of its routes comes by itself, at most 5 s later.
        row = re.compile(r'<tr id="route-([^"]+)"')
        (route,) = eventually(lambda: set(row.findall(visitor.get("/"))))
        shown = visitor.send(f"/act/pause?route={route}", reason="maintenance", lasting="1h")
        assert "The route is paused" in shown
        assert "maintenance" in shown
        agent.logged("paused routes changed", within_s=60)
        before = it.landing.files()
        visitor.send(f"/act/resume?route={route}")
        it.put("p/b", b"y")
        it.ask_for("p/b", "q")
        agent.logged("transfer done", times=2, within_s=60)
        assert it.landing.files() != before
    agent.terminate()
    assert agent.wait().code == 0
    with visiting(it) as visitor:
        page = visitor.get("/")
        assert 'data-state="not-running"' in page
        assert "/act/" not in page

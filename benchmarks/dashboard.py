"""Shape `dashboard`: what reading a large ledger takes, and what it costs a writer beside it.

1,000,000 transfers and 10,000,000 objects. Each query in this process, on a file that the page
cache has; the pages from the real `backhaul dashboard` over a socket; and the commits of a writer,
alone and beside a process that reads all the time.
"""

from __future__ import annotations

import gc
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from backhaul.adapters.ledger import LedgerReader, open_reader
from backhaul.app.overview import read_overview
from backhaul.app.places import parse_place
from backhaul.app.search import Search, SearchedFor, search
from backhaul.app.where import find_where
from backhaul.core.model import TransferState
from benchmarks.big_ledger import big_ledger
from benchmarks.ledger_writer import forget_written
from benchmarks.report import Figure
from benchmarks.servers import BACKHAUL, Servers, Sizes, tell

LEDGERS = Path("build/bench/ledgers")
FIRST_BYTE_AT_MOST_MS = 150.0
COMPLETE_AT_MOST_MS = 1000.0
DELAY_AT_MOST_MS = 50.0
WHERE_AT_MOST_MS = 100.0
FRONT = "/"
PAGES = (
    FRONT,
    "/search",
    "/search?q=feed-03",
    "/search?q=feed-03%2Fday%3D0000042",
    "/search?state=dead",
    "/search?q=no-such-thing",
    "/plots?range=90d",
    "/plots.json?range=90d",
    "/journal",
)
_LOOP_S = 10.0
_REPEATS = 5


def dashboard(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Milliseconds of each query and page, and the longest commits."""
    path = big_ledger(LEDGERS, sizes.ledger_transfers)
    found: dict[str, list[float]] = {}
    targets: dict[str, float] = {}
    for turn in range(rounds):
        _queries(path, found)
        _where(path, found, targets)
        _pages(servers, path, found, targets)
        _commits(path, found, targets)
        tell(f"dashboard round {turn + 1} of {rounds}")
    return [
        Figure(
            shape="dashboard",
            what=what,
            unit="ms",
            values=tuple(values),
            at_most=targets.get(what),
        )
        for what, values in found.items()
    ]


# ---------------------------------------------------------------- queries


def queries(reader: LedgerReader) -> dict[str, Callable[[], object]]:
    """What commands and pages read, by name."""
    since = datetime.now(UTC) - timedelta(days=1)
    newest = reader.history(2000, [TransferState.DONE])[-1:]
    done = next(one.id for one in newest if one.state is TransferState.DONE)
    return {
        "history": lambda: reader.history(20),
        "history --state dead": lambda: reader.history(20, [TransferState.DEAD]),
        "history --state held": lambda: reader.history(20, [TransferState.HELD]),
        "history --state superseded": lambda: reader.history(20, [TransferState.SUPERSEDED]),
        "history --since 1d": lambda: reader.history(20, (), since),
        "count": reader.count,
        "count --state dead": lambda: reader.count([TransferState.DEAD]),
        "count --since 1d": lambda: reader.count((), since),
        "show": lambda: reader.show(done),
        "search": lambda: search(reader, Search(text="no-such-thing", kind=SearchedFor.TEXT)),
        **{
            f"where {name}": partial(find_where, reader, parse_place(place))
            for name, place in places(reader).items()
        },
    }


def places(reader: LedgerReader) -> dict[str, str]:
    """Files, directories and sources, from one of ten objects to all of the ledger."""
    newest = reader.history(2000, [TransferState.DONE])
    row = newest[-1]
    directory = row.canonical.uri if row.canonical is not None else ""
    route, bucket = row.source.rsplit("/", 2)[0], "/".join(row.source.split("/")[:3])
    return {
        "FILE": f"{directory}/part-00003.parquet",
        "FILE on any file system": f"/{directory.split('/', 3)[3]}/part-00003.parquet",
        "DIRECTORY": directory,
        "DIRECTORY of a route": directory.rpartition("/")[0],
        "DIRECTORY of all": "/landing",
        "OBJECT": f"{row.source}part-00003.parquet",
        "PREFIX": row.source,
        "PREFIX of a route": f"{route}/",
        "BUCKET": f"{bucket}/",
        "FILE that is not known": f"{directory}/part-99999.parquet",
        "OBJECT that is not known": f"{route}/none/part-99999.parquet",
    }


def _queries(path: Path, found: dict[str, list[float]]) -> None:
    """The median of several of each; the first one fills the page cache."""
    with closing(open_reader(path)) as reader:
        every = queries(reader)
        every["overview"] = lambda: read_overview(path, datetime.now(UTC))
        for name, query in every.items():
            query()
            times = sorted(_ms(query) for _ in range(_REPEATS))
            found.setdefault(name, []).append(times[len(times) // 2])


def _where(path: Path, found: dict[str, list[float]], targets: dict[str, float]) -> None:
    """Each as a command does it, the ledger's opening included; the program's start is not."""

    def located(place: str) -> None:
        with closing(open_reader(path)) as reader:
            find_where(reader, parse_place(place))

    with closing(open_reader(path)) as reader:
        every = places(reader)
    for name, place in every.items():
        times = sorted(_ms(partial(located, place)) for _ in range(_REPEATS))
        what = f"where {name}, with opening"
        found.setdefault(what, []).append(times[len(times) // 2])
        targets[what] = WHERE_AT_MOST_MS


def _ms(call: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    call()
    return (time.perf_counter() - began_s) * 1000


# ---------------------------------------------------------------- pages


@contextmanager
def serving(servers: Servers, path: Path) -> Iterator[tuple[str, int, str]]:
    """The real process: host, port and the cookie of a login."""
    environment = {**os.environ, "HOME": str(servers.directory)}
    argv = [*BACKHAUL, "dashboard", "--listen", "127.0.0.1:0", "--ledger", str(path.absolute())]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = (process.stdout.readline() if process.stdout else "").split()
            link = urlsplit(next(word for word in line if word.startswith("http")))
            host, port = link.hostname or "", link.port or 0
            connection = http.client.HTTPConnection(host, port, timeout=30)
            connection.request("GET", f"{link.path}?{link.query}")
            answer = connection.getresponse()
            answer.read()
            cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
            connection.close()
            yield host, port, cookie
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _pages(
    servers: Servers, path: Path, found: dict[str, list[float]], targets: dict[str, float]
) -> None:
    with serving(servers, path) as (host, port, cookie):
        for page in PAGES:
            first, complete = [], []
            for _ in range(_REPEATS):
                times = _fetched(host, port, cookie, page)
                if times is None:
                    break
                first.append(times[0])
                complete.append(times[1])
                time.sleep(1)  # past what the front page keeps for a moment
            if not complete:
                tell(f"no page {page}")
                continue
            for what, values in ((f"{page}, first byte", first), (f"{page}, complete", complete)):
                found.setdefault(what, []).append(sorted(values)[len(values) // 2])
            targets[f"{page}, complete"] = COMPLETE_AT_MOST_MS
    targets[f"{FRONT}, first byte"] = FIRST_BYTE_AT_MOST_MS


def _fetched(host: str, port: int, cookie: str, page: str) -> tuple[float, float] | None:
    """Milliseconds to the first byte and to the last, with the connection; None: not found."""
    began_s = time.perf_counter()
    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        connection.request("GET", page, headers={"Cookie": cookie})
        answer = connection.getresponse()
        first_s = time.perf_counter()
        answer.read()
        ended_s = time.perf_counter()
    finally:
        connection.close()
    if answer.status == http.client.NOT_FOUND:
        return None
    if answer.status != http.client.OK:
        raise RuntimeError(f"{page}: {answer.status} {answer.reason}")
    return (first_s - began_s) * 1000, (ended_s - began_s) * 1000


# ---------------------------------------------------------------- commits


def _commits(path: Path, found: dict[str, list[float]], targets: dict[str, float]) -> None:
    """The slowest commit and the 99th of a hundred, alone and beside readers."""
    alone = _written(path)
    beside: list[float] = []
    reading = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.dashboard", str(path)], stdout=subprocess.PIPE
    )
    try:
        if reading.stdout is not None:
            reading.stdout.readline()  # its first round of queries is over
        beside = _written(path)
    finally:
        reading.kill()
        reading.wait()
        if reading.stdout is not None:
            reading.stdout.close()
    for what, times in (("alone", alone), ("beside readers", beside)):
        ordered = sorted(times)
        found.setdefault(f"commit {what}, 99 %", []).append(ordered[int(len(ordered) * 0.99)])
        found.setdefault(f"commit {what}, longest", []).append(ordered[-1])
    delay = "commit, longer beside readers, longest"
    found.setdefault(delay, []).append(max(0.0, max(beside) - max(alone)))
    targets[delay] = DELAY_AT_MOST_MS


def _written(path: Path) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ledger_writer", str(path), str(_LOOP_S)],
        stdout=subprocess.PIPE,
        check=True,
    )
    times: list[float] = json.loads(done.stdout)
    forget_written(path)  # the ledger is kept, and its newest rows are looked at
    return times


def read_for_ever(path: Path) -> None:
    """What commands and pages read, over and over, as several of them would."""
    with closing(open_reader(path)) as reader:
        every = queries(reader)
        read_overview(path, datetime.now(UTC))
        gc.freeze()  # as the dashboard does once it has read what it shows first
        while True:
            read_overview(path, datetime.now(UTC))
            for query in every.values():
                query()
            print("read", flush=True)


if __name__ == "__main__":
    read_for_ever(Path(sys.argv[1]))

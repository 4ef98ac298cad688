"""One round: messages are sent, the agent is tormented, what is left is drained, and judged."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.acceptance.installation import Running, eventually
from tests.acceptance.landing import HdfsLanding
from tests.torture.checker import Found, Sent, violations
from tests.torture.servers import Servers
from tests.witness import Witness

POINTS = Path(__file__).parent / "points"
SINGLES, TREE_FILES, BIG_BYTES = 3, 12, 3_000_000
MORE = 6
STRIKE_WAIT_S = 40.0
DRAIN_S = 120.0


@dataclass(kw_only=True)
class Verdict:
    """What came of a round.

    Attributes:
        crashes: Processes of Backhaul that were killed.
        struck: Faults that had something to strike.
        lease: Factor for the times by which agents judge each other; 1 as shipped.
        fenced: Agents that others had taken for gone, and that ended when they noticed.
        day: In UTC, on which it ended; `commit`: of the program that was tormented.
    """

    seed: int
    fault: str
    told: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    crashes: int = 0
    struck: int = 0
    seconds: float = 0.0
    looks: int = 0
    reads: int = 0
    blind: int = 0
    left_in_staging: int = 0
    lease: float = 1.0
    fenced: int = 0
    day: str = ""
    commit: str = ""

    @property
    def is_good(self) -> bool:
        return not self.wrong

    def line(self) -> str:
        verdict = "ok" if self.is_good else f"VIOLATED: {'; '.join(self.wrong)}"
        told = ", ".join(self.told) or "nothing was struck"
        return f"seed {self.seed:<6} {self.fault:<22} {self.seconds:5.1f} s  {told}: {verdict}"


class Round:
    """The messages of one seed, and the tools with which a fault torments them.

    Attributes:
        is_over: The agent that was struck has ended its work by itself, and was stopped.
    """

    def __init__(self, servers: Servers, seed: int, fault: str, *, name: str) -> None:
        self.servers = servers
        self.chance = random.Random(seed)
        self.verdict = Verdict(seed=seed, fault=fault)
        self.it = servers.install(name)
        landing = self.it.landing
        assert isinstance(landing, HdfsLanding)
        self.landing = landing
        self.sent: list[Sent] = []
        self.bodies: dict[str, str] = {}
        self.has_one_ledger = True
        self.has_lost_commits = False
        self.homes = [self.it.home]
        self.agent: Running | None = None
        self.is_over = False
        self._marks = 0
        servers.forget()
        data = random.Random(seed)
        self.singles = {f"one/k{n}": data.randbytes(data.randint(0, 9000)) for n in range(SINGLES)}
        self.tree = {f"p{n:02}": data.randbytes(data.randint(1, 4000)) for n in range(TREE_FILES)}
        self.big = data.randbytes(BIG_BYTES)
        self.more = {f"more/k{n}": data.randbytes(data.randint(0, 9000)) for n in range(MORE)}
        self.applied_again: list[str] = []
        self._further = list(self.more.items())
        self.moving = (data.randbytes(3000), data.randbytes(2500))
        self._moved_at_s = 0.0

    # ------------------------------------------------------------ messages

    def send_all(self) -> None:
        """Three objects, a tree, a large one, one that will change, and one that cannot be done."""
        it = self.it
        for name, data in self.singles.items():
            it.put(name, data)
            self._send(name, "one", {name: (data,)})
        for name, data in self.tree.items():
            it.put(f"tree/{name}", data)
        tree = {f"tree/{name}": (data,) for name, data in self.tree.items()}
        self._send("tree/", "tree", tree)
        it.put("big", self.big)
        self._send("big", "", {"big": (self.big,)})
        it.put("moving", self.moving[0])
        self._moved_at_s = time.monotonic()
        self._send("moving", "", {"moving": self.moving})
        self._send("no-such-object", "", {})

    def send_more(self) -> bool:
        """One object more, and one that cannot be done; False when there are no more."""
        if not self._further:
            return False
        name, data = self._further.pop(0)
        self.it.put(name, data)
        self._send(name, "more", {name: (data,)})
        self._send(f"no-such-{name}", "", {})
        return True

    def move(self) -> None:
        """Overwrite the object that changes, and say so; once."""
        if self._moved_at_s == 0.0:
            return
        # S3 tells times in whole seconds: two states within one cannot be put in order.
        time.sleep(max(0.0, self._moved_at_s + 1.1 - time.monotonic()))
        self._moved_at_s = 0.0
        self.it.put("moving", self.moving[1])
        self._send("moving", ".", {"moving": self.moving[1:]}, note=" again")

    def _send(
        self, key: str, below: str, finals: Mapping[str, tuple[bytes, ...]], note: str = ""
    ) -> None:
        source = f"s3://{self.it.bucket}/{key}"
        target = self.landing.uri if below in {"", "."} else f"{self.landing.uri}/{below}"
        body = f"{source}, {target}{'/' if below == '.' else ''}"
        message_id = self.it.leave(body)
        self.bodies[body] = message_id
        self.sent.append(Sent(message_id=message_id, what=key + note, finals=finals))

    # ------------------------------------------------------------ tools of faults

    def tell(self, what: str) -> None:
        self.verdict.told.append(what)

    def start(self, point: str = "", **settings: str) -> Running:
        """An agent of two to four slots; with a point, one that strikes itself there."""
        settings.setdefault("BACKHAUL_AGENT__SLOTS", str(self.chance.choice((2, 2, 4))))
        if point:
            self._marks += 1
            settings |= {
                "PYTHONPATH": self.python_path,
                "TORTURE_POINT": point,
                "TORTURE_MARK": str(self.mark),
            }
        self.agent = self.it.start(**settings)
        return self.agent

    @property
    def python_path(self) -> str:
        """With the fail points in it."""
        inherited = self.it.environment.get("PYTHONPATH", "").split(os.pathsep)
        return os.pathsep.join(dict.fromkeys(filter(None, (str(POINTS), *inherited))))

    @property
    def mark(self) -> Path:
        """Made by the point when it strikes."""
        return self.it.home / f"struck-{self._marks}"

    def nothing_left(self) -> bool:
        return self.it.counts() == (0, 0)

    def wait_for(self, has_struck: Callable[[], bool]) -> bool:
        """True once it has; False when there is nothing left to do, or it takes too long."""
        deadline_s = time.monotonic() + STRIKE_WAIT_S
        turns = 0
        while not has_struck():
            turns += 1
            if time.monotonic() > deadline_s or (turns % 10 == 0 and self.nothing_left()):
                return has_struck()
            time.sleep(0.02)
        return True

    def kill(self) -> None:
        """SIGKILL to the agent, now. Its workers end by themselves, unless they are stopped."""
        assert self.agent is not None
        if self.agent.is_alive:
            self.verdict.crashes += 1
        self.agent.kill()

    def gone(self, *, but: int = 0) -> None:
        """Wait until no worker is left, except one that is stopped; then its messages return."""
        eventually(
            lambda: not [pid for pid in worker_pids(self.homes) if pid != but],
            within_s=30,
            every_s=0.1,  # a look at every process of the machine
            what="workers ended with their agent",
        )
        if not self.nothing_left():
            self.servers.show_again(self.it)

    def wait_until_at_work(self) -> bool:
        agent = self.agent
        assert agent is not None
        return self.wait_for(lambda: '"message received"' in agent.out)

    def drain(self) -> None:
        """Everything is honest again: an agent works until nothing is left.

        Nothing to do for it where the last one came to the end of its work by itself.
        """
        self.servers.be_honest()
        if self.is_over and self.nothing_left():
            return
        ended = None
        for _ in range(3):
            ended = self.it.drain(timeout_s=DRAIN_S)
            if ended.code == 0 and self.nothing_left():
                break
            self.servers.show_again(self.it)
        if ended is None or ended.code != 0:
            self.verdict.wrong.append(f"L1 the drain ended so: {ended}")
        elif "Traceback" in ended.out + ended.err or ended.of("unexpected error"):
            self.verdict.wrong.append(f"bug: {(ended.out + ended.err)[-1500:]}")

    # ------------------------------------------------------------ judging

    @contextlib.contextmanager
    def watched(self) -> Iterator[Witness]:
        trees = {"tree": self.tree}
        files = {name: (data,) for name, data in self.singles.items()}
        more = {name: (data,) for name, data in self.more.items()}
        witness = Witness(
            self.servers.hdfs.uri,
            self.landing.path,
            trees,
            {**files, **more, "big": (self.big,), "moving": self.moving},
            seed=self.verdict.seed,
        )
        with witness:
            yield witness
        self.verdict.looks, self.verdict.reads = witness.looks, witness.reads
        self.verdict.blind = witness.blind
        self._seen = [
            what if what.startswith("S4") else f"a reader saw {what}" for what in witness.wrong
        ]
        self.applied_again = witness.again

    def rows(self) -> list[tuple[str, str, str | None]]:
        """Message id, state and code of each transfer in all ledgers of the round."""
        return [row for home in self.homes for row in _rows(home)]

    def judge(self) -> None:
        letters = [self.bodies.get(one["body"], one["body"]) for one in self.it.dead_letters()]
        files = self.landing.files()
        staging = [name for name in files if ".backhaul" in name]
        self.verdict.left_in_staging = len(staging)
        if staging:
            self.tell(f"{len(staging)} files left to the sweep")
        visible, hidden = self.it.counts()
        found = Found(
            rows=self.rows(),
            dead=letters,
            visible={k: v for k, v in files.items() if ".backhaul" not in k},
            queued=visible + hidden,
            seen=self._seen,
            has_one_ledger=self.has_one_ledger,
            has_lost_commits=self.has_lost_commits,
        )
        self.verdict.wrong += violations(self.sent, found)

    def bugs(self) -> None:
        """Tracebacks of any process of the round."""
        for home in self.homes:
            for path in sorted(home.glob("runs/*/*")):
                text = path.read_text("utf-8", "replace")
                if "Traceback" in text or '"unexpected error"' in text or "E_BUG" in text:
                    at = max(text.find("Traceback"), text.find("E_BUG"), text.find("unexpected"))
                    self.verdict.wrong.append(
                        f"bug in {path.name}: {text[max(0, at - 600) : at + 1200]}"
                    )

    def clean_up(self) -> None:
        self.it.clean_up()
        for pid in list(worker_pids(self.homes)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.verdict.is_good:
            for home in self.homes:
                shutil.rmtree(home, ignore_errors=True)
            self.landing.client.delete(self.landing.path, recursive=True)


def worker_pids(homes: Sequence[Path]) -> Iterator[int]:
    """Worker processes of the agents of one round, whoever their parent is by now."""
    wanted = {f"HOME={home}".encode() for home in homes}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"backhaul.worker" not in (process / "cmdline").read_bytes().split(b"\0"):
                continue
            if wanted & set((process / "environ").read_bytes().split(b"\0")):
                yield int(process.name)


def _rows(home: Path) -> list[tuple[str, str, str | None]]:
    path = home / ".local" / "state" / "backhaul" / "ledger.db"
    if not path.exists():
        return []
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        return list(connection.execute("SELECT message_id, state, code FROM transfers"))
    finally:
        connection.close()


Tormented = TypeVar("Tormented", bound=Round)


def run_round(servers: Servers, seed: int, name: str, torment: Callable[[Round], None]) -> Verdict:
    """One round of one agent, from its seed."""
    return judged(Round(servers, seed, name, name=name_of(seed)), torment)


def name_of(seed: int) -> str:
    """Of a round's queue, bucket and directories; a seed may come again."""
    return f"torture-{seed}-{time.monotonic_ns() % 10**9}"


def judged(it: Tormented, torment: Callable[[Tormented], None]) -> Verdict:
    """Run it to its end."""
    began_s = time.monotonic()
    try:
        with it.watched():
            it.send_all()
            torment(it)
            it.move()
            it.drain()
        it.judge()
        it.bugs()
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        it.verdict.wrong.append(f"L1 {type(error).__name__}: {error}"[:3000])
    finally:
        it.servers.be_honest()
        it.verdict.seconds = time.monotonic() - began_s
        it.clean_up()
    return it.verdict

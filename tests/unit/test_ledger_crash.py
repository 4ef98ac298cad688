"""kill -9 at any moment: whatever a method returned is in the file, and the file is sound."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backhaul.adapters.ledger import Owner, open_ledger, open_reader
from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey
from tests.contract.test_ledger import T0

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[2]
ROUNDS = (8, pytest.param(20, marks=pytest.mark.long))
# Prints what each call returned, after it returned.
CHILD = """
import sys
from pathlib import Path
from backhaul.adapters.ledger import Owner, open_ledger
from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey
from tests.contract.test_ledger import DAY, T0, claim, planned, proof

ledger = open_ledger(Path(sys.argv[1]), create=True, owner=Owner.current("edge1"))
round_ = sys.argv[2]

def report(*words):
    print(*words, flush=True)

report("owner", ledger.owner.text)
for number in range(10_000):
    name = f"{round_}-{number}"
    begun = ledger.begin(MessageKey(queue="q", message_id=name), name, "s", "d", T0)
    report("begin", name, begun.attempt)
    objects = [planned(seq, f"{name}-{seq}") for seq in range(3)]
    claimed = claim(ledger, name, DAY, first=objects, is_complete=True)
    report("claim", name, claimed.epoch)
    assert ledger.intend(name, claimed.epoch, [proof(seq) for seq in range(3)], T0)
    report("intend", name, claimed.epoch)
    assert ledger.finish(name, claimed.epoch, TransferState.DONE, "tree", T0)
    report("finish", name, claimed.epoch)
"""
REACHED = {
    "begin": {"received", "staging", "publishing", "done"},
    "claim": {"staging", "publishing", "done"},
    "intend": {"publishing", "done"},
    "finish": {"done"},
}


def run_and_kill(path: Path, round_: int, chance: random.Random) -> list[list[str]]:
    """What the child had reported when it was killed in the middle of its work."""
    environment = {**os.environ, "PYTHONPATH": f"{REPO / 'src'}:{REPO}"}
    argv = [sys.executable, "-c", CHILD, str(path), str(round_)]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(chance.randint(2, 30))]
        # Spread the kill over the next call or two; nothing here waits for a state.
        deadline = time.monotonic() + chance.uniform(0, 0.02)
        while time.monotonic() < deadline:
            pass
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
    return [line.split() for line in lines if line.endswith("\n")]


def check(path: Path, reported: list[list[str]]) -> None:
    """Sound, complete, and owned by no process."""
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    state_of = dict(raw.execute("SELECT id, state FROM transfers"))
    published = {uri.rsplit("/", 1)[1] for (uri,) in raw.execute("SELECT uri FROM published")}
    raw.close()
    for call, name, *_ in reported[1:]:
        assert state_of[name] in REACHED[call], (call, name)
        if call == "finish":
            assert {f"{name}-{seq}" for seq in range(3)} <= published
    epochs = [int(epoch) for call, _, epoch in reported[1:] if call == "claim"]
    assert epochs == sorted(set(epochs))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rounds", ROUNDS)
def test_kill_9_at_any_moment_loses_nothing_that_was_reported(tmp_path: Path, rounds: int) -> None:
    path = tmp_path / "ledger.sqlite"
    chance = random.Random(20261122)
    everything: list[list[str]] = [["owner"]]
    for round_ in range(rounds):
        reported = run_and_kill(path, round_, chance)
        assert not Owner.current("edge1").is_alive(reported[0][1])
        everything += reported[1:]
        check(path, everything)

    reader = open_reader(path)
    unfinished = [row for row in reader.history(limit=10_000) if not row.state.is_final]
    reader.close()
    ledger = open_ledger(path, create=False, owner=Owner.current("edge1"))
    for row in unfinished:
        assert row.message_id is not None
        again = ledger.begin(MessageKey(queue="q", message_id=row.message_id), "x", "s", "d", T0)
        assert (again.is_live, again.attempt) == (False, 2)
        assert again.was_publishing is (row.state is TransferState.PUBLISHING)
    assert len(unfinished) <= rounds
    ledger.close()

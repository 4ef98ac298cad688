"""The governor of real processes: what they share, what they see, and what a killed one leaves."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backhaul.adapters.system import governor as module
from backhaul.adapters.system.governor import Governor, GovernorSpec
from backhaul.adapters.system.limit_file import LimitFile
from backhaul.adapters.system.reservations import Reservations
from backhaul.core.errors import ConfigurationError, OutageError
from backhaul.core.rate_limit import PIECE_S, EffectiveLimit, LimitSource, ManualLimit, Schedule
from tests.children import child
from tests.world import eventually

pytestmark = pytest.mark.slow  # processes and threads

KIB = 1024
RATE = 4 << 20
READ = """\
import sys, time
from pathlib import Path
from backhaul.adapters.system.governor import GovernorSpec
from backhaul.core.rate_limit import Schedule
ledger, rate, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
governor = GovernorSpec(ledger=ledger, schedule=Schedule(bytes_per_s=rate)).open()
print("ready", flush=True)
sys.stdin.readline()
while size > 0:
    size -= governor.take(min(size, 65536), lambda: None)
"""
HOLD = """\
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def spec(path: Path, bytes_per_s: int | None = RATE) -> GovernorSpec:
    return GovernorSpec(ledger=str(path / "ledger.db"), schedule=Schedule(bytes_per_s=bytes_per_s))


def limit_file(path: Path) -> LimitFile:
    return LimitFile(path / "ledger.db")


def test_processes_and_threads_share_one_limit(tmp_path: Path) -> None:
    each = RATE // 2
    argv = [sys.executable, "-c", READ, str(tmp_path / "ledger.db"), str(RATE), str(each)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with child(argv, **pipes) as one, child(argv, **pipes) as other:
        _share_one_limit(tmp_path, each, [one, other])


def _share_one_limit(tmp_path: Path, each: int, processes: list[subprocess.Popen[bytes]]) -> None:
    governor = spec(tmp_path).open()

    def read() -> None:
        left = each // 2
        while left > 0:
            left -= governor.take(min(left, 64 * KIB), lambda: None)

    for one in processes:
        assert one.stdout is not None
        assert one.stdout.readline() == b"ready\n"
    threads = [threading.Thread(target=read) for _ in range(2)]
    began_s = time.monotonic()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    # A lower bound, which no busy machine can break: 1.5 s of bytes, less what may be ahead.
    assert time.monotonic() - began_s > 1.5 - 0.25 - 0.2


def test_a_thread_is_limited_while_another_reads_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    governor = spec(tmp_path).open()
    look, is_looking, may_go_on = governor.limit, threading.Event(), threading.Event()

    def slow_at_first() -> EffectiveLimit:
        if not is_looking.is_set():
            is_looking.set()
            assert may_go_on.wait(30)
        return look()

    monkeypatch.setattr(governor, "limit", slow_at_first)
    first = threading.Thread(target=lambda: governor.take(1, lambda: None))
    first.start()
    assert is_looking.wait(30)
    try:
        assert governor.take(10 * RATE, lambda: None) < RATE
    finally:
        may_go_on.set()
        first.join()


def test_a_reader_that_is_killed_with_the_lock_blocks_no_other(tmp_path: Path) -> None:
    (tmp_path / "ledger.db.rate").touch()
    argv = [sys.executable, "-c", HOLD, str(tmp_path / "ledger.db.rate")]
    with child(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        governor = spec(tmp_path).open()
        waits = 0

        def waiting() -> None:
            nonlocal waits
            waits += 1
            if waits == 3:
                holder.kill()
                holder.wait()

        assert governor.take(KIB, waiting) == KIB
        assert waits >= 3


def test_a_limit_set_by_hand_is_seen_by_a_governor_that_runs(tmp_path: Path) -> None:
    governor = spec(tmp_path, None).open()
    assert governor.limit().bytes_per_s is None
    limit_file(tmp_path).write(ManualLimit(bytes_per_s=100_000))
    assert governor.limit().bytes_per_s == 100_000
    limit_file(tmp_path).write(ManualLimit(bytes_per_s=200_000))
    assert governor.limit().bytes_per_s == 200_000
    limit_file(tmp_path).write(None)
    assert governor.limit().why is LimitSource.CONFIGURED


def test_a_reader_that_waits_goes_on_when_the_limit_is_lifted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_EVERY_S", 0.0)
    governor = spec(tmp_path, 64 * KIB).open()
    lifted = False

    def waiting() -> None:
        nonlocal lifted
        if not lifted:
            limit_file(tmp_path).write(ManualLimit(bytes_per_s=None))
            lifted = True

    left = 1 << 40  # half a year at 64 KiB/s
    while left > 0:
        left -= governor.take(left, waiting)
    assert lifted


def test_what_waiting_raises_ends_the_wait_and_frees_the_turn(tmp_path: Path) -> None:
    governor = spec(tmp_path, 64 * KIB).open()

    def give_up() -> None:
        raise KeyboardInterrupt

    def read_much() -> None:
        for _ in range(1000):
            governor.take(64 * KIB, give_up)

    with pytest.raises(KeyboardInterrupt):
        read_much()
    assert governor.take(1, lambda: None) == 1


def test_the_limit_by_hand_is_kept_with_its_end(tmp_path: Path) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    for by_hand in (ManualLimit(bytes_per_s=100_000, until=until), ManualLimit(bytes_per_s=None)):
        limit_file(tmp_path).write(by_hand)
        assert limit_file(tmp_path).read() == by_hand
    limit_file(tmp_path).write(None)
    limit_file(tmp_path).write(None)  # safe to repeat
    assert limit_file(tmp_path).read() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"bytes_per_s": 1}', '{"bytes_per_s": "x", "until": null}', "\x00"),
        '{"bytes_per_s": Infinity, "until": null}',
        '{"bytes_per_s": 100000, "until": "0001-01-01T00:00:00+14:00"}',
        '{"bytes_per_s": -5, "until": null}',
        '{"bytes_per_s": 0, "until": null}',
        f'{{"bytes_per_s": 1{"0" * 400}, "until": null}}',
        f'{{"bytes_per_s": 1{"0" * 5000}, "until": null}}',
        f'{{"bytes_per_s": {2**63}, "until": null}}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:40],
)
def test_a_damaged_file_is_named_and_changes_no_limit(tmp_path: Path, text: str) -> None:
    governor = spec(tmp_path).open()
    limit_file(tmp_path).write(ManualLimit(bytes_per_s=100_000))
    assert governor.limit().bytes_per_s == 100_000
    limit_file(tmp_path).path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        limit_file(tmp_path).read()
    assert caught.value.code == "E_LIMIT_FILE"
    assert governor.limit().bytes_per_s == 100_000
    fresh = spec(tmp_path).open()
    assert fresh.limit().bytes_per_s == RATE


def test_a_limit_that_cannot_be_written_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError) as caught:
        LimitFile(tmp_path / "file" / "ledger.db").write(ManualLimit(bytes_per_s=100_000))
    assert caught.value.code == "E_LIMIT_FILE"


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path: Path, kind: str) -> None:
    path, outside = limit_file(tmp_path).path, tmp_path / "outside"
    outside.write_text('{"bytes_per_s": 100000, "until": null}')
    if kind == "link":
        path.symlink_to(outside)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    before = path.lstat()
    uses: list[Callable[[], object]] = [
        lambda: limit_file(tmp_path).read(),
        lambda: limit_file(tmp_path).write(ManualLimit(bytes_per_s=200_000)),
        lambda: limit_file(tmp_path).write(None),
    ]
    for use in uses:
        with pytest.raises(ConfigurationError) as caught:
            use()
        assert caught.value.code == "E_CFG_PERMISSIONS"
        command = "rmdir" if kind == "directory" else "rm"
        assert f"then: {command} {path}" in caught.value.hint
    assert path.lstat().st_ino == before.st_ino


def test_a_planted_link_does_not_decide_which_file_is_written(tmp_path: Path) -> None:
    """Root sets limits in a directory where the agent's user may put links."""
    outside = tmp_path / "outside"
    outside.write_text("mine")
    outside.chmod(0o600)
    state = tmp_path / "state"
    state.mkdir()
    if os.geteuid() == 0:
        os.chown(state, 4711, 4711)
    for name in (str(os.getpid()), "new", "tmp"):
        (state / f"ledger.db.limit.{name}").symlink_to(outside)
    limit_file(state).write(ManualLimit(bytes_per_s=100_000))
    assert outside.read_text() == "mine"
    found = outside.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.geteuid(), 0o600)
    written = limit_file(state).path.lstat()
    assert stat.S_ISREG(written.st_mode)
    assert (written.st_uid, stat.S_IMODE(written.st_mode)) == (state.stat().st_uid, 0o640)
    assert limit_file(state).read() == ManualLimit(bytes_per_s=100_000)


def test_nothing_stays_of_a_limit_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match="No space left"):
        limit_file(tmp_path).write(ManualLimit(bytes_per_s=100_000))
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_cannot_be_opened_holds_the_transfer(tmp_path: Path) -> None:
    (tmp_path / "ledger.db.rate").mkdir()
    with pytest.raises(OutageError) as caught:
        spec(tmp_path).open().take(1, lambda: None)
    assert caught.value.code == "E_RATE_FILE"
    assert caught.value.dependency == "ledger"


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 8, b"\x00" * 7 + b"\x7f"])
def test_a_bucket_with_anything_in_it_serves(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.db.rate").write_bytes(content)
    assert spec(tmp_path).open().take(1, lambda: None) == 1


def test_the_lock_is_free_again_after_each_question(tmp_path: Path) -> None:
    governor = spec(tmp_path).open()
    governor.take(1, lambda: None)
    with (tmp_path / "ledger.db.rate").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_it_travels_to_the_worker(tmp_path: Path) -> None:
    again: GovernorSpec = pickle.loads(pickle.dumps(spec(tmp_path)))  # noqa: S301 - our own
    assert isinstance(again.open(), Governor)


# ---------------------------------------------------------------- YARN applications


def granted(path: Path) -> int:
    """Bytes a second that a process started now may read."""
    return round(spec(path).open().take(1 << 40, lambda: None) / PIECE_S)


def all_of_it(most: int | None) -> int:
    return RATE if most is None else most


def test_what_an_application_was_given_is_not_this_node_s(tmp_path: Path) -> None:
    agent = spec(tmp_path).open()
    assert granted(tmp_path) == pytest.approx(RATE, rel=0.01)
    agent.reserve("bh-a-1", all_of_it)
    assert granted(tmp_path) == pytest.approx(RATE / 2, rel=0.01)
    agent.reserve("bh-b-1", all_of_it)
    assert granted(tmp_path) == pytest.approx(RATE / 4, rel=0.01)
    agent.reserve("bh-b-1", all_of_it)  # the same once more
    assert granted(tmp_path) == pytest.approx(RATE / 4, rel=0.01)
    agent.free("bh-a-1")
    assert granted(tmp_path) == pytest.approx(RATE * 3 / 4, rel=0.01)
    agent.keep("bh-a-1")  # it was seen to run all the same
    assert granted(tmp_path) == pytest.approx(RATE / 4, rel=0.01)


def test_a_running_reader_sees_an_application_come_and_go(tmp_path: Path) -> None:
    agent, reader = spec(tmp_path).open(), spec(tmp_path).open()

    def rate() -> int:
        return round(reader.take(1 << 40, lambda: None) / PIECE_S)

    agent.reserve("bh-a-1", all_of_it)
    eventually(lambda: rate() < RATE * 0.6)
    agent.free("bh-a-1")
    eventually(lambda: rate() > RATE * 0.9)


def test_an_application_without_a_limit_counts_once_there_is_one(tmp_path: Path) -> None:
    spec(tmp_path, None).open().reserve("bh-a-1", all_of_it)
    assert granted(tmp_path) == pytest.approx(RATE / 10, rel=0.01), "this node keeps a tenth"


def test_an_application_is_remembered_over_a_restart_and_kept_when_seen(tmp_path: Path) -> None:
    spec(tmp_path).open().reserve("bh-a-1", all_of_it)
    entered = Reservations(tmp_path / "ledger.db")
    assert entered.total() == RATE // 2
    rate, _ = json.loads(entered.path.read_text())["bh-a-1"]
    entered.path.write_text(json.dumps({"bh-a-1": [rate, time.time() - 1]}))
    assert entered.total() == 0, "it was not renewed in time"
    spec(tmp_path).open().keep("bh-a-1")
    assert entered.total() == RATE // 2
    spec(tmp_path).open().keep("bh-unknown")
    assert entered.total() == RATE // 2


@pytest.mark.parametrize("content", ["", "nonsense", "[]", '{"a": 1}', "[" * 100_000])
def test_damaged_reservations_are_begun_anew(tmp_path: Path, content: str) -> None:
    entered = Reservations(tmp_path / "ledger.db")
    entered.path.write_text(content)
    assert entered.total() == 0
    entered.put("bh-a-1", lambda others: 5 + others)
    assert entered.total() == 5


@pytest.mark.parametrize(
    "entry",
    [
        *("[Infinity, 9e999]", "[1e400, 9e99]", '["5", NaN]', "[-7, 9e99]", "[1, 2, 3]", "null"),
        f"[1{'0' * 400}, 9e99]",
    ],
)
def test_a_damaged_reservation_is_passed_over_and_the_others_count(
    tmp_path: Path, entry: str
) -> None:
    entered = Reservations(tmp_path / "ledger.db")
    entered.path.write_text(f'{{"bad": {entry}, "bh-a-1": [5, {time.time() + 600}]}}')
    assert entered.total() == 5
    entered.put("bh-b-1", lambda others: 1 + others)
    assert entered.total() == 11
    assert granted(tmp_path) > 0


def test_reservations_that_cannot_be_written_hold(tmp_path: Path) -> None:
    governor = GovernorSpec(ledger=str(tmp_path / "none" / "l.db"), schedule=Schedule()).open()
    with pytest.raises(OutageError) as caught:
        governor.reserve("bh-a-1", all_of_it)
    assert (caught.value.code, caught.value.dependency) == ("E_RATE_FILE", "ledger")


def test_two_that_reserve_at_once_both_count(tmp_path: Path) -> None:
    entered = [Reservations(tmp_path / "ledger.db") for _ in range(8)]

    def put(number: int) -> None:
        for round_ in range(10):
            entered[number].put(f"bh-{number}-{round_}", lambda _others: 1)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entered[0].total() == 80

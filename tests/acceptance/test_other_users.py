"""Every user gets an answer or one clear line: never a traceback, whatever may not be opened.

The commands run as another user, in a mount namespace where that user can reach the interpreter.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backhaul.adapters.ledger import open_ledger
from backhaul.core.agent_report import AgentIdentity, AgentReport
from tests.acceptance.installation import Ended
from tests.docs.manual import ROOT

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"),
    reason="needs root, setpriv and unshare",
)
OWNER, MEMBER, STRANGER = 64001, 64002, 65534  # MEMBER is in the owner's group
READERS = [("status",), ("top",), ("history",), ("show", "0"), ("verify", "0"), ("limit",)]
# A closed home directory that holds the interpreter is covered by one that holds nothing else.
SCRIPT = """set -e
closed="$1" hidden="$2" names="$3" user="$4" groups="$5"
shift 5
if [ -n "$closed" ]; then
    mount --bind "$closed" "$hidden"
    mount -t tmpfs -o mode=0755 tmpfs "$closed"
    for name in $names; do mkdir "$closed/$name"; mount --bind "$hidden/$name" "$closed/$name"; done
fi
cd /
exec setpriv --reuid="$user" --regid="$user" $groups "$@"
"""


def _closed() -> tuple[str, str]:
    """The directory above interpreter and packages that others may not enter, and what is used."""
    needed = [Path(sys.base_prefix), Path(sys.prefix), ROOT]
    for directory in {parent for path in needed for parent in path.parents}:
        if not directory.stat().st_mode & 0o001:
            inside = [path for path in needed if path.is_relative_to(directory)]
            return str(directory), " ".join(
                {path.relative_to(directory).parts[0] for path in inside}
            )
    return "", ""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may enter; pytest's own is closed."""
    made = Path(tempfile.mkdtemp(prefix="backhaul-users-"))
    made.chmod(0o755)
    (made / "hidden").mkdir()
    yield made
    shutil.rmtree(made)


Run = Callable[..., Ended]


@pytest.fixture
def run_as(place: Path) -> Run:
    """`run_as(uid, *arguments, **environment)`: any command, as that user."""
    closed, names = _closed()

    def run(uid: int, *arguments: str, **environment: str) -> Ended:
        groups = f"--groups={OWNER}" if uid == MEMBER else "--clear-groups"
        done = subprocess.run(
            [
                *("unshare", "--mount", "sh", "-c", SCRIPT, "sh"),
                *(closed, str(place / "hidden"), names, str(uid), groups),
                *(sys.executable, "-m", "backhaul", *arguments),
            ],
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": "/nonexistent",
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        ended = Ended(code=done.returncode, out=done.stdout, err=done.stderr, seconds=0)
        assert "Traceback" not in ended.out + ended.err, ended
        assert "E_BUG" not in ended.err, ended
        return ended

    return run


def a_ledger(place: Path, directory_mode: int, file_mode: int) -> Path:
    directory = place / "state"
    directory.mkdir(mode=directory_mode)
    directory.chmod(directory_mode)
    path = directory / "ledger.db"
    open_ledger(path, create=True).close()
    for each in directory.iterdir():
        os.chown(each, OWNER, OWNER)
        each.chmod(file_mode)
    os.chown(directory, OWNER, OWNER)
    return path


@pytest.mark.parametrize("arguments", READERS)
@pytest.mark.parametrize(
    ("directory_mode", "file_mode", "blocker"),
    [(0o700, 0o600, "state"), (0o700, 0o640, "state"), (0o755, 0o600, "state/ledger.db")],
)
def test_a_stranger_reads_who_may_read_it_and_how(
    place: Path,
    run_as: Run,
    arguments: tuple[str, ...],
    directory_mode: int,
    file_mode: int,
    blocker: str,
) -> None:
    path = a_ledger(place, directory_mode, file_mode)
    ended = run_as(STRANGER, *arguments, "--ledger", str(path))
    if arguments == ("limit",) and directory_mode == 0o755:
        assert ended.code == 0, "the limit is in a file of its own"
        return
    assert ended.code == 78, ended
    name = f"{path}.limit" if arguments == ("limit",) else str(path)
    code = "E_LIMIT_FILE" if arguments == ("limit",) else "E_LEDGER_DENIED"
    first, _, hint = ended.err.partition("\n\n")
    assert first == (
        f"backhaul: {code}: {name} cannot be read by user nobody: {place / blocker} has mode "
        f"{directory_mode if blocker == 'state' else file_mode:04o} and belongs to {OWNER}:{OWNER}"
    )
    assert hint == f"hint: run it as that user: sudo -u {OWNER} backhaul ...\n"


@pytest.mark.parametrize("arguments", [("status",), ("top",), ("history",), ("limit",)])
def test_a_member_of_the_group_reads_what_the_group_may_read(
    place: Path, run_as: Run, arguments: tuple[str, ...]
) -> None:
    path = a_ledger(place, 0o750, 0o640)
    ended = run_as(MEMBER, *arguments, "--ledger", str(path))
    assert (ended.code, ended.err) == (0, ""), ended
    refused = run_as(STRANGER, *arguments, "--ledger", str(path))
    assert refused.code == 78
    assert f"or join the group: usermod -aG {OWNER} nobody" in refused.err


def test_monitoring_by_a_member_of_the_group_judges_and_by_a_stranger_is_unknown(
    place: Path, run_as: Run
) -> None:
    path = a_ledger(place, 0o750, 0o640)
    ended = run_as(MEMBER, "check", "--ledger", str(path))
    assert ended.code == 2, ended
    assert ended.out.startswith("CRITICAL: Not running: no agent has worked on this ledger yet | ")
    refused = run_as(STRANGER, "check", "--ledger", str(path))
    assert refused.code == 3, refused
    assert refused.out.startswith("UNKNOWN: E_LEDGER_DENIED: ")


HIDING = """set -e
mount -t proc -o hidepid="$1" proc /proc
shift
cd /
exec "$@"
"""


@pytest.mark.parametrize("hidepid", ["0", "1", "2"])
def test_an_agent_whose_process_the_kernel_hides_is_judged_by_its_reports(
    place: Path, hidepid: str
) -> None:
    """Where processes of others are hidden, that of the agent seems to be gone."""
    path = a_ledger(place, 0o750, 0o640)
    now = datetime.now(UTC)
    with closing(open_ledger(path, create=False)) as ledger:
        identity = AgentIdentity(
            id="a",
            host="edge1",
            owner=ledger.owner.text,  # this process lives
            version="1",
            queue="q",
            region="us-east-1",
            slots=1,
            started_at=now,
        )
        ledger.beat(identity, AgentReport(at=now))
    as_member = ("setpriv", f"--reuid={MEMBER}", f"--regid={MEMBER}", f"--groups={OWNER}")
    shown = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-c", HIDING, "sh", hidepid, *as_member),
            *(sys.executable, "-m", "backhaul", "status", "--ledger", str(path)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nonexistent"},
    )
    assert shown.stdout.startswith("Running: waiting for messages\n"), shown


def test_a_new_ledger_in_a_directory_for_a_group_is_for_that_group(tmp_path: Path) -> None:
    for mode, wanted in ((0o750, 0o640), (0o700, 0o600), (0o755, 0o600), (0o770, 0o600)):
        directory = tmp_path / f"{mode:o}"
        directory.mkdir()
        directory.chmod(mode)
        open_ledger(directory / "ledger.db", create=True).close()
        for name in ("ledger.db", "ledger.db-journal"):
            assert (directory / name).stat().st_mode & 0o777 == wanted, (mode, name)


def test_a_member_reads_while_an_agent_is_in_the_middle_of_a_change(
    place: Path, run_as: Run
) -> None:
    path = a_ledger(place, 0o750, 0o640)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=TRUNCATE")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("CREATE TABLE filler (x)")
        assert path.with_name("ledger.db-journal").stat().st_size > 0
        ended = run_as(MEMBER, "history", "--ledger", str(path))
        assert (ended.code, ended.out) == (0, "no transfers yet\n"), ended
        writer.execute("ROLLBACK")


def test_a_killed_agents_unfinished_change_is_explained_to_who_may_not_roll_it_back(
    place: Path, run_as: Run
) -> None:
    path = a_ledger(place, 0o750, 0o640)
    kill_in_the_middle(path)
    ended = run_as(MEMBER, "history", "--ledger", str(path))
    assert ended.code == 69, ended
    assert "holds the unfinished change of an agent that was killed" in ended.err
    assert "start the agent" in ended.err
    assert run_as(0, "history", "--ledger", str(path)).code == 0, "who may write rolls it back"
    assert run_as(MEMBER, "history", "--ledger", str(path)).code == 0


def test_on_a_read_only_file_system_it_is_read_all_the_same(place: Path, run_as: Run) -> None:
    path = a_ledger(place, 0o755, 0o644)
    subprocess.run(["mount", "--bind", path.parent, path.parent], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", path.parent], check=True)
        for uid in (0, STRANGER):
            ended = run_as(uid, "history", "--ledger", str(path))
            assert (ended.code, ended.out) == (0, "no transfers yet\n"), ended
        ended = run_as(0, "cancel", "0mx", "--ledger", str(path))
        assert "E_NO_SUCH_TRANSFER" in ended.err
        ended = run_as(0, "limit", "50MB/s", "--ledger", str(path))
        assert ended.code == 78
        assert f"{path}.limit is on a read-only file system" in ended.err
    finally:
        subprocess.run(["umount", path.parent], check=True)


def kill_in_the_middle(path: Path) -> None:
    """As `kill -9` leaves it: a journal with pages, and no lock."""
    copy = path.with_name("copy")
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=TRUNCATE")
        writer.execute("PRAGMA cache_spill=1")
        writer.execute("PRAGMA cache_size=1")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("CREATE TABLE filler AS SELECT zeroblob(100000) AS x")
        journal = path.with_name("ledger.db-journal")
        shutil.copy2(path, copy)
        shutil.copy2(journal, f"{copy}-journal")
        writer.execute("ROLLBACK")
    for name in ("", "-journal"):
        Path(f"{copy}{name}").replace(f"{path}{name}")
        os.chown(f"{path}{name}", OWNER, OWNER)
        Path(f"{path}{name}").chmod(0o640)


def test_a_journal_that_is_closed_to_the_group_is_named_and_opened_by_the_next_start(
    place: Path, run_as: Run
) -> None:
    path = a_ledger(place, 0o750, 0o600)
    path.chmod(0o640)  # the ledger alone, as an administrator would
    ended = run_as(MEMBER, "history", "--ledger", str(path))
    assert ended.code == 78, ended
    assert f"{path}-journal cannot be read by user {MEMBER}" in ended.err
    open_ledger(path, create=False).close()
    assert run_as(MEMBER, "history", "--ledger", str(path)).code == 0


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda path: path.mkdir(), "E_LEDGER_MISSING", "is a directory"),
        (os.mkfifo, "E_LEDGER_PLACE", "is a FIFO"),
        (lambda path: path.symlink_to(path), "E_LEDGER_MISSING", "does not exist"),
        (lambda path: path.touch(), "E_LEDGER_OLDER", "has schema none"),
        (lambda path: path.write_bytes(b"no database" * 100), "E_LEDGER_CORRUPT", "is damaged"),
    ],
)
def test_what_is_no_ledger_is_named(
    place: Path, run_as: Run, make: Callable[[Path], object], code: str, words: str
) -> None:
    path = place / "ledger.db"
    make(path)
    ended = run_as(STRANGER, "show", "0", "--ledger", str(path))
    assert ended.code == 78, ended
    assert f"backhaul: {code}: " in ended.err
    assert f"{path} {words}" in ended.err.splitlines()[0]


def test_no_ledger_yet_is_not_an_empty_ledger(place: Path, run_as: Run) -> None:
    for command in ("status", "history"):
        ended = run_as(STRANGER, command, "--ledger", str(place / "ledger.db"))
        assert (ended.code, ended.out) == (0, ""), ended
        assert f"no ledger yet at {place / 'ledger.db'}" in ended.err


def test_a_closed_configuration_is_named_and_not_needed_with_the_ledgers_path(
    place: Path, run_as: Run
) -> None:
    path = a_ledger(place, 0o755, 0o644)
    config = place / "closed.toml"
    config.write_text(f'ledger = "{path}"\n')
    config.chmod(0o600)
    refused = run_as(STRANGER, "history", "--config", str(config))
    assert refused.code == 78, refused
    assert f"E_CFG_FILE: {config} cannot be read by user nobody" in refused.err
    assert "--ledger FILE" in refused.err
    ended = run_as(STRANGER, "history", "--config", str(config), "--ledger", str(path))
    assert (ended.code, ended.out) == (0, "no transfers yet\n"), ended
    assert "backhaul: warning: E_CFG_FILE" in ended.err


def test_a_user_without_a_home_is_told_so(run_as: Run) -> None:
    ended = run_as(12345, "status", HOME="")
    assert ended.code in {0, 78}, ended  # 0 where the machine has a configuration


def test_a_limit_set_by_root_can_be_read_by_the_agent(place: Path, run_as: Run) -> None:
    path = a_ledger(place, 0o700, 0o600)
    ended = run_as(0, "limit", "50MB/s", "--ledger", str(path))
    assert ended.code == 0, ended
    found = path.with_name("ledger.db.limit").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (OWNER, OWNER, 0o640)
    assert run_as(OWNER, "limit", "--ledger", str(path)).out.startswith("50.000 MB/s, by hand")


def test_a_stranger_may_not_change_what_the_owner_alone_may(place: Path, run_as: Run) -> None:
    path = a_ledger(place, 0o755, 0o644)
    limit = run_as(STRANGER, "limit", "50MB/s", "--ledger", str(path))
    assert limit.code == 78, limit
    assert f"E_LIMIT_FILE: {path}.limit cannot be written by user nobody" in limit.err
    run = run_as(STRANGER, "run", "q", "us-east-1", "--allow-any", "--ledger", str(path))
    assert run.code == 78, run
    assert f"{path} belongs to {OWNER}, who could change it" in run.err
    assert "run this as that user" in run.err


def test_a_full_disk_under_standard_output_is_a_sentence(place: Path) -> None:
    path = a_ledger(place, 0o755, 0o644)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "backhaul", "history", "--ledger", str(path)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 69
    assert done.stderr.startswith("backhaul: E_SYSTEM: No space left on device (ENOSPC)\n")


def test_a_terminal_that_is_not_utf_8_gets_escapes(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backhaul", "limit", "--ledger", str(place / "é→")],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr

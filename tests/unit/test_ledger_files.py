"""Opening: permissions, schema versions, damage, one agent per ledger."""

import os
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event

import backhaul
from backhaul.adapters.ledger import agent_lock, find_reader, open_ledger, open_reader
from backhaul.adapters.ledger.dialects.migrate import HEAD, REVISIONS
from backhaul.adapters.ledger.schema import metadata
from backhaul.adapters.ledger.sqlite import migrate
from backhaul.adapters.ledger.sqlite.engine import writing_engine
from backhaul.core.errors import (
    BackhaulError,
    ConfigurationError,
    ExitCode,
    LedgerLocked,
)
from backhaul.core.objects import Proof
from backhaul.core.outlook.expectation import Arrived
from backhaul.core.ports import MessageKey
from tests.children import child
from tests.contract.test_ledger import begin, fail, finished, planned

pytestmark = pytest.mark.slow  # each test opens ledgers in processes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger %3F#.sqlite"  # a name that a URI has to quote


def make(path: Path) -> str:
    ledger = open_ledger(path, create=True)
    ledger.close()
    return ledger.ledger_id


def test_new_ledger_is_for_its_owner_only(path: Path) -> None:
    make(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.with_name(path.name + "-journal").stat().st_mode) == 0o600


def test_a_name_may_have_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.db")
    made = make(path)
    assert path.is_file()
    assert make(path) == made
    with closing(open_reader(path)) as reader:
        assert reader.history() == []


def test_ledger_keeps_its_id_and_gets_another_in_another_file(path: Path) -> None:
    first = make(path)
    assert make(path) == first
    assert make(path.with_name("other")) != first


def test_connection_is_set_for_power_cuts(path: Path) -> None:
    ledger = open_ledger(path, create=True)
    with ledger._transaction() as tx:
        settings = {
            name: tx.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
    ledger.close()
    assert settings == {
        "journal_mode": "truncate",
        "synchronous": 3,  # EXTRA
        "busy_timeout": 30_000,
        "foreign_keys": 1,
    }


@pytest.mark.parametrize("opens", [open_reader, lambda path: open_ledger(path, create=False)])
def test_missing_ledger_is_refused_and_not_made(path: Path, opens: object) -> None:
    with pytest.raises(ConfigurationError, match="E_LEDGER_MISSING"):
        opens(path)  # type: ignore[operator]
    assert not path.exists()


def test_directory_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="E_LEDGER_MISSING"):
        open_ledger(tmp_path, create=True)


def uses(path: Path) -> list[Callable[[], object]]:
    return [
        *(lambda: open_ledger(path, create=True), lambda: open_reader(path)),
        *(lambda: find_reader(path), lambda: ExitStack().enter_context(agent_lock(path))),
    ]


@pytest.mark.parametrize("rest", ["ledger", "deeper/ledger"])
def test_no_ledger_can_be_below_a_file(tmp_path: Path, rest: str) -> None:
    (tmp_path / "state").write_text("")
    for use in uses(tmp_path / "state" / rest):
        with pytest.raises(ConfigurationError, match="E_LEDGER_PLACE") as caught:
            use()
        assert f"{tmp_path / 'state'} is no directory" in caught.value.message


@pytest.mark.parametrize("name", ["a" * 300, "a" * 250])
def test_a_name_too_long_is_no_outage(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"E_LEDGER_PLACE.*too long"):
        open_ledger(tmp_path / name, create=True)


def test_a_directory_that_cannot_be_made_is_no_outage() -> None:
    with pytest.raises(ConfigurationError, match=r"E_LEDGER_PLACE.*/proc/x: No such file"):
        open_ledger(Path("/proc/x/ledger.db"), create=True)


def test_links_in_a_circle_are_no_outage(tmp_path: Path) -> None:
    (tmp_path / "ledger").symlink_to(tmp_path / "ledger")
    with pytest.raises(ConfigurationError, match="is a symbolic link"):
        open_ledger(tmp_path / "ledger", create=True)


@pytest.mark.parametrize("kind", ["device", "FIFO", "directory"])
def test_what_is_there_and_is_no_file_is_not_to_be_removed(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/null") if kind == "device" else tmp_path / "ledger"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    for use in uses(path):
        with pytest.raises(ConfigurationError) as caught:
            use()
        assert f"is a {kind}" in caught.value.message
        code = "E_LEDGER_MISSING" if kind == "directory" else "E_LEDGER_PLACE"
        assert caught.value.code == code
        assert not re.search(r"\brm(dir)? ", caught.value.hint)
    assert not path.with_name(f"{path.name}.lock").exists()


def test_forbidden_directory_stops_the_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root, who runs tests in CI, is never refused
    with pytest.raises(ConfigurationError, match="E_LEDGER_DENIED"):
        open_ledger(path, create=True)


# ---------------------------------------------------------------- schema


def restamp(path: Path, revision: str | None) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DELETE FROM alembic_version")
        if revision:
            connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    connection.close()


def test_migrations_make_the_tables_of_the_schema(path: Path) -> None:
    make(path)
    engine = writing_engine(path)
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_tables_are_stored_under_their_keys(path: Path) -> None:
    make(path)
    connection = sqlite3.connect(path)
    tables = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
    found = {name for name, sql in tables if "WITHOUT ROWID" in sql}
    connection.close()
    assert found == {
        *("transfers", "destinations", "objects", "published", "litter"),
        *("sequencers", "nonces", "jobs", "agents", "activity", "paused_routes"),
        *("reconcile_sent", "reconciliations", "members"),
        *("expectations", "egress", "endings", "completion_markers", "replies"),
        "packed_paths",
        *("budget_warnings", "route_starts", "rate_shares", "byte_rates"),
    }


def make_of_revision(path: Path, revision: str) -> None:
    """A ledger as an older program left it."""
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o600)
    config = Config()
    config.set_main_option("script_location", str(Path(backhaul.__file__).parent / "migrations"))
    engine = writing_engine(path)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def test_ledger_of_the_first_version_is_migrated_with_what_it_holds(path: Path) -> None:
    make_of_revision(path, "0001")
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "INSERT INTO transfers (id, source, destination, state, attempt, failures,"
            " source_changes, plan_complete, renames_possible, objects_planned, bytes_planned,"
            " markers, first_seen_at, updated_at)"
            " VALUES ('t1', 's', 'd', 'done', 1, 0, 0, 1, 0, 1, 1, 0, 1, 1)"
        )
    connection.close()
    open_ledger(path, create=False).close()
    reader = open_reader(path)
    (row,) = reader.history()
    reader.close()
    assert (row.id, row.policy) == ("t1", None)


def test_ledger_before_bodies_and_letters_is_migrated_with_what_it_holds(path: Path) -> None:
    make_of_revision(path, "0007")
    key = MessageKey(queue="q", message_id="m", body_digest="a" * 64)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "INSERT INTO transfers (id, queue, message_id, source, destination, state, attempt,"
            " failures, source_changes, plan_complete, renames_possible, objects_planned,"
            " bytes_planned, markers, code, first_seen_at, updated_at)"
            " VALUES ('t1', 'q', 'm', 's', 'd', 'dead', 1, 1, 0, 0, 0, 0, 0, 0, 'E_X', 1, 1)"
        )
    connection.close()
    ledger = open_ledger(path, create=False)
    begun = ledger.begin(key, "t2", "s", "d", datetime(2026, 11, 22, tzinfo=UTC))
    ledger.close()
    assert (begun.transfer_id, begun.was_changed, begun.has_dead_letter) == ("t1", False, False)


def test_deadlines_of_a_ledger_before_calendars_are_kept_and_have_none(path: Path) -> None:
    make_of_revision(path, "0013")
    connection = sqlite3.connect(path)
    with connection:
        connection.executemany(
            "INSERT INTO expectations (route, name, deadline, due, place, state, objects,"
            " size_bytes, transfers) VALUES ('r', 'daily', ?, 'd', 'p', ?, 3, 4, 5)",
            [(2, "missed"), (3, "due")],
        )
    connection.close()
    open_ledger(path, create=False).close()
    with closing(open_reader(path)) as reader:
        found = reader.expectations()
    assert [one.state.value for one in found] == ["due", "missed"]
    for one in found:
        assert (one.calendar, one.found) == ("", Arrived(objects=3, size_bytes=4, transfers=5))


def test_revisions_are_those_of_the_directory() -> None:
    directory = ScriptDirectory(str(Path(backhaul.__file__).parent / "migrations"))
    assert [script.revision for script in directory.walk_revisions()][::-1] == list(REVISIONS)
    assert directory.get_current_head() == HEAD


def test_newer_ledger_is_refused_and_left_alone(path: Path) -> None:
    make(path)
    restamp(path, "9999")
    before = path.read_bytes()
    for opens in (open_reader, lambda path: open_ledger(path, create=True)):
        with pytest.raises(ConfigurationError, match="E_LEDGER_NEWER"):
            opens(path)
    assert path.read_bytes() == before


def test_reader_does_not_migrate(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with pytest.raises(ConfigurationError, match="E_LEDGER_OLDER"):
        open_reader(path)
    assert path.stat().st_size == 0


def test_killed_first_start_is_made_good(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    assert make(path)


def contents(path: Path) -> tuple[list[tuple[str, str, str]], dict[str, list[Any]]]:
    """Every table and index with its statement, without regard to blanks; and all rows."""
    with closing(sqlite3.connect(path)) as connection:
        found = [
            (kind, name, " ".join((sql or "").split()))
            for kind, name, sql in connection.execute(
                "SELECT type, name, sql FROM sqlite_master ORDER BY rowid"
            )
        ]
        tables = [name for kind, name, _ in found if kind == "table"]
        rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}  # noqa: S608
    return found, rows


def test_a_new_ledger_is_what_the_migrations_make(path: Path) -> None:
    """If this fails after a new migration: run scripts/make_ledger_schema.py."""
    make(path)
    migrated = path.parent / "by-steps" / "ledger.db"
    make_of_revision(migrated, HEAD)
    (tables, rows), (expected_tables, expected_rows) = contents(path), contents(migrated)
    assert tables == expected_tables
    meta: dict[str, str] = dict(rows.pop("meta"))
    expected_meta: dict[str, str] = dict(expected_rows.pop("meta"))
    assert rows == expected_rows
    assert list(meta) == list(expected_meta)
    for name in ("ledger_id", "sealed_from_us"):  # drawn, and the time
        one, other = meta.pop(name), expected_meta.pop(name)
        assert one != other
        assert len(one) == len(other)
    assert meta == expected_meta


def test_two_processes_may_make_a_ledger_at_once(path: Path) -> None:
    """The second finds the tables between its look and its write lock."""
    path.parent.mkdir()
    path.touch(mode=0o600)
    engine = writing_engine(path)
    assert migrate._made(engine)
    before = contents(path)
    assert not migrate._made(engine)
    engine.dispose()
    assert contents(path) == before


def test_alembic_is_not_imported_for_a_new_ledger_or_one_of_this_schema(path: Path) -> None:
    code = (
        "import sys, pathlib; from backhaul.adapters.ledger import open_ledger;"
        "open_ledger(pathlib.Path(sys.argv[1]), create=True).close();"
        "print('alembic' in sys.modules)"
    )
    argv = [sys.executable, "-c", code, str(path)]
    answers = [
        subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
        for _ in range(2)
    ]
    assert answers == ["False", "False"]


def test_no_statement_needs_a_newer_sqlite_than_enterprise_linux_has(path: Path) -> None:
    ledger = open_ledger(path, create=True)
    seen: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        seen.append(statement.upper())

    event.listen(ledger._engine, "before_cursor_execute", note)
    finished(ledger, "t1", planned(0), planned(1))
    begin(ledger, "t2")
    fail(ledger, "t2")
    ledger.close()
    assert any("ON CONFLICT" in statement for statement in seen)
    for statement in seen:
        assert "RETURNING" not in statement
        assert " FROM " not in statement.split("WHERE")[0] or "UPDATE" not in statement[:6]


# ---------------------------------------------------------------- damage


def test_text_file_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a database\n" * 100)
    for opens in (open_reader, lambda path: open_ledger(path, create=True)):
        with pytest.raises(ConfigurationError, match="E_LEDGER_CORRUPT"):
            opens(path)
    assert path.read_text() == "not a database\n" * 100


def test_other_programs_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(ConfigurationError, match="E_LEDGER_CORRUPT"):
        open_ledger(path, create=True)


def test_damaged_page_is_found_at_start(path: Path) -> None:
    make(path)
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(os.urandom(4096))
    with pytest.raises(ConfigurationError, match="E_LEDGER_CORRUPT"):
        open_ledger(path, create=True)


# ---------------------------------------------------------------- one agent


def test_second_agent_is_refused_until_later(path: Path) -> None:
    with agent_lock(path):
        with pytest.raises(LedgerLocked, match="E_LEDGER_IN_USE") as caught, agent_lock(path):
            pass
        assert str(os.getpid()) in caught.value.message
        assert caught.value.exit_code is ExitCode.LOCKED
        assert "two ledgers must not share them" in caught.value.hint
        assert "a ledger of its own" not in caught.value.hint
    with agent_lock(path):
        pass


def test_lock_goes_with_its_process(path: Path) -> None:
    code = (
        "import sys, pathlib; from backhaul.adapters.ledger import agent_lock\n"
        "with agent_lock(pathlib.Path(sys.argv[1])): print('held', flush=True); input()"
    )
    with child(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LedgerLocked, match=f"pid {holder.pid}"), agent_lock(path):
            pass
        holder.kill()
        holder.wait()
        with agent_lock(path):
            pass


def test_proofs_of_an_older_ledger_keep_their_meaning_under_their_new_names(path: Path) -> None:
    make_of_revision(path, "0001")
    engine = writing_engine(path)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO transfers (id, source, destination, directory, state, attempt, failures,"
            " source_changes, plan_complete, renames_possible, objects_planned, bytes_planned,"
            " markers, first_seen_at, updated_at, finished_at)"
            " VALUES ('t1', 's', 'd', 'file:///d', 'done', 1, 0, 0, 1, 0, 3, 3, 0, 1, 1, 1)"
        )
        for seq, proof in enumerate(("stored", "reread", "stream")):
            connection.exec_driver_sql(
                "INSERT INTO objects (transfer_id, seq, bucket, key, etag, size_bytes,"
                " last_modified, relative, epoch, crc32c, proof)"
                " VALUES ('t1', ?, 'b', 'k', 'e', 1, 1, 'r', 1, ?, ?)",
                (seq, f"0000000{seq}", proof),
            )
    engine.dispose()
    open_ledger(path, create=False).close()

    reader = open_reader(path)
    staged = [row.staged for row in reader.objects("t1")]
    assert [
        one and (one.proof, one.checksum_source, one.target_checksum and one.target_checksum.hex)
        for one in staged
    ] == [
        (Proof.REREAD, "read", "00000000"),
        (Proof.RECEIVED, "read", "00000001"),
        (Proof.STREAM, "", None),
    ]
    # It ended before there were sealing lines, so none is missing.
    assert (reader.ended_with_files(), list(reader.unsealed())) == (["t1"], [])
    reader.close()


# ---------------------------------------------------------------- whose files they are

BESIDE = ["", "-journal", "-wal", "-shm", ".lock", ".limit", ".rate", ".reserved", ".reserved.lock"]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to a stranger")


def beside(path: Path, name: str) -> Path:
    """The ledger, or a file beside it that is there."""
    make(path)
    file = path.with_name(f"{path.name}{name}")
    if not file.exists():
        file.touch(0o600)
    return file


def opens(path: Path) -> list[Callable[[], object]]:
    """The ways in which an agent comes to rely on these files."""
    return [
        lambda: open_ledger(path, create=True).close(),
        lambda: ExitStack().enter_context(agent_lock(path)),
    ]


def refusals(path: Path) -> list[ConfigurationError]:
    found = []
    for use in opens(path):
        with pytest.raises(ConfigurationError) as caught:
            use()
        assert caught.value.code == "E_CFG_PERMISSIONS"
        assert caught.value.exit_code is ExitCode.CONFIGURATION
        found.append(caught.value)
    return found


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("mode", [0o666, 0o622, 0o602, 0o660, 0o620])
def test_a_file_that_others_may_write_is_refused_with_its_fix(
    path: Path, name: str, mode: int
) -> None:
    file = beside(path, name)
    file.chmod(mode)
    for error in refusals(path):
        assert f"{file} can be written by others (mode {mode:04o})" in error.message
        assert error.hint == f"chmod go-w {file}"
    file.chmod(mode & ~0o022)
    for use in opens(path):
        use()


@as_root
@pytest.mark.parametrize("name", BESIDE)
def test_a_strangers_file_is_refused(path: Path, name: str) -> None:
    file = beside(path, name)
    os.chown(file, 4711, 4711)
    for error in refusals(path):
        assert f"{file} belongs to 4711" in error.message
        assert f"chown root {file}" in error.hint


@pytest.mark.parametrize("name", [one for one in BESIDE if one])
def test_a_link_beside_the_ledger_is_refused_and_left_alone(
    path: Path, tmp_path: Path, name: str
) -> None:
    """In a directory that everybody may write it decides which file the agent overwrites."""
    file, outside = beside(path, name), tmp_path / "outside"
    outside.write_text("mine")
    file.unlink()
    file.symlink_to(outside)
    for error in refusals(path):
        assert f"{file} is a symbolic link" in error.message
    assert outside.read_text() == "mine"


@as_root
def test_a_strangers_link_to_a_ledger_is_not_followed(path: Path, tmp_path: Path) -> None:
    make(path)
    link = tmp_path / "ledger.db"
    link.symlink_to(path)
    os.chown(link, 4711, 4711, follow_symlinks=False)
    assert "symbolic link of 4711" in refusals(link)[0].message
    fresh = tmp_path / "fresh.db"
    fresh.symlink_to(tmp_path / "elsewhere.db")
    os.chown(fresh, 4711, 4711, follow_symlinks=False)
    refusals(fresh)
    assert not (tmp_path / "elsewhere.db").exists()


@as_root
def test_root_cancels_on_a_services_ledger_and_works_on_none_of_it(path: Path) -> None:
    make(path)
    for file in (path.parent, *path.parent.iterdir()):
        os.chown(file, 4711, 4711)
    open_ledger(path, create=False).close()
    refusals(path)


def test_a_group_may_read_a_ledger(path: Path) -> None:
    make(path)
    path.chmod(0o640)
    path.parent.chmod(0o750)
    for use in opens(path):
        use()
    assert stat.S_IMODE(path.with_name(f"{path.name}-journal").stat().st_mode) == 0o640


@as_root
def test_a_reader_does_not_roll_back_a_strangers_journal(path: Path) -> None:
    journal = beside(path, "-journal")
    journal.write_bytes(b"x" * 512)
    os.chown(journal, 4711, 4711)
    with pytest.raises(ConfigurationError, match="E_CFG_PERMISSIONS"):
        open_reader(path)


def test_the_journal_is_there_before_sqlite_looks_for_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else somebody else's would be taken for one of an agent that was killed."""
    seen: list[bool] = []
    real = writing_engine

    def note(of: Path, *, busy_timeout_s: float) -> Engine:
        seen.append(of.with_name(f"{of.name}-journal").exists())
        return real(of, busy_timeout_s=busy_timeout_s)

    monkeypatch.setattr("backhaul.adapters.ledger.opening.files.writing_engine", note)
    make(path)
    assert seen == [True]


@as_root
@pytest.mark.parametrize("kind", ["symbolic link", "hard link"])
def test_a_file_in_the_journals_place_keeps_owner_and_mode(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Root cancels on a service's ledger, whose user may swap the journal after it was checked."""
    make(path)
    for file in (path.parent, *path.parent.iterdir()):
        os.chown(file, 4711, 4711)
    path.chmod(0o640)
    outside, journal = tmp_path / "outside", path.with_name(f"{path.name}-journal")
    outside.touch(0o600)

    def swap(_path: Path, *, is_agent: bool) -> None:
        assert not is_agent
        journal.unlink(missing_ok=True)
        if kind == "hard link":
            os.link(outside, journal)
        else:
            journal.symlink_to(outside)

    monkeypatch.setattr("backhaul.adapters.ledger.opening.files.check_trust", swap)
    with suppress(BackhaulError):
        open_ledger(path, create=False).close()
    found = outside.stat()
    assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0o600)


# ---------------------------------------------------------------- two names of one file


@pytest.mark.parametrize("kind", ["hard link", "symbolic link", "link of a directory"])
def test_a_second_agent_under_another_name_is_refused(
    path: Path, tmp_path: Path, kind: str
) -> None:
    make(path)
    other = tmp_path / "other.db"
    if kind == "hard link":
        os.link(path, other)
    elif kind == "symbolic link":
        other.symlink_to(path)
    else:
        (tmp_path / "elsewhere").symlink_to(path.parent)
        other = tmp_path / "elsewhere" / path.name
    for first, second in ((path, other), (other, path)):
        with agent_lock(first):
            with pytest.raises(LedgerLocked, match="E_LEDGER_IN_USE") as caught:
                ExitStack().enter_context(agent_lock(second))
            assert f"pid {os.getpid()}" in caught.value.message
        with agent_lock(second):
            pass


def test_two_names_of_a_ledger_that_is_not_there_yet(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    other = tmp_path / "other.db"
    other.symlink_to(path)
    with agent_lock(other), pytest.raises(LedgerLocked, match="E_LEDGER_IN_USE"):
        ExitStack().enter_context(agent_lock(path))
    assert not path.exists(), "no agent came as far as a ledger"


def test_locks_of_sqlite_outlive_the_second_agents_attempt(path: Path) -> None:
    """Closing any descriptor of a file drops the fcntl locks of its process, of SQLite's too."""
    with agent_lock(path):
        ledger = open_ledger(path, create=True)
        with ledger._transaction():
            with pytest.raises(LedgerLocked):
                ExitStack().enter_context(agent_lock(path))
            code = "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1], timeout=0)"
            begin = "connection.execute('BEGIN IMMEDIATE')"
            argv = [sys.executable, "-c", f"{code}; {begin}", str(path)]
            ran = subprocess.run(argv, check=False, capture_output=True, text=True)
            assert "database is locked" in ran.stderr
        ledger.close()

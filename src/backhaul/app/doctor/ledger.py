"""Probes of the ledger: its place, who may change it, its schema, its pages, its disk's syncs."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

from backhaul.access import described, is_there, may_write, refusal, user_name
from backhaul.adapters.ledger import find_reader, standbys_of
from backhaul.adapters.ledger.opening.places import connected
from backhaul.adapters.ledger.sqlite.examining import check_pages, has_write_ahead_log
from backhaul.adapters.ledger.sqlite.trust import check_trust
from backhaul.adapters.system.trusted_files import check_ledger_directory
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State, from_error
from backhaul.app.doctor.fixes import place_of_its_own
from backhaul.core.errors import BackhaulError, ConfigurationError, ExitCode
from backhaul.core.ports.ledger_place import PostgresUrl
from backhaul.core.units import human_bytes

CHECKED_MOST_BYTES = 256 << 20  # some seconds; a larger file is left to a command
SLOW_SYNC_S = 0.1
SLOW_TRIP_S = 0.02
AGENT_CONNECTIONS = 7  # one that writes, one for its counter, five for readers
_SYNCS = 5
_PERSISTENT = "name a directory on a persistent local disk:"


def place(context: DoctorContext) -> Iterator[Finding]:
    """On a local disk that stays, in a directory that not everyone may write."""
    path = context.settings.ledger_place
    if isinstance(path, PostgresUrl):
        yield Finding("ledger.place", str(path), State.OK, "it is on PostgreSQL")
        return
    try:
        volatile = check_ledger_directory(path)
    except ConfigurationError as error:
        fix = (
            (_PERSISTENT, 'ledger = "/var/lib/backhaul/ledger.db"')
            if error.code == "E_LEDGER_PLACE"
            else ()
        )
        yield from_error("ledger.place", str(path), error, fix=fix)
        return
    if volatile:
        yield Finding(
            "ledger.place",
            str(path),
            State.WARNING,
            f"it is on {volatile}: its records are lost with this machine or container",
            code="W_LEDGER_VOLATILE",
            fix=(_PERSISTENT, 'ledger = "/var/lib/backhaul/ledger.db"'),
        )
        return
    yield Finding("ledger.place", str(path), State.OK, "it is on a local disk")


def owner(context: DoctorContext) -> Iterator[Finding]:
    """Its owner alone may change it, and is the user of this process, as of the agent."""
    path = context.settings.ledger_place
    if isinstance(path, PostgresUrl):
        return
    try:
        check_trust(path, is_agent=False)
    except ConfigurationError as error:
        yield from_error("ledger.owner", str(path), error)
        return
    directory = path.parent
    while not is_there(directory) and directory != directory.parent:
        directory = directory.parent
    mine = path if is_there(path) else directory
    uid = mine.stat().st_uid
    if is_there(path) and uid != os.geteuid():
        name = user_name(uid)
        yield Finding(
            "ledger.owner",
            str(path),
            State.WARNING,
            f"it belongs to {name}, and this is user {user_name()}: what the agent may do is "
            "probed as its own user alone",
            fix=(context.as_user(name),),
        )
        return
    if not may_write(mine) or not may_write(directory):
        message, hint = refusal(path, "written")
        yield Finding(
            "ledger.owner",
            str(path),
            State.FAILED,
            message,
            code="E_LEDGER_DENIED",
            fix=(*_giving(path), *hint.splitlines()),
            exit_code=ExitCode.CONFIGURATION,
        )
        return
    yield Finding("ledger.owner", str(path), State.OK, described(mine))


def _giving(path: Path) -> tuple[str, ...]:
    """Lets this user write the ledger; a directory that may be others', such as /var/lib, stays."""
    if is_there(path):
        owned = path if may_write(path.parent) else path.parent
        return (f"sudo chown {user_name()} {quote(str(owned))}",)
    return place_of_its_own(path, "ledger")


def schema(context: DoctorContext) -> Iterator[Finding]:
    """Of this version; and its pages, where reading all of them takes seconds at most."""
    path = context.settings.ledger_place
    try:
        reader = find_reader(path, busy_timeout_s=5.0)
        if reader is None:
            text = "it does not exist yet; the agent makes it at its first start"
            yield Finding("ledger.schema", str(path), State.OK, text)
            return
        reader.close()
    except BackhaulError as error:
        fixes = {} if isinstance(path, PostgresUrl) else _FIXES  # the hint has the command
        yield from_error("ledger.schema", str(path), error, fix=fixes.get(error.code, ()))
        return
    if isinstance(path, PostgresUrl):
        yield Finding("ledger.schema", str(path), State.OK, "it has this version's schema")
        return
    size_bytes = path.stat().st_size
    text = f"it has this version's schema, {human_bytes(size_bytes)}"
    yield Finding("ledger.schema", str(path), State.OK, text)
    yield from _pages(path, size_bytes)
    if has_write_ahead_log(path):
        yield Finding(
            "ledger.journal",
            str(path),
            State.WARNING,
            "someone switched it to WAL; the agent switches back at its start",
            fix=(
                "with the agent stopped:",
                f"sqlite3 {quote(str(path))} 'PRAGMA journal_mode=TRUNCATE'",
            ),
        )


_FIXES = {
    "E_LEDGER_OLDER": (
        "systemctl start backhaul",
        "the agent of this version migrates it at its start; make a copy before",
    ),
}


def _pages(path: Path, size_bytes: int) -> Iterator[Finding]:
    if size_bytes > CHECKED_MOST_BYTES:
        yield Finding(
            "ledger.pages",
            str(path),
            State.SKIPPED,
            f"reading {human_bytes(size_bytes)} takes long",
            fix=(f"sqlite3 -readonly {quote(str(path))} 'PRAGMA quick_check'",),
        )
        return
    try:
        check_pages(path)
    except BackhaulError as error:
        yield from_error("ledger.pages", str(path), error)
        return
    yield Finding("ledger.pages", str(path), State.OK, "its pages are whole")


def syncs(context: DoctorContext) -> Iterator[Finding]:
    """How long its disk takes to make a small write durable; of a file that is removed again."""
    path = context.settings.ledger_place
    if isinstance(path, PostgresUrl):
        return
    directory = path.parent
    if not is_there(directory) or not may_write(directory):
        return
    took_s = statistics.median(_durable_writes(directory))
    text = f"a write is durable after {took_s * 1000:.0f} ms"
    if took_s < SLOW_SYNC_S:
        yield Finding("ledger.sync", str(directory), State.OK, text)
        return
    yield Finding(
        "ledger.sync",
        str(directory),
        State.WARNING,
        f"{text}: each step of each transfer waits for that",
        fix=("see what else writes to this disk: iostat -x 5", "or put the ledger on another one"),
    )


def _durable_writes(directory: Path) -> list[float]:
    found = []
    with tempfile.TemporaryFile(dir=directory, prefix=".backhaul-doctor-") as file:
        for _ in range(_SYNCS):
            begun_s = time.monotonic()
            file.write(b"0" * 4096)
            file.flush()
            os.fsync(file.fileno())
            found.append(time.monotonic() - begun_s)
    return found


def agents(context: DoctorContext) -> Iterator[Finding]:
    """Which agents run on this ledger; neither one nor none is a fault."""
    try:
        reader = find_reader(context.settings.ledger_place, busy_timeout_s=5.0)
        if reader is None:
            return
        with closing(reader):
            now = datetime.now(UTC)
            alive = [one.record for one in reader.agents() if one.is_alive(now)]
    except BackhaulError:
        return  # `schema` has reported it
    if not alive:
        yield Finding("agent.running", "", State.OK, "no agent runs on this ledger")
    for record in alive:
        who = record.identity
        yield Finding(
            "agent.running",
            who.host,
            State.OK,
            f"an agent works {who.queue}, version {who.version}, since "
            f"{who.started_at:%Y-%m-%d %H:%M UTC}",
        )


def server(context: DoctorContext) -> Iterator[Finding]:
    """How far PostgreSQL is, that it takes writes, and how many connections it has left."""
    url = context.settings.ledger_place
    if not isinstance(url, PostgresUrl):
        return
    try:
        found = connected(url)
    except BackhaulError:
        return  # `schema` has reported it
    trip = f"a round trip takes {found.trip_s * 1000:.1f} ms"
    text = f"login took {found.login_s * 1000:.0f} ms, it takes writes, and {trip}"
    if found.trip_s < SLOW_TRIP_S:
        yield Finding("ledger.server", str(url), State.OK, text)
    else:
        yield Finding(
            "ledger.server",
            str(url),
            State.WARNING,
            f"{text}: all agents together write one after the other, and wait for some each time",
            fix=("run PostgreSQL nearer to the agents, or the agents nearer to PostgreSQL",),
        )
    left = f"{found.left} of {found.most} connections are left"
    if found.left >= AGENT_CONNECTIONS:
        yield Finding("ledger.connections", str(url), State.OK, left)
        return
    yield Finding(
        "ledger.connections",
        str(url),
        State.WARNING,
        f"{left}, and an agent with its readers may have {AGENT_CONNECTIONS}",
        code="E_LEDGER_CONNECTIONS",
        fix=(
            "raise max_connections and restart PostgreSQL, or the database's limit:",
            "ALTER DATABASE … CONNECTION LIMIT -1",
            "or put PgBouncer in transaction mode between",
        ),
    )


def standbys(context: DoctorContext) -> Iterator[Finding]:
    """Whether a failover of PostgreSQL may lose commits, or a COMMIT wait without end."""
    try:
        found = standbys_of(context.settings.ledger_place)
    except BackhaulError:
        return  # `schema` has reported it
    if found is None:
        return
    states = {"": State.OK, "W_LEDGER_ASYNC": State.WARNING, "E_LEDGER_STANDBY": State.FAILED}
    yield Finding(
        "ledger.standbys",
        str(context.settings.ledger_place),
        states[found.code],
        found.sentence,
        code=found.code,
        fix=found.fix,
    )


PROBES = (place, owner, schema, syncs, server, standbys, agents)

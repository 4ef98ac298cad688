"""Planted faults of configuration, machine and ledger: which check finds each, with which fix."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from backhaul.adapters.ledger import Owner, open_ledger
from backhaul.adapters.system import trusted_files
from backhaul.app.doctor import configuration, ledger, machine
from backhaul.app.doctor.context import read_context
from backhaul.app.doctor.finding import Finding, State
from backhaul.app.doctor.probes import Section
from backhaul.app.doctor.run import examine
from backhaul.core.agent_report import AgentIdentity, AgentReport

SECTIONS = (
    Section("config", configuration.PROBES),
    Section("machine", machine.PROBES),
    Section("ledger", ledger.PROBES),
)
CONFIGURATION = """
ledger = "DIR/state/ledger.db"
log = { file = "DIR/backhaul.log" }
[[route]]
name = "landing"
source = ["s3://acme-raw/click/"]
destination = ["file://DIR/landing/"]
"""


@dataclass(frozen=True, kw_only=True)
class Node:
    """An installation on this machine."""

    home: Path
    patch: pytest.MonkeyPatch
    allows_any: list[bool]

    @property
    def config(self) -> Path:
        return self.home / "backhaul.toml"

    @property
    def ledger(self) -> Path:
        return self.home / "state" / "ledger.db"

    def add(self, text: str) -> None:
        with self.config.open("a") as file:
            file.write(text.replace("DIR", str(self.home)))

    def sql(self, statement: str) -> None:
        connection = sqlite3.connect(self.ledger)
        connection.execute(statement).fetchall()
        connection.commit()
        connection.close()

    def examined(self) -> list[Finding]:
        context = read_context(config=self.config, allow_any=bool(self.allows_any))
        context = replace(context, arguments=("q", "--config", "a b"))
        return [one for _, one in examine(context, SECTIONS)]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """All is well, until a test plants a fault."""
    for name in os.environ:
        if name.startswith("BACKHAUL_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(trusted_files, "filesystem_type", lambda *_: "ext4")
    monkeypatch.setattr(machine, "_UNITS", ())
    monkeypatch.setattr(ledger, "_durable_writes", lambda _directory: [0.002])
    _statvfs(monkeypatch, free_bytes=50 << 30, free_inodes=1_000_000)
    _limit(monkeypatch, 65_536)
    made = Node(home=tmp_path, patch=monkeypatch, allows_any=[])
    made.add(CONFIGURATION)
    made.config.chmod(0o600)
    open_ledger(made.ledger, create=True).close()
    return made


def _statvfs(patch: pytest.MonkeyPatch, *, free_bytes: int, free_inodes: int) -> None:
    found = SimpleNamespace(
        f_bavail=free_bytes >> 12, f_frsize=4096, f_files=2_000_000, f_favail=free_inodes
    )
    patch.setattr(os, "statvfs", lambda _path: found)


def _limit(patch: pytest.MonkeyPatch, files: int) -> None:
    patch.setattr(resource, "getrlimit", lambda _which: (files, files))


def not_well(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if one.state in {State.WARNING, State.FAILED}]


def test_all_is_well_and_nothing_false_is_found(node: Node) -> None:
    findings = node.examined()
    assert not_well(findings) == []
    assert {one.check for one in findings} == {
        *("config.load", "config.routes", "system.versions", "limits.open_files", "disk.space"),
        *("disk.inodes", "log.file", "ledger.place", "ledger.owner", "ledger.schema"),
        *("ledger.pages", "ledger.sync", "agent.running"),
    }


def test_nothing_is_left_behind(node: Node) -> None:
    node.patch.undo()
    before = {path: path.stat().st_mtime_ns for path in node.home.rglob("*")}
    node.examined()
    assert {path: path.stat().st_mtime_ns for path in node.home.rglob("*")} == before


def test_a_ledger_that_does_not_exist_yet_is_no_fault(node: Node) -> None:
    node.ledger.unlink()
    assert not_well(node.examined()) == []
    assert not node.ledger.exists()


def test_a_directory_above_that_of_the_ledger_is_never_given_away(node: Node) -> None:
    node.patch.setattr(ledger, "may_write", lambda _path: False)
    shutil.rmtree(node.ledger.parent)
    (denied,) = not_well(node.examined())
    assert denied.check == "ledger.owner"
    assert denied.fix[0].startswith("sudo install -d -o ")
    assert denied.fix[0].endswith(f" -m 0750 {node.ledger.parent}")


def test_an_agent_that_runs_here_names_the_queue(node: Node) -> None:
    """Where the command line names none; and is no fault."""
    now = datetime.now(UTC)
    identity = AgentIdentity(
        id="a",
        host="edge1",
        owner=Owner.current().text,
        version="1",
        queue="orders",
        region="eu-west-1",
        slots=4,
        started_at=now,
    )
    with closing(open_ledger(node.ledger, create=False)) as written:
        written.beat(identity, AgentReport(at=now), has_ended=False)
    context = read_context(config=node.config)
    assert (context.queue, context.region) == ("orders", "eu-west-1")
    named = read_context(config=node.config, queue="mine", region="us-east-1")
    assert (named.queue, named.region) == ("mine", "us-east-1")
    findings = node.examined()
    assert not_well(findings) == []
    assert "an agent works orders" in next(
        one.text for one in findings if one.check == "agent.running"
    )


@dataclass(frozen=True)
class OnNode:
    """A fault, the check that must not be well, and words that its fix must have."""

    name: str
    plant: Callable[[Node], object]
    check: str
    words: tuple[str, ...]
    state: State = State.FAILED
    exit_code: int = 0


def damage(node: Node) -> None:
    """The page of a table that opening does not read."""
    connection = sqlite3.connect(node.ledger)
    query = "SELECT rootpage FROM sqlite_master WHERE name = 'transfers'"
    ((page,),) = connection.execute(query).fetchall()
    connection.close()
    data = bytearray(node.ledger.read_bytes())
    data[4096 * (page - 1) : 4096 * page] = b"\xff" * 4096
    node.ledger.write_bytes(bytes(data))


def foreign_unit(node: Node) -> None:
    path = node.home / "backhaul.service"
    path.write_text("[Service]\nUser=backhaul-of-the-unit\n")
    node.patch.setattr(machine, "_UNITS", (path,))


OVERLAP = """
[[route]]
name = "second"
source = ["s3://acme-raw/click/day=1/"]
destination = ["file://DIR/landing/"]
"""
PLANTED = [
    OnNode(
        "no such file",
        lambda node: node.config.unlink(),
        "config.load",
        ("check the path",),
        exit_code=78,
    ),
    OnNode(
        "no TOML", lambda node: node.add("]]"), "config.load", ("not valid TOML",), exit_code=78
    ),
    OnNode(
        "unknown setting",
        lambda node: node.config.write_text("legder = 'x'"),
        "config.load",
        ("spelling",),
        exit_code=78,
    ),
    OnNode(
        "unknown variable",
        lambda node: node.patch.setenv("BACKHAUL_FLY", "1"),
        "config.load",
        ("unset it",),
        exit_code=78,
    ),
    OnNode(
        "configuration of everyone",
        lambda node: node.config.chmod(0o666),
        "config.load",
        ("chmod 0644",),
        exit_code=78,
    ),
    OnNode(
        "overlapping routes",
        lambda node: node.add(OVERLAP),
        "config.load",
        ("narrow one of them",),
        exit_code=78,
    ),
    OnNode(
        "no route",
        lambda node: node.config.write_text(f'ledger = "{node.ledger}"'),
        "config.routes",
        ("[[route]]", "destination = "),
        exit_code=78,
    ),
    OnNode(
        "size only",
        lambda node: node.add('verify = "size"\n'),
        "config.verify",
        ("leave `verify` out",),
        State.WARNING,
    ),
    OnNode(
        "everything is allowed",
        lambda node: node.allows_any.append(True),
        "config.allow_any",
        ("leave --allow-any out", "[[route]]"),
        State.WARNING,
    ),
    OnNode(
        "ledger on NFS",
        lambda node: node.patch.setattr(trusted_files, "filesystem_type", lambda *_: "nfs4"),
        "ledger.place",
        ("local disk", 'ledger = "/var/lib/backhaul/ledger.db"'),
        exit_code=78,
    ),
    OnNode(
        "ledger in memory",
        lambda node: node.patch.setattr(trusted_files, "filesystem_type", lambda *_: "tmpfs"),
        "ledger.place",
        ("persistent", 'ledger = "/var/lib/backhaul/ledger.db"'),
        State.WARNING,
    ),
    OnNode(
        "directory of everyone",
        lambda node: node.ledger.parent.chmod(0o777),
        "ledger.place",
        ("chmod o-w",),
        exit_code=78,
    ),
    OnNode(
        "ledger of everyone",
        lambda node: node.ledger.chmod(0o666),
        "ledger.owner",
        ("chmod go-w",),
        exit_code=78,
    ),
    OnNode(
        "ledger of another user",
        lambda node: node.patch.setattr(os, "geteuid", lambda: node.ledger.stat().st_uid + 1),
        "ledger.owner",
        ("sudo -u", "backhaul doctor q --config 'a b'"),
        State.WARNING,
    ),
    OnNode(
        "ledger that cannot be written",
        lambda node: node.patch.setattr(ledger, "may_write", lambda _path: False),
        "ledger.owner",
        ("sudo chown", "state"),
        exit_code=78,
    ),
    OnNode(
        "old schema",
        lambda node: node.sql("UPDATE alembic_version SET version_num = '0004'"),
        "ledger.schema",
        ("systemctl start backhaul", "migrates"),
        exit_code=78,
    ),
    OnNode(
        "newer schema",
        lambda node: node.sql("UPDATE alembic_version SET version_num = '9999'"),
        "ledger.schema",
        ("install the version of Backhaul",),
        exit_code=78,
    ),
    OnNode(
        "no ledger at all",
        lambda node: node.ledger.write_bytes(b"no database" * 1000),
        "ledger.schema",
        ("restore the ledger from its backup",),
        exit_code=78,
    ),
    OnNode(
        "damaged pages",
        damage,
        "ledger.pages",
        ("restore the ledger from its backup",),
        exit_code=78,
    ),
    OnNode(
        "ledger in WAL mode",
        lambda node: node.sql("PRAGMA journal_mode=WAL"),
        "ledger.journal",
        ("PRAGMA journal_mode=TRUNCATE",),
        State.WARNING,
    ),
    OnNode(
        "slow disk",
        lambda node: node.patch.setattr(ledger, "_durable_writes", lambda _directory: [0.5]),
        "ledger.sync",
        ("iostat",),
        State.WARNING,
    ),
    OnNode(
        "disk full",
        lambda node: _statvfs(node.patch, free_bytes=1 << 20, free_inodes=1_000_000),
        "disk.space",
        ("df -h", "du -xh"),
        exit_code=69,
    ),
    OnNode(
        "disk nearly full",
        lambda node: _statvfs(node.patch, free_bytes=500 << 20, free_inodes=1_000_000),
        "disk.space",
        ("df -h",),
        State.WARNING,
    ),
    OnNode(
        "no inode left",
        lambda node: _statvfs(node.patch, free_bytes=50 << 30, free_inodes=3),
        "disk.inodes",
        ("df -i",),
        exit_code=69,
    ),
    OnNode(
        "few open files",
        lambda node: _limit(node.patch, 256),
        "limits.open_files",
        ("ulimit -n 65536", "LimitNOFILE=65536"),
        State.WARNING,
    ),
    OnNode(
        "old glibc",
        lambda node: node.patch.setattr(platform, "libc_ver", lambda: ("glibc", "2.17")),
        "system.versions",
        ("Enterprise Linux 8",),
        exit_code=78,
    ),
    OnNode(
        "log that cannot be written",
        lambda node: node.patch.setattr(machine, "may_write", lambda _path: False),
        "log.file",
        ("install -d", "-m 0750", "backhaul/backhaul.log"),
        exit_code=78,
    ),
    OnNode(
        "another user than the unit's",
        foreign_unit,
        "system.unit",
        ("sudo -u backhaul-of-the-unit backhaul doctor q --config 'a b'",),
        State.WARNING,
    ),
]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one.name)
def test_a_planted_fault_is_found_with_its_fix(node: Node, planted: OnNode) -> None:
    planted.plant(node)
    findings = node.examined()
    found = [one for one in not_well(findings) if one.check == planted.check]
    assert len(found) == 1, findings
    assert found[0].state is planted.state
    for words in planted.words:
        assert words in "\n".join(found[0].fix), found[0]
    if planted.exit_code:
        assert found[0].exit_code == planted.exit_code
    assert "E_BUG" not in {one.code for one in findings}
    others = {one.check for one in not_well(findings)} - {planted.check}
    assert others == set(), "and nothing that is well"

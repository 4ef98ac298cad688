"""Two releases on one PostgreSQL: the next one is this source with two more steps of the schema.

The first step only adds, the second takes away. The next release works on the schema from the first
step on, as a release does whose code is right before and after what it takes away.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import backhaul
from backhaul import __version__
from backhaul.adapters.ledger.dialects.migrate import HEAD
from testbed import PostgreSQL
from tests.acceptance.installation import Ended, Installation, Running, eventually

pytestmark = pytest.mark.integration

NEXT = "9.0.0"
EXPANDED, CONTRACTED = "9001", "9002"
STEP = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "{revision}", "{before}"
branch_labels = depends_on = None


def upgrade():
    {step}
"""
ADD = 'op.add_column("transfers", sa.Column("carrier", sa.Text))'
TAKE_AWAY = 'op.drop_column("transfers", "carrier")'
MESSAGES = 6
HELD = "the start is held by the schema of the ledger"


def replaced(path: Path, pattern: str, text: str) -> None:
    found, count = re.subn(pattern, text, path.read_text("utf-8"), flags=re.MULTILINE)
    assert count == 1, (path, pattern)
    path.write_text(found, "utf-8")


def made_next(directory: Path) -> Path:
    """The next release, as PYTHONPATH has it."""
    source = directory / "backhaul"
    shutil.copytree(Path(backhaul.__file__).parent, source)
    replaced(source / "__init__.py", r'^__version__ = ".*"$', f'__version__ = "{NEXT}"')
    revisions = source / "adapters" / "ledger" / "dialects" / "migrate.py"
    replaced(revisions, r"^HEAD = ", f'REVISIONS += ("{EXPANDED}", "{CONTRACTED}")\nHEAD = ')
    replaced(revisions, r"^EXPANDING.*= .*$", f'EXPANDING = frozenset({{"{EXPANDED}"}})')
    replaced(revisions, r"^OLDEST = HEAD$", f'OLDEST = "{EXPANDED}"')
    versions = source / "migrations" / "versions"
    for revision, before, step in (
        (EXPANDED, HEAD, ADD),
        (CONTRACTED, EXPANDED, TAKE_AWAY),
    ):
        text = STEP.format(revision=revision, before=before, step=step)
        (versions / f"{revision}_step.py").write_text(text, "utf-8")
    return directory


class TwoReleases:
    """An installation whose nodes have one of two releases."""

    def __init__(self, it: Installation, path: Path) -> None:
        self.it = it
        self._next = str(path)
        self._asked = 0

    def start_old(self) -> Running:
        return self.it.start()

    def start_next(self) -> Running:
        return self.it.start(PYTHONPATH=self._next)

    def migrate(self) -> Ended:
        """By the next release."""
        return self.it.backhaul("ledger", "migrate", "--json", PYTHONPATH=self._next)

    def work(self) -> None:
        """Messages are carried by whoever works."""
        for _ in range(MESSAGES):
            self.it.ask_for("p/a", str(self._asked))
            self._asked += 1
        eventually(lambda: self.it.counts() == (0, 0), within_s=90, what="all messages deleted")
        assert self.it.landing.files() == {f"{n}/a": b"content" for n in range(self._asked)}

    def check(self) -> None:
        """Each message was carried once, and nothing is left over."""
        found = self.it.backhaul("history", "--json", "--limit", "1000", PYTHONPATH=self._next)
        assert found.code == 0, found
        history = [json.loads(line) for line in found.out.splitlines()]
        assert [one["state"] for one in history] == ["done"] * self._asked
        assert all(one["attempt"] == 1 for one in history), history
        assert self.it.dead_letters() == []
        assert not self.it.landing.staging()


@pytest.fixture
def two(
    on_moto: Installation, postgresql: PostgreSQL, postgres_database: str, tmp_path: Path
) -> TwoReleases:
    url = postgresql.url(postgres_database)
    on_moto.environment |= {"PGPASSFILE": str(postgresql.pass_file), "BACKHAUL_LEDGER": url}
    on_moto.put("p/a", b"content")
    return TwoReleases(on_moto, made_next(tmp_path / "next"))


@pytest.mark.timeout(300)
def test_nodes_are_upgraded_one_by_one(
    two: TwoReleases, postgresql: PostgreSQL, postgres_database: str
) -> None:
    def schema() -> str:
        return postgresql.sql("SELECT version_num FROM alembic_version", database=postgres_database)

    old = two.start_old()
    old.logged("agent started")
    # The next release first: it waits for the schema that it works on, and says how to make it.
    following = two.start_next()
    (held,) = following.logged(HELD, within_s=60)
    assert held["code"] == "E_LEDGER_OLDER"
    assert f"this program reads {EXPANDED} to {CONTRACTED}" in held["reason"]
    assert "backhaul ledger migrate --ledger" in held["hint"]
    two.work()
    assert not following.of("agent started")

    # What only adds is done beside the older agent, and what takes away is refused.
    refused = two.migrate()
    assert (refused.code, "E_LEDGER_IN_USE" in refused.err) == (75, True), refused
    assert (
        f"has schema {EXPANDED}, and is in use by a process of version {__version__}" in refused.err
    )
    assert schema() == EXPANDED
    following.logged("the start goes on", within_s=60)
    following.logged("agent started", within_s=60)
    two.work()
    status = two.it.backhaul("status")
    assert status.code == 0, status
    old.terminate()
    assert old.wait().code == 0

    # The older release may start again meanwhile, on a schema that it does not know.
    again = two.start_old()
    again.logged("agent started", within_s=60)
    two.work()
    assert two.migrate().code == 75
    assert schema() == EXPANDED
    again.terminate()
    assert again.wait().code == 0

    # With the last older agent gone, the rest is done beside the agent of the next release.
    done = two.migrate()
    assert done.code == 0, done
    found = json.loads(done.out)
    assert (found["before"], found["after"]) == (EXPANDED, CONTRACTED)
    two.work()
    late = two.start_old()
    (held,) = late.logged(HELD, within_s=60)
    assert held["code"] == "E_LEDGER_NEWER"
    assert f"has schema {CONTRACTED}, this program knows up to {HEAD}" in held["reason"]
    late.terminate()
    ended = late.wait()
    assert (ended.code, "Traceback" in ended.err) == (0, False), ended
    following.terminate()
    ended = following.wait()
    assert (ended.code, "Traceback" in ended.err) == (0, False), ended
    two.check()

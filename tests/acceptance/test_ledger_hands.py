"""The real process and a ledger that was edited, or opened to others."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation


def refusal_of(it: Installation, *arguments: str, code: int) -> str:
    """Standard error of an agent that does not start."""
    ended = it.start("--drain", *arguments).wait()
    assert ended.code == code, ended
    assert "Traceback" not in ended.err + ended.out, ended
    return ended.err


@pytest.mark.parametrize("name", [os.link, lambda path, other: other.symlink_to(path)])
def test_a_second_agent_under_another_name_of_the_ledger_is_refused(
    local: Installation, tmp_path: Path, name: Callable[[Path, Path], None]
) -> None:
    ledger, other = tmp_path / "state" / "ledger.db", tmp_path / "other.db"
    local.put("a", b"1")
    local.ask_for("a")
    agent = local.start("--ledger", str(ledger))
    agent.logged("transfer done")
    name(ledger, other)
    err = refusal_of(local, "--ledger", str(other), code=75)
    assert "E_LEDGER_IN_USE" in err
    assert f"pid {agent.pid}" in err
    agent.terminate()
    assert agent.wait().code == 0


@pytest.mark.parametrize("beside", ["", ".lock", "-journal", ".limit"])
def test_a_ledger_that_others_may_write_is_refused_before_any_message(
    local: Installation, tmp_path: Path, beside: str
) -> None:
    ledger = tmp_path / "state" / "ledger.db"
    local.put("a", b"1")
    local.drained("--ledger", str(ledger))
    file = Path(f"{ledger}{beside}")
    file.touch()
    file.chmod(0o666)
    local.ask_for("a")
    err = refusal_of(local, "--ledger", str(ledger), code=78)
    assert "E_CFG_PERMISSIONS" in err
    assert f"chmod go-w {file}" in err
    assert local.counts() == (1, 0)
    file.chmod(0o600)
    if beside == ".limit":
        file.unlink()
    local.drained("--ledger", str(ledger))


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE transfers SET attempt = 'many'",
        "UPDATE transfers SET state = 'perhaps'",
        "UPDATE transfers SET first_seen_at = X'ff'",
        "UPDATE destinations SET epoch = -1",
        "DROP TABLE published",
    ],
)
def test_an_edited_ledger_ends_the_agent_and_leaves_the_message(
    local: Installation, tmp_path: Path, edit: str
) -> None:
    ledger = tmp_path / "state" / "ledger.db"
    local.put("a", b"1")
    body = f"{local.bucket}/a, {local.landing.uri}/out"
    local.leave(body)
    local.drained("--ledger", str(ledger))
    again = local.leave(body)
    with closing(sqlite3.connect(ledger)) as connection, connection:
        # As when the agent was killed before it recorded the end, and the message came back.
        unfinished = "UPDATE transfers SET state = 'staging', finished_at = NULL, message_id = ?"
        connection.execute(unfinished, [again])
        connection.execute(edit)
    err = refusal_of(local, "--ledger", str(ledger), code=78)
    assert "E_LEDGER_CORRUPT" in err
    assert "restore the ledger from its backup" in err
    assert sum(local.counts()) == 1
    assert local.dead_letters() == []

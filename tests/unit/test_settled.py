"""A dead transfer about which nothing is left to do is counted nowhere, and can still be found."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import event

from backhaul.adapters.ledger import SqlLedger, open_ledger, open_reader, transfers
from backhaul.app.letters import DeadLetterDetails, LetterFilter
from backhaul.app.overview import read_overview
from backhaul.app.retry import plan_by_filters, plan_by_ids
from backhaul.cli import cli
from backhaul.core.model import TransferState
from backhaul.core.ports import Act, MessageKey, Operator, OperatorEntry, SentAgain
from tests.contract.test_ledger import DAY, T0, claim, planned, proof
from tests.unit.test_ledger_files import make_of_revision

QUEUE = "arn:aws:sqs:us-west-2:123456789012:orders"
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BACKHAUL_CONFIG", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqlLedger]:
    with closing(open_ledger(path, create=True)) as opened:
        yield opened


def begun(
    ledger: SqlLedger, name: str, source: str = "s3://b/p/", destination: str = DAY.uri
) -> None:
    key = MessageKey(queue=QUEUE, message_id=f"msg-{name}")
    ledger.begin(key, name, source, destination, T0)


def died(ledger: SqlLedger, name: str, *, claims: bool = False, **where: str) -> None:
    begun(ledger, name, **where)
    if claims:
        assert claim(ledger, name, DAY) is not None
    ledger.fail(name, TransferState.DEAD, "E_X", "why", T0, has_dead_letter=True)


def done(
    ledger: SqlLedger, name: str, state: TransferState = TransferState.DONE, **where: str
) -> None:
    begun(ledger, name, **where)
    found = claim(ledger, name, DAY, first=[planned(0)], is_complete=True)
    assert found is not None
    ledger.intend(name, found.epoch, [proof(0)], T0)
    assert ledger.finish(name, found.epoch, state, "tree", T0 + SECOND)


def settled(path: Path) -> dict[str, tuple[str, str | None]]:
    """How, and by which transfer."""
    with closing(open_reader(path)) as reader:
        rows = reader.history()
    return {one.id: (str(one.settled_how), one.settled_transfer) for one in rows if one.settled_at}


def run(path: Path, *words: str) -> Result:
    result = CliRunner().invoke(cli, [*words, "--ledger", str(path)], standalone_mode=False)
    assert result.exception is None, result.exc_info
    return result


def test_what_another_transfer_brought_settles_the_dead_of_the_same(
    ledger: SqlLedger, path: Path
) -> None:
    died(ledger, "t1")
    died(ledger, "t2", destination="/a/form/of/its/own", claims=True)
    died(ledger, "t3", source="s3://b/other/")
    died(ledger, "t4", destination="hdfs://ns/elsewhere")
    done(ledger, "t5")
    assert settled(path) == {"t1": ("brought", "t5"), "t2": ("brought", "t5")}
    died(ledger, "t6")  # after it
    done(ledger, "t7", TransferState.SUPERSEDED, destination="hdfs://ns/other")
    assert set(settled(path)) == {"t1", "t2"}
    done(ledger, "t8")
    assert settled(path)["t1"] == ("brought", "t5"), "once is enough"
    assert settled(path)["t6"] == ("brought", "t8")


def finished(ledger: SqlLedger, name: str) -> None:
    """One that has begun comes to its end."""
    found = claim(ledger, name, DAY, first=[planned(0)], is_complete=True)
    assert found is not None
    ledger.intend(name, found.epoch, [proof(0)], T0)
    assert ledger.finish(name, found.epoch, TransferState.DONE, "tree", T0 + 3 * SECOND)


def test_what_died_after_the_other_had_begun_may_have_been_to_bring_more(
    ledger: SqlLedger, path: Path
) -> None:
    """The other one's listing may be older than what this one was sent for."""
    begun(ledger, "t1")
    begun(ledger, "t2")
    ledger.fail("t2", TransferState.DEAD, "E_X", "why", T0 + SECOND, has_dead_letter=True)
    finished(ledger, "t1")
    assert settled(path) == {}


def test_an_older_event_settles_no_newer_one(ledger: SqlLedger, path: Path) -> None:
    died(ledger, "t1")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE transfers SET sequencer = '0B' WHERE id = 't1'")
        connection.commit()
    begun(ledger, "t2")
    for sequencer, expected in (("0A", {}), ("0C", {"t1": ("brought", "t2")})):
        with ledger._transaction() as tx:
            row: Any = {**transfers.by_id(tx, "t2"), "sequencer": sequencer}
            transfers.settle_others(tx, row, T0)
        assert settled(path) == expected


def test_what_is_settled_is_counted_nowhere_and_found_by_its_name(
    ledger: SqlLedger, path: Path
) -> None:
    died(ledger, "t1")
    died(ledger, "t2", source="s3://b/other/")
    for words, ids in ((("--state", "dead"), ["t2", "t1"]), (("--state", "settled"), [])):
        lines = run(path, "history", *words, "--json").stdout.splitlines()
        assert [json.loads(line)["id"] for line in lines] == ids
    done(ledger, "t3")
    shown = run(path, "history", "--state", "dead")
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["id", "t2"]
    assert shown.stderr == "1 more dead are settled: --state settled shows them\n"
    assert "t1" in run(path, "history", "--state", "settled").stdout
    both = run(path, "history", "--state", "settled", "--state", "dead", "--state", "done", "-q")
    assert [line.split()[0] for line in both.stdout.splitlines()] == ["id", "t3", "t2", "t1"]
    assert both.stderr == ""
    assert "dead E_X (settled)" in both.stdout
    view = read_overview(path, T0 + SECOND)
    assert view is not None
    assert [(one.code, one.count) for one in view.dead] == [("E_X", 1)]
    assert [one.id for one in plan_by_filters(path, most=9).dead] == ["t2"]
    (refused,) = plan_by_ids(path, ["t1"]).refused
    assert refused.why == "transfer t3 brought the same: nothing is left to do"
    text = run(path, "show", "t1").stdout
    assert "settled      2026-11-22 12:00:01 UTC: transfer t3 brought the same\n" in text
    assert json.loads(run(path, "show", "t1", "--json").stdout)["settled_by"] == {
        "id": "t3",
        "state": "done",
    }


def test_a_transfer_is_named_by_its_message_by_its_source_or_by_its_place(
    ledger: SqlLedger, path: Path
) -> None:
    done(ledger, "t1")
    died(ledger, "t2", source="s3://b/other/", destination="hdfs://ns/other")

    def shown(*names: str) -> list[str]:
        found = (run(path, "show", name, "--json").stdout for name in names)
        return [json.loads(text)["transfer"]["id"] for text in found]

    assert shown("msg-t1", DAY.path, DAY.uri, "s3://b/p/") == ["t1"] * 4
    assert shown("msg-t2", "s3://b/other/") == ["t2"] * 2
    died(ledger, "t3")
    for name, text in (
        (
            "s3://b/p/",
            "more than one transfer has to do with s3://b/p/: t3 (dead), t1 (done), newest",
        ),
        ("msg-t", "more than one transfer starts with msg-t: t1, t2, t3"),
        ("/nowhere", "has to do with /nowhere"),
        ("m", "no transfer starts with 'm', and no message's does"),
    ):
        words = ["show", name, "--ledger", str(path)]
        error = CliRunner().invoke(cli, words, standalone_mode=False).exception
        assert text in str(error)


def test_letters_that_were_sent_again_or_deleted_settle_their_transfers(
    ledger: SqlLedger, path: Path
) -> None:
    for name in ("t1", "t2", "t3"):
        died(ledger, name, source=f"s3://b/{name}/")
    begun(ledger, "t4")
    entry = OperatorEntry(at=T0, by=Operator(name="a"), act=Act.DELETE, subject="q: t2")
    sent = SentAgain(dead_letter_id="l", transfer_id="t1", message_id="n")
    ledger.note_act(entry, [sent], deleted=["t2", "t4", "of another ledger"])
    assert settled(path) == {"t1": ("sent_again", None), "t2": ("deleted", None)}
    (refused,) = plan_by_ids(path, ["t2"]).refused
    assert refused.why == "its dead letter was deleted"
    assert refused.hint.startswith("send a new request: backhaul send orders us-west-2 s3://b/t2/")
    assert "its dead letter was deleted" in run(path, "show", "t2").stdout


def test_an_older_ledger_keeps_what_was_sent_again_settled(path: Path) -> None:
    make_of_revision(path, "0013")
    with closing(sqlite3.connect(path)) as connection, connection:
        for name, again in (("t1", ("n", 1_000_000)), ("t2", (None, None))):
            connection.execute(
                "INSERT INTO transfers (id, source, destination, state, attempt, failures,"
                " source_changes, plan_complete, renames_possible, objects_planned, bytes_planned,"
                " markers, has_letter, first_seen_at, updated_at, finished_at, sent_again_as,"
                " sent_again_at)"
                " VALUES (?, 's', '/d', 'dead', 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, ?, ?)",
                (name, *again),
            )
    open_ledger(path, create=False).close()
    assert settled(path) == {"t1": ("sent_again", None)}


def test_the_dead_are_found_by_their_indexes(ledger: SqlLedger, path: Path) -> None:
    died(ledger, "t1")
    seen: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        seen.append((statement, values))

    event.listen(ledger._engine, "before_cursor_execute", note)
    done(ledger, "t2")
    (settling,) = [one for one in seen if "settled_at IS NULL" in one[0]]
    seen.clear()
    with closing(open_reader(path)) as reader:
        event.listen(reader._engine, "before_cursor_execute", note)
        reader.dead_transfers(T0, most=10)
        list(reader.open_deaths())
    dead = [one for one in seen if "settled_at IS NULL" in one[0]]
    assert len(dead) == 2
    with closing(sqlite3.connect(path)) as connection:
        for (statement, values), name in (
            (settling, "ix_transfers_dead_source"),
            *((one, "ix_transfers_dead_open") for one in dead),
        ):
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
            words = " ".join(row[3] for row in plan)
            assert f"USING INDEX {name}" in words, words
            assert "TEMP B-TREE" not in words, words


@pytest.mark.parametrize(
    ("destination", "directory", "is_within"),
    [
        ("/landing/click", "/landing/click", True),
        ("/landing/click/", "/landing/click", True),
        ("/landing/click/day=1", "/landing/click/", True),
        ("hdfs://ns:8020/landing/click/day=1", "/landing/click", True),
        ("hdfs://ns:8020/landing/click", "hdfs://ns:8020/landing/click", True),
        ("/landing/click-evil", "/landing/click", False),
        ("hdfs://ns:8020/landing/click2/x", "/landing/click", False),
        ("hdfs://other:8020/landing/click", "hdfs://ns:8020/landing/click", False),
        (None, "/landing/click", False),
        (None, None, True),
    ],
)
def test_a_letter_is_chosen_by_its_directory_and_no_sibling_of_it(
    destination: str | None, directory: str | None, *, is_within: bool
) -> None:
    """What is deleted is gone: `/landing/click` is not the beginning of a name."""
    letter = DeadLetterDetails(
        message_id="m",
        code="E_X",
        reason="",
        hint="",
        attempts=1,
        first_seen="",
        transfer_id="t",
        host="",
        body="",
        destination=destination,
    )
    assert LetterFilter(destination=directory).matches(letter) is is_within

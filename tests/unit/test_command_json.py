"""What commands print with `--json` is as its published schema has it; every command has one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.ledger.dialects.migrate import HEAD
from backhaul.app import dlq
from backhaul.app.letters import DeadLetterDetails
from backhaul.cli import COMMANDS, cli
from backhaul.cli.copy import done_as_json
from backhaul.core.facts import TransferDone
from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey, SentAgain
from tests.contract.test_ledger import DAY, T0, claim, planned, proof
from tests.docs.test_schemas import SCHEMAS, Checker

QUEUE = "arn:aws:sqs:us-west-2:123456789012:orders"
CONFIGURATION = """
[[route]]
name = "clicks"
source = ["s3://raw/"]
destination = ["hdfs://ns/landing/"]

[[notify]]
name = "oncall"
on = ["health", "dead"]
command = ["/bin/true"]
"""


def commands(
    group: click.Group, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        one = group.get_command(context, name)
        assert one is not None
        if isinstance(one, click.Group):
            yield from commands(one, (*words, name))
        else:
            yield "-".join((*words, name)), one


def test_every_command_with_json_has_a_published_schema() -> None:
    assert len(COMMANDS) > 20
    with_json = {
        name for name, one in commands(cli) if any("--json" in each.opts for each in one.params)
    }
    assert {"send", "copy", "cancel", "retry", "dlq-redrive", "dlq-delete"} <= with_json
    missing = [name for name in with_json if not (SCHEMAS / f"{name}.schema.json").is_file()]
    assert missing == []


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """A configuration, and a ledger with a transfer in every state that matters."""
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME", "BACKHAUL_CONFIG", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    config, path = tmp_path / "backhaul.toml", tmp_path / "ledger.db"
    config.write_text(CONFIGURATION, "utf-8")
    config.chmod(0o644)
    with closing(open_ledger(path, create=True)) as ledger:
        for name in ("t1", "t2", "t3", "t4"):
            key = MessageKey(queue=QUEUE, message_id=f"m-{name}")
            ledger.begin(key, name, f"s3://b/{name}/", f"hdfs://ns/landing/{name}", T0)
        found = claim(ledger, "t1", DAY, first=[planned(0)], is_complete=True)
        assert found is not None
        ledger.intend("t1", found.epoch, [proof(0)], T0)
        ledger.finish("t1", found.epoch, TransferState.DONE, "tree", T0 + timedelta(seconds=1))
        for name in ("t2", "t3"):
            ledger.fail(name, TransferState.DEAD, "E_X", "why", T0, has_dead_letter=name == "t2")
    return ("--config", str(config), "--ledger", str(path))


def checked(schema: str, *words: str, lines: int, code: int = 0) -> list[dict[str, object]]:
    done = CliRunner().invoke(cli, [*words, "--json"], standalone_mode=False)
    if code == 0:
        assert done.exception is None, done.exc_info
    checker = Checker(json.loads((SCHEMAS / f"{schema}.schema.json").read_text("utf-8")))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == lines, done.output
    for one in found:
        assert one["v"] == 1
        assert checker.accepts(one), one
        assert not checker.accepts({**one, "v": 2})
        for name in one:
            assert not checker.accepts({k: v for k, v in one.items() if k != name}), name
    return found


def test_commands_that_read_and_change_the_ledger(files: tuple[str, ...]) -> None:
    checked("history", "history", *files, lines=4)
    checked("show", "show", "t1", *files, lines=1)
    checked("status", "status", *files, lines=1)
    checked("limit", "limit", *files, lines=1)
    checked("notify-list", "notify", "list", *files, lines=1)
    checked("notify-test", "notify", "test", *files, lines=1)
    checked("config-check", "config", "check", *files, lines=1)
    (paused,) = checked("pause", "pause", "clicks", "--for", "2h", *files, lines=1)
    assert (paused["is_paused"], paused["was_paused"]) == (True, False)
    (resumed,) = checked("resume", "resume", "clicks", *files, lines=1)
    assert (resumed["is_paused"], resumed["was_paused"]) == (False, True)
    (cancelled,) = checked("cancel", "cancel", "t4", *files, lines=1)
    assert cancelled["transfer_id"] == "t4"
    assert len(checked("journal", "journal", *files, lines=3)) == 3
    checked("ledger-prune", "ledger", "prune", "--older", "1s", "--dry-run", *files, lines=1)
    checked("verify", "verify", "--since", "1h", *files, lines=1)
    planned_one, refused = checked(
        "retry", "retry", "t2", "t3", "--dry-run", *files, lines=2, code=65
    )
    assert (planned_one["outcome"], refused["outcome"]) == ("planned", "refused")


def test_a_backup_a_migration_and_a_check_list_are_as_their_schemas(
    files: tuple[str, ...], tmp_path: Path
) -> None:
    (backup,) = checked(
        "ledger-backup", "ledger", "backup", str(tmp_path / "backup.db"), *files, lines=1
    )
    assert (backup["transfers"], backup["objects"]) == (4, 1)
    (migrated,) = checked("ledger-migrate", "ledger", "migrate", *files, lines=1)
    assert migrated["before"] == migrated["after"] == HEAD
    (report,) = checked("doctor", "doctor", "--offline", *files, lines=1)
    assert {"ok", "skipped"} <= {one["state"] for one in report["findings"]}  # type: ignore[attr-defined]


def test_what_was_sent_is_as_its_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backhaul.app.send.send_message", lambda *_, **__: "5fb1-a")
    (sent,) = checked("send", "send", *PLACE, "s3://raw/p/", "/landing/p", lines=1)
    assert (sent["message_id"], sent["queue"], sent["region"]) == ("5fb1-a", *PLACE)


def test_the_journal_and_the_status_of_one_route(files: tuple[str, ...]) -> None:
    with closing(open_ledger(Path(files[-1]), create=False)) as ledger:
        for name in ("0mx2xn44drmk0001", "0mx2xn44drmk0002"):
            key = MessageKey(queue=QUEUE, message_id=f"m-{name}")
            route = "clicks" if name.endswith("1") else "orders"
            ledger.begin(key, name, f"s3://b/{name}/", f"hdfs://ns/landing/{name}", T0, route=route)
    (one,) = checked("status", "status", "--route", "clicks", *files, lines=1)
    assert one["transfer"]["id"] == "0mx2xn44drmk0001"  # type: ignore[index]
    text = CliRunner().invoke(cli, ["status", "--route", "orders", *files]).output
    assert "0mx2xn44drmk0002" in text
    assert "0mx2xn44drmk0001" not in text
    checked("pause", "pause", "clicks", "--for", "1h", *files, lines=1)
    checked("pause", "pause", "orders", *files, lines=1)
    for name in ("0mx2xn44drmk0001", "0mx2xn44drmk0002"):
        checked("cancel", "cancel", name, *files, lines=1)
    found = checked("journal", "journal", "--route", "clicks", *files, lines=2)
    assert [line["action"] for line in found] == ["cancel", "pause"]
    assert found[0]["subject"] == "0mx2xn44drmk0001"
    assert str(found[1]["subject"]).startswith("clicks until ")
    checked("journal", "journal", "--route", "clicks", "--limit", "1", *files, lines=1)
    checked("journal", "journal", "--route", "clicks", "--action", "pause", *files, lines=1)
    done = CliRunner().invoke(cli, ["journal", "--route", "click", *files])
    assert "No line matches these filters (4 in the journal)." in done.output


def test_a_message_that_is_only_explained(files: tuple[str, ...], tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_text("s3://raw/p/, hdfs://ns/landing/p", "utf-8")
    checked("explain", "explain", str(body), "--no-list", *files, lines=1)


def test_what_a_copy_has_done_is_as_its_schema() -> None:
    done = TransferDone(
        transfer_id="t1",
        message_id=None,
        source="s3://b/p/",
        destination="hdfs://ns/d",
        objects=2,
        size_bytes=20,
        copied_bytes=10,
        placeholders=0,
        adopted=1,
        publish="tree",
        is_superseded=False,
        duration_s=1.25,
    )
    checker = Checker(json.loads((SCHEMAS / "copy.schema.json").read_text("utf-8")))
    assert checker.accepts({"v": 1, **done_as_json(done)})
    assert done_as_json(replace(done, is_superseded=True))["state"] == "superseded"


LETTER = DeadLetterDetails(
    message_id="5fb1-a",
    code="E_X",
    reason="why",
    hint="do",
    attempts=3,
    first_seen="2026-11-22T12:00:00+00:00",
    transfer_id="t2",
    host="edge1",
    body="s3://b/t2/, /landing/t2",
    sent_at=T0,
)
MOVED = replace(LETTER, message_id="77c0-b", code="", attempts=None, transfer_id="", sent_at=None)


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> list[DeadLetterDetails]:
    """What is on the dead-letter queue."""
    left = [LETTER, MOVED]

    def redrive(_queue: object, ids: list[str] | None, *, most: int, sent: object) -> int:
        assert most == 1000
        gone = [one for one in left if ids is None or one.message_id in ids]
        for one in gone:
            sent(  # type: ignore[operator]
                SentAgain(
                    dead_letter_id=one.message_id, transfer_id=one.transfer_id, message_id="n"
                )
            )
            left.remove(one)
        return len(gone)

    def delete(_queue: object, ids: list[str], *, most: int, deleted: object) -> int:
        assert most == 1000
        for one in [one for one in left if one.message_id in ids]:
            deleted(one)  # type: ignore[operator]
            left.remove(one)
        return len(ids)

    monkeypatch.setattr(dlq, "read_dead_letters", lambda *_, **__: list(left))
    monkeypatch.setattr(dlq, "redrive", redrive)
    monkeypatch.setattr(dlq, "delete", delete)
    return left


PLACE = ("orders", "us-west-2")


def run(*words: str) -> str:
    done = CliRunner().invoke(cli, ["dlq", *words], standalone_mode=False)
    assert done.exception is None, done.exc_info
    return done.output


def test_dead_letters_listed_shown_sent_again_and_deleted(
    files: tuple[str, ...], letters: list[DeadLetterDetails]
) -> None:
    moved, first = checked("dlq-list", "dlq", "list", *PLACE, *files, lines=2)
    assert (first["attempts"], moved["attempts"]) == (3, None)
    assert (first["source"], moved["source"]) == ("s3://b/t2/", None)
    (shown,) = checked("dlq-show", "dlq", "show", *PLACE, "t2", *files, lines=1)
    assert shown["message_id"] == "5fb1-a"
    (sent,) = checked("dlq-redrive", "dlq", "redrive", *PLACE, "5fb", *files, lines=1)
    assert sent["transfer_id"] == "t2"
    (gone,) = checked("dlq-delete", "dlq", "delete", *PLACE, "77", "--yes", *files, lines=1)
    assert gone["transfer_id"] is None
    assert letters == []
    acts = [one["action"] for one in checked("journal", "journal", *files, lines=2)]
    assert acts == ["delete", "redrive"]
    (settled,) = checked("history", "history", "--state", "settled", *files, lines=1)
    assert (settled["id"], settled["settled_how"]) == ("t2", "sent_again")


def test_only_letters_that_match_are_taken_and_a_dry_run_takes_none(
    files: tuple[str, ...], letters: list[DeadLetterDetails]
) -> None:
    for words in ("redrive", "delete"):
        text = run(words, *PLACE, "--code", "E_X", "--dry-run", *files)
        assert "5fb1-a  E_X  s3://b/t2/ → hdfs://ns/landing/t2\n" in text
        assert "1 of 2 dead letters match" in text
        text = run(words, *PLACE, "--source", "s3://b/t9/", "--yes", *files)
        assert "No dead letter matches these filters (2 on the queue)." in text
    assert letters == [LETTER, MOVED]
    text = run("delete", *PLACE, "--dest", "hdfs://ns/landing", "--yes", *files)
    assert text.endswith("1 dead letter to delete\n5fb1-a\n1 deleted\n")
    assert letters == [MOVED]


@pytest.mark.parametrize("words", ["redrive", "delete"])
def test_ids_filters_and_all_exclude_each_other(
    words: str, files: tuple[str, ...], letters: list[DeadLetterDetails]
) -> None:
    for wrong in ((), ("5fb1", "--all"), ("5fb1", "--code", "E_X"), ("--all", "--since", "2h")):
        done = CliRunner().invoke(cli, ["dlq", words, *PLACE, *wrong, *files])
        assert done.exit_code == 2
        assert "name ids, or give filters such as --code, or --all" in done.output
    assert len(letters) == 2


def test_a_deletion_wants_to_be_confirmed(
    files: tuple[str, ...], letters: list[DeadLetterDetails]
) -> None:
    done = CliRunner().invoke(cli, ["dlq", "delete", *PLACE, "5fb1", *files])
    assert done.exit_code == 2
    assert "--yes is needed where standard input is no terminal" in done.output
    assert len(letters) == 2


def test_a_beginning_that_fits_several_is_refused_with_them(
    files: tuple[str, ...], letters: list[DeadLetterDetails]
) -> None:
    letters.append(replace(LETTER, message_id="5fb1-c"))
    done = CliRunner().invoke(
        cli, ["dlq", "redrive", *PLACE, "5fb1", *files], standalone_mode=False
    )
    assert "2 dead letters begin with '5fb1'" in str(done.exception)
    assert "5fb1-a, 5fb1-c" in str(getattr(done.exception, "hint", ""))
    assert len(letters) == 3

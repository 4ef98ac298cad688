"""Which dead transfers can be sent again, why others cannot, and what the command prints of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backhaul.adapters.ledger import SqlLedger, open_ledger
from backhaul.app import actions, dlq
from backhaul.app.queues import ChosenQueue
from backhaul.app.retry import NotRetried, RetryPlan, not_on_the_queue, plan_by_filters, plan_by_ids
from backhaul.cli import cli
from backhaul.core.errors import BackhaulError, PermanentError
from backhaul.core.model import TransferState
from backhaul.core.ports import Act, MessageKey, Operator, OperatorEntry, SentAgain

T0 = datetime(2026, 11, 1, 3, tzinfo=UTC)
QUEUE = "arn:aws:sqs:us-west-2:123456789012:orders"
OTHER = "arn:aws:sqs:us-east-1:123456789012:other"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BACKHAUL_CONFIG", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    open_ledger(path, create=True).close()
    return path


def died(
    path: Path,
    transfer_id: str,
    *,
    code: str = "E_X",
    route: str = "a",
    minutes: int = 0,
    queue: str = QUEUE,
    has_letter: bool = True,
    state: TransferState = TransferState.DEAD,
) -> None:
    with closing(open_ledger(path, create=False)) as ledger:
        key = MessageKey(queue=queue, message_id=f"m-{transfer_id}")
        ledger.begin(key, transfer_id, "s3://raw/it's", "/landing/x", T0)
        at = T0 + timedelta(minutes=minutes)
        ledger.fail(transfer_id, state, code, "why", at, has_dead_letter=has_letter)
    change(path, transfer_id, route=route, objects_planned=2, bytes_planned=1536)


def change(path: Path, transfer_id: str, **values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for name, value in values.items():
            connection.execute(
                f"UPDATE transfers SET {name} = ? WHERE id = ?",  # noqa: S608 - our own names
                (value, transfer_id),
            )


def sent_again(path: Path, transfer_id: str) -> None:
    entry = OperatorEntry(at=T0, by=Operator(name="a"), act=Act.RETRY, subject="")
    with closing(open_ledger(path, create=False)) as ledger:
        assert isinstance(ledger, SqlLedger)
        ledger.note_act(
            entry, [SentAgain(dead_letter_id="l", transfer_id=transfer_id, message_id="n")]
        )


def ids(plan: RetryPlan) -> list[str]:
    return [one.id for one in plan.dead]


def refusal(path: Path, transfer_id: str) -> NotRetried:
    plan = plan_by_ids(path, [transfer_id])
    assert plan.dead == ()
    (refused,) = plan.refused
    assert refused.id == transfer_id
    return refused


# ---------------------------------------------------------------- by ids


def test_a_dead_transfer_with_a_letter_is_sent_again(path: Path) -> None:
    died(path, "t1")
    died(path, "t2", queue=OTHER)
    plan = plan_by_ids(path, ["t1", "t2", "t1"])
    assert (ids(plan), plan.refused) == (["t1", "t2"], ())
    assert (plan.objects, plan.size_bytes) == (4, 3072)
    assert {
        (queue.name, queue.region): [one.id for one in dead]
        for queue, dead in plan.by_queue().items()
    } == {("orders", "us-west-2"): ["t1"], ("other", "us-east-1"): ["t2"]}


def test_an_unknown_id_is_refused(path: Path) -> None:
    with pytest.raises(PermanentError, match="E_NO_SUCH_TRANSFER"):
        plan_by_ids(path, ["zz"])


@pytest.mark.parametrize("state", ["done", "superseded"])
def test_what_is_done_is_not_run_again(path: Path, state: str) -> None:
    died(path, "t1")
    change(path, "t1", state=state)
    assert refusal(path, "t1").why == f"it is {state}: nothing is left to do"


@pytest.mark.parametrize("state", [TransferState.WAITING, TransferState.HELD])
def test_what_has_not_ended_goes_on_by_itself(path: Path, state: TransferState) -> None:
    died(path, "t1", state=state)
    assert refusal(path, "t1").why == f"it is {state}, and is tried again by itself"


def test_what_was_sent_again_is_settled_by_that(path: Path) -> None:
    died(path, "t1")
    sent_again(path, "t1")
    why = refusal(path, "t1").why
    assert why == "it was sent again at 2026-11-01 03:00:00 UTC as message n"


@pytest.mark.parametrize("queue", ["copy", None])
def test_a_copy_is_run_again_by_its_own_command(path: Path, queue: str | None) -> None:
    died(path, "t1")
    change(path, "t1", queue=queue)
    assert refusal(path, "t1").hint == "backhaul copy 's3://raw/it'\"'\"'s' /landing/x"


def test_an_adoption_is_run_again_by_its_own_command(path: Path) -> None:
    died(path, "t1")
    change(path, "t1", queue="adopt", route="a b")
    assert refusal(path, "t1").hint == "backhaul reconcile 'a b' --adopt"


def test_without_a_letter_there_is_nothing_to_send(path: Path) -> None:
    died(path, "t1", has_letter=False)
    refused = refusal(path, "t1")
    assert refused.why.startswith("it has no dead letter")
    assert "dead-letter queue" in refused.hint


@pytest.mark.parametrize("queue", ["q", "arn:aws:sns:us-west-2:123456789012:orders", "a b"])
def test_a_queue_that_is_no_arn_cannot_be_called(path: Path, queue: str) -> None:
    died(path, "t1", queue=queue)
    assert "cannot be called by that name" in refusal(path, "t1").why


def test_a_letter_that_is_gone_or_of_no_use_has_the_command_of_a_new_request(path: Path) -> None:
    died(path, "t1")
    (one,) = plan_by_ids(path, ["t1"]).dead
    gone = not_on_the_queue(one, is_shortened=False)
    assert "is not on the dead-letter queue" in gone.why
    words = "backhaul send orders us-west-2 's3://raw/it'\"'\"'s' /landing/x"
    assert gone.hint == f"send a new request: {words}"
    short = not_on_the_queue(one, is_shortened=True)
    assert (short.why, short.hint) == ("only the beginning of its body is left", gone.hint)


# ---------------------------------------------------------------- by filters


def test_filters_narrow_each_other(path: Path) -> None:
    died(path, "t1", code="E_A", route="a", minutes=1)
    died(path, "t2", code="E_A", route="b", minutes=2)
    died(path, "t3", code="E_B", route="b", minutes=3)
    died(path, "t4", state=TransferState.WAITING)
    assert ids(plan_by_filters(path, most=9)) == ["t3", "t2", "t1"]
    assert ids(plan_by_filters(path, code="E_A", most=9)) == ["t2", "t1"]
    assert ids(plan_by_filters(path, route="b", most=9)) == ["t3", "t2"]
    assert ids(plan_by_filters(path, code="E_A", route="b", most=9)) == ["t2"]
    since = T0 + timedelta(minutes=2)
    assert ids(plan_by_filters(path, since=since, most=9)) == ["t3", "t2"]
    assert ids(plan_by_filters(path, code="E_C", most=9)) == []


def test_what_was_sent_again_or_cancelled_is_passed_over(path: Path) -> None:
    died(path, "t1")
    died(path, "t2", code="E_CANCELLED")
    sent_again(path, "t1")
    plan = plan_by_filters(path, most=9)
    assert (plan.dead, plan.refused) == ((), ())
    assert ids(plan_by_filters(path, code="E_CANCELLED", most=9)) == ["t2"]
    assert ids(plan_by_ids(path, ["t2"])) == ["t2"]


def test_more_than_are_taken_at_once_is_said(path: Path) -> None:
    for number in range(3):
        died(path, f"t{number}", minutes=number)
    plan = plan_by_filters(path, most=2)
    assert (ids(plan), plan.is_cut) == (["t2", "t1"], True)
    assert not plan_by_filters(path, most=3).is_cut


# ---------------------------------------------------------------- the command


def invoke(path: Path, *arguments: str) -> Result:
    done = CliRunner().invoke(cli, ["retry", *arguments, "--ledger", str(path)])
    assert not isinstance(done.exception, TypeError | AttributeError), done.exc_info
    return done


def test_a_dry_run_shows_what_would_be_sent_and_changes_nothing(path: Path) -> None:
    for number in range(23):
        died(path, f"t{number:02d}", minutes=number)
    died(path, "x", has_letter=False)
    done = CliRunner().invoke(
        cli,
        ["retry", "--code", "E_X", "--dry-run", "--ledger", str(path)],
        standalone_mode=False,
    )
    assert isinstance(done.exception, BackhaulError)
    assert str(done.exception) == (
        "E_NOT_RETRIED: 1 of 24 transfers not retried; the reasons are above"
    )
    lines = done.stderr.splitlines()
    assert lines[0] == "t22  E_X  s3://raw/it's \u2192 /landing/x"
    assert lines[20] == "and 3 more"
    assert lines[21] == (
        "23 dead transfers to send again: 46 objects, 34.5 KiB, as far as they were listed"
    )
    assert lines[22].startswith("not retried: x: it has no dead letter")
    assert done.stdout == ""


def test_nothing_to_retry_is_well(path: Path) -> None:
    done = invoke(path, "--state", "dead")
    assert (done.exit_code, done.stdout) == (0, "nothing to retry\n")


def test_a_limit_is_said(path: Path) -> None:
    for number in range(3):
        died(path, f"t{number}", minutes=number)
    done = invoke(path, "--route", "a", "--limit", "1", "--dry-run")
    assert done.exit_code == 0
    assert "there are more; run it again, or raise --limit" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("t1", "--code", "E_X"),
        ("--yes",),
        ("--dry-run",),
        ("--state", "done"),
        ("--since", "soon"),
        ("--code", "E_X", "--code", "E_Y"),
        ("t1",),  # without --yes, and no terminal
    ],
)
def test_what_is_no_selection_is_refused(path: Path, arguments: Sequence[str]) -> None:
    died(path, "t1")
    done = invoke(path, *arguments)
    assert done.exit_code == 2, "click's own; `main` makes it 64"
    assert "t1 is message" not in done.stdout


def test_without_a_ledger_the_refusal_names_where_it_looked(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        cli, ["retry", "t1", "--ledger", str(tmp_path / "none.db")], standalone_mode=False
    )
    assert isinstance(done.exception, BackhaulError)
    assert done.exception.code == "E_LEDGER_MISSING"


def test_what_was_sent_is_settled_although_its_line_could_not_be_printed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as `backhaul retry … | head`: the message is on its queue by then."""
    one = SentAgain(dead_letter_id="d", transfer_id="t1", message_id="new")

    def redrive_transfers(
        *_args: object, sent: Callable[[SentAgain], None], **_more: object
    ) -> None:
        sent(one)

    def broken(_one: SentAgain) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(dlq, "redrive_transfers", redrive_transfers)
    noted: list[SentAgain] = []
    monkeypatch.setattr(actions, "_note", lambda _path, _entry, _warn, every: noted.extend(every))
    queue = ChosenQueue(text="q", region="us-west-2", label="q")
    with pytest.raises(BrokenPipeError):
        actions.retry(path, Operator(name="alice"), queue, [], most=1, sent=broken, warn=raise_it)
    assert noted == [one]


def raise_it(error: BaseException) -> None:
    raise error

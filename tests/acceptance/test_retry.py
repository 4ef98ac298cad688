"""`backhaul retry` and `dlq redrive` on real servers: what died is worked on again, once."""

from __future__ import annotations

import json
import os
import pty
import select
from typing import Any

import pytest

from tests.acceptance.installation import REGION, Installation
from tests.children import child

pytestmark = pytest.mark.integration


def dead(it: Installation, *keys: str) -> dict[str, str]:
    """Transfers that died because their source was not there yet; their ids by key."""
    for key in keys:
        it.ask_for(key, "out")
    it.drained()
    rows = it.history("--state", "dead")
    assert {row["code"] for row in rows} == {"E_SRC_EMPTY"}
    return {row["source"].rpartition("/")[2]: row["id"] for row in rows}


def journal(it: Installation) -> list[dict[str, Any]]:
    ended = it.backhaul("journal", "--json")
    assert ended.code == 0, ended
    return [json.loads(line) for line in ended.out.splitlines()]


def test_what_died_is_worked_on_by_the_next_poll_once(local: Installation) -> None:
    it = local
    ids = dead(it, "late", "later")
    it.put("late", b"here now")

    shown = it.backhaul("retry", "--code", "E_SRC_EMPTY", "--dry-run")
    assert shown.code == 0, shown
    assert "2 dead transfers to send again: 0 objects, 0 B" in shown.err
    assert it.counts() == (0, 0)
    refused = it.backhaul("retry", ids["late"])
    assert refused.code == 64, refused
    assert "--yes" in refused.err

    ended = it.backhaul("retry", ids["late"][:14], "--yes")

    assert ended.code == 0, ended
    assert ended.out.startswith(f"{ids['late']} is message ")
    message_id = ended.out.split()[-1]
    it.drained()
    assert it.landing.files() == {"out/late": b"here now"}
    details = it.show(ids["late"])
    assert details["transfer"]["sent_again_as"] == message_id
    assert details["settled_by"]["state"] == "done"
    text = it.backhaul("show", ids["late"]).out
    assert f"as message {message_id}: transfer {details['settled_by']['id']} is done" in text
    again = it.backhaul("retry", ids["late"], details["settled_by"]["id"], "--yes")
    assert again.code == 65, again
    assert "it was sent again at " in again.err
    assert "it is done: nothing is left to do" in again.err
    assert again.err.rstrip().startswith("not retried")
    assert it.counts() == (0, 0)
    # The other one is still there to be retried, by a filter.
    rest = it.backhaul("retry", "--since", "1h", "--yes")
    assert rest.code == 0, rest
    assert rest.out.startswith(f"{ids['later']} is message ")
    (last, first) = journal(it)
    assert (first["action"], first["transfers"], first["outcome"]) == ("retry", 1, "done")
    assert ids["late"] in first["subject"]
    assert ids["later"] in last["subject"]
    assert it.backhaul("retry", "--state", "dead", "--yes").out == "nothing to retry\n"


def test_a_letter_that_is_gone_is_named_with_what_to_do(local: Installation) -> None:
    it = local
    ids = dead(it, "late", "later")
    assert len(it.dead_letters()) == 2  # taken off the queue by somebody
    ended = it.backhaul("retry", *ids.values(), "--yes")
    assert ended.code == 65, ended
    assert ended.err.count("its dead letter is not on the dead-letter queue") == 2
    assert f"backhaul send {it.queue} " in ended.err
    assert "backhaul: E_NOT_RETRIED: 2 of 2 transfers not retried" in ended.err
    (line,) = journal(it)
    assert (line["action"], line["transfers"], line["outcome"]) == ("retry", 0, "done")


def test_a_redrive_settles_the_dead_transfer_too(local: Installation) -> None:
    it = local
    ids = dead(it, "late")
    it.put("late", b"here now")
    ended = it.backhaul("dlq", "redrive", it.queue, REGION, "--all")
    assert ended.code == 0, ended
    assert it.show(ids["late"])["transfer"]["sent_again_as"] == ended.out.strip()
    assert it.backhaul("retry", "--state", "dead", "--yes").out == "nothing to retry\n"
    it.drained()
    assert it.show(ids["late"])["settled_by"]["state"] == "done"
    (line,) = journal(it)
    assert (line["action"], line["transfers"]) == ("redrive", 1)


def test_letters_are_chosen_by_filters_and_deleted_ones_are_counted_no_more(
    local: Installation,
) -> None:
    it = local
    ids = dead(it, "late", "later")
    place = ("dlq", "list", it.queue, REGION)
    listed = it.backhaul(*place, "--json")
    letters = {row["transfer_id"]: row for row in map(json.loads, listed.out.splitlines())}
    assert set(letters) == set(ids.values())
    for row in letters.values():
        assert (row["v"], row["code"]) == (1, "E_SRC_EMPTY")
        assert isinstance(row["attempts"], int)
        assert row["source"].endswith(("late", "later"))
    (late,) = (row for row in letters.values() if row["source"].endswith("/late"))
    shown = it.backhaul("dlq", "redrive", it.queue, REGION, "--code", "E_OTHER", "--yes")
    assert (shown.code, shown.out) == (0, ""), shown
    assert "No dead letter matches these filters (2 on the queue)." in shown.err
    one = ("--source", late["source"] + "r")
    shown = it.backhaul("dlq", "redrive", it.queue, REGION, *one, "--dry-run")
    assert (shown.code, shown.out) == (0, ""), shown
    assert "1 dead letter to send back" in shown.err
    assert it.counts() == (0, 0)
    sent = it.backhaul("dlq", "redrive", it.queue, REGION, *one)
    assert (sent.code, len(sent.out.split())) == (0, 1), sent
    assert it.counts() == (1, 0)
    gone = it.backhaul("dlq", "delete", it.queue, REGION, ids["late"], "--yes")
    assert (gone.code, gone.out) == (0, f"{late['message_id']}\n"), gone
    assert it.dead_letters() == []
    assert it.history("--state", "dead") == []
    settled = it.history("--state", "settled")
    assert {row["id"]: row["settled_how"] for row in settled} == {
        ids["late"]: "deleted",
        ids["later"]: "sent_again",
    }
    assert [line["action"] for line in journal(it)] == ["delete", "redrive"]


def test_a_request_that_is_sent_once_more_settles_the_dead_one(local: Installation) -> None:
    it = local
    ids = dead(it, "late")
    it.put("late", b"here now")
    it.ask_for("late", "out")
    it.drained()
    assert it.history("--state", "dead") == []
    details = it.show(ids["late"])
    assert (details["transfer"]["settled_how"], details["settled_by"]["state"]) == (
        "brought",
        "done",
    )


def test_a_redrive_without_a_ledger_or_with_a_broken_configuration_works_as_before(
    local: Installation,
) -> None:
    it = local
    dead(it, "late", "later")
    letters = it.backhaul("dlq", "list", it.queue, REGION)
    first, second = (line.split()[0] for line in letters.out.splitlines())
    nowhere = ("--ledger", str(it.home / "none.db"))
    ended = it.backhaul("dlq", "redrive", it.queue, REGION, first, *nowhere)
    assert (ended.code, ended.err) == (0, "1 sent back\n"), ended
    broken = it.home / "broken.toml"
    broken.write_text("ledger = \n", "utf-8")
    ended = it.backhaul("dlq", "redrive", it.queue, REGION, second, "--config", str(broken))
    assert ended.code == 0, ended
    assert "warning: E_CFG_TOML" in ended.err
    assert ended.err.endswith("1 sent back\n")
    assert it.counts() == (2, 0)


def test_a_person_at_a_terminal_is_shown_the_bytes_and_may_decline(local: Installation) -> None:
    it = local
    ids = dead(it, "late")
    ours, theirs = pty.openpty()
    with (
        open(ours, "rb", buffering=0),  # noqa: PTH123
        child(
            it.argv("retry", ids["late"]),
            env=it.environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as process,
    ):
        os.close(theirs)
        text = _read_until(ours, "[y/N]")
        assert "1 dead transfer to send again: 0 objects, 0 B" in text
        os.write(ours, b"n\n")
        assert process.wait(30) == 130
    assert it.counts() == (0, 0)
    assert len(it.dead_letters()) == 1


def _read_until(descriptor: int, text: str) -> str:
    seen = ""
    while text not in seen:
        ready, _, _ = select.select([descriptor], [], [], 30)
        assert ready, seen
        seen += os.read(descriptor, 4096).decode("utf-8", "replace")
    return seen

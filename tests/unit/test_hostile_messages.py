"""What a hostile or broken sender, proxy or queue can do with one message, and what comes of it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backhaul.core import facts as events
from backhaul.core.agent.stopping import Stop
from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import OutageError
from backhaul.core.model import SignatureRule
from backhaul.core.ports import Message
from backhaul.core.requests.records import records_of
from backhaul.core.requests.signature import ATTRIBUTE, TICKET, sign
from backhaul.core.text import redacted
from backhaul.testing.fakes import Fault, Killed, ReadFault
from tests.unit.test_agent_events import EVENTS, notice, record, states
from tests.world import World, eventually, route

pytestmark = pytest.mark.slow  # many messages through an agent

A, B = b"content of a", b"content of b"
BODY = "raw/p/a, /land/d"
KEY = b"k" * 32


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.routes = (route(**EVENTS),)
    world.store.put("p/a", A)
    world.store.put("p/b", B)
    return world


def codes_of(world: World) -> list[str | None]:
    return [letter.reason.code if letter.reason else None for letter in world.queue.dead_letters]


def sentence_of(world: World, number: int = 0) -> str:
    reason = world.queue.dead_letters[number].reason
    assert reason is not None
    return reason.sentence


# ---------------------------------------------------------------- many records


@pytest.mark.parametrize("record", [1, None, {}, [], {"eventSource": "aws:sqs"}])
def test_too_many_records_are_one_dead_letter(world: World, record: object) -> None:
    body = json.dumps({"Records": [record] * 101}, separators=(",", ":"))
    world.queue.send(body)
    world.drain()
    assert codes_of(world) == ["E_MSG_RECORDS"]
    assert "101 records" in sentence_of(world)
    assert len(world.rows()) == 1


def test_most_records_that_fit_into_a_body_are_one_dead_letter(world: World) -> None:
    world.queue.send(json.dumps({"Records": [1] * 32_000}, separators=(",", ":")))
    world.drain()
    assert codes_of(world) == ["E_MSG_RECORDS"]
    assert len(world.rows()) == 1


def test_records_that_cannot_be_read_are_one_dead_letter_that_names_them(world: World) -> None:
    message_id = world.queue.send(notice("p//x", "p/a", record("p/./y"), "p/b", record("p//z")))
    world.drain()

    assert world.landed() == {"p/a": A, "p/b": B}
    assert codes_of(world) == ["E_SRC_KEY_EMPTY_SEG"]
    sentence = sentence_of(world)
    assert "3 of 5 records cannot be read" in sentence
    assert all(f"record {number}: " in sentence for number in (1, 3, 5))
    assert "E_SRC_KEY_DOT_SEG" in sentence
    assert states(world) == {
        f"{message_id}#1,3,5": "dead",
        f"{message_id}#2": "done",
        f"{message_id}#4": "done",
    }


def test_a_hundred_unreadable_records_are_one_short_letter(world: World) -> None:
    world.queue.send(json.dumps({"Records": [1] * 100}))
    world.drain()
    assert len(world.queue.dead_letters) == len(world.rows()) == 1
    assert "and 90 more" in sentence_of(world)
    assert len(sentence_of(world)) < 1000


def test_a_record_that_is_refused_goes_to_the_dead_letter_queue_alone(world: World) -> None:
    refused = record("q/a")
    refused["s3"]["bucket"]["name"] = "other-bucket"
    world.queue.send(notice("p/a", refused, "p/b"))
    world.drain()

    (letter,) = world.queue.dead_letters
    assert json.loads(letter.body) == {"Records": [refused]}
    assert sentence_of(world).startswith("record 2 of 3: ")
    assert world.landed() == {"p/a": A, "p/b": B}


@pytest.mark.parametrize("call", ["ledger.fail", "queue.delete"])
def test_a_stop_after_the_death_sends_no_second_letter(world: World, call: str) -> None:
    """Only between the letter and its record may a second one be sent."""
    refused = record("q/a")
    refused["s3"]["bucket"]["name"] = "other-bucket"
    message_id = world.queue.send(notice(refused, "p/a"))
    world.faults.at(call, 1, Fault.KILL)
    with pytest.raises(Killed):
        world.drain()
    sent = len(world.queue.dead_letters)
    if world.queue.remaining:
        world.queue.redeliver(message_id)
    world.drain()
    assert sent == 1
    assert len(world.queue.dead_letters) == (2 if call == "ledger.fail" else 1)
    assert world.landed() == {"p/a": A}


# ---------------------------------------------------------------- another body under the same id


def rewritten(world: World, body: str) -> None:
    (stored,) = world.queue._stored.values()
    stored.body = body


def test_another_body_under_the_id_of_a_finished_message_is_dead_and_loud(world: World) -> None:
    message_id = world.queue.send(BODY)
    world.drain()
    world.queue.reappear(message_id)
    rewritten(world, "raw/p/b, /land/d")
    world.drain()

    assert codes_of(world) == ["E_MSG_CHANGED"]
    assert world.queue.dead_letters[0].body == "raw/p/b, /land/d"
    assert world.landed() == {"d/a": A}
    assert world.queue.remaining == []
    found = states(world)
    assert found.pop(message_id) == "done"
    assert list(found.values()) == ["dead"]


def test_another_body_under_the_id_of_an_unfinished_message_is_dead(world: World) -> None:
    world.store.spoil_read("p/a", ReadFault.FLIP, times=100)
    message_id = world.queue.send(BODY)
    with world.running() as agent:
        eventually(lambda: agent.totals.failed)
        agent.request_stop(Stop.DRAIN)
    rewritten(world, "raw/p/b, /land/d")
    world.clock.advance(3600)
    world.drain()
    assert codes_of(world) == ["E_MSG_CHANGED"]
    assert world.landed() == {}

    # Once more: it is known, and no second letter is sent.
    world.queue.reappear(message_id)
    world.drain()
    assert codes_of(world) == ["E_MSG_CHANGED"]


def test_the_same_body_again_is_no_change(world: World) -> None:
    message_id = world.queue.send(BODY)
    world.drain()
    world.queue.reappear(message_id)
    world.drain()
    assert codes_of(world) == []
    assert states(world) == {message_id: "done"}


# ---------------------------------------------------------------- old messages

DAY_S = 86_400


def test_an_old_backlog_is_tried_first(world: World) -> None:
    world.queue.send(BODY)
    world.clock.advance(3.9 * DAY_S)
    world.drain()
    assert codes_of(world) == []
    assert world.landed() == {"d/a": A}


def test_an_old_message_that_fails_is_dead_with_its_failure(world: World) -> None:
    world.store.spoil_read("p/a", ReadFault.FLIP, times=100)
    world.queue.send(BODY)
    world.clock.advance(3.5 * DAY_S)
    world.drain(retry=RetryPolicy(max_attempts=9, base_s=10))
    assert codes_of(world) == ["E_EXPIRING"]
    assert "last: E_CHECKSUM" in sentence_of(world)


def test_an_old_message_waits_for_a_dependency_while_there_is_time(world: World) -> None:
    """After a weekend's outage, Friday's messages are still there."""
    down = OutageError.of("s3", "E_S3_UNREACHABLE", "no route to host")
    for occurrence in range(1, 6):
        world.faults.at("store.list", occurrence, Fault.FAIL, down)
    world.queue.send(BODY)
    world.clock.advance(3.5 * DAY_S)
    world.drain()
    assert codes_of(world) == []
    assert world.landed() == {"d/a": A}


def age(world: World) -> bool:
    world.clock.advance(600)
    return False


def test_a_wait_that_would_outlast_the_message_ends_it(world: World) -> None:
    world.faults.always("store.list", OutageError.of("s3", "E_S3_UNREACHABLE", "no route"))
    message_id = world.queue.send(BODY)
    world.clock.advance(3.5 * DAY_S)
    with world.running() as agent:
        eventually(lambda: agent.totals.dead or age(world))
    assert codes_of(world) == ["E_EXPIRING"]
    assert "last: E_S3_UNREACHABLE" in sentence_of(world)
    assert world.queue.deleted == [message_id]
    assert world.queue.expired == []


# ---------------------------------------------------------------- signed messages come back


@pytest.fixture
def signing(world: World) -> World:
    rule = SignatureRule(keys=(b"old" * 11, KEY), max_age_s=3600)
    world.routes = (route(**EVENTS, signature=rule),)
    return world


def signature_of(world: World, body: str = BODY, nonce: str = "nonce-of-16-chars") -> str:
    expires = (world.clock.now() + timedelta(minutes=5)).isoformat()
    return sign(KEY, body=body, queue=world.queue.facts.arn, expires=expires, nonce=nonce)


def dead_once(world: World, body: str = BODY) -> dict[str, str]:
    """A signed message that died of its source; the attributes of its dead letter."""
    attributes = {ATTRIBUTE: signature_of(world, body)}
    world.store.remove("p/a")
    world.queue.send(body, attributes)
    world.drain()
    reason = world.queue.dead_letters[-1].reason
    assert reason is not None
    assert reason.code == "E_SRC_EMPTY"
    assert reason.redrive
    return {**attributes, TICKET: reason.redrive}


def test_a_signed_message_comes_back_from_the_dead_letter_queue(signing: World) -> None:
    attributes = dead_once(signing)
    signing.store.put("p/a", A)
    signing.clock.advance(3 * DAY_S)  # long after the signature's end
    signing.queue.send(BODY, attributes)
    signing.drain()
    assert signing.landed() == {"d/a": A}
    assert codes_of(signing) == ["E_SRC_EMPTY"]


def test_it_comes_back_once(signing: World) -> None:
    attributes = dead_once(signing)
    signing.store.put("p/a", A)
    for _ in range(2):
        signing.queue.send(BODY, attributes)
        signing.drain()
    assert codes_of(signing) == ["E_SRC_EMPTY", "E_SIG_REPLAY"]
    reason = signing.queue.dead_letters[-1].reason
    assert reason is not None
    assert reason.redrive == "", "a copy gets no ticket"


def test_it_may_die_and_come_back_again(signing: World) -> None:
    first = dead_once(signing)
    signing.clock.advance(DAY_S)
    signing.queue.send(BODY, first)
    signing.drain()
    assert codes_of(signing) == ["E_SRC_EMPTY"] * 2
    reason = signing.queue.dead_letters[-1].reason
    assert reason is not None
    signing.store.put("p/a", A)
    signing.queue.send(BODY, {**first, TICKET: reason.redrive})
    signing.drain()
    assert signing.landed() == {"d/a": A}


def test_a_message_that_died_before_its_nonce_was_noted_comes_back_late(signing: World) -> None:
    rule = signing.routes[0].signature
    body = "raw/p/a, /elsewhere/d"
    attributes = {ATTRIBUTE: signature_of(signing, body)}
    signing.queue.send(body, attributes)
    signing.drain()
    reason = signing.queue.dead_letters[-1].reason
    assert reason is not None
    assert reason.code == "E_POLICY_DEST"
    from tests.world import location

    signing.routes = (
        route(destinations=(location("/land"), location("/elsewhere")), signature=rule),
    )
    signing.clock.advance(2 * DAY_S)
    signing.queue.send(body, {**attributes, TICKET: reason.redrive})
    signing.drain()
    assert codes_of(signing) == ["E_POLICY_DEST"]
    assert states(signing)["m-2"] == "done"


FORGED = {
    "no ticket": "",
    "nonsense": "x",
    "of another key": "v1,{transfer},2026-11-22T12:00:00+00:00," + "0" * 64,
}


@pytest.mark.parametrize("ticket", FORGED.values(), ids=FORGED)
def test_nobody_else_brings_a_dead_message_back(signing: World, ticket: str) -> None:
    attributes = dead_once(signing)
    signing.store.put("p/a", A)
    real = attributes.pop(TICKET)
    if ticket:
        attributes[TICKET] = ticket.format(transfer=real.split(",")[1])
    signing.queue.send(BODY, attributes)
    signing.drain()
    assert codes_of(signing)[1:] == ["E_SIG_BAD" if ticket else "E_SIG_REPLAY"]
    assert signing.landed() == {}


@pytest.mark.parametrize("part", [1, 2, 3])
def test_a_ticket_that_was_changed_is_refused(signing: World, part: int) -> None:
    attributes = dead_once(signing)
    signing.store.put("p/a", A)
    parts = attributes[TICKET].split(",")
    parts[part] = parts[part][:-1] + ("0" if parts[part][-1] != "0" else "1")
    signing.queue.send(BODY, {**attributes, TICKET: ",".join(parts)})
    signing.drain()
    assert codes_of(signing)[1:] == ["E_SIG_BAD"]


def test_a_ticket_is_for_its_own_body_and_signature(signing: World) -> None:
    attributes = dead_once(signing)
    other = "raw/p/b, /land/d"
    signing.queue.send(
        other,
        {
            ATTRIBUTE: signature_of(signing, other, nonce="another-nonce-16c"),
            TICKET: attributes[TICKET],
        },
    )
    signing.drain()
    assert codes_of(signing)[1:] == ["E_SIG_BAD"]


def test_a_done_message_does_not_come_back(signing: World) -> None:
    """The ticket of a death that an operator's copy made up for, say; or a copied one."""
    attributes = {ATTRIBUTE: signature_of(signing)}
    signing.queue.send(BODY, attributes)
    signing.drain()
    (row,) = signing.rows()
    from backhaul.core.requests.signature import make_ticket

    ticket = make_ticket(
        KEY,
        value=attributes[ATTRIBUTE],
        body=BODY,
        queue=signing.queue.facts.arn,
        transfer_id=row.id,
        sent_at=signing.clock.now(),
    )
    signing.queue.send(BODY, {**attributes, TICKET: ticket})
    signing.drain()
    assert codes_of(signing) == ["E_SIG_REPLAY"]


def test_a_signed_event_of_several_records_keeps_its_whole_body(signing: World) -> None:
    body = notice("p/gone", "p/b")
    attributes = {ATTRIBUTE: signature_of(signing, body)}
    signing.queue.send(body, attributes)
    signing.drain()
    (letter,) = signing.queue.dead_letters
    assert letter.body == body
    assert letter.reason is not None
    signing.store.put("p/gone", A)
    signing.queue.send(body, {**attributes, TICKET: letter.reason.redrive})
    signing.drain()
    assert signing.landed() == {"p/gone": A, "p/b": B}
    assert codes_of(signing) == ["E_SRC_EMPTY"]


# ---------------------------------------------------------------- one bad message, and the others


def test_a_message_that_breaks_the_reader_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backhaul.core.agent import delivery

    read = records_of

    def broken(message: Message, **named: Any) -> Any:
        if message.body == "break":
            raise RecursionError("deeper than ever")
        return read(message, **named)

    monkeypatch.setattr(delivery, "records_of", broken)
    bad = world.queue.send("break")
    good = world.queue.send(BODY)
    with world.running() as agent:
        eventually(lambda: agent.totals.done and agent.totals.failed)
        agent.request_stop(Stop.DRAIN)
    assert world.queue.deleted == [good]
    assert world.queue.remaining == [bad]
    assert world.landed() == {"d/a": A}
    assert world.all_of(events.AgentStopped)


# ---------------------------------------------------------------- secrets in bodies

CANARY = "c0ffeec0ffee"
KEY_ID = "AKIAIOSFODNN7EXAMPLE"
TELLING = [
    f"https://user:{CANARY}@host/p, /land",
    f"https://{CANARY}@host/p, /land",
    f"https://raw.s3.amazonaws.com/p/a?X-Amz-Signature={CANARY}&X-Amz-Date=1, /land",
    f"raw/p/gone?X-Amz-Signature={CANARY}, /land/d",
    f"raw/p/gone?AWSAccessKeyId={KEY_ID}&Signature={CANARY}, /elsewhere",
    f"raw/p/gone?X-Amz-Security-Token={CANARY}, /land/d",
    f"raw/p//x?sig={CANARY}, /land/d",
    f"raw/p/gone?access_token={CANARY}, /land/d",
    json.dumps({"aws_access_key_id": KEY_ID, "aws_secret_access_key": CANARY}),
    json.dumps({"v": 1, "password": CANARY, "source": "s3://raw/p/a", "destination": "/land"}),
    json.dumps({"headers": {"Authorization": f"Bearer {CANARY}"}}),
    json.dumps(f"Authorization: AWS4-HMAC-SHA256 Credential={KEY_ID}, Signature={CANARY}"),
    f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
    notice(record(f"p/gone?X-Amz-Signature={CANARY}")),
    notice(record(f"p/gone%253FX-Amz-Signature%253D{CANARY}")),
    f"raw/p/gone%3FX-Amz-Signature%3D{CANARY}, /land/d",
    f"https%3A%2F%2Fuser%3A{CANARY}%40host%2Fp",
    f"Cookie: a=b; session={CANARY}",
    f"raw/p/gone?pass={CANARY}, /land/d",
    notice(record(f"p//x?X-Amz-Signature={CANARY}"), record(f"p//y?Signature={CANARY}")),
]


@pytest.mark.parametrize("body", TELLING)
def test_no_secret_of_a_body_is_shown_or_kept(world: World, body: str) -> None:
    world.queue.send(body)
    world.drain()

    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    shown = [
        *(fact.body_excerpt for fact in world.all_of(events.MessageReceived)),
        *(redacted(str(fact)) for fact in world.all_of(object)),
        f"{letter.reason}",
    ]
    for text in shown:
        assert CANARY not in text
    for path in world.path.parent.glob(f"{world.path.name}*"):
        assert CANARY.encode() not in path.read_bytes()


def test_no_secret_of_an_answer_is_kept_while_a_transfer_is_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def list_page(*_: object, **__: object) -> None:
        raise OutageError.of("s3", "E_SRC_KMS", f"S3 answered 400: password={CANARY}")

    monkeypatch.setattr(world.store, "list_page", list_page)
    world.queue.send("raw/p/, /land/d")
    world.drain(drain_patience_s=5)

    (row,) = world.rows()
    assert (row.code, row.reason) == ("E_SRC_KMS", "S3 answered 400: password=***")


def test_a_key_that_looks_like_a_secret_is_copied_under_its_true_name(world: World) -> None:
    key = f"p/a?X-Amz-Signature={CANARY}"
    world.store.put(key, b"an odd name")
    world.queue.send(f"raw/{key}, /land/d")
    world.drain()
    assert world.landed() == {f"d/{key[2:]}": b"an odd name"}
    (row,) = world.rows()
    assert CANARY not in row.source

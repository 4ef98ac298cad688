"""What a reply says to the systems of others."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

from backhaul.core.replies.reply import Reply, ReplyEvent, reply_key

AT = datetime(2026, 3, 1, 7, 30, 0, 123456, tzinfo=UTC)


def a_reply(at: datetime = AT) -> Reply:
    return Reply(
        key=reply_key("t1", 3, ReplyEvent.DONE),
        target="out",
        event=ReplyEvent.DONE,
        at=at,
        transfer_id="t1",
        epoch=3,
        code=None,
        reason=None,
        route="sales",
        source="s3://bucket/räw/",
        destination="hdfs://nn:8020/landing",
        objects=2,
        size_bytes=17,
        digest="ab" * 32,
        message_id="m1",
    )


def test_the_json_is_the_contract() -> None:
    assert json.loads(a_reply().body()) == {
        "v": 1,
        "event": "done",
        "code": None,
        "reason": None,
        "transfer": "t1",
        "epoch": 3,
        "key": "t1-3-done",
        "at": "2026-03-01T07:30:00.123Z",
        "route": "sales",
        "source": "s3://bucket/räw/",
        "destination": "hdfs://nn:8020/landing",
        "objects": 2,
        "bytes": 17,
        "digest": "ab" * 32,
        "message": "m1",
    }


def test_its_time_is_utc_whatever_zone_it_was_given_in() -> None:
    elsewhere = timezone(timedelta(hours=2))
    assert a_reply(AT.astimezone(elsewhere)).body() == a_reply().body()


def test_it_is_ascii_so_that_no_queue_alters_it() -> None:
    assert a_reply().body().isascii()


def test_a_second_hold_has_a_key_of_its_own() -> None:
    keys = [reply_key("t1", 3, ReplyEvent.HELD, nth) for nth in (1, 2)]
    assert keys == ["t1-3-held", "t1-3-held-2"]


def test_only_done_and_dead_are_the_end() -> None:
    assert [event for event in ReplyEvent if event.is_end] == [ReplyEvent.DONE, ReplyEvent.DEAD]

"""How a notification reads: one line is one line, no secret leaves, the schema describes it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from email.policy import SMTP
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backhaul.adapters.notify.mail import make_mail
from backhaul.adapters.notify.rendering import SUBJECT_MOST, as_json, subject, text
from backhaul.core.agent.notifying.plan import sample
from backhaul.core.notification import (
    Death,
    Deaths,
    HealthChange,
    MailRoute,
    Notice,
    Notices,
    Notification,
    NotifyOn,
)
from tests.docs.test_schemas import SCHEMAS, _TypeFirst
from tests.unit.test_notification_plan import HELD, IDENTITY, START, WELL, death

ROUTE = MailRoute(to=("a@example.com", "b@example.com"), sender="c@example.com", host="h", port=25)
BIDI, NEWLINE = "\u202egpj.exe", "x\r\nBcc: victim@example.com\r\n\r\nbody"
HOSTILE = (NEWLINE, BIDI, "\x1b[2Jx", "\u2028y", "<script>alert(1)</script>", "'; rm -rf /", "ä漢")
SECRET = "s3://user:canaryc0ffee@bucket/key?X-Amz-Signature=canaryc0ffee"


def notification(*deaths: Death, change: HealthChange | None = None) -> Notification:
    together: Deaths | None = None
    for one in deaths:
        together = together.with_more(Deaths.of(one)) if together else Deaths.of(one)
    made = sample("oncall", IDENTITY, 900, START)
    return replace(made, is_test=False, health=change, deaths=together)


def hostile(foreign: str) -> Notification:
    health = replace(HELD, sentence=f"Held: {foreign}", code=foreign, hint=foreign)
    one = replace(
        death(1, foreign, foreign),
        transfer_id=foreign,
        message_id=foreign,
        reason=foreign,
        hint=foreign,
        source=f"s3://b/{foreign}",
        destination=foreign,
        dead_letter_queue=foreign,
    )
    made = notification(one, change=HealthChange(health=health, key="k"))
    return replace(made, host=foreign, queue=foreign, region=foreign)


def schema_takes(document: dict[str, Any]) -> bool:
    schema = json.loads((SCHEMAS / "notification.schema.json").read_text("utf-8"))
    return _TypeFirst(schema).accepts(document)


def test_trouble_has_its_sentence_and_fix() -> None:
    health = replace(HELD, hint="hdfs dfsadmin -safemode leave", since=START)
    made = notification(change=HealthChange(health=health, key="k"))
    assert subject(made) == "[backhaul] edge1 q: Held by hdfs"
    assert text(made).splitlines()[:4] == [
        "Held by hdfs",
        "Fix: hdfs dfsadmin -safemode leave",
        "Since: 2026-11-22T03:00:00Z",
        "More: backhaul status",
    ]
    assert "in 15 min at the earliest" in text(made).replace("\n", " ")
    found = json.loads(as_json(made))
    assert (found["v"], found["about"], found["dead"]) == (1, ["health"], None)
    assert found["health"]["change"] == "trouble"


def test_a_recovery_has_what_is_so_now() -> None:
    made = notification(change=HealthChange(health=WELL, key=""))
    assert subject(made) == "[backhaul] edge1 q: well again: Running: waiting for messages"
    assert "Fix" not in text(made)
    found = json.loads(as_json(made))
    assert (found["about"], found["health"]["change"]) == (["recovery"], "recovery")
    assert found["health"]["since"] is None


def test_the_dead_are_counted_by_code_with_commands() -> None:
    many = [death(n, "E_SRC_EMPTY" if n % 3 else "E_DST_DENIED") for n in range(1, 31)]
    made = notification(*many)
    assert subject(made) == "[backhaul] edge1 q: 30 dead: E_SRC_EMPTY 20, E_DST_DENIED 10"
    lines = text(made).splitlines()
    assert lines[0] == "30 dead, from 2026-11-22T03:00:01Z to 2026-11-22T03:00:30Z:"
    assert "     20  E_SRC_EMPTY  route r" in lines
    assert "  More: backhaul show t1" in lines
    assert "and 10 more: backhaul history --state dead --limit 30" in lines
    assert "When the cause is fixed: backhaul dlq redrive" in lines
    found = json.loads(as_json(made))["dead"]
    assert (found["count"], len(found["examples"])) == (30, 20)
    assert found["groups"] == [
        {"code": "E_SRC_EMPTY", "route": "r", "count": 20},
        {"code": "E_DST_DENIED", "route": "r", "count": 10},
    ]
    assert found["examples"][0]["show"] == "backhaul show t1"


def test_one_dead_message_has_its_time_and_what_became_of_it() -> None:
    bare = replace(death(), route="", hint="", dead_letter_queue=None)
    made = notification(bare)
    lines = text(made).splitlines()
    assert lines[0] == "1 dead, at 2026-11-22T03:00:01Z:"
    assert "      1  E_SRC_EMPTY" in lines
    assert "transfer t1" in lines
    assert "  It is kept hidden in its queue, which has no dead-letter queue." in lines
    assert json.loads(as_json(made))["dead"]["examples"][0]["dead_letter_queue"] is None


def test_groups_past_the_twentieth_are_summed_up() -> None:
    lines = text(notification(*(death(n, f"E_{n:02}") for n in range(25)))).splitlines()
    assert "      5  of other codes and routes" in lines


def test_a_test_is_marked_as_one() -> None:
    made = sample("oncall", IDENTITY, 900, START)
    assert subject(made).startswith("[backhaul] TEST: edge1 q: ")
    assert text(made).startswith("This is a test")
    assert json.loads(as_json(made))["about"] == ["health", "dead", "test"]


@pytest.mark.parametrize("foreign", HOSTILE, ids=ascii)
def test_no_foreign_text_makes_a_header_or_a_line_of_its_own(foreign: str) -> None:
    made, plain = hostile(foreign), hostile("plain")
    mail = make_mail(made, ROUTE)
    assert list(mail.keys()) == list(make_mail(plain, ROUTE).keys())
    assert "Bcc" not in mail
    assert len(text(made).splitlines()) == len(text(plain).splitlines())
    shown = subject(made) + text(made).replace("\n", "")
    assert shown.isprintable()
    assert mail["To"] == "a@example.com, b@example.com"
    assert mail.get_content() == text(made)
    parsed = message_from_bytes(bytes(mail), policy=SMTP)
    assert parsed.items() == mail.items()
    assert parsed.get_content().replace("\r\n", "\n") == text(made)


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_one_line_of_the_json_and_of_the_subject(foreign: str) -> None:
    made = hostile(foreign)
    line = as_json(made)
    assert line.isascii()
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert schema_takes(json.loads(line))
    assert subject(made).isprintable()
    assert len(subject(made)) <= SUBJECT_MOST
    bytes(make_mail(made, ROUTE))


def test_no_secret_is_in_any_form_of_it() -> None:
    made = hostile(SECRET)
    mail = make_mail(made, ROUTE)
    for form in (subject(made), text(made), as_json(made), mail.get_content(), str(mail.items())):
        assert "canaryc0ffee" not in form


def test_the_schema_takes_all_kinds_and_names_every_field() -> None:
    full = sample("oncall", IDENTITY, 900, START)
    kinds = [full, notification(death()), notification(change=HealthChange(health=WELL, key=""))]
    for one in kinds:
        document = json.loads(as_json(one))
        assert schema_takes(document)
        assert not schema_takes({**document, "another": 1})
        for name in document:
            assert not schema_takes({k: v for k, v in document.items() if k != name}), name
    document = json.loads(as_json(full))
    for table in ("health", "dead", "agent"):
        for name in document[table]:
            less = {k: v for k, v in document[table].items() if k != name}
            assert not schema_takes({**document, table: less}), name


def test_a_mail_is_no_answer_to_anything() -> None:
    mail = make_mail(replace(notification(death()), at=START + timedelta(seconds=1)), ROUTE)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"] == f"<{'a' * 32}-test.oncall@example.com>"
    assert mail["Date"] == "Sun, 22 Nov 2026 03:00:01 +0000"
    assert mail["From"] == "c@example.com"


# ---------------------------------------------------------------- data


def data(sentence: str = "r/daily has not come", count: int = 1) -> Notification:
    missed = Notice(
        about=NotifyOn.EXPECTED, at=START, sentence=sentence, code="W_X", hint="look there"
    )
    good = Notice(about=NotifyOn.FORECAST, at=START, sentence="no longer at risk: q")
    return replace(notification(), notices=Notices(count=count + 1, first=(missed, good)))


def test_missing_data_has_its_sentence_and_fix() -> None:
    made = data()
    assert subject(made) == "[backhaul] edge1 q: r/daily has not come and 1 more"
    assert text(made).splitlines()[:5] == [
        "r/daily has not come",
        "  Fix: look there",
        "no longer at risk: q",
        "",
        "More: backhaul expectations; backhaul status",
    ]
    found = json.loads(as_json(made))
    assert schema_takes(found)
    assert found["about"] == ["expected", "forecast"]
    assert (found["data"]["count"], found["health"], found["dead"]) == (2, None, None)
    assert found["data"]["notices"][0] == {
        "about": "expected",
        "at": "2026-11-22T03:00:00Z",
        "code": "W_X",
        "sentence": "r/daily has not come",
        "hint": "look there",
    }
    assert "and 8 more" in text(data(count=9)).splitlines()
    alone = replace(made, notices=Notices.of(made.notices.first[0]) if made.notices else None)
    assert subject(alone) == "[backhaul] edge1 q: r/daily has not come"


@pytest.mark.parametrize("foreign", HOSTILE)
def test_a_hostile_place_makes_no_line_of_its_own(foreign: str) -> None:
    made = data(f"r/daily has not come: 0 of 1 objects in /landing/{foreign}")
    assert subject(made).isprintable()
    assert len(text(made).splitlines()) == len(text(data()).splitlines())
    assert schema_takes(json.loads(as_json(made)))

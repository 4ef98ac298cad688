"""What a dead letter carries of the message's own attributes."""

from __future__ import annotations

from datetime import UTC, datetime

from backhaul.adapters.aws.dead_letter import attributes_for
from backhaul.core.ports import DeadLetterReason, Message
from backhaul.core.requests.signature import ATTRIBUTE


def message_with(*names: str) -> Message:
    return Message(
        queue="arn:aws:sqs:us-east-1:000000000000:work",
        message_id="m",
        receipt_handle="h",
        body="b",
        sender_id="",
        receive_count=1,
        sent_at=None,
        received_monotonic_s=0.0,
        attributes=dict.fromkeys(names, "x"),
    )


def reason(redrive: str) -> DeadLetterReason:
    return DeadLetterReason(
        code="E_X",
        sentence="it broke",
        hint="fix it",
        attempts=1,
        first_seen_at=datetime(2026, 11, 22, tzinfo=UTC),
        transfer_id="t",
        host="h",
        redrive=redrive,
    )


def test_a_letter_keeps_signature_and_ticket_before_all_other_attributes() -> None:
    message = message_with("a", "b", "c", ATTRIBUTE, "backhaul.redrive")
    made = attributes_for(message, reason("v1,t,2026,mac"), with_senders=True)
    assert len(made) == 10
    assert made[ATTRIBUTE]["StringValue"] == "x"
    assert made["backhaul.redrive"]["StringValue"] == "v1,t,2026,mac"


def test_a_letter_without_a_ticket_loses_the_one_it_came_with() -> None:
    message = message_with("backhaul.redrive")
    assert "backhaul.redrive" not in attributes_for(message, reason(""), with_senders=True)

"""Warnings about a queue's own settings at the agent's start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backhaul.core.agent.observing.queue_warnings import warnings
from backhaul.core.ports import QueueFacts

GOOD = QueueFacts(
    url="https://sqs/work",
    name="work",
    arn="arn:aws:sqs:us-west-2:123456789012:work",
    dead_letter_url="https://sqs/work-dead",
    dead_letter_name="work-dead",
    max_receive_count=20,
    retention_s=345_600,
    dead_letter_retention_s=1_209_600,
)


def test_good_queue_gives_no_warning() -> None:
    assert warnings(GOOD) == []
    assert warnings(replace(GOOD, retention_s=None, dead_letter_retention_s=None)) == []


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (replace(GOOD, dead_letter_url=None, max_receive_count=None), "W_NO_DLQ"),
        (replace(GOOD, max_receive_count=4), "W_FEW_RECEIVES"),
        (replace(GOOD, dead_letter_retention_s=345_600), "W_DLQ_RETENTION"),
    ],
)
def test_each_risk_is_reported_once_with_its_fix(facts: QueueFacts, code: str) -> None:
    (found,) = warnings(facts)
    assert (found.queue, found.code) == ("work", code)
    assert found.reason
    assert found.hint

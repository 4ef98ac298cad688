"""What `backhaul status` prints of a transfer that waits for a dependency."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backhaul.adapters.ledger.reading.observing import OpenTransfer
from backhaul.cli.screen import why
from backhaul.core.model import TransferState

NOW = datetime(2026, 11, 30, 10, 0, tzinfo=UTC)


def row(**known: object) -> OpenTransfer:
    values: dict[str, Any] = {field.name: None for field in fields(OpenTransfer)}
    return OpenTransfer(**{**values, "code": "E_X", "reason": "no answer", **known})


def test_last_error_without_a_hold() -> None:
    assert why(row(state=TransferState.WAITING), NOW) == "E_X: no answer"


@pytest.mark.parametrize(
    ("since_s", "retry_s", "words"),
    [
        (150, 28, "held by hdfs for 2 min: E_X: no answer; next try in 28 s"),
        (7, 0, "held by hdfs for 7 s: E_X: no answer; next try in 0 s"),
        (7, -5, "held by hdfs for 7 s: E_X: no answer; next try in 0 s"),
        (3 * 3600, 5, "held by hdfs for 3 h: E_X: no answer; next try in 5 s"),
    ],
)
def test_held(since_s: int, retry_s: int, words: str) -> None:
    held = row(
        state=TransferState.HELD,
        held_by="hdfs",
        held_since=NOW - timedelta(seconds=since_s),
        retry_at=NOW + timedelta(seconds=retry_s),
    )
    assert why(held, NOW) == words


def test_worker_that_waits_by_itself() -> None:
    waiting = row(state=TransferState.STAGING, held_by="s3", held_since=NOW - timedelta(seconds=40))
    assert why(waiting, NOW) == "waiting for s3 for 40 s: E_X: no answer"

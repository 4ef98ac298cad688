"""Section 2.1 of the bad-input catalogue, as far as routes decide: `tests/data/messages.toml`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backhaul.core.errors import PermanentError
from backhaul.core.requests.body import read_message
from backhaul.core.requests.content import Ignored, RecordBody
from backhaul.core.requests.event_routes import request_of
from backhaul.core.requests.policy import Policy
from backhaul.core.requests.signature import ATTRIBUTE, replayed, sign, verify
from backhaul.settings.load import load_settings
from backhaul.settings.routes import make_routes
from tests.catalogue import Row, configuration, name, rows

DEFAULT_FS = "hdfs://nameservice"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:work"
SENT_AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY = "k" * 32
SEEN = {"seen-before-by-another"}


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Policy:
    monkeypatch.setenv("CATALOGUE_KEY", KEY)
    path = tmp_path / "backhaul.toml"
    path.write_text(configuration("messages"), "utf-8")
    return Policy(routes=make_routes(load_settings(path), path, DEFAULT_FS))


def attributes_of(row: Row) -> dict[str, str]:
    if row.sign is None:
        return row.attributes
    given = {
        "key": KEY,
        "body": row.input,
        "queue": QUEUE,
        "expires": "2026-11-22T12:30:00Z",
        "nonce": "0123456789abcdef",
    } | row.sign
    key = given.pop("key").encode()
    return {**row.attributes, ATTRIBUTE: sign(key, **given)}


def outcomes(policy: Policy, row: Row) -> Iterator[str]:
    """What becomes of each record."""
    attributes = attributes_of(row)
    try:
        asks = read_message(row.input, default_fs=DEFAULT_FS, attributes=attributes).records
    except PermanentError as error:
        yield error.code
        return
    for ask in asks:
        try:
            yield outcome(policy, row, ask, attributes.get(ATTRIBUTE))
        except PermanentError as error:
            is_fit = error.hint and error.message.isprintable()
            yield error.code if is_fit else f"{error.code}, unfit for an operator"


def outcome(policy: Policy, row: Row, ask: RecordBody, signature: str | None) -> str:
    request = request_of(policy, ask, queue=QUEUE, default_fs=DEFAULT_FS)
    if isinstance(request, Ignored):
        return f"ignored {request.reason}"
    job = policy.decide(request, sender_id=row.sender, queue=QUEUE)
    rule = policy.find(job.route).signature
    if rule is not None:
        signed = verify(rule, signature, body=row.input, queue=QUEUE, sent_at=SENT_AT)
        if signed.nonce in SEEN:
            raise replayed(signed.nonce)
    return f"{job.request.source.uri} -> {job.request.destination.uri}"


@pytest.mark.parametrize("row", [row for row in rows("messages") if row.where], ids=name)
def test_catalogue_row(policy: Policy, row: Row) -> None:
    assert row.where == "route"
    assert "; ".join(outcomes(policy, row)) == (row.code or row.gives)


def test_every_row_of_the_section_is_there() -> None:
    listed = {*range(1, 6), 7, *range(9, 26), *range(27, 30), *range(31, 39), 40}
    found = {int(row.id[1:]) for row in rows("messages") if row.id[-1] != "+"}
    assert listed <= found

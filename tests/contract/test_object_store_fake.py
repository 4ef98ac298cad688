"""`FakeStore` held to the suite that S3Proxy and moto pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.adapters.system.clock import SystemClock
from backhaul.core.errors import TransientError
from backhaul.testing.fakes import FakeStore, ReadFault
from tests.contract.test_object_store import (
    BODY,
    listed,
    test_changed_object_is_noticed,
    test_empty_object_reads_as_nothing,
    test_every_checksum_s3_keeps_is_shown,
    test_listing_a_missing_bucket_is_permanent,
    test_listing_goes_on_page_by_page,
    test_listing_nothing_is_no_error,
    test_listing_pins_what_the_prefix_has,
    test_many_threads_share_a_reader,
    test_object_as_it_is_now_is_what_a_listing_shows,
    test_object_reads_back_with_its_checksum,
    test_object_that_is_not_there_is_shown_by_nothing,
    test_range_is_half_open_and_shows_no_checksum,
    test_vanished_object_is_noticed,
)

# Collected here a second time, with the fixtures of this file.
__all__ = [
    "test_changed_object_is_noticed",
    "test_empty_object_reads_as_nothing",
    "test_every_checksum_s3_keeps_is_shown",
    "test_listing_a_missing_bucket_is_permanent",
    "test_listing_goes_on_page_by_page",
    "test_listing_nothing_is_no_error",
    "test_listing_pins_what_the_prefix_has",
    "test_many_threads_share_a_reader",
    "test_object_as_it_is_now_is_what_a_listing_shows",
    "test_object_reads_back_with_its_checksum",
    "test_object_that_is_not_there_is_shown_by_nothing",
    "test_range_is_half_open_and_shows_no_checksum",
    "test_vanished_object_is_noticed",
]


class Raw:
    """The writer's side of the fake in boto3's words."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    def put_object(
        self,
        *,
        Bucket: str,  # noqa: N803 - boto3's
        Key: str,  # noqa: N803
        Body: bytes,  # noqa: N803
        ChecksumAlgorithm: str | None = None,  # noqa: N803
    ) -> None:
        self._store.put(Key, Body, bucket=Bucket, algorithm=ChecksumAlgorithm)

    def delete_object(self, *, Bucket: str, Key: str) -> None:  # noqa: N803
        self._store.remove(Key, bucket=Bucket)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(SystemClock(), new_digest)


@pytest.fixture
def reader(store: FakeStore) -> FakeStore:
    return store


@pytest.fixture
def bucket() -> str:
    return "raw"


@pytest.fixture
def raw(store: FakeStore) -> Raw:
    return Raw(store)


@pytest.fixture
def server() -> None:
    """No server."""


def test_keys_come_in_the_order_of_their_bytes(store: FakeStore) -> None:
    keys = ["p/\U0001f600", "p/\uffff", "p/a", "p/a-b", "p/a/b"]
    for key in keys:
        store.put(key, b"x")

    found = [pin.key for pin in listed(store, "raw", "p/", page_size=2)]  # type: ignore[arg-type]
    assert found == sorted(keys, key=str.encode)


def test_pinned_version_survives_an_overwrite(store: FakeStore) -> None:
    old = store.put("k", b"old", version_id="1")
    store.put("k", b"newer", version_id="2")

    with store.get(store.endpoint("raw"), old) as body:
        assert body.readall() == b"old"
        assert body.facts.version_id == "1"


@pytest.mark.parametrize(
    ("lie", "received"),
    [(ReadFault.FLIP, BODY[:-1] + b"\xfe"), (ReadFault.TRUNCATE, BODY[: len(BODY) // 2])],
)
def test_liar_gives_other_bytes_once(store: FakeStore, lie: ReadFault, received: bytes) -> None:
    pin = store.put("k", BODY)
    store.spoil_read("k", lie)

    with store.get(store.endpoint("raw"), pin) as body:
        assert body.readall() == received
    with store.get(store.endpoint("raw"), pin) as body:
        assert body.readall() == BODY


def test_broken_body_raises_after_half(store: FakeStore) -> None:
    pin = replace(store.put("k", BODY))
    store.spoil_read("k", ReadFault.BREAK)

    with (
        store.get(store.endpoint("raw"), pin) as body,
        pytest.raises(TransientError) as caught,
    ):
        body.readall()
    assert caught.value.code == "E_S3_BODY"

"""An S3 that gives other bytes than it vouches for, or not all of them: never published."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.acceptance.installation import Installation
from tests.acceptance.proxy import Answer, Proxy, Seen

pytestmark = pytest.mark.integration
MIB = 1 << 20
CHANCE = random.Random(6)
SIZES = {"small": 1000, "medium": 700_000, "large": 17 * MIB}
LONG = pytest.mark.long
ReadFault = Callable[[Answer], None]


def flip(answer: Answer) -> None:
    answer.flip_a_bit()


def shorten(answer: Answer) -> None:
    answer.body = answer.body[: len(answer.body) // 2]


def cut(answer: Answer) -> None:
    answer.cut_after = len(answer.body) // 2


def stall(answer: Answer) -> None:
    answer.stall_after = len(answer.body) // 2


@pytest.mark.parametrize("size", SIZES)
def test_a_flipped_bit_is_never_published_and_ends_with_e_checksum(
    behind_proxy: Installation, s3_proxy: Proxy, size: str
) -> None:
    it = behind_proxy
    it.put("p/good", b"good")
    it.put("p/victim", CHANCE.randbytes(SIZES[size]))
    s3_proxy.lie(flip, to=lambda seen: seen.is_object_get and "victim" in seen.path)
    it.ask_for("p/", "out")
    ended = it.drained(BACKHAUL_AGENT__MAX_ATTEMPTS="2")
    letter = it.the_dead_letter()
    assert letter["backhaul.code"] == "E_CHECKSUM", letter
    assert "p/victim" in letter["backhaul.reason"]
    assert letter["backhaul.attempts"] == "2"
    assert it.landing.files() == {}, "nothing of the tree, staging gone"
    assert len(ended.of("attempt failed")) == 1
    (row,) = it.history()
    assert (row["state"], row["code"]) == ("dead", "E_CHECKSUM")


# Each lie once, each way to read once; the others by `./dev prove --long`.
ENDING_LIES = [
    pytest.param(
        *(size, lie),
        id=f"{size}-{lie.__name__}",
        marks=[] if (size, lie) in {("large", cut), ("medium", shorten), ("small", flip)} else LONG,
    )
    for size in SIZES
    for lie in (flip, shorten, cut)
]


@pytest.mark.parametrize(("size", "lie"), ENDING_LIES)
def test_the_data_arrives_when_the_lie_ends(
    behind_proxy: Installation, s3_proxy: Proxy, size: str, lie: ReadFault
) -> None:
    it = behind_proxy
    data = CHANCE.randbytes(SIZES[size])
    it.put("victim", data)
    # A length that differs from the listing's counts as a change of the source: the third is dead.
    times = 2 if lie is shorten else 5
    rule = s3_proxy.lie(lie, times=times)
    it.ask_for("victim")
    it.drained(BACKHAUL_AGENT__MAX_ATTEMPTS="9")
    assert rule.used == times
    assert it.landing.files() == {"victim": data}
    assert it.dead_letters() == []


@pytest.mark.parametrize("lie", [shorten, cut])
def test_a_short_body_is_never_published(
    behind_proxy: Installation, s3_proxy: Proxy, lie: ReadFault
) -> None:
    it = behind_proxy
    it.put("victim", CHANCE.randbytes(700_000))
    s3_proxy.lie(lie)
    it.ask_for("victim")
    it.drained(BACKHAUL_AGENT__MAX_ATTEMPTS="2")
    assert it.the_dead_letter()["backhaul.code"] in {
        "E_S3_SERVER",
        "E_S3_BODY",
        "E_LENGTH",
    }
    assert it.landing.files() == {}


@pytest.mark.parametrize("size", [pytest.param("small", marks=LONG), "large"])
def test_a_body_that_stalls_costs_a_worker_and_one_attempt(
    behind_proxy: Installation, s3_proxy: Proxy, size: str
) -> None:
    it = behind_proxy
    data = CHANCE.randbytes(SIZES[size])
    it.put("victim", data)
    s3_proxy.lie(stall, times=1)
    it.ask_for("victim")
    ended = it.drained(BACKHAUL_AGENT__STALL_TIMEOUT_S="2")
    assert it.landing.files() == {"victim": data}
    assert [line["code"] for line in ended.of("attempt failed")] == ["E_WORKER_STALLED"]
    assert [line["why"] for line in ended.of("worker replaced")] == ["stalled"]
    (row,) = it.history()
    assert (row["attempt"], row["failures"]) == (2, 1)


def test_an_object_overwritten_under_way_arrives_as_one_of_its_states(
    behind_proxy: Installation, s3_proxy: Proxy
) -> None:
    it = behind_proxy
    old, new = CHANCE.randbytes(17 * MIB), CHANCE.randbytes(17 * MIB)
    it.put("victim", old)
    done: list[bool] = []

    def overwrite(seen: Seen) -> bool:
        if seen.is_object_get and not done:
            done.append(True)
            it.put("victim", new)
        return False

    s3_proxy.lie(flip, to=overwrite)
    it.ask_for("victim")
    ended = it.drained()
    assert it.landing.files() == {"victim": new}
    assert [line["code"] for line in ended.of("attempt failed")] == ["E_SRC_CHANGED"]


def test_an_object_deleted_under_way_ends_with_a_reason(
    behind_proxy: Installation, s3_proxy: Proxy
) -> None:
    it = behind_proxy
    it.put("p/victim", b"x" * 1000)

    def delete(seen: Seen) -> bool:
        if seen.is_object_get:
            it.s3.delete_object(Bucket=it.bucket, Key="p/victim")
        return False

    s3_proxy.lie(flip, to=delete)
    it.ask_for("p/", "out")
    it.drained()
    assert it.the_dead_letter()["backhaul.code"] in {"E_SRC_EMPTY", "E_SRC_MISSING", "E_SRC_GONE"}
    assert it.landing.files() == {}


def test_a_listing_with_another_key_below_it_never_leaves_the_target(
    behind_proxy: Installation, s3_proxy: Proxy
) -> None:
    it = behind_proxy
    it.put("p/victim", b"x")

    def climb(answer: Answer) -> None:
        answer.body = answer.body.replace(b"p/victim", b"p/../../victim")
        answer.body = answer.body.replace(b"p%2Fvictim", b"p%2F..%2F..%2Fvictim")

    s3_proxy.lie(climb, to=lambda seen: seen.is_list)
    it.ask_for("p/", "out")
    it.drained(BACKHAUL_AGENT__MAX_ATTEMPTS="2")
    assert it.the_dead_letter()["backhaul.code"].startswith("E_SRC_KEY")
    assert it.landing.files() == {}

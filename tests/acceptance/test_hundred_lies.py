"""A real S3 server behind a lying network, real HDFS, the agent itself: every one is caught."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from backhaul.testing.servers import Hdfs
from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation
from tests.acceptance.landing import HdfsLanding
from tests.acceptance.proxy import Answer, Proxy, Seen

pytestmark = [pytest.mark.integration, pytest.mark.hdfs]
CHANCE = random.Random(610)
# How often each is tried: a little on every push, and a hundred times by `./dev prove --long`.
TIMES = (8, pytest.param(100, marks=pytest.mark.long))
SIZE = 3000
SLOTS = "4"  # each slot has a worker, whose start costs more than what it does here


@pytest.fixture
def it(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, s3_proxy: Proxy, hdfs: Hdfs
) -> Installation:
    """Real HDFS behind it, the lying proxy before it."""
    made = install(elasticmq, s3_proxy, hdfs, s3_direct=s3proxy)
    made.landing = HdfsLanding(hdfs.uri, f"/landing/{made.name}", is_named=False)
    return made


def flip(answer: Answer) -> None:
    """Any bit of the body."""
    body = bytearray(answer.body)
    body[CHANCE.randrange(len(body))] ^= 1 << CHANCE.randrange(8)
    answer.body = bytes(body)


def shorten(answer: Answer) -> None:
    """Any number of bytes is missing, and the length says so, too."""
    answer.body = answer.body[: CHANCE.randrange(len(answer.body))]


def swap(answer: Answer) -> None:
    """Another object's bytes, of equal size, under this one's headers."""
    answer.body = CHANCE.randbytes(len(answer.body))


def vouch_for_others(answer: Answer) -> None:
    """A server that keeps a wrong checksum."""
    answer.headers = [
        (name, "AAAAAA==" if name.lower() == "x-amz-checksum-crc32c" else value)
        for name, value in answer.headers
    ]


@pytest.mark.slow
@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize(
    ("lie", "codes"),
    [
        (flip, {"E_CHECKSUM"}),
        (shorten, {"E_S3_SERVER"}),
        (swap, {"E_CHECKSUM"}),
        (vouch_for_others, {"E_CHECKSUM"}),
    ],
)
def test_each_of_many_is_caught_at_its_rung_and_nothing_is_published(
    it: Installation, s3_proxy: Proxy, lie: Callable[[Answer], None], codes: set[str], times: int
) -> None:
    for number in range(times):
        it.put(f"victim-{number}", CHANCE.randbytes(SIZE), ChecksumAlgorithm="CRC32C")
        it.ask_for(f"victim-{number}")
    rule = s3_proxy.lie(lie)
    it.drained(BACKHAUL_AGENT__MAX_ATTEMPTS="1", BACKHAUL_AGENT__SLOTS=SLOTS)
    rows = it.history("--limit", str(2 * times))
    assert rule.used >= times
    assert [row["state"] for row in rows] == ["dead"] * times
    assert {row["code"] for row in rows} <= codes
    assert it.landing.files() == {}


@pytest.mark.slow
@pytest.mark.parametrize("times", TIMES)
def test_each_of_many_that_change_between_plan_and_read_is_seen(
    it: Installation, s3_proxy: Proxy, times: int
) -> None:
    for number in range(times):
        it.put(f"victim-{number}", CHANCE.randbytes(SIZE), ChecksumAlgorithm="CRC32C")
        it.ask_for(f"victim-{number}")

    def overwrite(seen: Seen) -> bool:
        if seen.is_object_get:
            it.put(seen.path.rsplit("/", 1)[1], CHANCE.randbytes(SIZE), ChecksumAlgorithm="CRC32C")
        return False

    s3_proxy.lie(flip, to=overwrite)
    it.drained(BACKHAUL_AGENT__MAX_ATTEMPTS="1", BACKHAUL_AGENT__SLOTS=SLOTS)
    rows = it.history("--limit", str(2 * times))
    assert {(row["state"], row["code"]) for row in rows} == {("dead", "E_SRC_CHANGED")}
    assert len(rows) == times
    assert it.landing.files() == {}


def test_servers_that_vouch_in_ways_nobody_knows_have_their_rung(
    it: Installation, s3_proxy: Proxy
) -> None:
    """Of a type, or by an algorithm, that is unknown; or not at all: then the ETag is an MD5."""

    def vouch(answer: Answer, seen: str) -> None:
        kept = [
            (name, value)
            for name, value in answer.headers
            if not name.lower().startswith("x-amz-checksum-")
        ]
        more = {
            "type": [("x-amz-checksum-crc32c", "AAAAAA=="), ("x-amz-checksum-type", "HALF")],
            "algorithm": [("x-amz-checksum-xxhash64", "AAAAAAAAAAA=")],
            "form": [("x-amz-checksum-crc32c", "no base64")],
            "nothing": [],
        }
        answer.headers = kept + more[seen]

    names = ["type", "algorithm", "form", "nothing"]
    data = {name: CHANCE.randbytes(SIZE) for name in names}
    for name in names:
        it.put(f"p/{name}", data[name], ChecksumAlgorithm="CRC32C")
        s3_proxy.lie(
            lambda answer, name=name: vouch(answer, name),  # type: ignore[misc]
            to=lambda seen, name=name: (  # type: ignore[misc]
                seen.method in {"GET", "HEAD"} and seen.path.endswith(f"/p/{name}")
            ),
        )
    it.ask_for("p/", "out")
    it.drained()
    (row,) = it.history()
    found = {line["key"][2:]: line for line in it.evidence(row["id"])}
    assert {name: line["proof"] for name, line in found.items()} == dict.fromkeys(names, "bridged")
    assert {line["checksum_algorithm"] for line in found.values()} == {"MD5"}
    assert it.landing.files() == {f"out/{name}": one for name, one in data.items()}

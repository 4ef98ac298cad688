"""Prefixes below, at and above what a listing page holds, into directories new and used.

One bucket serves all: each prefix holds the next smaller one, so no object is put twice. The agent
runs once for many messages.
"""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from backhaul.testing.servers import Hdfs, clients
from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Ended, Installation
from tests.acceptance.landing import HdfsLanding, landing_on

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

pytestmark = pytest.mark.integration
CHANCE = random.Random(5)
COUNTS = (10_000, 6_000, 2_600, 2_300, 1_200, 1_001, 1_000, 999, 1)
LONG = pytest.mark.long  # more pages take the same path once more, and minutes
STRANGER = b"was here"
SAMPLE = 100  # files of HDFS that are read; of the others name and length are compared


def content(key: str) -> bytes:
    """Three bytes for every object."""
    return f"{sum(key.encode()) % 1000:03}".encode()


def prefix_of(count: int) -> str:
    """With so many objects below it; 0: with none."""
    return "".join(f"n{one}/" for one in COUNTS if one >= count) if count else "none/"


def keys_below(count: int) -> list[str]:
    """All of these objects."""
    return [
        f"{prefix_of(one)}{number:05}"
        for one, inner in zip(COUNTS, (*COUNTS[1:], 0), strict=True)
        if one <= count
        for number in range(one - inner)
    ]


def wanted(count: int, directory: str) -> dict[str, bytes]:
    """What is to be there then, by path below the landing directory."""
    prefix = prefix_of(count)
    return {f"{directory}/{key.removeprefix(prefix)}": content(key) for key in keys_below(count)}


class Bucket:
    """Holds the objects of the prefixes that were needed so far."""

    def __init__(self, client: S3Client) -> None:
        self.name = "many-objects"
        self._client = client
        self._put: set[str] = set()
        client.create_bucket(Bucket=self.name)

    def fill(self, count: int) -> None:
        """Put what is missing of this prefix."""
        missing = [key for key in keys_below(count) if key not in self._put]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(self._put_one, missing))
        self._put.update(missing)

    def _put_one(self, key: str) -> None:
        self._client.put_object(Bucket=self.name, Key=key, Body=content(key))


@pytest.fixture(scope="module")
def bucket(s3proxy: S3Proxy) -> Bucket:
    """One for all tests."""
    return Bucket(clients.s3_client(s3proxy))


@dataclass(kw_only=True)
class Messages:
    """What is left on the queue, and what is to be there once all of it has ended."""

    it: Installation
    bucket: Bucket
    wanted: dict[str, bytes] = field(default_factory=dict)
    count: int = 0

    def leave(self, count: int, directory: str, **options: str) -> None:
        """A message for the prefix of so many objects."""
        it = self.it
        self.bucket.fill(count)
        body = {
            "v": 1,
            "source": it.uri(prefix_of(count)),
            "destination": f"{it.landing.uri}/{directory}",
            "options": options,
        }
        it.leave(json.dumps(body))
        self.count += 1
        self.wanted |= wanted(count, directory)

    def used(self, directory: str) -> None:
        """A file is in the directory already."""
        self.it.landing.put(f"{directory}/stranger", STRANGER)
        self.wanted[f"{directory}/stranger"] = STRANGER

    def drain(self, **settings: str) -> Ended:
        """Each message takes one attempt; then everything is as it is to be."""
        it = self.it
        ended = it.drained(timeout_s=500, **settings)
        assert not ended.of("attempt failed"), ended.of("attempt failed")
        assert it.dead_letters() == []
        assert len(ended.of("transfer done")) == self.count
        assert {(row["attempt"], row["failures"]) for row in it.history()} == {(1, 0)}
        self._compare()
        return ended

    def _compare(self) -> None:
        landing = self.it.landing
        assert landing.staging() == []
        if isinstance(landing, HdfsLanding):
            sizes = landing.sizes()
            assert sizes == {path: len(data) for path, data in self.wanted.items()}
            for path in CHANCE.sample(sorted(sizes), min(SAMPLE, len(sizes))):
                assert landing.read(f"{landing.path}/{path}") == self.wanted[path]
        else:
            assert landing.files() == self.wanted


@pytest.fixture(params=["file", "hdfs"])
def messages(
    request: pytest.FixtureRequest,
    install: Install,
    elasticmq: ElasticMQ,
    s3proxy: S3Proxy,
    bucket: Bucket,
) -> Messages:
    """To each kind of target."""
    on_hdfs = request.param == "hdfs"
    hdfs: Hdfs | None = request.getfixturevalue("hdfs") if on_hdfs else None
    it = install(elasticmq, s3proxy, hdfs)
    it.bucket = bucket.name
    if hdfs is not None:
        it.landing = landing_on(hdfs.uri, it.name)
    return Messages(it=it, bucket=bucket)


def test_a_prefix_of_three_pages_arrives_in_a_directory_that_exists(messages: Messages) -> None:
    messages.used("many")
    messages.bucket.fill(2_300)
    messages.it.ask_for(prefix_of(2_300), "many")
    messages.wanted |= wanted(2_300, "many")
    messages.count = 1
    messages.drain()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "counts", [(1, 1_000, 1_001), pytest.param((999, 2_300), marks=LONG)], ids=str
)
def test_prefixes_of_any_number_of_pages_arrive_in_new_and_used_directories(
    messages: Messages, counts: tuple[int, ...]
) -> None:
    for count in counts:
        messages.leave(count, f"absent/{count}", publish="atomic-dir")
        messages.leave(count, f"empty/{count}", publish="per-file")
        messages.it.landing.make_directory(f"empty/{count}")
        messages.leave(count, f"full/{count}", publish="per-file")
        messages.used(f"full/{count}")
    messages.drain()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_ten_pages_arrive_in_a_directory_that_is_full_of_older_files(messages: Messages) -> None:
    count = COUNTS[0]
    messages.used("full")
    for path in list(wanted(count, "full"))[::500]:
        messages.it.landing.put(path, b"older")
    messages.leave(count, "full")
    messages.drain()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "count", [1_200, *(pytest.param(one, marks=LONG) for one in (2_600, 6_000))]
)
def test_used_directories_take_many_pages_under_each_policy(messages: Messages, count: int) -> None:
    landing = messages.it.landing
    for on_exists in ("replace", "same-ok", "fail"):
        directory = f"{on_exists}/{count}"
        messages.used(directory)
        known = list(wanted(count, directory).items())[::300]
        for path, data in known if on_exists != "fail" else []:
            landing.put(path, data if on_exists == "same-ok" else b"older")
        messages.leave(count, directory, on_exists=on_exists)
    messages.drain()


def test_a_prefix_of_nothing_is_refused_whatever_is_in_its_directory(messages: Messages) -> None:
    it = messages.it
    it.landing.make_directory("empty")
    messages.used("full")
    for directory in ("absent", "empty", "full"):
        messages.leave(0, directory)
    it.drained()
    letters = it.dead_letters()
    assert [one["backhaul.code"] for one in letters] == ["E_SRC_EMPTY"] * 3
    assert {one["backhaul.attempts"] for one in letters} == {"1"}
    messages._compare()

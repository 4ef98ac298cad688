"""`backhaul reconcile --adopt` and `--deep`, on a mount and on HDFS; requests of S3 are counted."""

from __future__ import annotations

import json
import os
import uuid
from typing import Any

import pytest

from backhaul.testing.servers import Hdfs
from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import REGION, Ended, Installation
from tests.acceptance.landing import HdfsLanding
from tests.acceptance.proxy import Proxy

pytestmark = [pytest.mark.integration, pytest.mark.slow]
FILES = {"a": b"A", "d/b": b"BB" * 1000, "d/c": b"", "d/e/f": bytes(range(256)) * 5000}


@pytest.fixture
def at_hdfs(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, s3_proxy: Proxy, hdfs: Hdfs
) -> Installation:
    installation = install(elasticmq, s3_proxy, hdfs=hdfs, s3_direct=s3proxy)
    installation.landing = HdfsLanding(hdfs.uri, f"/adopt-{uuid.uuid4().hex[:8]}")
    return installation


@pytest.fixture(params=["behind_proxy", pytest.param("at_hdfs", marks=pytest.mark.hdfs)])
def there(request: pytest.FixtureRequest) -> Installation:
    """What S3 has is on the target, and the ledger knows nothing of it."""
    at: Installation = request.getfixturevalue(request.param)
    for name, data in FILES.items():
        at.put(f"in/{name}", data, ChecksumAlgorithm="CRC32C")
        at.landing.put(name, data)
    return at


def run(at: Installation, *arguments: str) -> Ended:
    config = at.home / "backhaul.toml"
    config.write_text(
        f'[[route]]\nname = "r"\nsource = ["s3://{at.bucket}/in/"]\n'
        f'destination = ["{at.landing.uri}/"]\n'
        f'event_destination = "{at.landing.uri}/{{rel_dir}}/"\n',
        "utf-8",
    )
    more: tuple[str, ...] = ("--config", str(config))
    if arguments[0] == "reconcile":
        more = (*more, "--region", REGION, "--settle", "0")
    return at.backhaul(*arguments, *more, timeout_s=110)


def lines(ended: Ended) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.out.splitlines()]


def classes(ended: Ended) -> set[str]:
    return {line["class"] for line in lines(ended)}


def test_what_another_tool_brought_is_adopted_without_a_byte_from_s3(
    there: Installation, s3_proxy: Proxy
) -> None:
    before = run(there, "reconcile", "r", "--json")
    assert (before.code, classes(before)) == (65, {"unproved"}), before
    s3_proxy.forget()
    adopted = run(there, "reconcile", "r", "--adopt", "--json")
    assert (adopted.code, classes(adopted)) == (0, {"same"}), adopted
    assert s3_proxy.object_gets() == []
    assert sum(one.method == "HEAD" for one in s3_proxy.seen) >= len(FILES)
    (line,) = lines(run(there, "journal", "--action", "reconcile", "--json"))
    assert (line["subject"], line["outcome"]) == ("r: adopt", "done")
    count = len({one["transfer"] for one in lines(adopted)})
    sizes = sum(len(data) for data in FILES.values())
    assert (line["transfers"], line["size_bytes"]) == (count, sizes)
    after = run(there, "reconcile", "r", "--json", "--deep", "100%")
    assert (after.code, classes(after)) == (0, {"same"}), after
    assert s3_proxy.object_gets() == []
    ids = sorted({line["transfer"] for line in lines(adopted)})
    assert sorted({line["transfer"] for line in lines(after)}) == ids
    verified = run(there, "verify", *ids, "--json")
    assert verified.code == 0, verified
    assert lines(verified)[-1]["same"] == len(FILES)
    shown = run(there, "show", ids[0])
    assert shown.code == 0, shown
    assert "adopted" in shown.out
    assert {name: there.landing.files()[name] for name in FILES} == FILES
    assert there.landing.staging() == []


def test_what_differs_is_left_as_it_is(there: Installation, s3_proxy: Proxy) -> None:
    there.put("in/d/b", b"XX" * 1000, ChecksumAlgorithm="CRC32C")
    s3_proxy.forget()
    ended = run(there, "reconcile", "r", "--adopt")
    assert ended.code == 65, ended
    assert "unproved" in ended.out
    assert "S3's checksum is another one" in ended.out
    assert "adopted                 3 of the same" in ended.out
    assert s3_proxy.object_gets() == []
    assert there.landing.files()["d/b"] == FILES["d/b"]


def test_an_agent_works_on_meanwhile(behind_proxy: Installation) -> None:
    at = behind_proxy
    at.put("in/a", b"AAAA", ChecksumAlgorithm="CRC32C")
    at.landing.put("a", b"AAAA")
    agent = at.start()
    agent.logged("agent started")
    assert run(at, "reconcile", "r", "--adopt").code == 0
    at.put("in/b", b"BBBB")
    at.ask_for("in/b")
    agent.logged("transfer done")
    agent.terminate()
    assert agent.wait().code == 0
    assert at.landing.files() == {"a": b"AAAA", "b": b"BBBB"}


def test_bytes_that_were_exchanged_behind_the_ledger_are_found(
    behind_proxy: Installation, s3_proxy: Proxy
) -> None:
    at = behind_proxy
    at.put("in/a", b"AAAA", ChecksumAlgorithm="CRC32C")
    at.landing.put("a", b"AAAA")
    assert run(at, "reconcile", "r", "--adopt").code == 0
    path = at.home / "landing" / "a"
    times = path.stat()
    path.write_bytes(b"AABA")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(at, "reconcile", "r").code == 0
    s3_proxy.forget()
    ended = run(at, "reconcile", "r", "--deep", "100%")
    assert ended.code == 65, ended
    assert "differs" in ended.out
    assert s3_proxy.object_gets() == []

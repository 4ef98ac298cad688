"""Destinations that are erasure-coded or encrypted, by the commands alone."""

from __future__ import annotations

import random

import pytest

from backhaul.testing.servers import Hdfs
from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation
from tests.acceptance.landing import HdfsLanding
from tests.acceptance.test_proof import ledger_of, the_id, verified

pytestmark = [pytest.mark.integration, pytest.mark.hdfs]
CHANCE = random.Random(63)
MIB = 1 << 20


@pytest.fixture
def there(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, wide_hdfs: Hdfs
) -> Installation:
    return install(elasticmq, s3proxy, wide_hdfs)


def lands_in(it: Installation, hdfs: Hdfs, path: str) -> None:
    it.landing = HdfsLanding(hdfs.uri, path, is_named=False)


def make_zone(hdfs: Hdfs, path: str) -> None:
    hdfs.command("dfs", "-mkdir", "-p", path)
    hdfs.command("crypto", "-createZone", "-keyName", "zone-key", "-path", path)


def test_an_erasure_coded_destination_is_proven_without_reading(
    there: Installation, wide_hdfs: Hdfs
) -> None:
    it = there
    lands_in(it, wide_hdfs, f"/ec/{it.name}")
    data = {name: CHANCE.randbytes(size) for name, size in (("a", 1000), ("b", 3 * MIB + 7))}
    for name, content in data.items():
        it.put(f"p/{name}", content, ChecksumAlgorithm="CRC32C" if name == "a" else "SHA256")
    it.ask_for("p/", "out")
    (done,) = it.drained().of("transfer done")

    assert done["proof"] == {"direct": 1, "bridged": 1}
    assert done["asked"] == {"datanode": 2}
    assert it.landing.files() == {f"out/{name}": content for name, content in data.items()}
    report = wide_hdfs.command("fsck", f"/ec/{it.name}/out", "-files").stdout
    assert report.count("erasure-coded: policy=RS-3-2-1024k") == 2
    assert verified(it, the_id(it))[2]["same"] == 2


def test_a_policy_whose_parity_would_be_wrong_is_refused(
    there: Installation, wide_hdfs: Hdfs
) -> None:
    it = there
    lands_in(it, wide_hdfs, f"/xor/{it.name}")
    it.put("p/a", b"would not survive a DataNode", ChecksumAlgorithm="CRC32C")
    it.ask_for("p/", "out")
    it.drained()

    assert it.the_dead_letter()["backhaul.code"] == "E_DST_EC"
    assert it.landing.files() == {}


def test_a_destination_in_an_encryption_zone_is_proven_by_reading_it_back(
    there: Installation, wide_hdfs: Hdfs
) -> None:
    it = there
    lands_in(it, wide_hdfs, f"/zone/{it.name}")
    content = b"only for those who may have the key\n" * 1000
    it.put("p/a", content, ChecksumAlgorithm="CRC32C")
    it.ask_for("p/", "out")
    (done,) = it.drained().of("transfer done")

    assert (done["proof"], done["asked"]) == ({"reread": 1}, {"read": 1})
    (line,) = it.evidence(the_id(it))
    assert "encryption zone" in line["note"]
    # By Hadoop's own client, as everybody else reads it.
    shown = wide_hdfs.command("dfs", "-cat", f"/zone/{it.name}/out/a").stdout
    assert shown.encode() == content
    code, findings, total = verified(it, the_id(it))
    assert (code, findings, total["asked"]) == (0, [], {"read": 1})

    ledger_of(it).unlink()
    it.ask_for("p/", "out")
    (again,) = it.drained().of("transfer done")
    assert (again["adopted"], again["proof"]) == (1, {"adopted": 1})


def test_a_zone_below_the_destination_of_a_route_may_be_a_destination(
    there: Installation, wide_hdfs: Hdfs
) -> None:
    it = there
    lands_in(it, wide_hdfs, f"/plain/{it.name}")
    zone = f"/plain/{it.name}/zone"
    make_zone(wide_hdfs, zone)
    it.put("p/a", b"for the zone", ChecksumAlgorithm="CRC32C")
    it.ask_for("p/", "zone")
    (done,) = it.drained().of("transfer done")

    assert (done["proof"], done["asked"]) == ({"reread": 1}, {"read": 1})
    shown = wide_hdfs.command("dfs", "-cat", f"{zone}/a").stdout
    assert shown.encode() == b"for the zone"
    assert it.landing.everything() == ["zone", "zone/.Trash", "zone/a"]


def test_a_zone_in_the_tree_that_is_written_to_is_refused_and_nothing_shows(
    there: Installation, wide_hdfs: Hdfs
) -> None:
    it = there
    lands_in(it, wide_hdfs, f"/plain/{it.name}")
    zone = f"/plain/{it.name}/out/zone"
    make_zone(wide_hdfs, zone)
    for key in ("p/a", "p/zone/b"):
        it.put(key, b"one of them for the zone", ChecksumAlgorithm="CRC32C")
    it.ask_for("p/", "out")
    it.drained()

    letter = it.the_dead_letter()
    assert letter["backhaul.code"] == "E_DST_EZ"
    assert zone in letter["backhaul.reason"]
    assert it.landing.everything() == [
        "out",
        "out/zone",
        "out/zone/.Trash",
    ]  # as createZone left it

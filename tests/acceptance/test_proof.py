"""The ladder, the evidence and `backhaul verify`, on real HDFS and S3, by the commands alone."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backhaul.testing.servers import Hdfs
from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation
from tests.acceptance.landing import HdfsLanding
from tests.acceptance.proxy import Proxy

pytestmark = pytest.mark.integration
CHANCE = random.Random(7)
MIB = 1 << 20


@pytest.fixture
def onto_hdfs(install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, hdfs: Hdfs) -> Installation:
    it = install(elasticmq, s3proxy, hdfs)
    it.landing = HdfsLanding(hdfs.uri, f"/landing/{it.name}", is_named=False)
    return it


def ledger_of(it: Installation) -> Path:
    (found,) = it.home.rglob("ledger.db")
    return found


def verified(it: Installation, *arguments: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """Exit code, findings, and the sum."""
    ended = it.backhaul("verify", *arguments, "--json")
    assert ended.err == "", ended
    *findings, total = (json.loads(line) for line in ended.out.splitlines())
    return ended.code, findings, total


def the_id(it: Installation) -> str:
    (row,) = it.history()
    found: str = row["id"]
    return found


# ---------------------------------------------------------------- the ladder and the manifest


@pytest.mark.hdfs
def test_stored_is_the_default_and_each_rung_is_recorded_with_both_values(
    onto_hdfs: Installation,
) -> None:
    it = onto_hdfs
    data = {
        "direct": CHANCE.randbytes(300_000),
        "bridged": CHANCE.randbytes(1000),
        "large": CHANCE.randbytes(18 * MIB),
        "empty": b"",
    }
    for name, content in data.items():
        algorithm = "SHA256" if name == "bridged" else "CRC32C"
        it.put(f"p/{name}", content, ChecksumAlgorithm=algorithm)
    it.ask_for("p/", "out")
    ended = it.drained()
    (done,) = ended.of("transfer done")
    assert done["proof"] == {"direct": 3, "bridged": 1}
    assert done["asked"] == {"datanode": 4}

    shown = it.backhaul("show", the_id(it), "--evidence").out
    *objects, sealing = (json.loads(line) for line in shown.splitlines())
    for line in objects:
        name = line["key"].removeprefix("p/")
        assert line["proof"] == ("bridged" if name == "bridged" else "direct"), line
        assert line["target_algorithm"] == "CRC32C"
        assert line["target_checksum"] == line["crc32c"]
        assert line["target_size"] == line["size"] == line["bytes_read"] == len(data[name])
        assert line["checksum_type"] == "FULL_OBJECT"
        assert line["proven_at"]
    # What anybody can recompute: the digest of the lines before it.
    before = "".join(line + "\n" for line in shown.splitlines()[:-1])
    assert sealing["kind"] == "transfer"
    assert sealing["manifest"] == hashlib.sha256(before.encode()).hexdigest()
    assert (sealing["objects"], sealing["previous"]) == (4, "")
    assert sealing["bytes_read"] == sealing["size"] == sum(map(len, data.values()))

    code, findings, total = verified(it, the_id(it))
    assert (code, findings) == (0, [])
    assert (total["same"], total["asked"]) == (4, {"datanode": 4})
    assert it.landing.files() == {f"out/{name}": content for name, content in data.items()}


@pytest.mark.hdfs
def test_verify_finds_what_changed_in_hdfs_since(onto_hdfs: Installation, hdfs: Hdfs) -> None:
    it = onto_hdfs
    landing = it.landing
    assert isinstance(landing, HdfsLanding)
    for name in ("kept", "lost", "rewritten", "rotten"):
        it.put(f"p/{name}", CHANCE.randbytes(5000), ChecksumAlgorithm="CRC32C")
    it.ask_for("p/", "out")
    it.drained()
    landing.client.delete(f"{landing.path}/out/lost")
    landing.client.delete(f"{landing.path}/out/rewritten")
    landing.put("out/rewritten", CHANCE.randbytes(5000))
    report = hdfs.command("fsck", f"{landing.path}/out/rotten", "-files", "-blocks").stdout
    block = "blk_" + report.split("blk_", 1)[1].split("_", 1)[0]
    (path,) = (hdfs.directory / "data").rglob(block)
    rotten = bytearray(path.read_bytes())
    rotten[100] ^= 1
    path.write_bytes(rotten)

    # The DataNode still has the CRCs of what was written: rot of its disk shows by reading.
    code, findings, total = verified(it, "--sample", "100%")
    assert code == 65
    assert sorted(one["finding"] for one in findings) == ["differs", "missing"]
    assert total["same"] == 2
    code, findings, total = verified(it, the_id(it), "--read")
    assert code == 65
    kinds = {one["what"].split(":")[2].rsplit("/", 1)[1]: one["finding"] for one in findings}
    assert kinds["lost"] == "missing"
    assert kinds["rewritten"] == "differs"
    assert kinds["rotten"] == "unknown"
    (said,) = [one["what"] for one in findings if one["finding"] == "unknown"]
    assert "E_HDFS_NO_REPLICA" in said
    assert total["same"] == 1


@pytest.mark.hdfs
@pytest.mark.parametrize("is_new", [True, False])
def test_evidence_beside_the_data_is_what_was_sealed(
    onto_hdfs: Installation, *, is_new: bool
) -> None:
    it = onto_hdfs
    landing = it.landing
    assert isinstance(landing, HdfsLanding)
    if not is_new:
        landing.put("out/there", b"before")
    config = it.home / "backhaul.toml"
    config.write_text(
        f'[[route]]\nname = "all"\nsource = ["s3://{it.bucket}/"]\n'
        f'destination = ["{landing.uri}/"]\nevidence = "beside"\n',
        "utf-8",
    )
    for name in ("a", "b"):
        it.put(f"p/{name}", CHANCE.randbytes(100), ChecksumAlgorithm="CRC32C")
    it.ask_for("p/", "out")
    it.drained("--config", str(config))

    name = f"out/.backhaul-{the_id(it)}.jsonl"
    files = landing.files()
    assert set(files) == {"out/a", "out/b", name, *(() if is_new else ("out/there",))}
    shown = it.backhaul("show", the_id(it), "--evidence").out.encode()
    assert files[name] == b"".join(shown.splitlines(keepends=True)[:-1])
    (done,) = [json.loads(line) for line in shown.splitlines()[-1:]]
    assert hashlib.sha256(files[name]).hexdigest() == done["manifest"]

    # Edited by hand: by a digit, its length as it was.
    assert verified(it, the_id(it))[0] == 0
    landing.client.delete(f"{landing.path}/{name}")
    landing.put(name, files[name].replace(b'"size":100', b'"size":101', 1))
    code, findings, total = verified(it, the_id(it))
    assert (code, total["same"], [one["finding"] for one in findings]) == (65, 2, ["evidence"])
    assert name in findings[0]["what"]


# ---------------------------------------------------------------- nothing twice from S3


@pytest.mark.hdfs
def test_no_byte_of_an_object_is_asked_for_twice(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, s3_proxy: Proxy, hdfs: Hdfs
) -> None:
    it = install(elasticmq, s3_proxy, hdfs, s3_direct=s3proxy)
    it.landing = HdfsLanding(hdfs.uri, f"/landing/{it.name}", is_named=False)
    sizes = [0, 1000, 700_000, 17 * MIB]
    for number, size in enumerate(sizes):
        it.put(f"p/{number}", CHANCE.randbytes(size), ChecksumAlgorithm="CRC32C")
    it.ask_for("p/", "out")
    (done,) = it.drained().of("transfer done")

    assert done["proof"] == {"direct": len(sizes)}
    gets = s3_proxy.object_gets()
    # A range whose connection broke is asked for again: that is a fault's cost, not the proof's.
    asked = {(one.path, one.headers.get("range", "")) for one in gets}
    assert sum(_length(wanted, sizes[int(path[-1])]) for path, wanted in asked) == sum(sizes)
    assert len([one for one in gets if "range" not in one.headers]) == len(sizes) - 1
    assert verified(it, the_id(it))[0] == 0
    assert len(s3_proxy.object_gets()) == len(gets)


def _length(wanted: str, size_bytes: int) -> int:
    """Bytes of a Range header's value; all of them without one."""
    if not wanted:
        return size_bytes
    first, last = wanted.removeprefix("bytes=").split("-")
    return int(last) - int(first) + 1


# ---------------------------------------------------------------- a manifest edited by hand


EDITS = {
    "an object's checksum": "UPDATE objects SET crc32c = '00000000' WHERE seq = 1",
    "an object's size": "UPDATE objects SET size_bytes = size_bytes + 1 WHERE seq = 0",
    "an object's rung": "UPDATE objects SET proof = 'direct' WHERE seq = 0",
    "an object taken out": "DELETE FROM objects WHERE seq = 2",
    "a sealing line": "UPDATE seals SET line = replace(line, 'done', 'DONE') WHERE number = 1",
    "a sealing line taken out": "DELETE FROM seals WHERE number = 1",
    "the last sealing line taken out": "DELETE FROM seals WHERE number = 2",
    "all sealing lines taken out": "DELETE FROM seals",
    "no sealing line": "UPDATE seals SET line = X'ff00' WHERE number = 2",
    "a transfer that is said not to have ended": "UPDATE transfers SET state = 'staging'",
    "another destination": "UPDATE transfers SET destination = '/else'",
    "another directory": "UPDATE transfers SET directory = 'file:///else'",
    "an unknown state": "UPDATE transfers SET state = 'perhaps'",
    "a time that is none": "UPDATE transfers SET finished_at = 'now'",
    "a transfer taken out": "DELETE FROM transfers",
    "a rung that is none": "UPDATE objects SET proof = 'certain' WHERE seq = 0",
    "a size that is none": "UPDATE objects SET size_bytes = 'many' WHERE seq = 0",
    "a checksum taken out": "UPDATE objects SET crc32c = NULL WHERE seq = 0",
    "a checksum that is no text": "UPDATE objects SET checksum = X'ff' WHERE seq = 0",
    "text that is none": "UPDATE objects SET note = CAST(X'ff' AS TEXT) WHERE seq = 0",
}


@pytest.mark.timeout(400)
def test_a_manifest_edited_by_hand_is_found(local: Installation) -> None:
    it = local
    for name in ("a", "b", "c"):
        it.put(f"p/{name}", CHANCE.randbytes(100), ChecksumAlgorithm="CRC32C")
    it.ask_for("p/", "one")
    it.ask_for("p/", "two")
    it.drained()
    code, findings, total = verified(it, "--since", "2020-01-01")
    assert (code, findings, total["transfers"], total["same"]) == (0, [], 2, 6)
    assert total["asked"] == {"read": 6}

    path = ledger_of(it)
    honest = path.read_bytes()
    for what, edit in EDITS.items():
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute(edit).rowcount > 0, what
            connection.commit()
        code, findings, _ = verified(it, "--sample", "0.001%")
        assert code == 65, what
        assert "evidence" in {one["finding"] for one in findings}, what
        path.write_bytes(honest)
    assert verified(it, "--sample", "1%")[0] == 0


@pytest.mark.parametrize(
    "edit",
    [
        "DELETE FROM published",
        pytest.param("UPDATE published SET transfer_id = 'nobody'", marks=pytest.mark.long),
    ],
)
def test_who_published_is_not_taken_from_a_table_edited_by_hand(
    local: Installation, edit: str
) -> None:
    it = local
    it.put("p/a", b"first", ChecksumAlgorithm="CRC32C")
    it.ask_for("p/", "out")
    it.drained()
    it.landing.put("out/a", b"other")
    with closing(sqlite3.connect(ledger_of(it))) as connection:
        assert connection.execute(edit).rowcount == 1
        connection.commit()

    code, findings, total = verified(it, the_id(it))
    assert (code, [one["finding"] for one in findings]) == (65, ["differs"])
    assert total["replaced"] == 0


def test_replaced_files_are_the_later_transfers_to_answer_for(local: Installation) -> None:
    it = local
    it.put("p/a", b"first", ChecksumAlgorithm="CRC32C")
    it.ask_for("p/", "out")
    it.drained()
    it.put("p/a", b"other", ChecksumAlgorithm="CRC32C")
    it.ask_for("p/", "out")
    it.drained()
    newest, oldest = it.history()

    assert verified(it, oldest["id"])[2]["replaced"] == 1
    assert verified(it, newest["id"])[2]["same"] == 1


def test_an_id_named_twice_is_looked_at_once_and_a_sample_is_never_of_nothing(
    local: Installation,
) -> None:
    it = local
    for name in ("a", "b"):
        it.put(f"p/{name}", b"x", ChecksumAlgorithm="CRC32C")
    it.ask_for("p/", "out")
    it.drained()
    name = the_id(it)
    total = verified(it, name, name[:-1], name)[2]
    assert (total["transfers"], total["same"]) == (1, 2)
    assert verified(it, "--sample", "0.0000001%")[2]["same"] == 1
    nothing = it.backhaul("verify", "--since", "2100-01-01")
    assert nothing.code == 0
    assert nothing.out.startswith("nothing was checked")


def broken_configuration(tmp_path: Path) -> str:
    """Hadoop's, which shows once a target is asked."""
    broken = tmp_path / "conf"
    broken.mkdir()
    (broken / "core-site.xml").write_text("<configuration/>", "utf-8")
    (broken / "hdfs-site.xml").write_text("<configuration><prop", "utf-8")
    return str(broken)


@pytest.mark.hdfs
def test_verify_does_not_take_a_broken_configuration_for_edited_evidence(
    onto_hdfs: Installation, tmp_path: Path
) -> None:
    it = onto_hdfs
    it.put("p/a", CHANCE.randbytes(3000), ChecksumAlgorithm="CRC32C")
    it.ask_for("p/", "out")
    it.drained()
    broken = broken_configuration(tmp_path)
    ended = it.backhaul("verify", "--since", "2020-01-01", HADOOP_CONF_DIR=broken)
    assert (ended.code, ended.out) == (78, ""), ended
    assert "hdfs-site.xml" in ended.err


@pytest.mark.hdfs
def test_verify_does_not_ask_a_target_where_nothing_of_the_transfer_is_left(
    onto_hdfs: Installation, tmp_path: Path
) -> None:
    """All of it was replaced by a later transfer, and its old cluster may be gone."""
    it = onto_hdfs
    for _ in range(2):
        it.put("p/a", CHANCE.randbytes(3000), ChecksumAlgorithm="CRC32C")
        it.ask_for("p/", "out")
        it.drained()
    first = it.history()[-1]["id"]
    code, findings, total = verified(it, first)
    assert (code, findings, total["replaced"]) == (0, [], 1)
    closed = tmp_path / "closed"
    closed.mkdir()
    demands = "<name>hadoop.security.authentication</name><value>kerberos</value>"
    site = f"<configuration><property>{demands}</property></configuration>"
    (closed / "core-site.xml").write_text(site, "utf-8")
    assert it.backhaul("verify", first, HADOOP_CONF_DIR=str(closed)).code == 0
    last = it.history()[0]["id"]
    assert it.backhaul("verify", last, HADOOP_CONF_DIR=str(closed)).code != 0


def test_verify_wants_to_be_told_what(local: Installation) -> None:
    assert local.backhaul("verify").code == 64
    assert local.backhaul("verify", "--sample", "0").code == 64
    assert local.backhaul("verify", "nothing").code in {65, 78}


# ---------------------------------------------------------------- adopted by proof


@pytest.mark.hdfs
def test_without_its_ledger_a_repeated_request_copies_nothing(
    onto_hdfs: Installation,
) -> None:
    it = onto_hdfs
    data = {name: CHANCE.randbytes(5000) for name in ("a", "b", "stale")}
    for name, content in data.items():
        it.put(f"p/{name}", content, ChecksumAlgorithm="CRC32C")
    it.ask_for("p/", "out")
    it.drained()
    ledger_of(it).unlink()
    landing = it.landing
    assert isinstance(landing, HdfsLanding)
    landing.client.delete(f"{landing.path}/out/stale")
    landing.put("out/stale", CHANCE.randbytes(5000))  # of equal length

    it.ask_for("p/", "out")
    (done,) = it.drained().of("transfer done")
    assert done["adopted"] == 2
    assert done["proof"] == {"adopted": 2, "direct": 1}
    lines = {line["key"]: line for line in it.evidence(the_id(it))}
    assert lines["p/a"]["proof"] == "adopted"
    assert lines["p/a"]["asked"] == "datanode"
    assert lines["p/a"]["bytes_read"] == 0
    assert landing.files() == {f"out/{name}": content for name, content in data.items()}
    assert verified(it, the_id(it))[2]["same"] == 3

"""A message is left; its data arrives in HDFS, and Hive sees it: real agent, real servers."""

from __future__ import annotations

import json

import pytest

from backhaul.testing.servers import Hdfs
from testbed import ElasticMQ, Hive, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation
from tests.acceptance.landing import HdfsLanding

pytestmark = [pytest.mark.integration, pytest.mark.hdfs, pytest.mark.timeout(900)]


def _configured(it: Installation, hive: Hive, table: str) -> str:
    path = it.home / "backhaul.toml"
    path.write_text(
        "[hive]\n"
        f"command = {json.dumps([str(hive.beeline), '-u', hive.endpoint])}\n"
        f'[[route]]\nname = "sales"\nsource = ["s3://{it.bucket}/"]\n'
        f'destination = ["{it.landing.uri}/"]\n'
        f'hive = {{ database = "lake", table = "{table}" }}\n'
    )
    return str(path)


def test_what_arrives_in_hdfs_is_a_partition_that_hive_reads(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, hdfs: Hdfs, hive: Hive
) -> None:
    it = install(elasticmq, s3proxy)
    it.landing = HdfsLanding(hdfs.uri, f"/lake/{it.name}")
    table = it.name.replace("-", "_")
    hive.execute(
        f"CREATE EXTERNAL TABLE lake.{table} (line STRING) PARTITIONED BY (dt STRING, hour INT)"
        f" LOCATION '{it.landing.uri}/sales';"
    )
    config = _configured(it, hive, table)
    # A prefix of two partitions, with a character that Hive encodes in names.
    it.put("sales/dt=a'b%3B/hour=07/part-0", b"one\ntwo\n")
    it.put("sales/dt=a'b%3B/hour=07/_SUCCESS", b"")
    it.put("sales/dt=c/hour=8/part-0", b"three\n")
    # And the same partition of an INT column in another directory, which IF NOT EXISTS hides.
    it.put("late/dt=c/hour=08/part-0", b"four\n")
    agent = it.start("--config", config, BACKHAUL_LOG__LEVEL="debug")
    it.ask_for("sales/", "sales")
    (sent,) = agent.logged("reply sent", within_s=120)
    assert sent["target"] == "hive"
    it.ask_for("late/", "sales")
    (given_up,) = agent.logged("reply given up", within_s=120)
    agent.terminate()
    assert agent.wait().code == 0

    assert given_up["code"] == "E_HIVE_LOCATION"
    assert "hour=08" in given_up["reason"]
    assert it.landing.files()["sales/dt=c/hour=08/part-0"] == b"four\n", "it stays published"
    assert it.counts() == (0, 0), "its message is deleted"
    assert it.dead_letters() == []
    query = f"SELECT line, dt, hour FROM lake.{table};"  # noqa: S608 - a name of our own
    rows = hive.execute(query).splitlines()
    assert sorted(rows) == ["one\ta'b;\t7", "three\tc\t8", "two\ta'b;\t7"]

    looked = it.backhaul("replies", "test", "hive", "--config", config, timeout_s=120)
    assert looked.code == 0, looked
    assert f"lake.{table}" in looked.out

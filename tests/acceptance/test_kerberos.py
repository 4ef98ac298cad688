"""The real agent on a cluster with Kerberos: it goes on, it holds, it is refused; never without."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backhaul.testing.servers import Hdfs
from testbed import ElasticMQ, Kdc, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation, eventually
from tests.acceptance.proxy import Proxy
from tests.acceptance.test_bad_input import refused

pytestmark = [pytest.mark.integration, pytest.mark.hdfs, pytest.mark.timeout(300)]
LIFE_S = 4
DATA = b"0123456789" * 100_000


class Cluster:
    """One installation with a landing directory of its own on HDFS with Kerberos."""

    def __init__(self, it: Installation, kdc: Kdc, hdfs: Hdfs, directory: Path) -> None:
        self.it, self.kdc, self.hdfs = it, kdc, hdfs
        self.landing = f"/landing/{it.name}"
        self.config = directory / "backhaul.toml"
        self.cache = directory / "cache"
        self.keytab = kdc.keytab(directory / "backhaul.keytab", "backhaul")
        hdfs.command("dfs", "-mkdir", "-p", self.landing)
        hdfs.command("dfs", "-chmod", "1777", self.landing)
        it.environment["KRB5_CONFIG"] = str(kdc.krb5_conf)
        it.environment["KRB5CCNAME"] = f"FILE:{directory}/none"

    def configure(self, kerberos: str = "", route: str = "") -> None:
        self.config.write_text(
            f"[kerberos]\n{kerberos}\n"
            f'[[route]]\nname = "r"\nsource = ["s3://{self.it.bucket}/"]\n'
            f'destination = ["{self.landing}/"]\n{route}\n'
        )

    def with_keytab(self, principal: str = "backhaul", route: str = "") -> None:
        self.configure(f'principal = "{principal}"\nkeytab = "{self.keytab}"', route)

    def with_cache(self) -> None:
        self.configure(f'principal = "backhaul"\ncache = "FILE:{self.cache}"')

    def files(self, directory: str = "") -> dict[str, str]:
        """Path below the landing directory: owner. Asked as the superuser, with a ticket."""
        directory = directory or self.landing
        listed = self.hdfs.command("dfs", "-ls", "-R", directory).stdout
        rows = re.findall(r"^-\S+\s+\d+ (\S+) .* (/\S+)$", listed, re.MULTILINE)
        return {path.removeprefix(f"{directory}/"): owner for owner, path in rows}

    def leave(self, key: str) -> None:
        self.it.leave(f"{self.it.bucket}/{key}, {self.landing}")


@pytest.fixture
def cluster(
    install: Install,
    elasticmq: ElasticMQ,
    s3proxy: S3Proxy,
    s3_proxy: Proxy,
    kdc: Kdc,
    secure_hdfs: Hdfs,
    tmp_path: Path,
) -> Cluster:
    it = install(elasticmq, s3_proxy, secure_hdfs, s3_direct=s3proxy)
    return Cluster(it, kdc, secure_hdfs, tmp_path)


def test_with_a_keytab_the_main_job_is_done(cluster: Cluster) -> None:
    cluster.with_keytab()
    cluster.it.put("p/a", DATA)
    cluster.it.put("p/b", b"")
    cluster.leave("p/")
    cluster.it.drained("--config", str(cluster.config))
    assert cluster.files() == {"a": "backhaul", "b": "backhaul"}
    found = cluster.hdfs.command("dfs", "-cat", f"{cluster.landing}/a").stdout
    assert found.encode() == DATA


def test_a_keytab_that_is_gone_is_told_at_the_start_and_holds(cluster: Cluster) -> None:
    cluster.with_keytab()
    cluster.it.put("a", b"1")
    cluster.leave("a")
    away = cluster.keytab.rename(cluster.keytab.with_suffix(".away"))
    ended = cluster.it.drain("--config", str(cluster.config), BACKHAUL_AGENT__DRAIN_PATIENCE_S="1")
    assert ended.code == 69, ended
    assert [line["code"] for line in ended.of("target of a route")] == ["E_HDFS_KERBEROS"]
    assert {line["code"] for line in ended.of("transfer held")} == {"E_HDFS_KERBEROS"}
    assert cluster.it.counts() == (1, 0)
    assert cluster.files() == {}
    away.rename(cluster.keytab)
    cluster.it.drained("--config", str(cluster.config))
    assert cluster.files() == {"a": "backhaul"}


def interrupted(cluster: Cluster, s3_proxy: Proxy) -> None:
    """A body stands still; then the NameNode is restarted, so that every connection is new."""
    s3_proxy.lie(lambda answer: setattr(answer, "stall_after", 1000), times=1)
    cluster.it.put("a", DATA)
    cluster.leave("a")


def test_tickets_that_expire_under_way_are_taken_anew_from_the_keytab(
    cluster: Cluster, s3_proxy: Proxy, kdc: Kdc, tmp_path: Path
) -> None:
    kdc.keytab(cluster.keytab, "brief", life_s=LIFE_S)
    cluster.with_keytab("brief")
    interrupted(cluster, s3_proxy)
    agent = cluster.it.start("--config", str(cluster.config))
    eventually(lambda: s3_proxy.object_gets)
    # As long-lived as the agent's, and made after it.
    witness = kdc.kinit("brief", cluster.keytab, tmp_path / "witness", life_s=LIFE_S)
    eventually(lambda: not kdc.is_valid(witness))
    cluster.hdfs.kill_namenode()
    cluster.hdfs.start_namenode()
    s3_proxy.be_honest()
    agent.logged("transfer done", within_s=120)
    agent.terminate()
    assert agent.wait().code == 0
    assert cluster.files() == {"a": "brief"}


def test_a_ticket_that_expires_under_way_holds_until_somebody_renews_it(
    cluster: Cluster, s3_proxy: Proxy, kdc: Kdc
) -> None:
    kdc.kinit("backhaul", cluster.keytab, cluster.cache)
    cluster.with_cache()
    interrupted(cluster, s3_proxy)
    agent = cluster.it.start("--config", str(cluster.config))
    eventually(lambda: s3_proxy.object_gets)
    kdc.kinit("backhaul", cluster.keytab, cluster.cache, life_s=1)
    eventually(lambda: not kdc.is_valid(cluster.cache))
    cluster.hdfs.kill_namenode()
    cluster.hdfs.start_namenode()
    s3_proxy.be_honest()
    # A NameNode that is just starting is another reason to hold, and may be told first.
    refusals = eventually(
        lambda: [one for one in agent.of("transfer held") if one["code"] == "E_HDFS_KERBEROS"],
        within_s=120,
    )
    assert refusals[-1]["dependency"] == "credentials"
    assert [name for name in cluster.files() if ".backhaul" not in name] == []
    kdc.kinit("backhaul", cluster.keytab, cluster.cache)
    agent.logged("transfer done", within_s=120)
    agent.terminate()
    assert agent.wait().code == 0
    assert cluster.files() == {"a": "backhaul"}
    assert cluster.it.dead_letters() == []


def test_configuration_and_namenode_that_disagree_are_refused_at_the_start(
    cluster: Cluster, hdfs: Hdfs, tmp_path: Path
) -> None:
    conf = tmp_path / "conf"
    conf.mkdir()
    ours, theirs = cluster.hdfs.uri, hdfs.uri
    core = (cluster.hdfs.conf_dir / "core-site.xml").read_text("utf-8")
    cluster.with_keytab()
    cluster.it.environment["HADOOP_CONF_DIR"] = str(conf)
    for text, says in (
        (core.replace(ours, theirs), "accepts anyone"),
        (core.replace(">kerberos<", ">simple<"), "demands Kerberos"),
    ):
        (conf / "core-site.xml").write_text(text)
        ended = cluster.it.drain("--config", str(cluster.config))
        line = refused(ended, 78, "E_HDFS_AUTH")
        assert says in line
        assert ended.seconds < 60, "the HDFS client alone would hang for three minutes"


def test_a_route_acts_for_the_user_it_names(cluster: Cluster) -> None:
    cluster.with_keytab(route='run_as = "alice"')
    cluster.it.put("p/a", DATA)
    cluster.leave("p/")
    cluster.it.drained("--config", str(cluster.config))
    assert cluster.files() == {"a": "alice"}


def test_a_user_who_is_not_granted_is_refused_at_the_start(cluster: Cluster) -> None:
    cluster.with_keytab(route='run_as = "bob"')
    cluster.it.put("a", b"1")
    cluster.leave("a")
    ended = cluster.it.drain("--config", str(cluster.config))
    line = refused(ended, 78, "E_HDFS_PROXY")
    assert "route r:" in line
    assert "bob" in line
    assert cluster.it.counts() == (1, 0)


def test_two_routes_with_two_users_share_the_slots(cluster: Cluster) -> None:
    """One worker process for each user, also where there is one slot for both."""
    cluster.with_keytab(route='run_as = "alice"')
    second = f"{cluster.landing}-second"
    with cluster.config.open("a") as file:
        file.write(
            f'[[route]]\nname = "s"\nsource = ["s3://{cluster.it.bucket}/s/"]\n'
            f'destination = ["{second}/"]\n'
        )
    text = cluster.config.read_text()
    bucket = f"s3://{cluster.it.bucket}/"
    cluster.config.write_text(text.replace(f'{bucket}"]', f'{bucket}f/"]'))
    for number in range(3):
        cluster.it.put(f"f/{number}", b"1")
        cluster.it.put(f"s/{number}", b"1")
        cluster.it.leave(f"{cluster.it.bucket}/f/{number}, {cluster.landing}")
        cluster.it.leave(f"{cluster.it.bucket}/s/{number}, {second}")
    cluster.hdfs.command("dfs", "-mkdir", second)
    cluster.hdfs.command("dfs", "-chmod", "1777", second)
    cluster.it.drained("--config", str(cluster.config), BACKHAUL_AGENT__SLOTS="1")
    assert cluster.it.dead_letters() == []
    assert cluster.files() == dict.fromkeys("012", "alice")
    assert cluster.files(second) == dict.fromkeys("012", "backhaul")

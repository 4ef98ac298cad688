"""Who may not write is known before the first message: by `explain`, and when the agent starts."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from pathlib import Path

import pytest

from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.adapters.hadoop.hdfs.write_access import access_check
from backhaul.testing.servers import Hdfs
from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Ended, Installation
from tests.acceptance.landing import HdfsLanding

pytestmark = [pytest.mark.integration, pytest.mark.hdfs]


@pytest.fixture
def it(install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, hdfs: Hdfs) -> Installation:
    """The agent is `bob`; the superuser looks after the directories."""
    made = install(elasticmq, s3proxy, hdfs)
    made.landing = HdfsLanding(hdfs.uri, f"/access-{uuid.uuid4().hex[:8]}")
    made.put("p/a", b"1")
    made.environment["HADOOP_USER_NAME"] = "bob"
    return made


def shell(hdfs: Hdfs, *arguments: str) -> None:
    """As the superuser; many at once would each start a JVM."""
    hdfs.command("dfs", *arguments)


def explained(it: Installation, destination: str) -> tuple[Ended, dict[str, object]]:
    argv = it.argv("explain", "--allow", it.allow, "--json")
    done = subprocess.run(
        argv,
        env=it.environment,
        input=f"{it.uri('p/')}, {destination}",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    ended = Ended(code=done.returncode, out=done.stdout, err=done.stderr, seconds=0)
    return ended, json.loads(done.stdout)


def test_explain_refuses_what_every_transfer_would_die_of(it: Installation, hdfs: Hdfs) -> None:
    landing = it.landing.path  # type: ignore[attr-defined]
    shell(hdfs, "-mkdir", "-p", landing)
    ended, found = explained(it, it.landing.uri)
    assert ended.code == 73, ended
    assert (found["decision"], found["code"]) == ("refused", "E_DST_DENIED")
    assert f'user=bob, access=WRITE_EXECUTE, inode="{landing}"' in str(found["reason"])
    assert f"hdfs dfs -setfacl -m user:bob:rwx {landing}" in str(found["hint"])
    # By ACL, which a mode alone would not show.
    shell(hdfs, "-setfacl", "-m", "user:bob:rwx", landing)
    ended, found = explained(it, it.landing.uri)
    assert (ended.code, found["decision"], found["made_in"]) == (0, "accepted", None), ended


def test_explain_names_the_directory_in_which_a_missing_one_would_be_made(
    it: Installation, hdfs: Hdfs
) -> None:
    landing = it.landing.path  # type: ignore[attr-defined]
    shell(hdfs, "-mkdir", "-p", landing)
    ended, found = explained(it, f"{it.landing.uri}/day=01/x")
    assert ended.code == 73, ended
    assert "does not exist, and cannot be made in" in str(found["reason"])
    assert f"hdfs dfs -mkdir -p {landing}/day=01/x && hdfs dfs -chown bob" in str(found["hint"])
    shell(hdfs, "-chown", "bob", landing)
    ended, found = explained(it, f"{it.landing.uri}/day=01/x")
    assert (ended.code, found["made_in"]) == (0, it.landing.uri), ended
    assert it.landing.everything() == [], "explain changes nothing"


def test_the_superuser_may_write_and_is_shown_what_is_missing(it: Installation) -> None:
    del it.environment["HADOOP_USER_NAME"]
    ended, found = explained(it, it.landing.uri)
    assert ended.code == 0, ended
    assert str(found["made_in"]).rstrip("/") == it.landing.uri.rsplit("/", 1)[0]


def test_the_agent_warns_of_the_route_goes_on_with_others_and_buries_without_a_second_line(
    it: Installation, hdfs: Hdfs
) -> None:
    landing = it.landing.path  # type: ignore[attr-defined]
    shell(hdfs, "-mkdir", "-p", f"{landing}/closed", f"{landing}/open")
    shell(hdfs, "-chown", "bob", f"{landing}/open")
    config = it.home / "two.toml"
    config.write_text(
        "".join(
            f'[[route]]\nname = "{name}"\nsource = ["{it.uri("p/")}"]\n'
            f'destination = ["{it.landing.uri}/{name}/"]\n'
            for name in ("open", "closed")
        )
    )
    config.chmod(0o644)
    it.ask_for("p/", "open")
    it.ask_for("p/", "closed")
    ended = it.drained("--config", str(config))
    (warned,) = ended.of("installation is risky")
    assert warned["code"] == "W_DST_DENIED"
    assert warned["reason"].startswith("route closed: every transfer will fail: E_DST_DENIED: ")
    assert f"hdfs dfs -chown bob {landing}/closed" in warned["hint"]
    assert it.landing.files() == {"open/a": b"1"}
    letter = it.the_dead_letter()
    assert letter["backhaul.code"] == "E_DST_DENIED"
    assert f'inode="{landing}/closed"' in letter["backhaul.reason"]
    assert f"hdfs dfs -chown bob {landing}/closed" in letter["backhaul.hint"]
    about = [line for line in ended.events if line.get("code") == "E_DST_DENIED"]
    assert [line["level"] for line in about] == ["error"], about


def test_run_as_is_the_user_that_is_asked_about(it: Installation, hdfs: Hdfs) -> None:
    landing = it.landing.path  # type: ignore[attr-defined]
    del it.environment["HADOOP_USER_NAME"]  # the superuser may act for others
    shell(hdfs, "-mkdir", "-p", landing)
    shell(hdfs, "-chown", "carol", landing)
    for user, code in (("carol", 0), ("dave", 73)):
        config = it.home / f"{user}.toml"
        config.write_text(
            f'[[route]]\nname = "r"\nsource = ["{it.uri("p/")}"]\nrun_as = "{user}"\n'
            f'destination = ["{it.landing.uri}/"]\n'
        )
        config.chmod(0o644)
        argv = it.argv("explain", "--config", str(config))
        done = subprocess.run(
            argv,
            env=it.environment,
            input=f"{it.uri('p/')}, {it.landing.uri}",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == code, done
        assert ("user=dave" in done.stdout) is (user == "dave")


def test_what_is_denied_below_a_closed_directory_is_known_too(it: Installation, hdfs: Hdfs) -> None:
    """The NameNode judges the whole way down."""
    landing = it.landing.path  # type: ignore[attr-defined]
    shell(hdfs, "-mkdir", "-p", f"{landing}/closed/mine")
    shell(hdfs, "-chown", "bob", f"{landing}/closed/mine")
    shell(hdfs, "-chmod", "700", f"{landing}/closed")
    ended, found = explained(it, f"{it.landing.uri}/closed/mine")
    assert (ended.code, found["code"]) == (73, "E_DST_DENIED"), ended


def test_the_node_s_command_answers_the_same(
    it: Installation, hdfs: Hdfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way for clusters with Kerberos, here without it."""
    landing = it.landing.path  # type: ignore[attr-defined]
    shell(hdfs, "-mkdir", "-p", landing)
    cluster = HdfsCluster(hdfs.uri, str(hdfs.conf_dir))
    cluster.is_secure = True
    monkeypatch.setenv("PATH", f"{hdfs.bin_dir}:{os.environ['PATH']}")
    check = access_check(cluster)
    assert check is not None
    assert check(landing) is None, "the superuser"
    monkeypatch.setenv("HADOOP_USER_NAME", "bob")
    refused = check(landing)
    assert refused is not None
    assert "answers no" in refused.why


def test_a_namenode_that_does_not_answer_is_no_refusal(tmp_path: Path) -> None:
    check = access_check(HdfsCluster("hdfs://127.0.0.1:1", str(tmp_path)))
    assert check is not None
    assert check("/landing") is None

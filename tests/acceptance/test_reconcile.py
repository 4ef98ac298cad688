"""`backhaul reconcile` on real servers: what it finds, what it sends, how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from backhaul.testing.servers import Hdfs
from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Ended, Installation, eventually
from tests.acceptance.landing import HdfsLanding
from tests.children import child

pytestmark = pytest.mark.integration


def configured(it: Installation, **route: Any) -> str:
    """A configuration with one route `in`, and its file's name."""
    rules = {
        "name": "in",
        "source": [it.uri("in/")],
        "destination": [f"{it.landing.uri}/"],
        **route,
    }
    path = it.home / "backhaul.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in rules.items()]
    path.write_text("\n".join(["[[route]]", *lines, ""]), "utf-8")
    path.chmod(0o600)
    return str(path)


def reconcile(it: Installation, *arguments: str) -> Ended:
    config = str(it.home / "backhaul.toml")
    return it.backhaul("reconcile", "in", "--settle", "0", "--config", config, *arguments)


def classes(it: Installation, *arguments: str) -> dict[str, str]:
    ended = reconcile(it, "--json", *arguments)
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code in {0, 65}, ended
    root = f"{it.landing.uri}/"
    return {line["target"].removeprefix(root): line["class"] for line in lines}


def test_what_is_found_is_sent_once_and_then_nothing_is_found(local: Installation) -> None:
    it = local
    config = configured(it)
    for name in ("a", "b", "c", "d:e"):
        it.put(f"in/day=1/{name}", name.encode())
    it.leave(f"{it.uri('in/day=1/a')}, {it.landing.uri}/day=1")
    it.leave(f"{it.uri('in/day=1/b')}, {it.landing.uri}/day=1")
    it.drained("--config", config)
    it.landing.put("day=1/stray", b"?")

    ended = reconcile(it)
    assert ended.code == 65, ended
    assert "missing    " in ended.out
    assert f"{it.landing.uri}/day=1/c  from {it.uri('in/day=1/c')}  (no transfer brought it)" in (
        ended.out
    )
    assert f"compared   {it.uri('in/')} → {it.landing.uri}" in ended.out
    assert classes(it) == {
        "day=1/a": "same",
        "day=1/b": "same",
        "day=1/c": "missing",
        "day=1/d:e": "excluded",
        "day=1/stray": "extra",
    }

    refused = reconcile(it, "--send")
    assert refused.code == 64, refused
    assert "--yes is needed" in refused.err
    assert refused.out == ""
    assert it.counts() == (0, 0)
    it.put("in/day=2 /x", b"")  # no message can name this directory
    sent = reconcile(it, "--send", "--yes")
    assert sent.code == 65, sent
    assert "2 objects, 1 B to send to queue " in sent.err
    assert f"not sent: {it.uri('in/day=2 /x')}: E_MSG_FIELD: " in sent.err
    assert "1 sent" in sent.err
    it.s3.delete_object(Bucket=it.bucket, Key="in/day=2 /x")
    assert it.counts() == (1, 0)
    again = reconcile(it, "--send", "--yes", "--json")
    assert "nothing to send" in again.err
    assert it.counts() == (1, 0)
    assert classes(it)["day=1/c"] == "in flight"
    journal = json.loads(it.backhaul("journal", "--json").out.splitlines()[0])
    assert (journal["action"], journal["transfers"]) == ("reconcile", 1)

    it.drained("--config", config)
    (it.home / "landing/day=1/stray").unlink()
    ended = reconcile(it)
    assert ended.code == 0, ended
    assert classes(it)["day=1/c"] == "same"
    # What was removed since may be sent again: the first message came to its end.
    (it.home / "landing/day=1/c").unlink()
    assert "1 sent" in reconcile(it, "--send", "--yes").err
    assert it.counts() == (1, 0)


def test_rclones_form(local: Installation, tmp_path: Path) -> None:
    it = local
    configured(it, event_destination=f"{it.landing.uri}/{{rel_dir}}/")
    it.put("in/a", b"1")
    it.put("in/b", b"1")
    it.landing.put("a", b"1")
    it.landing.put("c", b"1")
    (it.home / "landing" / os.fsdecode(b"d\xff")).write_bytes(b"1")  # no name in UTF-8
    file = tmp_path / "combined"
    ended = reconcile(it, "--combined", str(file))
    assert ended.code == 65, ended
    assert file.read_text("utf-8") == "! a\n+ b\n- c\n- d\\udcff\n"
    assert classes(it) == {"a": "unproved", "b": "missing", "c": "extra", "d\udcff": "extra"}


@pytest.mark.parametrize(
    ("route", "code", "text"),
    [
        ("inn", 64, "did you mean 'in'?"),
        ("in", 64, "E_RECONCILE_PLACE"),
    ],
)
def test_a_route_without_an_answer(local: Installation, route: str, code: int, text: str) -> None:
    config = configured(local)
    ended = local.backhaul("reconcile", route, "--config", config)
    assert ended.code == code, ended
    assert text in ended.err


def test_a_bucket_or_a_directory_that_cannot_be_read_ends_with_69(local: Installation) -> None:
    it = local
    configured(it, event_destination=f"{it.landing.uri}/{{rel_dir}}/")
    it.put("in/a", b"1")
    it.s3.delete_object(Bucket=it.bucket, Key="in/a")
    it.s3.delete_bucket(Bucket=it.bucket)
    ended = reconcile(it)
    assert ended.code == 69, ended
    assert "E_SRC_NO_BUCKET" in ended.err
    it.s3.create_bucket(Bucket=it.bucket)
    landing = it.home / "landing"
    shutil.rmtree(landing, ignore_errors=True)
    landing.symlink_to("/tmp")
    ended = reconcile(it)
    assert ended.code == 69, ended
    assert "E_DST_" in ended.err


@pytest.mark.hdfs
def test_a_directory_of_hdfs_that_may_not_be_read_is_named_and_nothing_is_called_missing(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, hdfs: Hdfs
) -> None:
    it = install(elasticmq, s3proxy, hdfs)
    landing = f"/reconcile-{uuid.uuid4().hex[:8]}"
    it.landing = HdfsLanding(hdfs.uri, landing)
    configured(it, event_destination=f"{it.landing.uri}/{{rel_dir}}/")
    it.put("in/closed/a", b"1")
    it.landing.put("closed/a", b"1")
    hdfs.command("dfs", "-chmod", "-R", "700", f"{landing}/closed")
    it.environment["HADOOP_USER_NAME"] = "bob"
    ended = reconcile(it, "--json")
    assert ended.code == 69, ended
    assert f'inode="{landing}/closed"' in ended.err
    assert "missing" not in ended.out


def test_a_command_that_was_killed_goes_on_and_reports_the_same(local: Installation) -> None:
    it = local
    config = configured(it, event_destination=f"{it.landing.uri}/{{rel_dir}}/")
    for number in range(60):
        it.put(f"in/d{number:02}/a", b"1")
        it.landing.put(f"d{number:02}/a" if number % 7 else f"d{number:02}/b", b"1")
    whole = reconcile(it, "--json")
    assert whole.code == 65, whole
    state = it.home / "state"
    arguments = ("reconcile", "in", "--settle", "0", "--config", config, "--json", "--since", "1d")
    argv = it.argv(*arguments, "--state", str(state))
    with child(argv, env=it.environment, stdout=subprocess.DEVNULL) as process:
        eventually(lambda: len(list(state.glob("part-*.jsonl"))) >= 3, every_s=0.001)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    kept = {one.name: one.stat().st_mtime_ns for one in state.glob("part-*.jsonl")}
    assert 3 <= len(kept) < 60
    since = ("--since", "1d")  # another moment, and the same command line
    with_state = reconcile(it, "--json", *since, "--state", str(state), "--jobs", "2")
    assert "begins anew" not in with_state.err
    assert (with_state.code, with_state.out) == (65, whole.out)
    assert list(state.iterdir()) == []
    other = reconcile(it, "--json", "--state", str(it.home))
    assert other.code == 64, other
    assert "E_RECONCILE_STATE" in other.err

"""What others learn of an arrival without a message: the completion marker, and lineage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.receiver import Receiver, receiving
from tests.acceptance.installation import Installation
from tests.acceptance.landing import HdfsLanding
from tests.unit.test_lineage_events import PARENT, check

pytestmark = pytest.mark.integration


def configured(it: Installation, *lines: str) -> str:
    """One route whose transfers leave a marker; each source prefix has a directory below it."""
    path = it.home / "backhaul.toml"
    path.write_text(
        f'[[route]]\nname = "landing"\nsource = ["{it.uri("")}"]\n'
        f'destination = ["{it.landing.uri}/"]\nreplies = ["flag"]\n'
        '[[reply]]\nname = "flag"\nmarker = "_SUCCESS"\n' + "\n".join(lines) + "\n"
    )
    return str(path)


def check_marker(it: Installation) -> None:
    """A tree, then files into it: the marker is there, and everyone knows what it is."""
    config = configured(it)
    it.put("a/1", b"one")
    it.put("a/2", b"three")
    it.ask_for("a/", "there")
    it.drained("--config", config)
    it.put("a/3", b"new")
    it.ask_for("a/", "there")
    it.drained("--config", config)
    wanted = {"there/1": b"one", "there/2": b"three", "there/3": b"new", "there/_SUCCESS": b""}
    assert it.landing.files() == wanted
    newest, oldest = it.history()
    assert (oldest["publish_mode"], newest["publish_mode"]) == ("tree", "per-file")
    marker = f"{it.landing.uri}/there/_SUCCESS"
    assert newest["completion_marker"] == marker
    assert marker in it.backhaul("show", newest["id"]).out
    found = it.backhaul("where", marker, "--json")
    assert found.code == 0
    assert [one["transfer"] for one in json.loads(found.out)["markers"]] == [newest["id"]]
    again = it.backhaul("reconcile", "landing", "--settle", "0", "--config", config, "--json")
    classes = {
        Path(one["target"]).name: one["class"] for one in map(json.loads, again.out.splitlines())
    }
    assert again.code == 0, again
    assert "_SUCCESS" not in classes or classes["_SUCCESS"] == "excluded"
    assert it.backhaul("verify", newest["id"], "--config", config).code == 0


def test_the_marker_follows_a_tree_and_files(local: Installation) -> None:
    check_marker(local)


@pytest.mark.hdfs
def test_the_marker_follows_a_tree_and_files_on_hdfs(
    local: Installation, request: pytest.FixtureRequest
) -> None:
    hdfs = request.getfixturevalue("hdfs")
    local.landing = HdfsLanding(hdfs.uri, f"/landing/{local.name}")
    local.environment["HADOOP_CONF_DIR"] = str(hdfs.conf_dir)
    check_marker(local)


def test_lineage_has_the_start_and_the_end_of_each_transfer(local: Installation) -> None:
    it = local
    it.put("a/1", b"one")
    with receiving(Receiver(status=201)) as receiver:
        config = configured(it, f'[lineage]\nurl = "http://127.0.0.1:{receiver.port}"')
        it.sqs.send_message(
            QueueUrl=it.queue_url,
            MessageBody=f"{it.bucket}/a/, {it.landing.uri}/there",
            MessageAttributes={"openlineage_parent": {"DataType": "String", "StringValue": PARENT}},
        )
        it.ask_for("none/1")
        it.drained("--config", config)
    events: list[dict[str, Any]] = [json.loads(one.body) for one in receiver.received]
    by_run: dict[str, list[dict[str, Any]]] = {}
    for one in events:
        check(one)
        by_run.setdefault(one["run"]["runId"], []).append(one)
    ends = sorted(tuple(one["eventType"] for one in run) for run in by_run.values())
    assert ends == [("FAIL",), ("START", "COMPLETE")]
    (complete,) = [one for one in events if one["eventType"] == "COMPLETE"]
    assert complete["run"]["facets"]["parent"]["run"]["runId"] == PARENT.rpartition("/")[2]
    assert complete["outputs"][0]["outputFacets"]["outputStatistics"]["size"] == 3
    (done,) = [row for row in it.history() if row["state"] == "done"]
    digest = complete["outputs"][0]["facets"]["version"]["datasetVersion"]
    assert digest in it.backhaul("show", done["id"], "--evidence").out

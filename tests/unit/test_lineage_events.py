"""Transfers as runs of OpenLineage: the events, and that they have what the standard requires."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from backhaul import __version__
from backhaul.adapters.lineage.events import (
    PRODUCER,
    LineageEvents,
    dataset_name,
    parse_parent,
    run_id,
)
from backhaul.core.errors import ConfigurationError
from backhaul.core.replies.reply import SUPERSEDED, Reply, ReplyEvent
from tests.unit.test_reply import a_reply

PARENT = "airflow/daily.export/0190b7b2-3f6a-7c3e-9d3e-2f2b3c4d5e6f"
# The standard's own names of facets, and what each of ours must have.
FACETS = {
    "parent": {"run", "job"},
    "errorMessage": {"message", "programmingLanguage"},
    "processing_engine": {"version"},
    "externalQuery": {"externalQueryId", "source"},
    "jobType": {"processingType", "integration"},
    "inputStatistics": {"size", "fileCount"},
    "outputStatistics": {"size", "fileCount"},
    "version": {"datasetVersion"},
}


def made(reply: Reply, parent: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(LineageEvents("landing", lambda _id: parent).body(reply))
    check(found)
    return found


def check(event: dict[str, Any]) -> None:
    """What OpenLineage 2-0-2 requires of a RunEvent, strictly: nothing unknown, nothing missing."""
    assert event.keys() == {
        *("eventTime", "eventType", "producer", "schemaURL", "run", "job", "inputs", "outputs")
    }
    assert event["eventType"] in {"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}
    assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    assert event["schemaURL"].endswith("/OpenLineage.json#/$defs/RunEvent")
    assert event["producer"] == PRODUCER
    assert event["run"].keys() == {"runId", "facets"}
    assert str(UUID(event["run"]["runId"])) == event["run"]["runId"]
    assert event["job"].keys() == {"namespace", "name", "facets"}
    check_facets(event["run"]["facets"])
    check_facets(event["job"]["facets"])
    for kind, own in (("inputs", "inputFacets"), ("outputs", "outputFacets")):
        for dataset in event[kind]:
            assert dataset.keys() == {"namespace", "name", "facets", own}
            assert dataset["namespace"]
            assert dataset["name"]
            check_facets(dataset["facets"])
            check_facets(dataset[own])


def check_facets(facets: dict[str, Any]) -> None:
    for name, facet in facets.items():
        assert facet["_producer"] == PRODUCER, "the client's name is not ours"
        assert facet["_schemaURL"].startswith("https://openlineage.io/spec/facets/")
        assert FACETS[name] <= facet.keys()
        assert None not in facet.values()


def about(event: ReplyEvent, code: str | None = None, **other: Any) -> Reply:
    reason = "the reason" if code else None
    return replace(a_reply(), event=event, code=code, reason=reason, **other)


@pytest.mark.parametrize(
    ("event", "code", "state"),
    [
        (ReplyEvent.STARTED, None, "START"),
        (ReplyEvent.DONE, None, "COMPLETE"),
        (ReplyEvent.DONE, SUPERSEDED, "ABORT"),
        (ReplyEvent.DEAD, "E_CANCELLED", "ABORT"),
        (ReplyEvent.DEAD, "E_SRC_EMPTY", "FAIL"),
    ],
)
def test_each_end_is_one_of_three(event: ReplyEvent, code: str | None, state: str) -> None:
    found = made(about(event, code))
    assert found["eventType"] == state
    assert ("errorMessage" in found["run"]["facets"]) is (state == "FAIL")
    assert ("version" in found["outputs"][0]["facets"]) is (state == "COMPLETE")


def test_start_and_end_are_one_run_whatever_the_attempt() -> None:
    start, end = made(about(ReplyEvent.STARTED)), made(about(ReplyEvent.DONE, epoch=9))
    assert start["run"]["runId"] == end["run"]["runId"] == run_id("t1")
    assert made(about(ReplyEvent.DONE, transfer_id="t2"))["run"]["runId"] == run_id("t2")
    assert run_id("t1") != run_id("t2")


def test_two_deliveries_are_the_same_bytes() -> None:
    events = LineageEvents("landing", lambda _id: PARENT)
    assert events.body(a_reply()) == events.body(a_reply())


def test_what_was_read_and_written() -> None:
    found = made(about(ReplyEvent.DONE))
    assert (found["job"]["namespace"], found["job"]["name"]) == ("landing", "sales")
    (source,), (target,) = found["inputs"], found["outputs"]
    assert (source["namespace"], source["name"]) == ("s3://bucket", "räw")
    assert (target["namespace"], target["name"]) == ("hdfs://nn:8020", "/landing")
    for facets, name in ((source["inputFacets"], "input"), (target["outputFacets"], "output")):
        counted = facets[f"{name}Statistics"]
        assert (counted["size"], counted["fileCount"]) == (17, 2)
    assert target["facets"]["version"]["datasetVersion"] == "ab" * 32
    engine = found["run"]["facets"]["processing_engine"]
    assert (engine["name"], engine["version"]) == ("backhaul", __version__)
    assert found["run"]["facets"]["externalQuery"]["externalQueryId"] == "t1"


def test_failure_has_code_and_sentence() -> None:
    facet = made(about(ReplyEvent.DEAD, "E_SRC_EMPTY"))["run"]["facets"]["errorMessage"]
    assert facet["message"] == "E_SRC_EMPTY: the reason"


def test_parent_run_is_the_messages() -> None:
    facet = made(about(ReplyEvent.STARTED), PARENT)["run"]["facets"]["parent"]
    assert facet["job"]["namespace"] == "airflow"
    assert facet["job"]["name"] == "daily.export"
    assert facet["run"]["runId"] == PARENT.rpartition("/")[2]
    assert "parent" not in made(about(ReplyEvent.STARTED))["run"]["facets"]


@pytest.mark.parametrize(
    "text",
    ["", "x", "a/b", "a/b/c", f"/b/{UUID(int=1)}", f"a//{UUID(int=1)}", "a/b/" + "0" * 3000],
)
def test_what_is_no_parent_run_is_left_out(text: str) -> None:
    assert parse_parent(text) is None


def test_namespace_of_a_parent_run_may_be_a_uri() -> None:
    run = str(UUID(int=1))
    assert parse_parent(f" s3://jobs/nightly/{run} ") == ("s3://jobs", "nightly", run)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://raw/", ("s3://raw", "/")),
        ("s3://raw/a?b#c/", ("s3://raw", "a?b#c")),
        ("hdfs://prod/landing/x", ("hdfs://prod", "/landing/x")),
        ("file:///mnt/landing/", ("file", "/mnt/landing")),
        ("viewfs://table/landing", ("viewfs://table", "/landing")),
    ],
)
def test_datasets_have_the_standards_names(uri: str, name: tuple[str, str]) -> None:
    assert dataset_name(uri) == name


def test_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openlineage.client", None)
    with pytest.raises(ConfigurationError) as caught:
        LineageEvents("landing", lambda _id: None)
    assert caught.value.code == "E_LINEAGE_PACKAGE"
    assert "pip install 'backhaul[openlineage]'" in caught.value.hint

"""A short run of the fuzzer on every push, the corpus again, and the fuzzer's own eyes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from botocore.parsers import ResponseParserFactory
from hypothesis import given, settings
from hypothesis import strategies as st

from backhaul.adapters.aws import answers, clients, sqs
from backhaul.adapters.aws.errors import common_error
from backhaul.core.model import Location, OnExists
from backhaul.core.objects import Pin
from backhaul.core.ports import ListedPage, ListPage
from backhaul.core.transfer import listing
from tests.fuzz import target
from tests.fuzz.mutate import TOKENS, Mutator
from tests.fuzz.run import fuzz, kept, seeds
from tests.fuzz.servers import fuzz_servers

pytestmark = pytest.mark.slow

TEXT = st.lists(st.one_of(st.sampled_from(TOKENS), st.text(max_size=5)), max_size=8).map("".join)


def test_a_short_run_breaks_no_promise() -> None:
    report = fuzz(seed=1, count=8_000)
    assert report.broken == []
    for form in ("line", "json", "s3"):
        assert any(outcome.startswith(f"{form} accepted") for outcome in report.outcomes), form
    assert len(report.outcomes) > 100


def test_a_short_run_of_servers_breaks_no_promise() -> None:
    report = fuzz_servers(seed=1, count=1500)
    assert report.broken == []
    calls = {outcome.split()[0] for outcome in report.outcomes}
    assert {"list", "resolve", "get", "parts", "receive", "dead_letter", "credentials"} <= calls
    assert len(report.outcomes) > 50
    assert report.outcomes["list 4 keys"] > 0


def _believed(page: ListedPage) -> ListPage:
    """A page as it comes."""
    pins = [
        Pin(
            bucket="src",
            key=one.key,
            size_bytes=int(one.size or 0),
            etag=str(one.etag).strip('"'),
            last_modified=datetime(2026, 1, 1, tzinfo=UTC),
        )
        for one in page.objects
    ]
    return ListPage(pins=tuple(pins), is_last=not page.is_truncated)


@pytest.mark.parametrize("hole", ["listing", "parsers", "dead letter", "refusals", "dates"])
def test_the_fuzzer_sees_a_server_that_is_believed(
    monkeypatch: pytest.MonkeyPatch, hole: str
) -> None:
    match hole:
        case "listing":
            monkeypatch.setattr(listing._Listing, "check", lambda _, page, __: _believed(page))
        case "parsers":
            monkeypatch.setattr(answers, "CheckedParsers", ResponseParserFactory)
        case "dead letter":
            monkeypatch.setattr(sqs, "sent_id", lambda *_: "id")
        case "dates":
            monkeypatch.setattr(clients, "suppress", lambda *_: nullcontext())
        case _:
            monkeypatch.setattr(sqs, "queue_error", common_error)
    assert fuzz_servers(seed=1, count=700).broken


def test_the_corpus_breaks_no_promise() -> None:
    assert len(kept()) > 50
    for body in seeds():
        target.judge(body)


@settings(max_examples=300, deadline=None)
@given(source=TEXT, place=TEXT)
def test_a_line_of_any_two_texts_is_judged(source: str, place: str) -> None:
    target.judge(f"bucket/raw/{source},/landing{place}")


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_text_is_judged(body: str) -> None:
    target.judge(body)


def test_the_same_seed_makes_the_same_bodies() -> None:
    one, other = Mutator(["bucket/raw/a, /landing"], 7), Mutator(["bucket/raw/a, /landing"], 7)
    assert [one.next() for _ in range(200)] == [other.next() for _ in range(200)]


@pytest.mark.parametrize("hole", ["source", "destination", "looser", "event"])
def test_the_fuzzer_sees_a_hole_in_the_policy(monkeypatch: pytest.MonkeyPatch, hole: str) -> None:
    """A policy with one mistake, as a human would make it, is found within a short run."""
    routes = target.POLICY.routes
    match hole:
        case "source":  # the prefix without its slash: raw-evil/ is let through
            routes = (replace(routes[0], sources=(("bucket", "raw"),)), *routes[1:])
        case "destination":
            above = Location(scheme="hdfs", authority="nameservice", path="/")
            routes = (replace(routes[0], destinations=(above,)), *routes[1:])
        case "event":
            routes = (replace(routes[0], event_destination="/other/{rel_dir}/"), *routes[1:])
        case _:
            routes = tuple(replace(route, on_exists=OnExists.REPLACE) for route in routes)
    monkeypatch.setattr(target, "POLICY", replace(target.POLICY, routes=routes))
    assert fuzz(seed=1, count=3000).broken

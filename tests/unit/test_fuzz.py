"""A short run of the fuzzer on every push, the corpus again, and the fuzzer's own eyes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backhaul.core.model import Location, OnExists
from tests.fuzz import target
from tests.fuzz.mutate import TOKENS, Mutator
from tests.fuzz.run import fuzz, kept, seeds

TEXT = st.lists(st.one_of(st.sampled_from(TOKENS), st.text(max_size=5)), max_size=8).map("".join)


def test_a_short_run_breaks_no_promise() -> None:
    report = fuzz(seed=1, count=20_000)
    assert report.broken == []
    for form in ("line", "json", "s3"):
        assert any(outcome.startswith(f"{form} accepted") for outcome in report.outcomes), form
    assert len(report.outcomes) > 100


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

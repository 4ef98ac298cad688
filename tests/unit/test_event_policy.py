"""Events and routes: what any event may bring, and what any template may say."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.core.errors import BackhaulError, ConfigurationError, PermanentError
from backhaul.core.model import EventOther, NameMap, Request, Route, Source, StepRule
from backhaul.core.requests.aws_events import MAX_RECORDS
from backhaul.core.requests.body import MAX_BODY_BYTES, read_message
from backhaul.core.requests.content import Ignored, ObjectEvent, StepEvent, padded_sequencer
from backhaul.core.requests.event_routes import check_template, expand, request_of
from backhaul.core.requests.overlap import refuse_overlaps
from backhaul.core.requests.paths import map_name, parse_destination, unmap_name
from backhaul.core.requests.policy import Policy
from tests.world import location, route

FS = "hdfs://ns1"
WHERE = (location("/land"),)


def events_route(**other: object) -> Route:
    return route(**{"event_destination": "/land/{rel_dir}/", "sources": (("raw", "p/"),)} | other)


POLICY = Policy(
    routes=(
        events_route(),
        events_route(
            name="percent",
            sources=(("raw", "q/"),),
            name_map=NameMap.PERCENT,
            event_destination="/land/{bucket}/{key_dir}/x/",
            event_other=EventOther.IGNORE,
        ),
        events_route(name="marked", sources=(("raw", "m/"),), marker="_SUCCESS"),
    )
)


# ---------------------------------------------------------------- templates


@pytest.mark.parametrize(
    ("template", "given_dir", "result"),
    [
        ("/land/{rel_dir}/", "a/b", "/land/a/b/"),
        ("/land/{rel_dir}/", "", "/land/"),
        ("/land/{rel_dir}", "", "/land"),
        ("/land/{rel_dir}/raw/", "", "/land/raw/"),
        ("/land/x-{bucket}/", "a", "/land/x-raw/"),
        ("/land/", "a", "/land/"),
    ],
)
def test_template_is_filled_in(template: str, given_dir: str, result: str) -> None:
    assert expand(template, bucket="raw", key_dir="k", rel_dir=given_dir) == result


@pytest.mark.parametrize(
    "template",
    ["/land", "/land/", "/land/{rel_dir}/", "/land/{bucket}/{key_dir}/x", "hdfs://ns1/land/a/"],
)
def test_template_inside_the_route_is_fine(template: str) -> None:
    check_template(template, WHERE, default_fs=FS)


@pytest.mark.parametrize(
    "template",
    [
        "/other/{rel_dir}/",
        "/land-evil/",
        "/{bucket}/land/",
        "{rel_dir}/land",
        "/land/../etc/",
        "/land/{rel_dir}/../../etc/",
        "/land//x/",
        "/land/{key}/",
        "/land/{}/",
        "/land/{rel_dir",
        "/land/rel_dir}/",
        "/land/{{rel_dir}}/",
        "/land/x{rel_dir}/",
        "/land/{rel_dir}{key_dir}/",
        "/land/.backhaul/",
        "hdfs://{bucket}/land/",
        "file:///land/",
        "land/{rel_dir}/",
        "",
    ],
)
def test_template_that_could_lead_out_is_refused(template: str) -> None:
    with pytest.raises((PermanentError, ConfigurationError)):
        check_template(template, WHERE, default_fs=FS)


SEGMENT = st.text(max_size=6) | st.sampled_from(
    ["..", ".", "", "a:b", "%2F", "_SUCCESS", "{rel_dir}"]
)
KEYS = st.builds(
    lambda head, rest: "/".join([head, *rest]),
    st.sampled_from(["p", "q", "m", "x"]),
    st.lists(SEGMENT, max_size=5),
)
NAMES = st.sampled_from(["ObjectCreated:Put", "ObjectRemoved:Delete", "s3:ObjectCreated:Copy", ""])


@given(KEYS, NAMES, st.integers(0, 2) | st.none())
def test_whatever_an_event_says_stays_inside_its_route(
    key: str, name: str, size: int | None
) -> None:
    body = json.dumps(
        {
            "Records": [
                {
                    "eventVersion": "2.1",
                    "eventSource": "aws:s3",
                    "eventName": name,
                    "s3": {
                        "bucket": {"name": "raw"},
                        "object": {"key": quote_plus(key, errors="surrogatepass"), "size": size},
                    },
                }
            ]
        }
    )
    try:
        (ask,) = read_message(body, default_fs=FS).records
        asked = request_of(POLICY, ask, queue=None, default_fs=FS)
        if isinstance(asked, Ignored):
            return
        assert isinstance(ask, ObjectEvent)
        assert ask.source.key == key
        job = POLICY.decide(asked, sender_id="x")
    except PermanentError:  # whatever else comes up fails the test
        return
    assert asked.destination.is_within(location("/land"))
    assert "/../" not in f"{asked.destination.path}/"
    assert key.startswith(asked.source.key)
    assert job.route == {"p": "r", "q": "percent", "m": "marked"}[key[0]]
    if job.route == "percent":  # which object it was can be told from where it went
        shown = asked.destination.path.removeprefix("/land/raw/").removesuffix("/x")
        assert unmap_name(shown, NameMap.PERCENT) == key.rpartition("/")[0]


@given(st.text())
def test_mapped_names_come_back(key: str) -> None:
    for name_map in NameMap:
        assert unmap_name(map_name(key, name_map), name_map) == key


# ---------------------------------------------------------------- any body

FIELD = st.text(max_size=5) | st.sampled_from(
    [
        *("v", "source", "destination", "options", "Records", "eventVersion", "eventSource"),
        *("eventName", "s3", "bucket", "object", "name", "key", "size", "sequencer", "versionId"),
        *("Type", "TopicArn", "Message", "detail-type", "detail", "account", "time", "Event"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELD, inner, max_size=5),
    max_leaves=12,
)


@given(JSON | st.dictionaries(FIELD, JSON, max_size=6))
def test_any_json_gives_asks_or_a_code(document: object) -> None:
    for body in (json.dumps(document), json.dumps(json.dumps(document))):
        try:
            content = read_message(body, default_fs=FS)
        except PermanentError:  # whatever else comes up fails the test
            continue
        assert content.records
        for ask in content.records:
            assert isinstance(ask, (Request, ObjectEvent, StepEvent, Ignored, PermanentError))


def test_one_size_limit_holds_in_an_envelope_too() -> None:
    inner = " " * MAX_BODY_BYTES
    body = json.dumps({"Type": "Notification", "TopicArn": "t", "Message": inner})
    with pytest.raises(BackhaulError, match="E_MSG_TOO_LARGE"):
        read_message(body, default_fs=FS)


@given(st.text("0123456789abcdefABCDEF", min_size=1), st.text("0123456789abcdef", min_size=1))
def test_sequencers_compare_as_s3_says(one: str, other: str) -> None:
    width = max(len(one), len(other))
    as_s3 = int(one.ljust(width, "0"), 16) <= int(other.ljust(width, "0"), 16)
    if width <= 64:
        assert (padded_sequencer(one) <= padded_sequencer(other)) is as_s3


# ---------------------------------------------------------------- overlaps


def pair(first: dict[str, object], second: dict[str, object]) -> list[Route]:
    return [route(**{"name": "one"} | first), route(**{"name": "two"} | second)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({"sources": (("raw", "a/"),)}, {"sources": (("raw", ""),)}),
        ({"destinations": (location("/land/x"),)}, {}),
        ({}, {"destinations": (location("/other"), location("/land/x"))}),
        ({"senders": frozenset({"a"})}, {"senders": frozenset({"b"})}),
        ({"queues": frozenset({"q"})}, {}),
        (
            {"queues": frozenset({"q"})},
            {"queues": frozenset({"arn:aws:sqs:us-east-1:123456789012:q", "p"})},
        ),
        (
            {"event_destination": "/land/"},
            {"destinations": (location("/other"),), "event_destination": "/other/"},
        ),
    ],
)
def test_routes_that_could_have_one_request_are_refused(
    first: dict[str, object], second: dict[str, object]
) -> None:
    for routes in (pair(first, second), pair(second, first)):
        with pytest.raises(ConfigurationError, match="E_CFG_OVERLAP: routes one and two"):
            refuse_overlaps(routes)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"sources": (("raw", "a/"),)}, {"sources": (("raw", "b/"),)}),
        ({"sources": (("raw", "a/"),)}, {"sources": (("raw2", "a/"),)}),
        ({}, {"destinations": (location("/other"),)}),
        ({}, {"destinations": (location("/landing"),)}),
        ({"queues": frozenset({"q"})}, {"queues": frozenset({"p"})}),
        ({"event_destination": "/land/"}, {"destinations": (location("/other"),)}),
    ],
)
def test_routes_that_are_apart_are_fine(
    first: dict[str, object], second: dict[str, object]
) -> None:
    refuse_overlaps(pair(first, second))


def emr(name: str, step: str, cluster: str | None = None) -> Route:
    rule = StepRule(
        step=step,
        source=Source(bucket=name, key="out/"),
        destination=location("/land"),
        cluster=cluster,
    )
    return route(name=name, sources=((name, ""),), steps=(rule,))


@pytest.mark.parametrize(("first", "second"), [(None, None), ("j-1", None), ("j-1", "j-1")])
def test_one_step_is_not_mapped_by_two_routes(first: str | None, second: str | None) -> None:
    routes = [emr("one", "Export", first), emr("two", "Export", second)]
    with pytest.raises(ConfigurationError, match="routes one and two both map the EMR step Export"):
        refuse_overlaps(routes)


def test_steps_of_other_names_or_clusters_are_apart() -> None:
    refuse_overlaps([emr("one", "Export"), emr("two", "Import")])
    refuse_overlaps([emr("one", "Export", "j-1"), emr("two", "Export", "j-2")])


# ---------------------------------------------------------------- the policy's digest


def test_digest_changes_with_every_rule_and_not_with_the_order_of_a_set() -> None:
    one = Policy(routes=(route(senders=frozenset({"a", "b", "c"})),))
    same = Policy(routes=(route(senders=frozenset({"c", "b", "a"})),))
    others = [
        Policy(routes=(route(senders=frozenset({"a", "b"})),)),
        Policy(routes=(route(senders=frozenset({"a", "b", "c"}), marker="_SUCCESS"),)),
        Policy(routes=(route(senders=frozenset({"a", "b", "c"}), source_owner="1" * 12),)),
        Policy(routes=()),
    ]
    assert one.digest == same.digest
    assert len({one.digest, *(other.digest for other in others)}) == 5


def test_destination_parses_again_to_itself() -> None:
    made = expand("/land/{key_dir}/", bucket="raw", key_dir="a%3Ab", rel_dir="")
    place = parse_destination(made, default_fs=FS)
    assert parse_destination(place.uri, default_fs=FS) == place


def test_the_dearest_body_costs_little_more_than_its_json() -> None:
    """A ratio of CPU times, the best of several: no busy machine makes it fail."""
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "raw"}, "object": {"key": "p/a"}},
    }
    body = json.dumps({"Records": [record] * MAX_RECORDS})

    def judge() -> None:
        for ask in read_message(body, default_fs=FS).records:
            asked = request_of(POLICY, ask, queue=None, default_fs=FS)
            assert isinstance(asked, Request)
            POLICY.decide(asked, sender_id="x")

    assert _cpu_s(judge) < 400 * _cpu_s(lambda: json.loads(body))  # measured: 60


def _cpu_s(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(5):
        before_s = time.thread_time()
        call()
        taken.append(time.thread_time() - before_s)
    return min(taken)

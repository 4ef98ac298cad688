"""Metrics, manual, Grafana dashboard and alert rules agree, each with every other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from backhaul.adapters.metrics.catalogue import CATALOGUE, MetricFamily, MetricKind
from backhaul.adapters.metrics.collector import BEFORE_PROGRESS, VERIFY_CODES
from backhaul.core import facts
from backhaul.core.cost.egress import Purpose
from backhaul.core.errors import DEPENDENCIES
from backhaul.core.health import HealthState
from backhaul.core.outlook.risks import RiskKind
from tests.docs.manual import DOCS, REFERENCE, ROOT, Table, code, prose, table, tables, text_of
from tests.docs.test_pages import _anchors

RULES = ROOT / "packaging" / "prometheus" / "backhaul.rules.yml"
DASHBOARD = ROOT / "packaging" / "grafana" / "backhaul.json"
MONITORING = DOCS / "monitoring.md"
# What Prometheus itself adds to each series, and what the formats of a histogram do.
SCRAPE_LABELS = frozenset({"instance", "job", "le"})
METRIC = re.compile(r"\bbackhaul_[a-z_]+\b")
MATCHERS = re.compile(r"\b(backhaul_[a-z_]+)\s*\{([^}]*)\}")
GROUPED = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")


@cache
def families() -> dict[str, MetricFamily]:
    """By every name that a query may have: of a histogram there are three."""
    found: dict[str, MetricFamily] = {}
    for one in CATALOGUE:
        tails: tuple[str, ...] = ("",)
        if one.kind is MetricKind.HISTOGRAM:
            tails = ("_bucket", "_sum", "_count")
        found |= {f"{one.full_name}{tail}": one for tail in tails}
    return found


@cache
def rules() -> tuple[dict[str, Any], ...]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return tuple(rule for group in groups for rule in group["rules"])


@cache
def panels() -> tuple[dict[str, Any], ...]:
    """Those that show something; rows are headings."""
    found = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return tuple(panel for panel in found if panel["type"] != "row")


def dashboard_queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def variable_queries() -> list[str]:
    listed = json.loads(DASHBOARD.read_text("utf-8"))["templating"]["list"]
    return [one["query"]["query"] for one in listed if one["type"] == "query"]


def queries() -> Iterator[tuple[str, str]]:
    """Where it is, and the expression."""
    yield from (("alert", rule["expr"]) for rule in rules())
    yield from (("panel", query) for query in dashboard_queries())
    yield from (("variable", query) for query in variable_queries())
    for block in re.findall(r"```promql\n(.*?)```", text_of(MONITORING), re.DOTALL):
        yield "manual", block


def named(query: str) -> set[str]:
    return set(METRIC.findall(query))


# ---------------------------------------------------------------- the manual


def metric_tables() -> list[Table]:
    return [one for one in tables(REFERENCE / "metrics.md") if one.columns[0] == "metric"]


def test_the_manual_has_every_metric_with_its_type_and_labels_and_no_other() -> None:
    listed = {}
    for one in metric_tables():
        assert one.columns == ("metric", "type", "labels", "means")
        for name, kind, labels, _ in one.rows:
            assert code(name)[0] not in listed
            listed[code(name)[0]] = (kind, tuple(code(labels)))
    assert listed == {one.full_name: (one.kind.value, one.labels) for one in CATALOGUE}


def test_a_name_has_its_unit_last_and_a_counter_its_total() -> None:
    units = ("_seconds", "_bytes", "_ratio", "_total", "_info", "_usd")
    counts = {"ready", "health", "hold", "leader", "agents_alive", "dead_letters"}
    counts |= {"expectation_met", "expectation_objects", "at_risk", "reconcile_objects"}
    counts |= {"replies_waiting", "replies_dead"}
    counts |= {"transfers_running", "queue_visible", "queue_in_flight"}
    for one in CATALOGUE:
        assert one.name.endswith("_total") == (one.kind is MetricKind.COUNTER)
        assert one.name.endswith(units) or one.name in counts, one.name
        assert (one.kind is MetricKind.HISTOGRAM) == bool(one.buckets)
        assert list(one.buckets) == sorted(one.buckets)


def means(metric: str) -> str:
    """The last cell of a metric's row."""
    rows = [row for one in metric_tables() for row in one.rows if code(row[0])[0] == metric]
    (found,) = rows
    return found[-1]


def phases() -> set[str]:
    """As the fact documents them; a test of the simulator holds the code to that."""
    text = (facts.TransferProgress.__doc__ or "").split("phase:", 1)[1].split("is_planned:", 1)[0]
    return set(code(text))


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        # An agent never finds itself silent: that is what others see of it.
        ("backhaul_health", {one.value for one in HealthState} - {"silent"}),
        ("backhaul_hold", {*DEPENDENCIES, "held"}),
        ("backhaul_transfers_running", {*phases(), BEFORE_PROGRESS, "phase"}),
        ("backhaul_bytes_total", {one.value for one in Purpose}),
        ("backhaul_at_risk", {one.value for one in RiskKind}),
        ("backhaul_verify_failures_total", set(VERIFY_CODES)),
    ],
)
def test_a_closed_set_of_labels_is_in_the_manual(metric: str, words: set[str]) -> None:
    assert set(code(means(metric))) == words


# ---------------------------------------------------------------- queries


def test_every_query_names_metrics_that_there_are() -> None:
    known = set(families())
    for where, query in queries():
        found = named(query)
        assert found <= known, f"{where}: {query}"


def test_every_query_filters_and_groups_by_labels_that_its_metric_has() -> None:
    for where, query in queries():
        for name, inside in MATCHERS.findall(query):
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside))
            assert labels <= {*families()[name].labels, *SCRAPE_LABELS}, f"{where}: {query}"
        known = {label for name in named(query) for label in families()[name].labels}
        for inside in GROUPED.findall(query):
            labels = {one.strip() for one in inside.split(",") if one.strip()}
            assert labels <= known | SCRAPE_LABELS, f"{where}: {query}"


def test_a_counter_is_not_shown_as_it_is() -> None:
    """It begins again at 0 whenever the agent starts."""
    for where, query in queries():
        for name in named(query):
            if families()[name].kind is MetricKind.GAUGE or where == "variable":
                continue
            is_relative = re.search(rf"(?:rate|increase)\({name}", query)
            assert is_relative or f"unless {name}" in query, f"{where}: {query}"


def test_the_dashboard_shows_every_metric() -> None:
    shown = {families()[name].full_name for query in dashboard_queries() for name in named(query)}
    assert shown == {one.full_name for one in CATALOGUE}


def test_every_panel_is_explained_has_a_place_and_a_query_of_its_own() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in panels()]
    assert len(places) == len(set(places))
    for panel in panels():
        assert panel["title"]
        assert panel["description"].endswith((".", "`."))
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert len(references) == len(set(references))
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]


def test_no_panels_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels():
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, f"{panel['title']} over {taken[(x, y)]}"
                taken[x, y] = panel["title"]


# ---------------------------------------------------------------- alerts


def alert_names() -> list[str]:
    return [rule["alert"] for rule in rules()]


@pytest.mark.parametrize("rule", rules(), ids=alert_names())
def test_an_alert_says_what_it_is_and_links_to_what_to_do(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Backhaul[A-Z]\w+", rule["alert"])
    assert rule["labels"]["severity"] in {"critical", "warning"}
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert notes["description"].endswith(".")
    place, _, anchor = notes["runbook_url"].partition("#")
    assert place.startswith("MANUAL/")
    page = DOCS / place.removeprefix("MANUAL/").replace(".html", ".md")
    assert page.is_file()
    if page == REFERENCE / "errors.md":
        # A browser scrolls to this text; every code has a row in that page.
        assert anchor == ":~:text={{ $labels.code }}"
        assert "code" in rule["expr"]
    else:
        assert anchor == rule["alert"].lower()
        assert anchor in _anchors(page)


def test_the_manual_has_every_alert_and_no_other() -> None:
    rows = table(MONITORING, heading="Alerts", first="alert").rows
    assert [code(row[0])[0] for row in rows] == alert_names()
    severity = {rule["alert"]: rule["labels"]["severity"] for rule in rules()}
    assert {code(row[0])[0]: row[1] for row in rows} == severity
    headings = re.findall(r"^#+ (Backhaul[A-Z]\w+)$", prose(MONITORING), re.MULTILINE)
    linked = [
        rule["alert"]
        for rule in rules()
        if rule["annotations"]["runbook_url"].startswith("MANUAL/monitoring.html")
    ]
    assert headings == linked


def test_every_alert_has_a_test() -> None:
    found = yaml.safe_load((ROOT / "tests" / "monitoring" / "backhaul.test.yml").read_text("utf-8"))
    cases = [case for one in found["tests"] for case in one.get("alert_rule_test", ())]
    fires = {case["alertname"] for case in cases if case["exp_alerts"]}
    assert fires == set(alert_names())

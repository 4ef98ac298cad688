"""`[metrics]` of the real agent: what a scrape and a probe see, and what a wrong setting does."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backhaul.adapters.metrics.catalogue import CATALOGUE
from backhaul.testing.servers import Hdfs, ServerUnavailable
from backhaul.testing.servers.base import fetch
from backhaul.testing.servers.ports import free_ports
from testbed import ElasticMQ, Prometheus, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.expecting import expecting, passed_without_an_agent
from tests.acceptance.installation import Installation, Running, eventually
from tests.acceptance.landing import HdfsLanding
from tests.acceptance.proxy import Proxy

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
EVERY = {one.full_name.removesuffix("_total") for one in CATALOGUE}


class Endpoint:
    """The agent's own port, on loopback."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)

    @property
    def setting(self) -> dict[str, str]:
        return {"BACKHAUL_METRICS__LISTEN": f"127.0.0.1:{self.port}"}

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; 0 where nothing answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def value(self, name: str, **labels: str) -> float:
        """The sum of all series of this name with these labels; 0 without any."""
        return total(self.get("/metrics")[1], name, **labels)


def total(text: str, name: str, **labels: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"backhaul_{name}" and labels.items() <= sample.labels.items()
    )


@pytest.fixture
def prometheus() -> Iterator[Callable[[str], Prometheus]]:
    """`prometheus("127.0.0.1:9187")`: a server that scrapes this agent, with our rules."""
    started: list[Prometheus] = []

    def start(target: str) -> Prometheus:
        server = Prometheus(target, rules=ROOT / "packaging" / "prometheus" / "backhaul.rules.yml")
        try:
            server.start()
        except ServerUnavailable as exc:
            if os.environ.get("CI"):
                pytest.fail(f"needed in CI: {exc}", pytrace=False)
            pytest.skip(str(exc))
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


def ready(agent: Running, endpoint: Endpoint, status: int) -> str:
    """Wait until /readyz has this status; its body."""

    def ask() -> str:
        assert agent.is_alive, agent.wait(1)
        found, body = endpoint.get("/readyz")
        return body if found == status else ""

    return eventually(ask, within_s=60, every_s=0.2, what=lambda: str(endpoint.get("/readyz")))


def test_a_scrape_counts_what_the_agent_did(local: Installation, endpoint: Endpoint) -> None:
    local.put("a/one", b"x" * 1000)
    local.put("a/two", b"y" * 500)
    local.ask_for("a/")
    local.leave("this is no request")
    agent = local.start(**endpoint.setting)
    agent.logged("transfer done")
    agent.logged("message dead-lettered")
    assert ready(agent, endpoint, 200).startswith("Running: ")
    assert endpoint.get("/livez") == (200, "alive\n")
    assert endpoint.get("/")[0] == 404
    text = endpoint.get("/metrics")[1]
    assert total(text, "transfers_total", state="done") == 1
    assert total(text, "transfers_total", state="dead", code="E_MSG_FORMAT", route="") == 1
    assert total(text, "bytes_total", purpose="copy") == 1500
    assert total(text, "objects_total") == 2
    assert total(text, "arrival_lag_seconds_count") == 1
    assert total(text, "ledger_commit_seconds_count") > 3
    assert total(text, "ready") == 1
    agent.terminate()
    assert agent.wait().code == 0
    assert endpoint.get("/readyz")[0] == 0


@pytest.mark.timeout(180)
@pytest.mark.slow
def test_every_metric_of_the_manual_is_scraped(on_moto: Installation, endpoint: Endpoint) -> None:
    on_moto.put("a", b"data")
    on_moto.ask_for("a")
    on_moto.leave("this is no request")
    config = expecting(
        on_moto,
        datetime.now(UTC) - timedelta(minutes=2),
        'replies = ["taken", "refused"]\nbudget = { bytes = "1GB", per = "day" }\n'
        '[[route]]\nname = "paid"\nsource = ["s3://other/"]\n'
        f'destination = ["{on_moto.landing.uri}/other/"]\n'
        'budget = { usd = 5, per = "month" }\n'
        '[[reply]]\nname = "taken"\ncommand = ["/bin/true"]\n'
        '[[reply]]\nname = "refused"\ncommand = ["/bin/false"]\n',
    )
    passed_without_an_agent(on_moto, config)
    agent = on_moto.start("--config", str(config), **endpoint.setting)
    agent.logged("message dead-lettered")
    agent.logged("transfer done")
    compared = on_moto.backhaul("reconcile", "landing", "--config", str(config))
    assert compared.code in {0, 65}, compared

    def missing() -> set[str]:
        families = text_string_to_metric_families(endpoint.get("/metrics")[1])
        return EVERY ^ {family.name for family in families if family.samples}

    # What SQS and the ledger know is read every 30 s; and of `transfers_running` there is nothing.
    eventually(
        lambda: missing() == {"backhaul_transfers_running", "backhaul_attempts_failed"},
        within_s=100,
        every_s=1,
        what=lambda: str(missing()),
    )
    assert endpoint.value("dead_letters", queue=on_moto.queue) == 1
    assert endpoint.value("agents_alive") == 1
    assert endpoint.value("last_poll_success_timestamp_seconds", queue=on_moto.queue) > 0


def asked(prometheus: Prometheus, query: str) -> list[dict[str, Any]]:
    """What an instant query gives: series with their labels and value."""
    answer = fetch(f"{prometheus.endpoint}/api/v1/query?{urlencode({'query': query})}")
    assert answer is not None
    status, body = answer
    assert status == 200, body
    found: list[dict[str, Any]] = json.loads(body)["data"]["result"]
    return found


def test_a_real_prometheus_scrapes_it_and_its_rules_fire(
    local: Installation, endpoint: Endpoint, prometheus: Callable[[str], Prometheus]
) -> None:
    local.put("a", b"data")
    local.ask_for("a")
    local.leave("this is no request")
    agent = local.start(**endpoint.setting)
    agent.logged("transfer done")
    agent.logged("message dead-lettered")
    server = prometheus(f"127.0.0.1:{endpoint.port}")

    def one(query: str) -> dict[str, Any]:
        found = eventually(lambda: asked(server, query), within_s=60, every_s=0.2, what=query)
        assert len(found) == 1, found
        return found[0]

    assert one('up{job="backhaul"} == 1')
    assert one('backhaul_transfers_total{state="done"} > 0')["value"][1] == "1"
    assert one("sum(backhaul_bytes_total) > 0")["value"][1] == "4"
    assert one("backhaul_rate_limit_bytes")["value"][1] == "+Inf"
    fired = one('ALERTS{alertname="BackhaulTransfersDie",alertstate="firing"}')["metric"]
    assert fired["code"] == "E_MSG_FORMAT"
    # Every metric that Prometheus has is one of the catalogue's, and of the right type.
    answer = fetch(f"{server.endpoint}/api/v1/metadata")
    assert answer is not None
    metadata = json.loads(answer[1])["data"]
    types = {name: found[0]["type"] for name, found in metadata.items()}
    known = {each.full_name: each.kind.value for each in CATALOGUE}
    assert types
    assert types.items() <= known.items()


def test_while_s3_is_down_readyz_is_503_and_names_it(
    behind_proxy: Installation, s3_proxy: Proxy, endpoint: Endpoint
) -> None:
    it = behind_proxy
    it.put("a", b"data")
    agent = it.start(**endpoint.setting)
    ready(agent, endpoint, 200)
    s3_proxy.lie(lambda answer: answer.refuse(503, "SlowDown"), to=lambda seen: True)
    it.ask_for("a")
    agent.logged("transfer held")
    body = ready(agent, endpoint, 503)
    sentence, code = body.splitlines()[:2]
    assert re.match(r"Held by s3 for \d+ s, 1 transfer waits: E_S3_", sentence), body
    assert re.fullmatch(r"code: E_S3_[A-Z_]+", code)
    text = endpoint.get("/metrics")[1]
    assert total(text, "hold", dependency="s3") == 1
    assert total(text, "hold", dependency="hdfs") == 0
    assert total(text, "health", state="held") == 1
    assert total(text, "ready") == 0
    assert endpoint.get("/livez")[0] == 200
    listed = it.backhaul("status", "--json")
    assert listed.code == 0
    s3_proxy.be_honest()
    agent.logged("transfer done", within_s=60)
    ready(agent, endpoint, 200)
    assert endpoint.value("hold") == 0


@pytest.mark.hdfs
@pytest.mark.long  # as with S3, above; what HDFS is held for is in test_outages.py
@pytest.mark.timeout(300)
def test_while_the_namenode_is_down_readyz_has_the_fix(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, endpoint: Endpoint
) -> None:
    with Hdfs() as hdfs:
        it = install(elasticmq, s3proxy, hdfs)
        it.landing = landing = HdfsLanding(hdfs.uri, f"/landing/{it.name}", is_named=False)
        landing.client.mkdirs(landing.path, create_parent=True)
        it.put("a", b"data")
        agent = it.start(**endpoint.setting)
        ready(agent, endpoint, 200)
        hdfs.kill_namenode()
        it.ask_for("a")
        body = ready(agent, endpoint, 503)
        sentence, code, hint = body.splitlines()[:3]
        assert re.match(r"Held by hdfs for \d+ s, 1 transfer waits: E_", sentence), body
        assert re.fullmatch(r"code: E_[A-Z_]+", code)
        assert hint.startswith("hint: ")
        assert endpoint.value("hold", dependency="hdfs") == 1
        hdfs.start_namenode()
        agent.logged("transfer done", within_s=120)
        ready(agent, endpoint, 200)
    assert endpoint.value("hold") == 0
    assert endpoint.value("transfers_total", state="done") == 1


def test_the_file_is_whole_readable_and_ends_with_the_agent(
    local: Installation, tmp_path: Path
) -> None:
    path = tmp_path / "collector" / "backhaul.prom"
    path.parent.mkdir()
    local.put("a", b"data")
    local.ask_for("a")
    ended = local.drained(BACKHAUL_METRICS__TEXTFILE=str(path), timeout_s=90)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]
    text = path.read_text("utf-8")
    assert total(text, "transfers_total", state="done") == 1, ended
    assert total(text, "ready") == 0
    assert total(text, "health", state="not-running") == 1


# ---------------------------------------------------------------- wrong settings


def refused(it: Installation, **settings: str) -> tuple[int, str]:
    """How `run` ends, and its error; it must not have begun."""
    ended = it.start(**settings).wait()
    assert "Traceback" not in ended.err, ended
    assert ended.of("agent started") == []
    return ended.code, ended.err


def test_a_port_that_is_taken_is_69_and_says_who_to_look_for(
    local: Installation, endpoint: Endpoint
) -> None:
    with socket.create_server(("127.0.0.1", endpoint.port)):
        code, error = refused(local, **endpoint.setting)
    assert code == 69
    assert f"E_METRICS_LISTEN: metrics.listen 127.0.0.1:{endpoint.port}: Address already" in error
    assert "ss -ltnp" in error


@pytest.mark.parametrize(
    ("listen", "part"),
    [
        ("192.0.2.7:9187", "no such address"),
        ("no-such-host.invalid:9187", "the host is unknown"),
    ],
)
def test_an_address_that_is_not_of_this_machine_is_78(
    local: Installation, listen: str, part: str
) -> None:
    code, error = refused(local, BACKHAUL_METRICS__LISTEN=listen)
    assert (code, "E_METRICS_LISTEN" in error, part in error) == (78, True, True), error


@pytest.mark.parametrize(
    "listen", ["9187", "localhost", ":9187", "127.0.0.1:0", "h:99999", "a b:1"]
)
def test_what_is_no_address_is_78_with_the_right_form(local: Installation, listen: str) -> None:
    config = local.home / "backhaul.toml"
    config.write_text(f'[metrics]\nlisten = "{listen}"\n', "utf-8")
    ended = local.backhaul("run", local.queue, "us-east-1", "--config", str(config))
    assert ended.code == 78
    assert "E_CFG_VALUE" in ended.err
    assert "line 2: metrics.listen" in ended.err
    assert re.search("HOST:PORT|a port is from 1 to 65535", ended.err), ended.err


def test_a_directory_that_is_not_there_is_78(local: Installation, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "backhaul.prom"
    code, error = refused(local, BACKHAUL_METRICS__TEXTFILE=str(path))
    assert code == 78
    assert "E_METRICS_TEXTFILE" in error
    assert f"there is no directory {path.parent}" in error


def test_an_address_for_others_is_warned_of_once(local: Installation, endpoint: Endpoint) -> None:
    ended = local.drained(BACKHAUL_METRICS__LISTEN=f"0.0.0.0:{endpoint.port}")
    warned = [line for line in ended.of("installation is risky") if "METRICS" in line["code"]]
    assert [line["code"] for line in warned] == ["W_METRICS_OPEN"]
    assert f"0.0.0.0:{endpoint.port}" in json.dumps(warned)

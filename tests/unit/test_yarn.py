"""The ResourceManager's REST API in the states that a test bed does not easily show."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.yarn import (
    YarnClient,
    history_address,
    manager_addresses,
    may_hide,
)
from backhaul.core.errors import ConfigurationError, OutageError
from backhaul.core.ports.cluster import Application, AppState, JobCounters, JobProgress

pytestmark = pytest.mark.slow

APP = {
    "id": "application_1_0007",
    "state": "RUNNING",
    "finalStatus": "UNDEFINED",
    "progress": 50.0,
    "elapsedTime": 12_000,
    "trackingUrl": "http://rm/proxy/application_1_0007/",
    "applicationTags": "bh-t,bh-t-1",
}
Answer = tuple[int, str, bytes]


class FakeYarn:
    """A `yarn` command with given outputs."""

    def __init__(self, outputs: dict[str, tuple[int, str]] | None = None) -> None:
        self.outputs = outputs or {}
        self.calls: list[tuple[str, ...]] = []

    def missing(self) -> OutageError | None:
        return None

    def run(self, arguments: tuple[str, ...], waiting: Callable[[], None]) -> tuple[int, str]:
        del waiting
        self.calls.append(arguments)
        return self.outputs.get(arguments[1], (0, "Total number of applications:0"))


def as_json(value: object) -> Answer:
    return 200, "application/json;charset=utf-8", json.dumps(value).encode()


@contextmanager
def manager(answers: dict[str, Answer]) -> Iterator[str]:
    """An HTTP server with these answers by the start of the path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            for start, (status, kind, body) in answers.items():
                if self.path.startswith(start):
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                    self.end_headers()
                    self.wfile.write(body)
                    return
            self.send_error(404)

        do_PUT = do_GET  # noqa: N815 - the base class's name

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def apps(*found: dict[str, Any]) -> Answer:
    return as_json({"apps": {"app": list(found)} if found else {}})


def info(up_s: float, **other: object) -> Answer:
    started_ms = int((time.time() - up_s) * 1000)
    fields = {"startedOn": started_ms, "state": "STARTED", "haState": "ACTIVE"}
    return as_json({"clusterInfo": fields | other})


STANDBY: Answer = (200, "text/plain", b"This is standby RM. The redirect url is: http://other/\n")
REDIRECT: Answer = (307, "text/plain", b"This is standby RM.\n")
DOWN = "http://127.0.0.1:1"


def test_an_application_is_as_the_manager_reports_it() -> None:
    with manager({"/ws/v1/cluster/apps": apps(APP)}) as url:
        (found,) = YarnClient([url], FakeYarn()).find("bh-t-1")
    assert (found.id, found.state, found.progress, found.waited_s) == (
        "application_1_0007",
        AppState.RUNNING,
        0.5,
        12.0,
    )


def test_a_tag_that_only_begins_alike_is_another() -> None:
    other = APP | {"applicationTags": "bh-t,bh-t-11"}
    answers = {"/ws/v1/cluster/apps": apps(other), "/ws/v1/cluster/info": info(600)}
    with manager(answers) as url:
        assert YarnClient([url], FakeYarn()).find("bh-t-1") == []


@pytest.mark.parametrize("standby", [STANDBY, REDIRECT])
def test_the_active_one_of_several_answers(standby: Answer) -> None:
    with manager({"/": standby}) as passive, manager({"/ws/v1/cluster/apps": apps(APP)}) as active:
        client = YarnClient([DOWN, passive, active], FakeYarn())
        assert [one.id for one in client.find("bh-t-1")] == ["application_1_0007"]


@pytest.mark.parametrize("standby", [STANDBY, REDIRECT])
def test_without_an_active_one_nothing_is_known(standby: Answer) -> None:
    with manager({"/": standby}) as passive, pytest.raises(OutageError) as caught:
        YarnClient([passive, DOWN], FakeYarn()).find("bh-t-1")
    assert (caught.value.code, caught.value.dependency) == ("E_YARN_UNREACHABLE", "yarn")


def test_all_managers_are_queried_until_one_answers() -> None:
    with manager({"/": STANDBY}) as passive, manager({"/ws/v1/cluster/info": info(5)}) as active:
        YarnClient([DOWN, passive, active], FakeYarn()).check_reachable()
        with pytest.raises(OutageError) as caught:
            YarnClient([DOWN, passive], FakeYarn()).check_reachable()
    assert caught.value.code == "E_YARN_UNREACHABLE"


def test_where_the_api_requires_a_login_reachability_is_left_to_the_command() -> None:
    with manager({"/": (401, "text/html", b"")}) as url:
        YarnClient([url], FakeYarn()).check_reachable()


@pytest.mark.parametrize(
    ("up_s", "other"), [(5, {}), (600, {"state": "INITED"}), (600, {"haState": "STANDBY"})]
)
def test_a_manager_that_may_still_recover_is_not_believed(
    up_s: float, other: dict[str, object]
) -> None:
    answers = {"/ws/v1/cluster/apps": apps(), "/ws/v1/cluster/info": info(up_s, **other)}
    with manager(answers) as url, pytest.raises(OutageError) as caught:
        YarnClient([url], FakeYarn()).find("bh-t-1")
    assert caught.value.code == "E_YARN_STARTING"


def test_one_that_has_run_for_long_is_believed_to_have_none() -> None:
    with manager({"/ws/v1/cluster/apps": apps(), "/ws/v1/cluster/info": info(600)}) as url:
        assert YarnClient([url], FakeYarn()).find("bh-t-1") == []


STATUS = """\
WARN util.NativeCodeLoader: Unable to load native-hadoop library
Application Report :
\tApplication-Id : application_1_0007
\tProgress : 35%
\tState : FINISHED
\tFinal-State : SUCCEEDED
\tTracking-URL : http://rm/proxy/application_1_0007/
"""
LIST = """\
Total number of applications (application-types: [], states: [NEW, RUNNING] and tags: [bh-t-1]):1
                Application-Id\t    Application-Name\t    Application-Type\t      User
application_1_0007\tdistcp: backhaul-bh-t-1\t           MAPREDUCE\t      root
"""


def test_where_the_api_requires_a_login_the_command_is_used() -> None:
    yarn = FakeYarn({"-list": (0, LIST), "-status": (0, STATUS), "-kill": (0, "Killed")})
    with manager({"/": (401, "text/html", b"Authentication required")}) as url:
        client = YarnClient([url], yarn)
        (found,) = client.find("bh-t-1")
        client.kill(found.id)
    assert (found.id, found.state) == ("application_1_0007", AppState.SUCCEEDED)
    assert yarn.calls[0] == ("application", "-list", "-appTags", "bh-t-1", "-appStates", "ALL")
    assert yarn.calls[-1] == ("application", "-kill", "application_1_0007")


def test_the_command_reports_since_when_an_application_waits() -> None:
    started_ms = int((time.time() - 3600) * 1000)
    waiting = STATUS.replace("FINISHED", f"ACCEPTED\n\tStart-Time : {started_ms}")
    yarn = FakeYarn({"-list": (0, LIST), "-status": (0, waiting)})
    with manager({"/": (401, "text/html", b"")}) as url:
        (found,) = YarnClient([url], yarn).find("bh-t-1")
    assert (found.state, round(found.waited_s / 3600, 1)) == (AppState.QUEUED, 1.0)


def test_the_command_finds_what_the_api_hides() -> None:
    yarn = FakeYarn({"-list": (0, LIST), "-status": (0, STATUS)})
    answers = {"/ws/v1/cluster/apps": apps(), "/ws/v1/cluster/info": info(600)}
    with manager(answers) as url:
        (found,) = YarnClient([url], yarn, may_hide=True).find("bh-t-1")
        assert found.id == "application_1_0007"
        assert YarnClient([url], yarn).find("bh-t-1") == []


@pytest.mark.parametrize(
    ("core", "yarn", "expected"),
    [
        ({}, {}, False),
        ({"hadoop.security.authentication": "kerberos"}, {}, True),
        ({"hadoop.security.authentication": "simple"}, {"yarn.acl.enable": "false"}, False),
        ({}, {"yarn.acl.enable": "true"}, True),
    ],
)
def test_the_api_may_hide_where_access_is_controlled(
    tmp_path: Path, core: dict[str, str], yarn: dict[str, str], *, expected: bool
) -> None:
    site(tmp_path, "core", **core)
    site(tmp_path, "yarn", **yarn)
    assert may_hide(HadoopConfiguration.load_for_jobs(tmp_path)) is expected
    assert may_hide(HadoopConfiguration()) is False


def test_where_the_api_only_refuses_to_kill_the_command_kills() -> None:
    yarn = FakeYarn({"-kill": (0, "Killed")})
    path = "/ws/v1/cluster/apps/application_1_0007/state"
    answers = {path: (403, "text/html", b""), "/ws/v1/cluster/apps": apps(APP)}
    with manager(answers) as url:
        client = YarnClient([url], yarn)
        client.kill("application_1_0007")
        (found,) = client.find("bh-t-1")
    assert found.waited_s == 12.0, "from the API, which is still used"
    assert yarn.calls == [("application", "-kill", "application_1_0007")]


def test_a_command_without_a_ticket_is_an_outage_of_credentials() -> None:
    output = "java.io.IOException: Client cannot authenticate via:[TOKEN, KERBEROS]"
    yarn = FakeYarn({"-list": (1, output)})
    with manager({"/": (401, "text/html", b"")}) as url, pytest.raises(OutageError) as caught:
        YarnClient([url], yarn).find("bh-t-1")
    assert (caught.value.code, caught.value.dependency) == ("E_HADOOP_KERBEROS", "credentials")


def test_a_command_that_fails_is_an_outage() -> None:
    yarn = FakeYarn({"-list": (255, "WARN x\njava.net.ConnectException: refused")})
    with manager({"/": (401, "text/html", b"")}) as url, pytest.raises(OutageError) as caught:
        YarnClient([url], yarn).find("bh-t-1")
    assert "ConnectException" in caught.value.message


def test_a_master_that_does_not_answer_has_no_progress() -> None:
    with manager({"/ws/v1/cluster/apps": apps(APP)}) as url:
        client = YarnClient([url], FakeYarn())
        (found,) = client.find("bh-t-1")
        assert client.progress(found) is None


# ---------------------------------------------------------------- odd answers


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        ({"apps": "x"}, "apps"),
        ({"apps": {"app": 1}}, "app"),
        ({"apps": {"app": ["x"]}}, "app"),
        ({"apps": {"app": [{}]}}, "id"),
        ({"apps": {"app": [APP | {"id": "../../cluster"}]}}, "id"),
        ({"apps": {"app": [APP | {"progress": "much"}]}}, "progress"),
        ({"apps": {"app": [APP | {"progress": float("nan")}]}}, "progress"),
        ({"apps": {"app": [APP | {"elapsedTime": [1]}]}}, "elapsedTime"),
    ],
)
def test_an_answer_that_is_none_is_an_outage_that_names_the_field(
    answer: object, field: str
) -> None:
    with (
        manager({"/ws/v1/cluster/apps": as_json(answer)}) as url,
        pytest.raises(OutageError, match=f"{url}: {field} is no ") as caught,
    ):
        YarnClient([url], FakeYarn()).find("bh-t-1")
    assert caught.value.code == "E_YARN_UNREACHABLE"


@pytest.mark.parametrize(
    ("cluster_info", "field"),
    [
        ([], "clusterInfo"),
        ({"startedOn": "yesterday"}, "startedOn"),
        ({"startedOn": float("inf")}, "startedOn"),
        ({"startedOn": 10**400}, "startedOn"),
    ],
)
def test_the_manager_s_own_state_may_be_odd_too(cluster_info: object, field: str) -> None:
    answers = {
        "/ws/v1/cluster/apps": apps(),
        "/ws/v1/cluster/info": as_json({"clusterInfo": cluster_info or "x"}),
    }
    with (
        manager(answers) as url,
        pytest.raises(OutageError, match=f"{url}: {field} is no ") as caught,
    ):
        YarnClient([url], FakeYarn()).find("bh-t-1")
    assert caught.value.code == "E_YARN_UNREACHABLE"


def test_json_that_is_nested_too_deeply_is_an_outage() -> None:
    deep = b'{"apps":' + b"[" * 200_000
    with (
        manager({"/ws/v1/cluster/apps": (200, "application/json", deep)}) as url,
        pytest.raises(OutageError, match="nested too deeply"),
    ):
        YarnClient([url], FakeYarn()).find("bh-t-1")


def test_one_application_may_come_without_a_list() -> None:
    with manager({"/ws/v1/cluster/apps": as_json({"apps": {"app": APP}})}) as url:
        (found,) = YarnClient([url], FakeYarn()).find("bh-t-1")
    assert found.id == APP["id"]


def test_another_manager_answers_where_one_is_odd() -> None:
    with (
        manager({"/ws/v1/cluster/apps": as_json({"apps": "x"})}) as odd,
        manager({"/ws/v1/cluster/apps": apps(APP)}) as sane,
    ):
        (found,) = YarnClient([odd, sane], FakeYarn()).find("bh-t-1")
    assert found.id == APP["id"]


def progress_of(job: object) -> JobProgress | None:
    """Of an application whose master answers so, with counters that are good."""
    proxied = f"/proxy/application_1_0007{JOB}"
    answers = {
        f"{proxied}/counters": COUNTED,
        proxied: as_json(job),
        "/ws/v1/cluster/apps": apps(APP),
    }
    with manager(answers) as url:
        client = YarnClient([url], FakeYarn())
        (found,) = client.find("bh-t-1")
        return client.progress(found)


@pytest.mark.parametrize("job", [{"job": []}, {"job": "x"}, {"job": {"mapsTotal": "x"}}])
def test_a_master_with_a_malformed_answer_has_no_progress(job: object) -> None:
    progress = progress_of(job)
    assert progress is None or progress.maps == 0


def test_a_command_that_reports_no_number_is_an_outage() -> None:
    listed = (0, "application_1_0007 \tdistcp")
    yarn = FakeYarn({"-list": listed, "-status": (0, "\tProgress : N/A\n\tState : RUNNING\n")})
    with (
        manager({"/": (401, "text/html", b"")}) as url,
        pytest.raises(OutageError, match="application_1_0007: Progress is no number") as caught,
    ):
        YarnClient([url], yarn).find("bh-t-1")
    assert caught.value.code == "E_YARN_UNREACHABLE"


# ---------------------------------------------------------------- counters

GROUP = "org.apache.hadoop.tools.mapred.CopyMapper$Counter"
JOB = "/ws/v1/mapreduce/jobs/job_1_0007"


def counted(**values: object) -> Answer:
    counters = [{"name": name, "totalCounterValue": value} for name, value in values.items()]
    return as_json(
        {"jobCounters": {"counterGroup": [{"counterGroupName": GROUP, "counter": counters}]}}
    )


COUNTED = counted(COPY=24, BYTESCOPIED=805306368, BYTESEXPECTED=805306368, DIR_COPY=1)
COUNTERS = JobCounters(copied=24, skipped=0, failed=0, size_bytes=805306368)


@pytest.mark.parametrize(("done", "expected"), [(3, None), (4, COUNTERS)])
def test_counters_of_a_running_job_are_final_once_its_maps_are_done(
    done: int, expected: JobCounters | None
) -> None:
    job = {"job": {"mapsCompleted": done, "mapsTotal": 4}}
    progress = progress_of(job)
    assert progress is not None
    assert (progress.maps_done, progress.maps, progress.counters) == (done, 4, expected)


OVER = Application(id="application_1_0007", state=AppState.SUCCEEDED)
HISTORY = "/ws/v1/history/mapreduce/jobs/job_1_0007/counters"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (COUNTED, COUNTERS),
        (as_json({"jobCounters": {"counterGroup": []}}), None),
        (as_json([]), None),
        (as_json({"jobCounters": []}), None),
        (as_json({"jobCounters": {"counterGroup": "x"}}), None),
        (counted(COPY="x"), None),
        (
            as_json(
                {"jobCounters": {"counterGroup": [{"counterGroupName": GROUP, "counter": [{}]}]}}
            ),
            None,
        ),
        ((200, "application/json", b"{"), None),
        ((401, "text/html", b"Authentication required"), None),
        ((302, "text/html", b""), None),
        ((404, "application/json", b"{}"), None),
    ],
)
def test_the_history_server_gives_the_counters_or_nothing(
    answer: Answer, expected: JobCounters | None
) -> None:
    with manager({HISTORY: answer}) as url:
        assert YarnClient([], FakeYarn(), history=url).counters(OVER) == expected


@pytest.mark.parametrize("address", [None, DOWN])
def test_no_history_server_is_no_failure(address: str | None) -> None:
    assert YarnClient([], FakeYarn(), history=address).counters(OVER) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({"mapreduce.jobhistory.webapp.address": "a:1"}, "http://a:1"),
        ({"mapreduce.jobhistory.webapp.address": "0.0.0.0:19888"}, None),
        ({"mapreduce.jobhistory.webapp.address": "a"}, "http://a:19888"),
        (
            {
                "mapreduce.jobhistory.http.policy": "https_only",
                "mapreduce.jobhistory.webapp.https.address": "a",
            },
            "https://a:19890",
        ),
        (
            {
                "mapreduce.jobhistory.http.policy": "HTTPS_ONLY",
                "mapreduce.jobhistory.webapp.https.address": "a:2",
            },
            "https://a:2",
        ),
    ],
)
def test_the_history_server_is_found_in_mapred_site(
    tmp_path: Path, values: dict[str, str], expected: str | None
) -> None:
    found = HadoopConfiguration.load_for_jobs(site(tmp_path, "mapred", **values))
    assert history_address(found) == expected
    assert history_address(HadoopConfiguration()) is None


# ---------------------------------------------------------------- addresses


def site(path: Path, name: str = "yarn", /, **values: str) -> Path:
    properties = "".join(
        f"<property><name>{name}</name><value>{value}</value></property>"
        for name, value in values.items()
    )
    (path / f"{name}-site.xml").write_text(f"<configuration>{properties}</configuration>")
    return path


HA = {
    "yarn.resourcemanager.ha.enabled": "true",
    "yarn.resourcemanager.ha.rm-ids": "rm1, rm2",
    "yarn.resourcemanager.hostname.rm1": "a",
    "yarn.resourcemanager.hostname.rm2": "b",
}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"yarn.resourcemanager.hostname": "a"}, ["http://a:8088"]),
        ({"yarn.resourcemanager.webapp.address": "a:1"}, ["http://a:1"]),
        (
            {
                "yarn.resourcemanager.hostname": "a",
                "yarn.resourcemanager.webapp.address": "${yarn.resourcemanager.hostname}:9",
            },
            ["http://a:9"],
        ),
        ({"yarn.resourcemanager.webapp.address": "a"}, ["http://a:8088"]),
        ({"yarn.resourcemanager.webapp.address": "http://a:7/"}, ["http://a:7"]),
        ({"yarn.resourcemanager.webapp.address": "[::1]:7"}, ["http://[::1]:7"]),
        ({"yarn.resourcemanager.address": "a:8032"}, ["http://a:8088"]),
        (
            {"yarn.resourcemanager.address": "a:8032", "yarn.http.policy": "https_only"},
            ["https://a:8090"],
        ),
        (HA, ["http://a:8088", "http://b:8088"]),
        (HA | {"yarn.resourcemanager.webapp.address.rm2": "c:7"}, ["http://a:8088", "http://c:7"]),
        (HA | {"yarn.http.policy": "HTTPS_ONLY"}, ["https://a:8090", "https://b:8090"]),
    ],
)
def test_managers_are_found_in_yarn_site(
    tmp_path: Path, values: dict[str, str], expected: list[str]
) -> None:
    found = HadoopConfiguration.load_for_jobs(site(tmp_path, **values))
    assert manager_addresses(found) == expected


@pytest.mark.parametrize(
    ("read", "site_name", "name"),
    [
        (manager_addresses, "yarn", "yarn.resourcemanager.webapp.address"),
        (history_address, "mapred", "mapreduce.jobhistory.webapp.address"),
    ],
)
def test_an_address_with_a_variable_that_is_not_set_is_refused_by_name(
    tmp_path: Path,
    read: Callable[[HadoopConfiguration], object],
    site_name: str,
    name: str,
) -> None:
    found = HadoopConfiguration.load_for_jobs(site(tmp_path, site_name, **{name: "${x}:1"}))
    with pytest.raises(ConfigurationError) as caught:
        read(found)
    assert caught.value.code == "E_CFG_HADOOP_VARIABLE"
    assert f"{name} holds a variable that is not set: ${{x}}" in caught.value.message


@pytest.mark.parametrize("text", ["a:b", "a:99999", "a..b", "user:SECRET@a"])
def test_an_address_that_is_none_is_refused_with_file_and_line(tmp_path: Path, text: str) -> None:
    name = "yarn.resourcemanager.webapp.address"
    found = HadoopConfiguration.load_for_jobs(site(tmp_path, **{name: text}))
    words = f"yarn-site.xml, line 1: {name} is no address of a ResourceManager"
    with pytest.raises(ConfigurationError, match=words) as caught:
        manager_addresses(found)
    assert caught.value.code == "E_CFG_HADOOP_VALUE"
    assert "SECRET" not in caught.value.message


def test_without_a_configuration_there_is_no_manager(tmp_path: Path) -> None:
    assert manager_addresses(HadoopConfiguration()) == []
    assert manager_addresses(HadoopConfiguration.load_for_jobs(tmp_path)) == []

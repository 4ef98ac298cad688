"""YARN's ResourceManager: applications by tag, over REST, or by the command line under Kerberos.

MapReduce's history server, too: it keeps what the mappers counted once the application is over.

With several ResourceManagers the active one answers; a standby one does not, or points to it. What
no ResourceManager answers is unknown, never "not there".

Source: Apache Hadoop 3.4, "ResourceManager REST API's", "MapReduce Application Master REST API's",
"MapReduce History Server REST API's".
"""

from __future__ import annotations

import http.client
import json
import math
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from backhaul.adapters.hadoop.configuration.filesystems import (
    demands_kerberos,
    join_address,
    parse_address,
    with_place,
)
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.core.errors import OutageError
from backhaul.core.ports.cluster import Application, JobCounters, JobProgress, app_state
from backhaul.core.transfer.engine_choice import refused_login

_TIMEOUT_S = 10.0
_SETTLED_S = 60.0  # 10 s were seen on an idle machine with nothing to recover but one application
_OK, _NOT_FOUND = 200, 404
_CLOSED = {401, 403}
_ID = re.compile(r"application_[0-9]+_[0-9]+")
_MAX_BYTES = 16 * 1024**2

Json = dict[str, Any]
Read = TypeVar("Read")


class CommandLine(Protocol):
    """The node's own `yarn`."""

    def missing(self) -> OutageError | None:
        """Why it cannot be run; None when it is there."""

    def run(self, arguments: tuple[str, ...], waiting: Callable[[], None]) -> tuple[int, str]:
        """Exit code and the end of its output."""


def manager_addresses(found: HadoopConfiguration) -> list[str]:
    """Base URLs of the ResourceManagers in yarn-site.xml; empty when it names none.

    Raises:
        ConfigurationError: E_CFG_HADOOP_VARIABLE, E_CFG_HADOOP_VALUE.
    """
    is_https = _is_https(found, "yarn.http.policy")
    kind, port = ("webapp.https.address", 8090) if is_https else ("webapp.address", 8088)
    is_ha = found.get_boolean("yarn.resourcemanager.ha.enabled")
    ids = found.get_list("yarn.resourcemanager.ha.rm-ids")
    addresses = []
    for suffix in [f".{one}" for one in ids] if is_ha else [""]:
        own = f"yarn.resourcemanager.{kind}{suffix}"
        names = (
            own,
            f"yarn.resourcemanager.hostname{suffix}",
            f"yarn.resourcemanager.address{suffix}",
        )
        name = next((name for name in names if found.get(name)), None)
        if name is not None:
            host, written = _address(found, name, port, "a ResourceManager")
            addresses.append(_base_url(host, written if name == own else port, is_https=is_https))
    return addresses


def _is_https(found: HadoopConfiguration, policy: str) -> bool:
    return (found.get(policy) or "").upper() == "HTTPS_ONLY"


def _address(found: HadoopConfiguration, name: str, port: int, of: str) -> tuple[str, int]:
    return parse_address(found.get(name) or "", with_place(found, name), port, of)


def _base_url(host: str, port: int, *, is_https: bool) -> str:
    return f"{'https' if is_https else 'http'}://{join_address(host, port)}"


def may_hide(configuration: HadoopConfiguration) -> bool:
    """Whether access is controlled: then the API may not tell a stranger of every application."""
    return demands_kerberos(configuration) or configuration.get_boolean("yarn.acl.enable")


class YarnManager:
    """Implements `engines.distcp.ResourceManager`.

    Args:
        addresses: Base URLs; the one that answered last is asked first.
        yarn: The command, for clusters whose REST API wants Kerberos.
        may_hide: The API may keep applications from a stranger: where it tells of none, the
            command is asked, too.
    """

    def __init__(self, addresses: list[str], yarn: CommandLine, *, may_hide: bool = False) -> None:
        self._may_hide = may_hide
        self._addresses = list(addresses)
        self._yarn = yarn
        self._is_closed = False
        self._opener = _opener()

    def check_reachable(self) -> None:
        """Where the REST API is closed to us there is no cheap question, and none is asked.

        Raises:
            OutageError: `yarn` E_YARN_UNREACHABLE.
        """
        if not self._is_closed:
            self._ask("/ws/v1/cluster/info", dict)

    def find(self, tag: str) -> list[Application]:
        """Every application with this tag, newest first.

        Raises:
            OutageError: `yarn` E_YARN_UNREACHABLE.
        """
        if not self._is_closed:
            path = f"/ws/v1/cluster/apps?applicationTags={quote(tag)}"
            answer = self._ask(path, _applications)
            if answer is not None:
                # A tag of several in the query would mean "or"; the exact one is meant here.
                found = [one for one in answer if tag in one.tags]
                if found:
                    return found
                self._refuse_while_it_recovers()
                if not self._may_hide or self._yarn.missing() is not None:
                    return []
        return self._find_by_command(tag)

    def kill(self, application_id: str) -> None:
        """Ask for its end.

        Raises:
            OutageError: `yarn` E_YARN_UNREACHABLE.
        """
        if not self._is_closed:
            path = f"/ws/v1/cluster/apps/{application_id}/state"
            if self._ask(path, dict, put={"state": "KILLED"}) is not None:
                return
        self._command("application", "-kill", application_id)

    def progress(self, application: Application) -> JobProgress | None:
        """From the application's master, through the proxy; None when it is mute."""
        path = f"/proxy/{application.id}/ws/v1/mapreduce/jobs/{_job_id(application)}"
        try:
            told = self._open(f"{self._addresses[0]}{path}", None)
            if told is None:
                return None
            counters = self._open(f"{self._addresses[0]}{path}/counters", None) or {}
            job = _fields(told, "job")
            counted = _counted(counters)
            maps_done, maps = int(_number(job, "mapsCompleted")), int(_number(job, "mapsTotal"))
            return JobProgress(
                maps_done=maps_done,
                maps=maps,
                size_bytes=_written(counters),
                objects=counted.copied if counted is not None else 0,
                # They were asked for after the maps were seen to be done.
                counters=counted if 0 < maps == maps_done else None,
            )
        except (OSError, http.client.HTTPException, ValueError, IndexError):
            return None

    # ------------------------------------------------------------ REST

    def _refuse_while_it_recovers(self) -> None:
        """A ResourceManager that has just started answers before it has read what it knows."""
        is_settled, up_s = self._ask("/ws/v1/cluster/info", _state) or (False, 0.0)
        if not is_settled or up_s < _SETTLED_S:
            raise OutageError.of(
                "yarn",
                "E_YARN_STARTING",
                f"{self._addresses[0]} started {up_s:.0f} s ago and may not know its applications"
                " yet",
                hint=f"it is believed {_SETTLED_S:.0f} s after its start",
            )

    def _ask(
        self, path: str, read: Callable[[Json], Read], put: dict[str, str] | None = None
    ) -> Read | None:
        """The active ResourceManager's answer; None when it wants a Kerberos login of us.

        Args:
            read: Takes what is needed out of it. Its ValueError is as no answer.
        """
        said = "yarn-site.xml names no ResourceManager"
        for address in list(self._addresses):
            try:
                answer = self._open(f"{address}{path}", put)
                told = None if answer is None else read(answer)
            except urllib.error.HTTPError as exc:
                with exc:
                    said = f"{address}: HTTP {exc.code}"
                    if exc.code in _CLOSED:
                        # Nobody may be free to look and not to change.
                        self._is_closed = put is None and self._yarn.missing() is None
                        return None
            except (OSError, http.client.HTTPException, ValueError) as exc:
                said = f"{address}: {exc}"
            else:
                if told is not None:
                    self._addresses.remove(address)
                    self._addresses.insert(0, address)
                    return told
                said = f"{address}: a standby, or no ResourceManager"
        raise _unreachable(said)

    def _open(self, url: str, put: dict[str, str] | None) -> Json | None:
        return _open(self._opener, url, put)

    # ------------------------------------------------------------ the command line

    def _find_by_command(self, tag: str) -> list[Application]:
        text = self._command("application", "-list", "-appTags", tag, "-appStates", "ALL")
        ids = re.findall(r"^\s*(application_\d+_\d+)\s", text, re.MULTILINE)
        return [self._status_by_command(one, tag) for one in ids]

    def _status_by_command(self, application_id: str, tag: str) -> Application:
        text = self._command("application", "-status", application_id)
        told = dict(re.findall(r"^\s*([A-Za-z -]+?) : (.*)$", text, re.MULTILINE))
        told["Progress"] = told.get("Progress", "").rstrip("% ")
        try:
            percent = _number(told, "Progress")
        except ValueError as exc:
            raise _unreachable(f"yarn application -status {application_id}: {exc}") from exc
        return Application(
            id=application_id,
            state=app_state(told.get("State", ""), told.get("Final-State", "")),
            progress=percent / 100,
            waited_s=_since(told.get("Start-Time", "")),
            diagnostics=_one_line(told.get("Diagnostics", "")),
            tracking_url=told.get("Tracking-URL", ""),
            tags=frozenset({tag}),
        )

    def _command(self, *arguments: str) -> str:
        code, output = self._yarn.run(arguments, lambda: None)
        if code != 0:
            if (refused := refused_login(output)) is not None:
                raise refused
            last = output.strip().splitlines()[-1:] or ["it said nothing"]
            raise _unreachable(f"yarn {arguments[1]} ended with {code}: {last[0][:300]}")
        return output


class HistoryServer:
    """Implements `engines.distcp.JobHistory`.

    Args:
        address: Its base URL; None where no configuration names one.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._opener = _opener()

    def counters(self, application: Application) -> JobCounters | None:
        """Of one that is over; None where nobody tells, and that is no failure of it."""
        if self._address is None:
            return None
        path = f"/ws/v1/history/mapreduce/jobs/{_job_id(application)}/counters"
        try:
            return _counted(_open(self._opener, f"{self._address}{path}", None) or {})
        except (OSError, http.client.HTTPException, ValueError):
            return None


def history_address(found: HadoopConfiguration) -> str | None:
    """Base URL of the history server in mapred-site.xml; None when it names none.

    Raises:
        ConfigurationError: E_CFG_HADOOP_VARIABLE, E_CFG_HADOOP_VALUE.
    """
    is_https = _is_https(found, "mapreduce.jobhistory.http.policy")
    kind, port = ("webapp.https.address", 19890) if is_https else ("webapp.address", 19888)
    name = f"mapreduce.jobhistory.{kind}"
    if not found.get(name):
        return None
    host, port = _address(found, name, port, "the history server")
    # 0.0.0.0 is where it listens by default, on whichever machine it may be.
    return None if host == "0.0.0.0" else _base_url(host, port, is_https=is_https)  # noqa: S104


def _opener() -> urllib.request.OpenerDirector:
    """Past any proxy that the environment names: the cluster is on this side of it."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())


def _open(
    opener: urllib.request.OpenerDirector, url: str, put: dict[str, str] | None
) -> Json | None:
    # http or https: the functions that make addresses write nothing else.
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310
    if put is not None:
        request.data = json.dumps(put).encode()
        request.add_header("Content-Type", "application/json")
        request.method = "PUT"
    with opener.open(request, timeout=_TIMEOUT_S) as answer:
        if "json" not in answer.headers.get("Content-Type", ""):
            return None  # a standby's "This is standby RM" is a page for people
        try:
            found = json.loads(answer.read(_MAX_BYTES))
        except RecursionError as exc:
            raise ValueError("JSON that is nested too deeply") from exc
    return found if isinstance(found, dict) else None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A standby points to the active one, which is in the list anyway."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


# ---------------------------------------------------------------- what answers hold


def _applications(answer: Json) -> list[Application]:
    return [_application(one) for one in _list(_fields(answer, "apps"), "app")]


def _application(told: Json) -> Application:
    application_id = str(told.get("id"))
    if _ID.fullmatch(application_id) is None:
        raise ValueError("id is no id of an application")
    return Application(
        id=application_id,
        state=app_state(str(told.get("state", "")), str(told.get("finalStatus", ""))),
        progress=min(1.0, max(0.0, _number(told, "progress") / 100)),
        waited_s=_number(told, "elapsedTime") / 1000,
        diagnostics=_one_line(str(told.get("diagnostics") or "")),
        tracking_url=str(told.get("trackingUrl") or ""),
        tags=frozenset(str(told.get("applicationTags") or "").split(",")),
    )


def _state(answer: Json) -> tuple[bool, float]:
    """Whether the ResourceManager is the active one, and for how many seconds it has run."""
    told = _fields(answer, "clusterInfo")
    up_s = time.time() - _number(told, "startedOn") / 1000
    return told.get("state") == "STARTED" and told.get("haState", "ACTIVE") == "ACTIVE", up_s


def _fields(told: Json, name: str) -> Json:
    """An object of an answer; empty where it is missing.

    Raises:
        ValueError: It is something else.
    """
    found = told.get(name) or {}
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no object")  # noqa: TRY004 - of an answer, not of ours
    return found


def _list(told: Json, name: str) -> list[Json]:
    """Objects of an answer; a single one may come without its list. Raises as `_fields`."""
    found = told.get(name) or []
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{name} is no list of objects")
    return found


def _number(told: Json, name: str) -> float:
    """A number of an answer; 0 where it is missing. Raises as `_fields`."""
    try:
        found = float(told.get(name) or 0)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{name} is no number")
    return found


def _since(started_ms: str) -> float:
    """Seconds since then; 0 when it is not told."""
    return max(0.0, time.time() - int(started_ms) / 1000) if started_ms.strip().isdecimal() else 0.0


def _job_id(application: Application) -> str:
    return application.id.replace("application_", "job_", 1)


def _written(counters: Json) -> int:
    """Bytes that the maps have written to HDFS so far."""
    return _group(counters, "FileSystemCounter").get("HDFS_BYTES_WRITTEN", 0)


def _counted(counters: Json) -> JobCounters | None:
    """DistCp's own; None where there are none. What never happened is not among them."""
    told = _group(counters, "CopyMapper$Counter")
    if not told:
        return None
    return JobCounters(
        copied=told.get("COPY", 0),
        skipped=told.get("SKIP", 0),
        failed=told.get("FAIL", 0),
        size_bytes=told.get("BYTESCOPIED", 0),
    )


def _group(counters: Json, name: str) -> dict[str, int]:
    for group in _list(_fields(counters, "jobCounters"), "counterGroup"):
        if str(group.get("counterGroupName", "")).endswith(name):
            told = _list(group, "counter")
            if not all(isinstance(one.get("name"), str) for one in told):
                raise ValueError("name is no text")
            return {one["name"]: int(_number(one, "totalCounterValue")) for one in told}
    return {}


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:500] if lines else ""


def _unreachable(said: str) -> OutageError:
    return OutageError.of(
        "yarn",
        "E_YARN_UNREACHABLE",
        said,
        hint="check that the ResourceManager runs and that yarn-site.xml names it",
    )

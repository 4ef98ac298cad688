"""YARN's ResourceManager over REST or, where REST requires Kerberos, by the `yarn` command.

Also MapReduce's history server, which keeps the counters of applications that are over.

Of several ResourceManagers only the active one answers; a standby refuses or redirects to it. When
none answers, the state of an application is unknown: never read as "it does not exist".

Source: Apache Hadoop 3.4, "ResourceManager REST API's", "MapReduce Application Master REST API's",
"MapReduce History Server REST API's".
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError

from backhaul.adapters.hadoop.configuration.filesystems import (
    demands_kerberos,
    join_address,
    parse_address,
)
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.core.errors import OutageError
from backhaul.core.ports.cluster import (
    Application,
    HadoopCommand,
    JobCounters,
    JobProgress,
    app_state,
)
from backhaul.core.transfer.cluster.engine_choice import refused_login

_TIMEOUT_S = 10.0
_SETTLED_S = 60.0  # 10 s were seen on an idle machine with nothing to recover but one application
_OK = range(200, 300)
_LOGIN_REQUIRED = {401, 403}
_ID = re.compile(r"application_[0-9]+_[0-9]+")
_MAX_BYTES = 16 * 1024**2

Json = dict[str, Any]
Read = TypeVar("Read")


# ---------------------------------------------------------------- addresses


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


def may_hide(configuration: HadoopConfiguration) -> bool:
    """Whether access is controlled: REST may then hide applications from an anonymous caller."""
    return demands_kerberos(configuration) or configuration.get_boolean("yarn.acl.enable")


def _is_https(found: HadoopConfiguration, policy: str) -> bool:
    return (found.get(policy) or "").upper() == "HTTPS_ONLY"


def _address(found: HadoopConfiguration, name: str, port: int, of: str) -> tuple[str, int]:
    return parse_address(found.get(name) or "", found.located(name), port, of)


def _base_url(host: str, port: int, *, is_https: bool) -> str:
    return f"{'https' if is_https else 'http'}://{join_address(host, port)}"


# ---------------------------------------------------------------- REST


class _LoginRequired(ValueError):
    """The service answers only to a Kerberos login."""


class _Rest:
    """JSON over HTTP, past any proxy that the environment names: the cluster is on this side."""

    # Every failure to get an answer that can be used.
    failures = (HTTPError, OSError, ValueError)

    def __init__(self) -> None:
        # A connection that is kept could be closed by the server just when it is used again.
        self._http = urllib3.PoolManager(timeout=_TIMEOUT_S)
        self._headers = {"Accept": "application/json", "Connection": "close"}

    def send(self, url: str, put: dict[str, str] | None = None) -> Json | None:
        """The object that the body holds; None for any other body, such as a standby's page.

        Raises:
            _LoginRequired: HTTP 401 or 403.
            ValueError: Another status than 2xx, a redirect among them, or malformed JSON.
            HTTPError: No answer.
        """
        # A redirect is not followed: a standby points to the active one, which is in the list.
        response = self._http.request(
            "GET" if put is None else "PUT",
            url,
            json=put,
            headers=self._headers,
            redirect=False,
            retries=False,
            preload_content=False,
        )
        try:
            if response.status in _LOGIN_REQUIRED:
                raise _LoginRequired(f"HTTP {response.status}")
            if response.status not in _OK:
                raise ValueError(f"HTTP {response.status}")
            if "json" not in response.headers.get("Content-Type", ""):
                return None
            try:
                found = json.loads(response.read(_MAX_BYTES))
            except RecursionError as exc:
                raise ValueError("JSON that is nested too deeply") from exc
            return found if isinstance(found, dict) else None
        finally:
            response.close()


class YarnClient:
    """Implements `engines.distcp.Yarn`.

    Args:
        addresses: Base URLs of the ResourceManagers; the one that answered last is queried first.
        yarn: The command, for clusters whose REST API requires Kerberos.
        history: Base URL of MapReduce's history server; None where there is none.
        may_hide: REST may hide applications from us: where it lists none, the command is used, too.
    """

    def __init__(
        self,
        addresses: list[str],
        yarn: HadoopCommand,
        *,
        history: str | None = None,
        may_hide: bool = False,
    ) -> None:
        self._addresses = list(addresses)
        self._yarn = yarn
        self._history = history
        self._may_hide = may_hide
        self._is_closed = False  # REST, to us
        self._rest = _Rest()

    def check_reachable(self) -> None:
        """Does nothing where REST is closed to us: there is no other cheap query.

        Raises:
            OutageError: `yarn` E_YARN_UNREACHABLE.
        """
        if not self._is_closed:
            self._query("/ws/v1/cluster/info", dict)

    def find(self, tag: str) -> list[Application]:
        """Every application with this tag, newest first.

        Raises:
            OutageError: `yarn` E_YARN_UNREACHABLE, E_YARN_STARTING.
        """
        if not self._is_closed:
            path = f"/ws/v1/cluster/apps?applicationTags={quote(tag)}"
            listed = self._query(path, _applications)
            if listed is not None:
                # YARN also lists applications of which only another tag matches.
                found = [one for one in listed if tag in one.tags]
                if found:
                    return found
                self._refuse_while_it_recovers()
                if not self._may_hide or self._yarn.missing() is not None:
                    return []
        return self._find_by_command(tag)

    def kill(self, application_id: str) -> None:
        """Request its end; it may still run when this returns.

        Raises:
            OutageError: `yarn` E_YARN_UNREACHABLE.
        """
        if not self._is_closed:
            path = f"/ws/v1/cluster/apps/{application_id}/state"
            if self._query(path, dict, put={"state": "KILLED"}) is not None:
                return
        self._command("application", "-kill", application_id)

    def progress(self, application: Application) -> JobProgress | None:
        """From the application's master, through YARN's proxy; None when it does not answer."""
        path = f"/proxy/{application.id}/ws/v1/mapreduce/jobs/{_job_id(application)}"
        try:
            answer = self._rest.send(f"{self._addresses[0]}{path}")
            if answer is None:
                return None
            # Only after the job itself: where its maps are done, these counters are final.
            counters = self._rest.send(f"{self._addresses[0]}{path}/counters") or {}
            job, counted = _fields(answer, "job"), _counted(counters)
            maps_done, maps = int(_number(job, "mapsCompleted")), int(_number(job, "mapsTotal"))
            return JobProgress(
                maps_done=maps_done,
                maps=maps,
                size_bytes=_group(counters, "FileSystemCounter").get("HDFS_BYTES_WRITTEN", 0),
                objects=counted.copied if counted is not None else 0,
                counters=counted if 0 < maps == maps_done else None,
            )
        except (*_Rest.failures, IndexError):
            return None

    def counters(self, application: Application) -> JobCounters | None:
        """Of one that is over, from the history server; None where it does not answer."""
        if self._history is None:
            return None
        path = f"/ws/v1/history/mapreduce/jobs/{_job_id(application)}/counters"
        try:
            return _counted(self._rest.send(f"{self._history}{path}") or {})
        except _Rest.failures:
            return None

    def _refuse_while_it_recovers(self) -> None:
        """A ResourceManager that has just started answers before it has read what it knows."""
        is_settled, up_s = self._query("/ws/v1/cluster/info", _state) or (False, 0.0)
        if not is_settled or up_s < _SETTLED_S:
            raise OutageError.of(
                "yarn",
                "E_YARN_STARTING",
                f"{self._addresses[0]} started {up_s:.0f} s ago and may not know its applications"
                " yet",
                hint=f"its list of applications counts from {_SETTLED_S:.0f} s after its start",
            )

    def _query(
        self, path: str, read: Callable[[Json], Read], put: dict[str, str] | None = None
    ) -> Read | None:
        """The active ResourceManager's answer; None when it requires a Kerberos login.

        Args:
            read: Takes what is needed out of the answer. Its ValueError counts as no answer.
        """
        reason = "yarn-site.xml names no ResourceManager"
        for address in list(self._addresses):
            try:
                answer = self._rest.send(f"{address}{path}", put)
                found = None if answer is None else read(answer)
            except _LoginRequired:
                # Being refused a change does not mean being refused to read.
                self._is_closed = put is None and self._yarn.missing() is None
                return None
            except _Rest.failures as exc:
                reason = f"{address}: {_words(exc)}"
            else:
                if found is not None:
                    self._addresses.remove(address)
                    self._addresses.insert(0, address)
                    return found
                reason = f"{address}: a standby, or no ResourceManager"
        raise _unreachable(reason)

    # ------------------------------------------------------------ the command line

    def _find_by_command(self, tag: str) -> list[Application]:
        text = self._command("application", "-list", "-appTags", tag, "-appStates", "ALL")
        ids = re.findall(r"^\s*(application_\d+_\d+)\s", text, re.MULTILINE)
        return [self._status_by_command(one, tag) for one in ids]

    def _status_by_command(self, application_id: str, tag: str) -> Application:
        text = self._command("application", "-status", application_id)
        report = dict(re.findall(r"^\s*([A-Za-z -]+?) : (.*)$", text, re.MULTILINE))
        report["Progress"] = report.get("Progress", "").rstrip("% ")
        try:
            percent = _number(report, "Progress")
        except ValueError as exc:
            raise _unreachable(f"yarn application -status {application_id}: {exc}") from exc
        return Application(
            id=application_id,
            state=app_state(report.get("State", ""), report.get("Final-State", "")),
            progress=percent / 100,
            waited_s=_since(report.get("Start-Time", "")),
            diagnostics=_one_line(report.get("Diagnostics", "")),
            tracking_url=report.get("Tracking-URL", ""),
            tags=frozenset({tag}),
        )

    def _command(self, *arguments: str) -> str:
        code, output = self._yarn.run(arguments, lambda: None)
        if code != 0:
            if (refused := refused_login(output)) is not None:
                raise refused
            last = output.strip().splitlines()[-1:] or ["no output"]
            raise _unreachable(f"yarn {arguments[1]} ended with {code}: {last[0][:300]}")
        return output


# ---------------------------------------------------------------- what answers hold


def _applications(answer: Json) -> list[Application]:
    return [_application(one) for one in _list(_fields(answer, "apps"), "app")]


def _application(fields: Json) -> Application:
    application_id = str(fields.get("id"))
    if _ID.fullmatch(application_id) is None:
        raise ValueError("id is no id of an application")
    return Application(
        id=application_id,
        state=app_state(str(fields.get("state", "")), str(fields.get("finalStatus", ""))),
        progress=min(1.0, max(0.0, _number(fields, "progress") / 100)),
        waited_s=_number(fields, "elapsedTime") / 1000,
        diagnostics=_one_line(str(fields.get("diagnostics") or "")),
        tracking_url=str(fields.get("trackingUrl") or ""),
        tags=frozenset(str(fields.get("applicationTags") or "").split(",")),
    )


def _state(answer: Json) -> tuple[bool, float]:
    """Whether the ResourceManager is the active one, and for how many seconds it has run."""
    info = _fields(answer, "clusterInfo")
    up_s = time.time() - _number(info, "startedOn") / 1000
    return info.get("state") == "STARTED" and info.get("haState", "ACTIVE") == "ACTIVE", up_s


def _fields(answer: Json, name: str) -> Json:
    """An object of an answer; empty where it is missing.

    Raises:
        ValueError: It is something else.
    """
    found = answer.get(name) or {}
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no object")  # noqa: TRY004 - of an answer, not of ours
    return found


def _list(answer: Json, name: str) -> list[Json]:
    """Objects of an answer; a single one may come without its list. Raises as `_fields`."""
    found = answer.get(name) or []
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{name} is no list of objects")
    return found


def _number(answer: Json, name: str) -> float:
    """A number of an answer; 0 where it is missing. Raises as `_fields`."""
    try:
        found = float(answer.get(name) or 0)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{name} is no number")
    return found


def _since(started_ms: str) -> float:
    """Seconds since then; 0 when it is missing."""
    return max(0.0, time.time() - int(started_ms) / 1000) if started_ms.strip().isdecimal() else 0.0


def _job_id(application: Application) -> str:
    return application.id.replace("application_", "job_", 1)


def _counted(counters: Json) -> JobCounters | None:
    """DistCp's own; None where there are none. What never happened is not among them."""
    found = _group(counters, "CopyMapper$Counter")
    if not found:
        return None
    return JobCounters(
        copied=found.get("COPY", 0),
        skipped=found.get("SKIP", 0),
        failed=found.get("FAIL", 0),
        size_bytes=found.get("BYTESCOPIED", 0),
    )


def _group(counters: Json, name: str) -> dict[str, int]:
    for group in _list(_fields(counters, "jobCounters"), "counterGroup"):
        if str(group.get("counterGroupName", "")).endswith(name):
            found = _list(group, "counter")
            if not all(isinstance(one.get("name"), str) for one in found):
                raise ValueError("name is no text")
            return {one["name"]: int(_number(one, "totalCounterValue")) for one in found}
    return {}


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:500] if lines else ""


def _words(error: Exception) -> str:
    """Without the pool's own name, which urllib3 puts before the reason."""
    text = str(error)
    return text.rpartition("): ")[2] if isinstance(error, HTTPError) else text


def _unreachable(reason: str) -> OutageError:
    return OutageError.of(
        "yarn",
        "E_YARN_UNREACHABLE",
        reason,
        hint="check that the ResourceManager runs and that yarn-site.xml names it",
    )

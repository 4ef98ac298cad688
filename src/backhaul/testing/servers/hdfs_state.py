"""Questions to the daemons' JMX pages. A daemon that does not answer is neither of these."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from backhaul.testing.servers.base import fetch

# Ten heartbeats of this test bed.
_SILENT_S = 10


def is_writable(endpoint: str, *, datanodes: int = 1) -> bool:
    """Whether the NameNode at this web address accepts changes and hears DataNodes with room.

    Args:
        endpoint: The NameNode's web address, such as ``http://127.0.0.1:24681``.
        datanodes: So many of them.
    """
    info = _bean(endpoint, "NameNode", "NameNodeInfo")
    if info.get("Safemode") != "":  # A sentence while it refuses changes; absent while it loads.
        return False
    live: dict[str, dict[str, Any]] = json.loads(info.get("LiveNodes", "{}"))
    # For some 10 minutes it counts a silent DataNode as live. The room is 0 from the registration
    # to the first heartbeat: no block can be placed yet.
    heard = [each for each in live.values() if each["lastContact"] < _SILENT_S]
    return len([each for each in heard if each["remaining"] > 0]) >= datanodes


def is_registered(endpoint: str) -> bool:
    """Whether the DataNode at this web address has found its NameNode.

    Before it has, each question puts two stack traces into its log.
    """
    info = _bean(endpoint, "DataNode", "DataNodeInfo").get("BPServiceActorInfo", "[]")
    return any(actor["ActorState"] == "RUNNING" for actor in json.loads(info))


def is_answering(endpoint: str) -> bool:
    """Whether a daemon at this web address answers questions at all."""
    answer = fetch(f"{endpoint}/jmx?qry=java.lang:type=Runtime")
    return answer is not None and answer[0] == HTTPStatus.OK


def _bean(endpoint: str, service: str, name: str) -> dict[str, Any]:
    """One JMX bean; empty when the daemon does not answer or is still loading."""
    answer = fetch(f"{endpoint}/jmx?qry=Hadoop:service={service},name={name}")
    if answer is None or answer[0] != HTTPStatus.OK:
        return {}
    found: list[dict[str, Any]] = json.loads(answer[1])["beans"]
    return found[0] if found else {}

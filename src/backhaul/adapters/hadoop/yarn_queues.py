"""The queues of YARN's scheduler, as the ResourceManager's REST interface lists them.

Source: Apache Hadoop 3.4, "ResourceManager REST API's", Cluster Scheduler API.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class YarnQueue:
    """One queue that applications may be submitted to.

    Attributes:
        path: From the root, such as `root.etl.night`.
        is_running: It takes applications.
        has_capacity: It may hold an application, and give it containers.
    """

    path: str
    is_running: bool
    has_capacity: bool = True

    def is_named(self, name: str) -> bool:
        """Whether the setting means it: by its path, or by its last name."""
        return name in {self.path, self.path.rpartition(".")[2], self.path.removeprefix("root.")}


def leaf_queues(addresses: Sequence[str]) -> list[YarnQueue] | None:
    """Of the first ResourceManager that answers; None: not known, or queues make themselves.

    Args:
        addresses: Base URLs, as `yarn.manager_addresses`.
    """
    pool = urllib3.PoolManager(timeout=TIMEOUT_S)
    for address in addresses:
        try:
            answer = pool.request(
                "GET",
                f"{address}/ws/v1/cluster/scheduler",
                headers={"Accept": "application/json"},
                redirect=False,
                retries=False,
            )
            found = answer.json() if answer.status == 200 else None  # noqa: PLR2004 - HTTP OK
        except (HTTPError, OSError, ValueError):
            continue
        root = _inside(_inside(found, "scheduler"), "schedulerInfo")
        if root.get("type") == "capacityScheduler":
            return list(_leaves(root, ""))
    return None


def _leaves(queue: dict[str, Any], above: str) -> Iterator[YarnQueue]:
    name = str(queue.get("queuePath") or f"{above}{queue.get('queueName', '')}")
    below = _inside(queue, "queues").get("queue")
    if not isinstance(below, list) or not below:
        yield YarnQueue(
            path=name,
            is_running=queue.get("state", "RUNNING") == "RUNNING",
            # Of a queue with capacity 0 the ResourceManager shows 100 % as `maxCapacity`.
            has_capacity=0 not in {queue.get("maxApplications"), queue.get("absoluteMaxCapacity")},
        )
        return
    for one in below:
        if isinstance(one, dict):
            yield from _leaves(one, f"{name}.")


def _inside(found: Any, name: str) -> dict[str, Any]:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, dict) else {}

"""`backhaul doctor` beside a real YARN: its manager, its queues, and Hadoop's own command."""

from __future__ import annotations

import json
from typing import Any

from tests.yarn.cluster import Site

OF_YARN = ("yarn.command", "yarn.manager", "yarn.queue")


def of_yarn(site: Site) -> dict[str, dict[str, Any]]:
    ended = site.it.backhaul("doctor", "--json", "--config", str(site.config))
    found = json.loads(ended.out)["findings"]
    return {one["check"]: one for one in found if one["check"] in OF_YARN}


def test_a_yarn_that_is_fine_and_queues_that_are_not(site: Site) -> None:
    site.configure()
    fine = of_yarn(site)
    assert {name: one["state"] for name, one in fine.items()} == dict.fromkeys(OF_YARN, "ok"), fine
    site.configure(distcp='queue = "night"')
    queue = of_yarn(site)["yarn.queue"]
    assert queue["state"] == "failed"
    assert '[distcp] queue = "root.default"' in "\n".join(queue["fix"])
    site.configure(distcp='queue = "closed"')
    queue = of_yarn(site)["yarn.queue"]
    assert queue["state"] == "failed"
    assert "root.closed.maximum-capacity = 100" in "\n".join(queue["fix"])
    site.configure(distcp='hadoop = "/nowhere/hadoop"')
    command = of_yarn(site)["yarn.command"]
    assert (command["state"], command["code"]) == ("failed", "E_HADOOP_MISSING")

"""DistCp on real YARN: the same bytes as natively, once, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from tests.yarn.cluster import OVER, PLANTED, Site, carried_slowly, fill, when

pytestmark = [pytest.mark.integration, pytest.mark.hdfs, pytest.mark.yarn]

ODD = {
    name: random.Random(name).randbytes(1000 + 7 * number)
    for number, name in enumerate(
        [
            "a[1].parquet",
            "a1.parquet",  # what an unescaped `a[1]` would bring
            "s*r",
            "{x,y}",
            "with space",
            "per%20cent%",
            "q'uo\"te",
            "-delete",
            "back?q",
            "sub[d]/deep/er",
            "ünï",
            "empty",
        ]
    )
}
ODD["empty"] = b""
SMALL = {f"part-{n:03}": random.Random(n).randbytes(5000 + n) for n in range(12)}


@pytest.mark.timeout(300)
def test_both_engines_bring_the_same_bytes_under_odd_names(site: Site) -> None:
    fill(site, "o[d]d/", ODD)
    site.configure(route='engine = "auto"')
    native = site.copy("o[d]d/", "native")
    assert native.code == 0, native
    site.configure()
    ended = site.copy("o[d]d/", "distcp")
    assert ended.code == 0, ended
    assert site.files("native") == site.files("distcp") == ODD
    assert site.landing.staging() == []
    assert len(site.applications()) == 1
    assert "repaired staging" not in ended.err, ended
    assert "maps" in ended.out, "progress tells of the mappers"
    by_engine = {row["engine"]: row["engine_reason"] for row in site.it.history()}
    assert by_engine["distcp"] == "engine = distcp"
    assert "auto_min_bytes" in by_engine["native"]
    shown = site.job_configurations()
    assert shown
    assert all(b"fs.s3a.secret.key" in one for one in shown)
    assert not any(PLANTED.encode() in one for one in shown), "a key for all to see"
    proofs = {line["proof"] for each in site.transfer_ids for line in site.it.evidence(each)}
    assert proofs == {"direct"}
    size_bytes = sum(map(len, ODD.values()))
    assert site.left_s3() == {"native copy": size_bytes, "distcp copy": size_bytes}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [1_001, pytest.param(2_300, marks=pytest.mark.long)])
def test_a_prefix_of_several_pages_arrives_in_a_used_directory(site: Site, count: int) -> None:
    wanted = {f"{number:05}": f"{number % 1000:03}".encode() for number in range(count)}
    fill(site, "pages/", wanted)
    site.landing.put("d/stranger", b"was here")
    site.configure()
    ended = site.copy("pages/", "d")
    assert ended.code == 0, ended
    assert site.files("d") == {"stranger": b"was here", **wanted}
    assert len(site.applications()) == 1
    assert [(row["attempt"], row["failures"]) for row in site.it.history()] == [(1, 0)]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_part_of_a_prefix_goes_by_a_list_of_escaped_names(site: Site) -> None:
    flat = {name: data for name, data in ODD.items() if "/" not in name}
    fill(site, "p/", {"s*r": flat["s*r"]})
    site.configure(route='engine = "native"')
    assert site.copy("p/", "d").code == 0
    fill(site, "p/", {name: data for name, data in flat.items() if name != "s*r"})
    site.configure()
    ended = site.copy("p/", "d")
    assert ended.code == 0, ended
    assert "repaired staging" not in ended.err, ended
    assert site.files("d") == flat
    assert len(site.applications()) == 1


@pytest.mark.timeout(300)
def test_what_does_not_fit_into_the_budget_is_not_submitted(site: Site) -> None:
    """Counted by DistCp's own counters; held before anything is submitted, and raised by hand."""
    fill(site, "p/", SMALL)
    size_bytes = sum(map(len, SMALL.values()))
    site.configure(route=f'budget = {{ bytes = {size_bytes * 3 // 2}, per = "month" }}')
    where = ("--config", str(site.config))
    agent = site.start()
    site.it.ask_for("p/", "first")
    agent.logged("transfer done", within_s=180)
    assert site.left_s3() == {"distcp copy": size_bytes}

    site.it.ask_for("p/", "second")
    agent.logged("transfer waiting: its route is paused", within_s=60)
    assert len(site.applications()) == 1
    shown = site.it.backhaul("budget", "show", "--json", *where)
    assert json.loads(shown.out)["spent"] == size_bytes
    (held,) = (row for row in site.it.history() if row["state"] == "waiting")
    assert (held["code"], held["attempt"], held["failures"]) == ("E_BUDGET_USED", 0, 0)

    raised = site.it.backhaul("budget", "raise", "r", f"{size_bytes}B", *where)
    assert raised.code == 0, raised
    agent.logged("transfer done", times=2, within_s=180)
    agent.terminate()
    assert agent.wait().code == 0
    assert site.files("first") == site.files("second") == SMALL
    assert len(site.applications()) == 2
    assert site.left_s3() == {"distcp copy": 2 * size_bytes}


@pytest.mark.timeout(600)
def test_one_application_and_one_right_result_whenever_agents_end(site: Site) -> None:
    """Killed while it lists, killed once it has submitted, stopped; it ends with nobody there."""
    slow = {**SMALL, "slow": random.Random(0).randbytes(8 << 20)}
    fill(site, "p/", slow)
    site.configure(distcp='bandwidth = "1MiB"')
    site.it.ask_for("p/", "d")

    for moment in ("listing", "submitted"):
        agent = site.start()
        clients = when(lambda a=agent: site.client(a), "the client lists")
        if moment == "submitted":
            when(site.applications, "YARN has it")
        agent.kill()
        when(
            lambda c=clients: not any(one.is_running() for one in c),
            "the client dies with its agent",
        )
        assert len(site.applications()) == (moment == "submitted")
        site.show_again()

    agent = site.start()
    agent.logged("transfer runs as a YARN application", within_s=90)
    agent.terminate()
    agent.logged("agent stopping")  # two signals at once may arrive as one
    agent.terminate()
    assert agent.wait().code in {0, 130}
    assert site.applications()[0]["state"] not in OVER
    assert site.reserved() == 1 << 20, "it runs on, and so does its share of the byte rate"

    when(lambda: site.applications()[0]["state"] in OVER, "it ends by itself")
    site.drained()
    assert len(site.applications()) == 1, "adopted each time"
    site.check_end("d", slow)


@pytest.mark.timeout(600)
def test_a_manager_that_is_down_or_restarts_is_waited_for(site: Site) -> None:
    fill(site, "p/", SMALL)
    site.configure()
    site.it.ask_for("p/", "d")
    site.yarn.kill_manager()
    try:
        agent = site.start()
        held = agent.logged("transfer held", within_s=120)
    finally:
        site.yarn.start_manager()
    assert (held[0]["code"], held[0]["dependency"]) == ("E_YARN_UNREACHABLE", "yarn")
    agent.logged("transfer runs as a YARN application", within_s=120)
    # A master that was not launched yet would be waited for by YARN itself, for ten minutes.
    when(lambda: site.applications()[0]["state"] in {"RUNNING", *OVER}, "its master runs")
    site.yarn.kill_manager()
    site.yarn.start_manager()
    agent.logged("transfer done", within_s=200)
    agent.terminate()
    agent.wait()
    assert len(site.applications()) == 1
    site.check_end("d", SMALL)


@pytest.mark.timeout(300)
def test_a_cluster_without_room_leaves_it_to_this_node(site: Site) -> None:
    fill(site, "p/", SMALL)
    site.configure(distcp="queue_timeout_s = 10")
    site.yarn.suspend_node()
    try:
        ended = site.copy("p/", "d")
    finally:
        site.yarn.resume_node()
    assert ended.code == 0, ended
    site.check_end("d", SMALL)
    assert [one["state"] for one in site.applications()] == ["KILLED"]
    (row,) = site.it.history()
    assert row["engine"] == "native"


@pytest.mark.timeout(300)
def test_a_job_that_fails_half_way_leaves_nothing_and_is_done_again(site: Site) -> None:
    slow = {**SMALL, "slow": random.Random(0).randbytes(20 << 20)}
    fill(site, "p/", slow)
    site.configure(distcp='bandwidth = "1MiB"')
    conf = Path(site.it.environment["HADOOP_CONF_DIR"]) / "mapred-site.xml"
    once = "<property><name>mapreduce.map.maxattempts</name><value>1</value></property>"
    conf.write_text(conf.read_text().replace("</configuration>", f"{once}</configuration>"))
    site.it.ask_for("p/", "d")
    agent = site.start()
    agent.logged("transfer runs as a YARN application", within_s=90)
    mappers = when(site.mappers, "a mapper copies")
    for one in mappers:
        one.kill()
    (failed,) = agent.logged("attempt failed", within_s=90)
    assert failed["code"] == "E_DISTCP_FAILED"
    assert site.files("d") == {}
    site.configure()
    agent.terminate()
    agent.wait()
    site.show_again()
    site.drained()
    assert [one["finalStatus"] for one in site.applications()] == ["FAILED", "SUCCEEDED"]
    site.check_end("d", slow)


@pytest.mark.timeout(120)
def test_a_wrong_hadoop_and_no_manager_are_told_apart(site: Site) -> None:
    fill(site, "p/", {"a": b"a"})
    wrong = site.config.parent / "hadoop"
    wrong.write_text(
        '#!/bin/sh\necho "WARN: something" >&2\necho "no command distcp" >&2\nexit 1\n'
    )
    wrong.chmod(0o755)
    site.configure(distcp=f'hadoop = "{wrong}"')
    ended = site.copy("p/", "d")
    assert (ended.code, "E_HADOOP_COMMAND" in ended.err) == (69, True), ended
    site.configure(distcp='hadoop = "/no/such/hadoop"')
    ended = site.copy("p/", "d")
    assert (ended.code, "E_HADOOP_MISSING" in ended.err) == (69, True), ended
    site.configure(distcp='queue = "closed"')
    ended = site.copy("p/", "d")
    assert (ended.code, "E_YARN_REFUSED" in ended.err) == (69, True), ended
    assert {one["state"] for one in site.applications()} <= OVER
    assert site.landing.staging() == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_manager_that_forgot_lets_the_next_attempt_submit_anew(site: Site) -> None:
    agent, slow = carried_slowly(site, SMALL)
    site.yarn.kill_manager()
    shutil.rmtree(site.yarn.directory / "state")
    site.yarn.start_manager()
    (failed,) = agent.logged("attempt failed", within_s=200)
    assert failed["code"] == "E_YARN_FORGOTTEN"
    agent.logged("transfer done", within_s=200)
    agent.terminate()
    agent.wait()
    site.check_end("d", slow)


KILL_ROUNDS = int(os.environ.get("BACKHAUL_TEST_YARN_KILL_ROUNDS", "0"))


@pytest.mark.skipif(not KILL_ROUNDS, reason="BACKHAUL_TEST_YARN_KILL_ROUNDS says how many")
@pytest.mark.timeout(60 + 300 * KILL_ROUNDS)
def test_many_kills_at_random_moments(site: Site) -> None:
    chance = random.Random(20261122)
    fill(site, "p/", SMALL)
    site.configure()
    for number in range(KILL_ROUNDS):
        site.it.ask_for("p/", f"d{number}")
        agent = site.start()
        agent.logged("engine chosen")
        after_s = chance.uniform(0, 40)
        when(lambda s=after_s, a=agent: _waited(a, s), "the moment comes")
        agent.kill()
        if site.it.counts() != (0, 0):
            site.show_again()
        site.drained(timeout_s=600)  # many rounds are for a machine that does other things, too
        site.check_end(f"d{number}", SMALL)
        told = f"round {number}: killed after {after_s:.1f} s, {len(site.applications())} so far"
        print(told)  # noqa: T201 - shown by -rP


def _waited(agent: object, after_s: float) -> bool:
    import time

    started_s: float = agent.__dict__.setdefault("_waiting_since", time.monotonic())
    return time.monotonic() - started_s >= after_s


@pytest.mark.timeout(300)
def test_cancelling_a_transfer_kills_its_application(site: Site) -> None:
    agent, _ = carried_slowly(site, SMALL)
    told = site.it.backhaul("status", "--config", str(site.config))
    (transfer_id,) = site.transfer_ids
    assert site.applications()[0]["id"] in told.out

    ended = site.it.backhaul("cancel", transfer_id, "--config", str(site.config), timeout_s=90)

    assert ended.code == 0, ended
    assert [one["state"] for one in site.applications()] == ["KILLED"]
    (dead,) = agent.logged("message dead-lettered", within_s=90)
    assert dead["code"] == "E_CANCELLED"
    agent.terminate()
    assert agent.wait().code == 0
    assert len(site.applications()) == 1
    assert site.files("d") == {}

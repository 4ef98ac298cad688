"""The byte-rate limit, and S3 that bears no more, as an operator meets them."""

from __future__ import annotations

import json
import random
import time
from datetime import datetime
from typing import Any

import pytest

from testbed import ElasticMQ, S3Proxy
from tests.acceptance.busy import BusyProxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation, eventually

pytestmark = pytest.mark.integration
MIB = 1 << 20
CHANCE = random.Random(8)


def limit(it: Installation, *arguments: str) -> dict[str, Any]:
    ended = it.backhaul("limit", "--json", *arguments)
    assert ended.code == 0, ended
    found: dict[str, Any] = json.loads(ended.out)
    return found


def test_a_limited_transfer_takes_its_bytes_time_by_the_ledger(local: Installation) -> None:
    """A lower bound: a busy machine only makes it longer."""
    it = local
    sizes = {"large": 17 * MIB, "medium": MIB, **{f"small{n:02d}": 10_000 for n in range(50)}}
    data = {name: CHANCE.randbytes(size) for name, size in sizes.items()}
    for name, content in data.items():
        it.put(f"p/{name}", content)
    it.ask_for("p/")
    it.drained(BACKHAUL_BANDWIDTH__LIMIT="8MiB/s")
    assert it.landing.files() == data
    (row,) = it.history()
    began, ended = (datetime.fromisoformat(row[n]) for n in ("first_seen_at", "finished_at"))
    least_s = sum(sizes.values()) / (8 * MIB)
    ahead_s = 0.25 + 0.1  # the credit of a line that was idle, and the last piece
    assert (ended - began).total_seconds() > least_s - ahead_s


def test_a_running_transfer_obeys_another_limit(local: Installation) -> None:
    it = local
    data = CHANCE.randbytes(17 * MIB)
    it.put("large", data)
    assert limit(it, "64KiB/s")["why"] == "by hand"  # 272 s of it
    it.ask_for("large")
    agent = it.start()
    eventually(it.landing.everything)  # staging: its bytes are on their way
    assert limit(it, "off")["bytes_per_s"] is None
    agent.logged("transfer done", within_s=60)
    agent.terminate()
    assert agent.wait().code == 0
    assert it.landing.files() == {"large": data}


def test_windows_of_the_configuration_count_until_somebody_sets_a_limit(
    local: Installation,
) -> None:
    it = local
    config = it.home / "backhaul.toml"
    config.write_text('[bandwidth]\nlimit = "90MB/s"\nwindows = ["00:00-24:00 = 30MB/s"]\n')
    it.environment["BACKHAUL_CONFIG"] = str(config)
    assert limit(it) == {
        "v": 1,
        "bytes_per_s": 30_000_000,
        "why": "window",
        "until": None,
        "configured_bytes_per_s": 30_000_000,
        "applications_bytes_per_s": 0,
    }
    found = limit(it, "5MB/s", "--for", "2h")
    assert (found["bytes_per_s"], found["why"]) == (5_000_000, "by hand")
    assert found["configured_bytes_per_s"] == 30_000_000
    assert datetime.fromisoformat(found["until"]).tzinfo is not None
    assert limit(it) == found, "it stays"
    text = it.backhaul("limit")
    assert text.out.startswith("5.000 MB/s, by hand until ")
    assert text.out.endswith("; configured: 30.000 MB/s\n")
    assert limit(it, "default")["why"] == "window"


def test_what_applications_were_given_is_told(local: Installation) -> None:
    ledger = local.home / ".local" / "state" / "backhaul" / "ledger.db"
    ledger.parent.mkdir(parents=True, mode=0o700)
    entered = ledger.with_name("ledger.db.reserved")
    entered.write_text(json.dumps({"bh-a-1": [7_000_000, time.time() + 60], "bh-b-1": [1, 0]}))
    assert limit(local)["applications_bytes_per_s"] == 7_000_000
    told = local.backhaul("limit").out
    assert told == "no limit, configured; YARN applications: 7.000 MB/s\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("fast",),
        ("0",),
        ("1kB/s",),
        ("50MB/s", "--for", "soon"),
        ("50MB/s", "--for", "0h"),
        ("--for", "2h"),
        ("default", "--for", "2h"),
        ("50MB/s", "20MB/s"),
    ],
)
def test_what_is_no_limit_is_refused_and_changes_nothing(
    local: Installation, arguments: tuple[str, ...]
) -> None:
    ended = local.backhaul("limit", *arguments)
    assert ended.code == 64, ended
    assert "Traceback" not in ended.err
    assert limit(local)["why"] == "configured"


def test_reads_that_s3_refuses_become_fewer_then_more_and_cost_no_attempt(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> None:
    with BusyProxy(s3proxy, bears=3, lift_after=200) as busy:
        it = install(elasticmq, busy, s3_direct=s3proxy)
        data = {f"{n:03d}": CHANCE.randbytes(1000) for n in range(500)}
        for name, content in data.items():
            it.put(f"p/{name}", content)
        it.ask_for("p/")
        ended = it.drained()
    assert it.landing.files() == data
    assert ended.of("attempt failed") == []
    (row,) = it.history()
    assert (row["state"], row["attempt"], row["failures"]) == ("done", 1, 0)
    crowd = busy.crowd
    assert crowd.lifted_at is not None
    assert max(crowd.inside[:50]) > 4, "it began with more than S3 bears"
    assert max(crowd.inside[crowd.lifted_at - 50 : crowd.lifted_at]) <= 4, "one more than it bears"
    assert max(crowd.inside[crowd.lifted_at :]) > 4, "and grew again when S3 bore it"

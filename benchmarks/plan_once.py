"""List, plan and freeze one prefix as a transfer does, and copy nothing: a process of its own.

`python -m benchmarks.plan_once COUNT LEDGER` prints a JSON object: `seconds`, `cpu_s`, `peak_mb`.
Everything is the product's: the client, the planner, the policy, the attempt, the ledger on disk.
Only the worker is not there: in its place the plan is read to its end and thrown away.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3 import S3Store
from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.system.clock import SystemClock
from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import TransientError
from backhaul.core.model import Location, VerifyLevel
from backhaul.core.objects import StagedObject
from backhaul.core.ports import MessageKey, Ports, Progress, StageTask
from backhaul.core.requests.body import parse_message
from backhaul.core.requests.policy import Policy, allow_any_route
from backhaul.core.transfer.attempt import Attempt
from backhaul.core.transfer.outcome import Budget
from benchmarks.listing_server import PREFIX


class _Nobody:
    """A session whose worker only takes the plan."""

    objects = 0
    progress = Progress(size_bytes=0, objects=0, received_bytes=0)

    def existing_ancestor(self, location: Location) -> Location:
        """Its parent: the destination is new, so no file in it is asked for."""
        return location.parent

    def fence(self, staging_root: Location, epoch: int) -> int:
        del staging_root
        return epoch - 1

    def stage(
        self,
        tasks: Iterator[Sequence[StageTask]],
        directory: Location,
        verify: VerifyLevel,
        more: Callable[[int], None] | None = None,
    ) -> Iterator[Sequence[StagedObject]]:
        del directory, verify, more
        for chunk in tasks:
            self.objects += len(chunk)
            yield ()
        raise TransientError("E_MEASURED", "planned; nothing is copied here")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a plan alone does not need {name}")


class _Pool:
    """Lends the one session."""

    def __init__(self) -> None:
        self.session_ = _Nobody()

    @contextmanager
    def session(self, filesystem: str, user: str | None = None) -> Iterator[Any]:
        del filesystem, user
        yield self.session_


def main(arguments: list[str]) -> None:
    """Plan, and say what it took."""
    count, ledger_path = int(arguments[0]), Path(arguments[1])
    ledger = open_ledger(ledger_path, create=True)
    pool = _Pool()
    clock = SystemClock()
    aws = AwsSession("us-east-1")
    ports = Ports(
        store=S3Store(aws), ledger=ledger, pool=pool, clock=clock, emit=lambda _event: None
    )
    request = parse_message(f"s3://n{count}/{PREFIX},hdfs://nowhere:8020/target", default_fs=None)
    policy = Policy(routes=(allow_any_route(),))
    key = MessageKey(queue="bench", message_id=str(count))
    begun = ledger.begin(key, f"{count:016d}", "source", "destination", clock.now())
    attempt = Attempt(
        ports=ports,
        policy=lambda: policy,
        begun=begun,
        job=policy.decide(request, sender_id=None),
        budget=Budget(retry=RetryPolicy(), failures=0, source_changes=0),
        message_id=None,
    )
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    attempt.run()
    took_s, took_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    assert pool.session_.objects == count, f"{pool.session_.objects} of {count} were planned"
    print(json.dumps({"seconds": took_s, "cpu_s": took_cpu_s, "peak_mb": _peak_mb()}))


def _peak_mb() -> float:
    """Peak RSS of this process; `ru_maxrss` would begin with the size of its parent."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(found.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main(sys.argv[1:])

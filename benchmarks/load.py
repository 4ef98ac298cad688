"""What the machine does while a program runs: the servers' share of the work, and idle cores.

S3 and HDFS run beside the program that is measured. Where no core is idle, whatever they need is
taken from it, and only less work makes it faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil


@dataclass(kw_only=True)
class Load:
    """Complete when its block is left.

    Attributes:
        servers_cpu_s: User and system time of the servers, all together.
        idle: Share of all cores' time in which none had anything to do, 0 to 1.
    """

    servers_cpu_s: float = 0.0
    idle: float = 0.0


@contextmanager
def watched(server_pids: Callable[[], Iterable[int]]) -> Iterator[Load]:
    """Look before and after the block.

    Args:
        server_pids: The servers' processes, which run all the time.
    """
    load = Load()
    pids = tuple(server_pids())
    servers_s, (idle_s, all_s) = _cpu_s(pids), _cores_s()
    yield load
    load.servers_cpu_s = _cpu_s(pids) - servers_s
    idle_after_s, all_after_s = _cores_s()
    load.idle = (idle_after_s - idle_s) / max(all_after_s - all_s, 0.001)


def _cpu_s(pids: Iterable[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(one.user + one.system for one in times)


def _cores_s() -> tuple[float, float]:
    """Idle, and in all; time as a guest counts as the user's already."""
    times = psutil.cpu_times()._asdict()
    idle_s = times["idle"] + times.get("iowait", 0.0)
    return idle_s, sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)

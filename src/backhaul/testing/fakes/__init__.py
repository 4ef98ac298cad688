"""Fakes with semantics for every port; the real ledger, too, can be given faults (`faulty`).

Each call passes a `Faults`: it can be told to fail before it takes effect, to lose its answer
after, or to end the process there. A suite in `tests/contract` holds each fake to the real thing.
"""

from __future__ import annotations

from backhaul.testing.fakes.clock import FakeClock, FakeEvent, FakeRandomness
from backhaul.testing.fakes.cluster import FakeCluster
from backhaul.testing.fakes.faults import Fault, Faults, Killed
from backhaul.testing.fakes.inline import InlinePool, InlineSession
from backhaul.testing.fakes.ledger import faulty
from backhaul.testing.fakes.memory_file import MemoryFile
from backhaul.testing.fakes.memory_ledger import MemoryLedger
from backhaul.testing.fakes.queue import DeadLetter, FakeQueue
from backhaul.testing.fakes.store import FakeStore, ReadFault
from backhaul.testing.fakes.target import FakeContent, FakeTarget

__all__ = [
    "DeadLetter",
    "FakeClock",
    "FakeCluster",
    "FakeContent",
    "FakeEvent",
    "FakeQueue",
    "FakeRandomness",
    "FakeStore",
    "FakeTarget",
    "Fault",
    "Faults",
    "InlinePool",
    "InlineSession",
    "Killed",
    "MemoryFile",
    "MemoryLedger",
    "ReadFault",
    "faulty",
]

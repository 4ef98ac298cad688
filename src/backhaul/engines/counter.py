"""What a call or a staging call of a worker has done so far; ticks show it to the agent."""

from __future__ import annotations

import threading


class Counter:
    """Bytes and calls done by this worker; by it the agent distinguishes slow from stuck.

    Attributes:
        size_bytes: Of objects on their way into staging: received and used.
        received_bytes: Of bodies from S3, useful or not.
        repeated_bytes: Of those, what came once more.
        read_back_bytes: Of files of the target, read for their proof.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.size_bytes = 0
        self.received_bytes = 0
        self.repeated_bytes = 0
        self.read_back_bytes = 0
        self.calls = 0

    def add(self, size_bytes: int) -> None:
        with self._lock:
            self.size_bytes += size_bytes
            self.calls += 1

    def add_received(self, size_bytes: int, repeated_bytes: int) -> None:
        """What came from S3; whether it moves anything on is counted by `add`."""
        with self._lock:
            self.received_bytes += size_bytes
            self.repeated_bytes += repeated_bytes

    def add_read_back(self, size_bytes: int) -> None:
        with self._lock:
            self.read_back_bytes += size_bytes
            self.calls += 1

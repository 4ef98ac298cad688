"""An agent waits at its start while the ledger's schema is that of another version.

While nodes are upgraded one by one, an agent may start before the ledger is migrated to what its
version works on, or with a version that no longer works on it. It receives no message then, and
goes on by itself.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from backhaul.adapters.ledger import check_schema
from backhaul.adapters.system.systemd import Systemd
from backhaul.core.errors import ConfigurationError, OutageError
from backhaul.core.facts import StartHeld, StartResumed
from backhaul.core.ports import Emit
from backhaul.core.ports.ledger_place import LedgerPlace, PostgresUrl

LOOK_EVERY_S = 5.0
HOLDING = frozenset({"E_LEDGER_OLDER", "E_LEDGER_NEWER"})


def wait_for_schema(place: LedgerPlace, emit: Emit, systemd: Systemd) -> bool:
    """Hold the start for as long as the schema is that of another version.

    A file is migrated by its agent, and has no other.

    Returns:
        False: SIGTERM or SIGINT ended the wait.

    Raises:
        ConfigurationError, OutageError: The ledger cannot be opened for another reason.
    """
    if not isinstance(place, PostgresUrl):
        return True
    why = _why_not(place)
    if why is None:
        return True
    began_s = time.monotonic()
    emit(StartHeld(code=why.code, reason=why.message, hint=why.hint))
    systemd.ready()  # it runs, and waits: systemd is not to end it
    systemd.status(f"held by the ledger: {why.message}")
    with _stop_requested() as is_stopped:
        while not is_stopped(LOOK_EVERY_S):
            systemd.alive()
            try:
                if _why_not(place) is None:
                    emit(StartResumed(seconds=time.monotonic() - began_s))
                    return True
            except OutageError:
                continue  # it was there: a restart, or the migration itself has it locked
    return False


def _why_not(place: PostgresUrl) -> ConfigurationError | None:
    try:
        check_schema(place)
    except ConfigurationError as error:
        if error.code not in HOLDING:
            raise
        return error
    return None


@contextmanager
def _stop_requested() -> Iterator[Callable[[float], bool]]:
    """A wait of so many seconds; True when a signal ends the process."""
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested.wait  # signals reach the main thread only
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        requested.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield requested.wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

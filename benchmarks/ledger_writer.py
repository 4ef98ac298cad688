"""A writer beside readers: commits like an agent's, and how long each took, as JSON at the end.

`python -m benchmarks.ledger_writer LEDGER SECONDS`; a process of its own, as the agent is.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.system.clock import SystemRandomness
from backhaul.core.agent_report import AgentIdentity, AgentReport
from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey

QUEUE = "written-by-the-benchmark"
PAUSE_S = 0.005
BEAT_EVERY_S = 5.0


def forget_written(path: Path) -> None:
    """Remove the rows of earlier writers."""
    mine = f"SELECT id FROM transfers WHERE queue = '{QUEUE}'"  # noqa: S608 - our own name
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"DELETE FROM journal WHERE transfer_id IN ({mine})")  # noqa: S608
        connection.execute("DELETE FROM transfers WHERE queue = ?", (QUEUE,))
        connection.execute("DELETE FROM agents")


def main(path: Path, seconds: float) -> None:
    """An attempt begins and is handed back, again and again."""
    ledger, chance = open_ledger(path, create=False, migrates=False), SystemRandomness()
    identity = AgentIdentity(
        id=chance.transfer_id(),
        host="edge1",
        owner=ledger.owner.text,
        version="bench",
        queue=QUEUE,
        region="us-east-1",
        slots=4,
        started_at=datetime.now(UTC),
    )
    took_ms: list[float] = []
    ends_s, beat_s = time.monotonic() + seconds, 0.0
    while (now_s := time.monotonic()) < ends_s:
        now = datetime.now(UTC)
        if now_s >= beat_s:
            ledger.beat(identity, AgentReport(at=now, last_poll_at=now))
            beat_s = now_s + BEAT_EVERY_S
        new_id = chance.transfer_id()
        key = MessageKey(queue=QUEUE, message_id=new_id)
        began_s = time.perf_counter()
        ledger.begin(key, new_id, "s3://acme-raw/new/", "/landing/new", now)
        begun_s = time.perf_counter()
        ledger.fail(new_id, TransferState.DEAD, "E_SRC_EMPTY", "nothing there", now)
        ended_s = time.perf_counter()
        took_ms += [(begun_s - began_s) * 1000, (ended_s - begun_s) * 1000]
        time.sleep(PAUSE_S)
    ledger.close()
    print(json.dumps(took_ms))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))

"""A ledger as it is after three months: 1,000,000 transfers of ten objects each, unless told else.

Made by statements on the file itself, in some minutes, and kept in a directory for some hours: its
newest rows are of the time when it was made, and a front page looks at the last day. What is in it
is what Backhaul writes, row by row: readers hold each value against its column.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.ledger.agents import SUMMED_TO
from benchmarks.servers import tell

OBJECTS_EACH = 10
ROUTES = 12
DAYS = 90
KEPT = timedelta(hours=3)
DEAD_EVERY, SUPERSEDED_EVERY, FAILED_EVERY = 199, 97, 31
OPEN = 24  # the newest ones have not ended
CODES = ("E_SRC_EMPTY", "E_DST_DENIED", "E_SRC_DENIED", "E_MSG_FORMAT", "E_ATTEMPTS_SPENT")
QUEUE = "arn:aws:sqs:us-east-1:123456789012:landing"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_S = 1_000_000  # microseconds

# Columns that a transfer done has; `_transfers` makes them in this order.
_COLUMNS = (
    *("id", "queue", "message_id", "body_digest", "sender", "sent_at", "source", "destination"),
    *(
        "canonical",
        "directory",
        "route",
        "policy",
        "state",
        "attempt",
        "failures",
        "source_changes",
    ),
    *("epoch", "plan_complete", "renames_possible", "objects_planned", "bytes_planned", "markers"),
    *("bytes_copied", "publish_mode", "engine", "engine_reason", "code", "reason", "held_by"),
    *("held_since", "has_letter", "first_seen_at", "started_at", "updated_at", "finished_at"),
    "duration_us",
)
_OBJECTS = """
    INSERT INTO objects (transfer_id, seq, bucket, key, etag, size_bytes, last_modified, relative,
        epoch, crc32c, proof, algorithm, checksum, checksum_type, target_algorithm, target_checksum,
        asked, note, bytes_read, proven_at)
    WITH RECURSIVE seqs(seq) AS (SELECT 0 UNION ALL SELECT seq + 1 FROM seqs
        WHERE seq < {last})
    SELECT t.id, s.seq, 'acme-raw', substr(t.source, 15) || 'part-0000' || s.seq || '.parquet',
        '0123456789abcdef0123456789abcdef', 10485760, t.first_seen_at - 60000000,
        'part-0000' || s.seq || '.parquet', t.epoch,
        printf('%08x', (t.first_seen_at / 1000 + s.seq) % 4294967296),
        'direct', 'CRC32C', 'AAAAAA==', 'FULL_OBJECT', 'CRC32C',
        printf('%08x', (t.first_seen_at / 1000 + s.seq) % 4294967296),
        'datanode', '', 10485760, t.updated_at
    FROM transfers t CROSS JOIN seqs s WHERE t.state IN ('done', 'superseded')
"""
_PUBLISHED = """
    INSERT INTO published (uri, transfer_id, bucket, key, etag, size_bytes, last_modified, crc32c,
        modified_ms)
    SELECT directory || '/part-00000.parquet', id, 'acme-raw',
        substr(source, 15) || 'part-00000.parquet', '0123456789abcdef0123456789abcdef', 10485760,
        first_seen_at, '00000000', first_seen_at / 1000
    FROM transfers WHERE state = 'done' ORDER BY directory
"""
_DESTINATIONS = """
    INSERT INTO destinations (uri, epoch) SELECT canonical, epoch FROM transfers
    WHERE canonical IS NOT NULL ORDER BY canonical
"""
_JOURNAL = """
    INSERT INTO journal (transfer_id, at, state, attempt, code)
    WITH steps(n, state) AS (VALUES (0, 'received'), (1, 'staging'), (2, 'publishing'), (3, ''))
    SELECT t.id, t.first_seen_at + s.n * 1000000,
        CASE WHEN s.n = 3 THEN t.state ELSE s.state END, t.attempt,
        CASE WHEN s.n = 3 THEN t.code END
    FROM transfers t CROSS JOIN steps s WHERE s.n < 3 OR t.finished_at IS NOT NULL
"""
# As long as a real line; nothing in it is checked by whoever reads this ledger.
_SEALS = """
    INSERT INTO seals (transfer_id, line, seal)
    SELECT id, json_object('transfer', id, 'source', source, 'destination', destination,
        'state', state, 'publish', 'tree', 'objects', objects_planned, 'bytes', bytes_planned,
        'manifest', lower(hex(zeroblob(32))), 'previous', lower(hex(zeroblob(32))),
        'finished_at', finished_at), printf('%064x', finished_at)
    FROM transfers WHERE state IN ('done', 'superseded') ORDER BY finished_at
"""
_ACTIVITY = """
    INSERT INTO activity SELECT {span}, (finished_at / {span}000000) * {span}000000,
        coalesce(route, ''), sum(state <> 'dead'), sum(state = 'dead'), sum(failures > 0),
        sum((state <> 'dead') * objects_planned), sum((state <> 'dead') * bytes_planned),
        sum(coalesce(bytes_copied, 0)), sum(state <> 'dead'),
        sum((state <> 'dead') * (finished_at - sent_at)), max(finished_at - sent_at)
    FROM transfers WHERE finished_at >= {since} GROUP BY 2, 3
"""


def big_ledger(directory: Path, transfers: int, *, objects: int = OBJECTS_EACH) -> Path:
    """The file, made anew where the one that is there is too old, or of another schema.

    Args:
        objects: Of each transfer.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{transfers}x{objects}"
    about, path = directory / f"{name}.json", directory / f"{name}.db"
    wanted = {"schema": _schema(directory), "transfers": transfers, "objects": objects}
    if about.exists() and path.exists():
        known = json.loads(about.read_text("utf-8"))
        made_at = datetime.fromisoformat(known.pop("made_at"))
        if known == wanted and datetime.now(UTC) - made_at < KEPT:
            return path
    path.unlink(missing_ok=True)
    began_s = time.monotonic()
    made_at = datetime.now(UTC)
    _make(path, transfers, objects, made_at)
    about.write_text(json.dumps({**wanted, "made_at": made_at.isoformat()}), "utf-8")
    size_gb = path.stat().st_size / 1e9
    tell(f"made {path}: {size_gb:.1f} GB in {time.monotonic() - began_s:.0f} s")
    return path


def _schema(directory: Path) -> str:
    """Of a new ledger; another one makes the kept file useless."""
    empty = directory / "empty.db"
    empty.unlink(missing_ok=True)
    open_ledger(empty, create=True).close()
    with closing(sqlite3.connect(empty)) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    return json.dumps(rows)


def _make(path: Path, transfers: int, objects: int, now: datetime) -> None:
    open_ledger(path, create=True).close()
    now_us = int(now.timestamp() * _S)
    days_us = timedelta(days=1) // timedelta(microseconds=1)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-500000"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("BEGIN")
        insert = f"INSERT INTO transfers ({', '.join(_COLUMNS)}) VALUES"
        marks = ", ".join("?" * len(_COLUMNS))
        connection.executemany(f"{insert} ({marks})", _transfers(transfers, objects, now_us))
        tell(f"{transfers:,} transfers")
        for what, statement in (
            ("objects", _OBJECTS.format(last=objects - 1)),
            ("journal", _JOURNAL),
            ("published files", _PUBLISHED),
            ("destinations", _DESTINATIONS),
            ("seals", _SEALS),
            ("activity", _ACTIVITY.format(span=3600, since=0)),
            ("activity", _ACTIVITY.format(span=300, since=now_us - 8 * days_us)),
        ):
            count = connection.execute(statement).rowcount
            tell(f"{count:,} {what}")
        number = connection.execute("SELECT max(number) FROM journal").fetchone()[0]
        summed = (SUMMED_TO, str(number))
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", summed)
        connection.execute("COMMIT")


def _transfers(count: int, objects: int, now_us: int) -> Iterator[tuple[Any, ...]]:
    """Oldest first, evenly over the time, the last a moment ago."""
    step_us = timedelta(days=DAYS) // timedelta(microseconds=count)
    for number in range(count):
        at = now_us - (count - number) * step_us
        route = f"feed-{number % ROUTES:02}"
        below = f"{route}/day={number // ROUTES:07}"
        source = f"s3://acme-raw/{below}/"
        directory = f"hdfs://nameservice/landing/{below}"
        is_open = number >= count - OPEN
        is_dead = not is_open and number % DEAD_EVERY == 0
        is_superseded = not is_dead and not is_open and number % SUPERSEDED_EVERY == 0
        state = "superseded" if is_superseded else "done"
        code: str | None = None
        if is_dead:
            state, code = "dead", CODES[number // DEAD_EVERY % len(CODES)]
        elif is_open:
            state = ("staging", "held", "waiting")[number % 3]
            code = {"held": "E_HDFS_SAFEMODE", "waiting": "E_S3_READ"}.get(state)
        took_us = (2 + number % 60) * _S
        finished = None if is_open else at + took_us
        yield (
            _id(at, number),
            QUEUE,
            f"{number:08x}-0000-4000-8000-{number:012x}",
            f"{number:064x}",
            "AROAEXAMPLE:session",
            at - (1 + number % 20) * _S,
            source,
            directory,
            None if is_dead else directory,
            None if is_dead else directory,
            route,
            "0123456789abcdef",
            state,
            1 + (number % FAILED_EVERY == 0),
            int(number % FAILED_EVERY == 0),
            0,
            None if is_dead else 1,
            int(not is_dead),
            0,
            0 if is_dead else objects,
            0 if is_dead else objects * 10_485_760,
            0,
            None if is_dead or is_open else objects * 10_485_760,
            None if is_dead or is_open else "tree",
            "native",
            "less than distcp.auto_min_bytes",
            code,
            "the reason, as long as reasons are: no object below this prefix" if code else None,
            "hdfs" if state == "held" else None,
            at if state == "held" else None,
            int(is_dead),
            at,
            None if is_dead else at + _S,
            finished or at + _S,
            finished,
            took_us if finished else None,
        )


def _id(at_us: int, number: int) -> str:
    """As `SystemRandomness.transfer_id` makes them, but for chance."""
    stamp, digits = at_us // 1000, ""
    for _ in range(9):
        stamp, rest = divmod(stamp, 36)
        digits = _DIGITS[rest] + digits
    return f"{digits}{number % 10_000_000:07}"

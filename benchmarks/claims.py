"""Shape `claims`: transfers through the ledger alone, in a file and on PostgreSQL, by some threads.

Both ledgers have had 100,000 transfers to 100,000 destinations, one object each. With
`--before DIR` an earlier Backhaul and this one do the same in a new file in each round.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from benchmarks.big_ledger import big_ledger
from benchmarks.dashboard import LEDGERS
from benchmarks.report import Figure, paired
from benchmarks.servers import BACKHAUL, BEFORE, Servers, Sizes, tell

SHAPE = "claims"
THREADS = (4, 16)  # `agent.slots` by itself, and of a large node
AT_LEAST_PER_S = 300
AT_MOST_OF_BEFORE = 1.03
SYNCS = 50
AIM = f"PostgreSQL, {THREADS[0]} threads"
_SYNC = ("this disk", "write and fdatasync of 4 KiB")
_UNITS = {
    "claims_per_s": ("claims", "/s"),
    "transfers_per_s": ("transfers", "/s"),
    "cpu_ms": ("CPU for a transfer", "ms"),
}


def claims(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Claims a second, whole transfers a second, and the process's CPU for one of these."""
    settings = servers.bare_environment()
    places = _filled(servers, sizes.claimed_before, settings)
    known = str(_destinations_of(Path(places["SQLite"]), servers.directory / "known"))
    pythons = {"a new file": BACKHAUL[0]}
    if servers.before:
        pythons[f"a new file, {BEFORE}"] = servers.before[0]
    found: dict[tuple[str, str], list[float]] = {}

    def run(who: str, python: str, place: str, threads: int, *more: str) -> None:
        work = ["benchmarks.claim_once", place, str(sizes.claims), str(threads), *more]
        answer = servers.answer(work, settings, python)
        for what in _UNITS:
            found.setdefault((f"{who}, {threads} threads", what), []).append(float(answer[what]))
        tell(f"{SHAPE}: {who}, {threads} threads: {_told(answer)}")

    for turn in range(rounds):
        order = 1 if turn % 2 else -1  # whoever comes second finds a warmer disk
        for threads in THREADS:
            for who, place in list(places.items())[::order]:
                run(who, BACKHAUL[0], place, threads, known)
        for who, python in list(pythons.items())[::order]:
            place = servers.ledger(f"{who}-{turn}".replace(" ", "-"))
            run(who, python, place, THREADS[0])
        found.setdefault(_SYNC, []).append(_sync_ms(servers.directory / "synced"))
    return _figures(found)


def _filled(servers: Servers, transfers: int, settings: dict[str, str]) -> dict[str, str]:
    """Where a ledger of so many transfers is, by kind."""
    file = big_ledger(LEDGERS, transfers, objects=1).absolute()
    database = servers.new_database(SHAPE, settings)
    began_s = time.monotonic()
    subprocess.run(
        [*BACKHAUL, "ledger", "copy", str(file), database],
        env=settings,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    servers.postgresql.sql("VACUUM ANALYZE", database=SHAPE)
    tell(f"copied to PostgreSQL in {time.monotonic() - began_s:.0f} s")
    mine = Path(servers.ledger(SHAPE))
    shutil.copyfile(file, mine)
    mine.chmod(0o600)
    return {"PostgreSQL": database, "SQLite": str(mine)}


def _destinations_of(ledger: Path, into: Path) -> Path:
    """A line for each that no transfer owns."""
    free = "SELECT uri FROM destinations WHERE owner_transfer IS NULL"
    with closing(sqlite3.connect(ledger)) as connection:
        lines = [uri for (uri,) in connection.execute(free)]
    into.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    tell(f"{len(lines):,} destinations")
    return into


def _told(answer: dict[str, float]) -> str:
    return ", ".join(f"{words} {answer[what]:.1f} {unit}" for what, (words, unit) in _UNITS.items())


def _sync_ms(path: Path) -> float:
    """How long this disk takes for one write, by itself."""
    with path.open("wb", buffering=0) as file:
        began_s = time.perf_counter()
        for _ in range(SYNCS):
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
        return 1000 * (time.perf_counter() - began_s) / SYNCS


def _figures(found: dict[tuple[str, str], list[float]]) -> list[Figure]:
    figures = []
    for (who, what), values in found.items():
        words, unit = _UNITS.get(what, (what, "ms"))
        is_aim = what == "claims_per_s" and who == AIM
        figures.append(
            Figure(
                shape=SHAPE,
                what=f"{who}: {words}",
                unit=unit,
                values=tuple(values),
                at_least=AT_LEAST_PER_S if is_aim else None,
            )
        )
    ours, before = (f"a new file{of}, {THREADS[0]} threads" for of in ("", f", {BEFORE}"))
    if (before, "cpu_ms") in found:
        figures.append(
            Figure(
                shape=SHAPE,
                what=f"CPU for a transfer, of that of {BEFORE}",
                unit="x",
                values=paired(found[ours, "cpu_ms"], found[before, "cpu_ms"]),
                at_most=AT_MOST_OF_BEFORE,
            )
        )
    return figures

"""Shapes `reconcile` and `reconcile-hdfs`: a route compared, in bounded memory and against rclone.

`reconcile-hdfs` has real files on a real HDFS, empty ones, and their objects in a server that lists
as S3 does, 40 ms away. `rclone check --size-only` compares the same, as it is called and, for
comparison, with `--fast-list`. It cannot have the findings of a newer
state with the same length, or of a file that was changed with the same length.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from hdfs_native import Client, WriteOptions

from backhaul.adapters.ledger import open_ledger
from backhaul.core.transfer_ids import time_part
from backhaul.testing.servers import Hdfs
from backhaul.testing.servers.clients import environment
from benchmarks.indexed_listing import ETAG, FINDINGS_IN, directory_name, file_name
from benchmarks.measure import Failed, Run, measured, serving
from benchmarks.peers import find_rclone
from benchmarks.report import Figure, paired
from benchmarks.servers import BACKHAUL, Servers, Sizes, tell
from benchmarks.wan import RTT_MS

AT_MOST_MB = 250
AT_MOST_GROWTH = 1.3
AT_MOST_S = 300
AT_LEAST_TIMES = 3
FILES = 20  # in a directory, as partitions have them
JOBS = "4"
ROOT = "/landing"
MB_PER_S = "40"
_WRITERS = 64
_LISTED_AS = datetime(2026, 1, 1, tzinfo=UTC)
_FOUND_SOMETHING = 65
_RCLONE_DIFFERS = 1


def reconcile(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Made-up streams of a million objects and more: time for each, and peak memory."""
    each: dict[int, list[float]] = {count: [] for count in sizes.reconciled}
    memory: dict[int, list[float]] = {count: [] for count in sizes.reconciled}
    for turn in range(rounds):
        for count in sizes.reconciled:
            found = servers.answer(
                ["benchmarks.reconcile_once", str(count)], servers.bare_environment()
            )
            each[count].append(1e6 * float(found["seconds"]) / count)
            memory[count].append(float(found["peak_mb"]))
            tell(
                f"reconcile round {turn + 1}: {count:,} objects, {each[count][-1]:.1f} us each, "
                f"{found['seconds']:.0f} s, {memory[count][-1]:.0f} MB"
            )
    figures = []
    for count in sizes.reconciled:
        what = f"{count:,} objects"
        times, peaks = tuple(each[count]), tuple(memory[count])
        figures.append(Figure(shape="reconcile", what=f"{what}, each", unit="us", values=times))
        figures.append(
            Figure(
                shape="reconcile",
                what=f"{what}, peak RSS",
                unit="MB",
                values=peaks,
                at_most=AT_MOST_MB,
            )
        )
    most, base = max(sizes.reconciled), min(sizes.reconciled)
    figures.append(
        Figure(
            shape="reconcile",
            what=f"an object of {most:,} to one of {base:,}",
            unit="x",
            values=paired(each[most], each[base]),
            at_most=AT_MOST_GROWTH,
        )
    )
    return figures


# ---------------------------------------------------------------- on a real HDFS


def reconcile_hdfs(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Backhaul and rclone in turn; each must find what it can."""
    directories = sizes.reconciled_files // FILES
    # Making the files is not measured: the edit log need not reach the disk.
    hdfs = Hdfs(settings={"dfs.namenode.edits.noeditlogchannelflush": "true"}).start()
    ours: list[Run] = []
    theirs: list[Run] = []
    try:
        _make_files(hdfs, directories)
        ledger = servers.directory / "reconcile.db"
        _fill(ledger, hdfs, directories)
        config = _configure(servers, hdfs)
        with (
            serving("benchmarks.indexed_listing", str(directories), str(FILES)) as near,
            serving("benchmarks.wan_proxy", str(near), str(RTT_MS), MB_PER_S) as port,
        ):
            for turn in range(rounds):
                ours.append(_backhaul(servers, hdfs, port, config, ledger, directories))
                theirs += _rclone(servers, hdfs, port)
                tell(
                    f"reconcile-hdfs round {turn + 1}: {ours[-1].seconds:.1f} s, "
                    f"{ours[-1].peak_mb:.0f} MB; rclone "
                    + ", ".join(f"{one.seconds:.1f} s" for one in theirs[-2:])
                )
    finally:
        hdfs.stop()
    return _figures(directories * FILES, ours, theirs)


def _figures(count: int, ours: list[Run], theirs: list[Run]) -> list[Figure]:
    shape, what = "reconcile-hdfs", f"{count:,} files"
    seconds = tuple(one.seconds for one in ours)
    figures = [
        Figure(shape=shape, what=f"{what}: backhaul reconcile", unit="s", values=seconds,
               at_most=AT_MOST_S),
        Figure(shape=shape, what=f"{what}: CPU", unit="s",
               values=tuple(one.cpu_s for one in ours)),
        Figure(shape=shape, what=f"{what}: peak RSS, with workers", unit="MB",
               values=tuple(one.peak_mb for one in ours)),
    ]  # fmt: skip
    if theirs:
        default, flat = (tuple(one.seconds for one in theirs[n::2]) for n in (0, 1))
        figures += [
            Figure(shape=shape, what="rclone check --size-only", unit="s", values=default),
            Figure(shape=shape, what="the same with --fast-list", unit="s", values=flat),
            Figure(shape=shape, what="times as fast as rclone check", unit="x",
                   values=paired(default, seconds), at_least=AT_LEAST_TIMES),
            Figure(shape=shape, what="times as fast as with --fast-list", unit="x",
                   values=paired(flat, seconds)),
        ]  # fmt: skip
    return figures


def _make_files(hdfs: Hdfs, directories: int) -> None:
    client = Client(hdfs.uri)
    tell(f"making {directories * FILES:,} files")

    def make(number: int) -> None:
        directory = f"{ROOT}/{directory_name(number)}"
        client.mkdirs(directory, permission=0o755, create_parent=True)
        for one in range(FILES):
            client.create(
                f"{directory}/{file_name(one)}", WriteOptions(create_parent=False)
            ).close()
        if number in FINDINGS_IN:
            client.create(f"{directory}/stray", WriteOptions(create_parent=False)).close()

    with ThreadPoolExecutor(_WRITERS) as threads:
        for done, _ in enumerate(threads.map(make, range(directories)), start=1):
            if done % 200 == 0:
                tell(f"{done * FILES:,} files are there")


def _fill(ledger: Path, hdfs: Hdfs, directories: int) -> None:
    """One transfer for each directory, all done; of the second file of some another time."""
    open_ledger(ledger, create=True).close()
    client = Client(hdfs.uri)
    now_us = int(datetime.now(UTC).timestamp()) * 1_000_000
    listed_us = int(_LISTED_AS.timestamp()) * 1_000_000
    prefix = time_part(datetime.now(UTC))

    def rows() -> Iterator[tuple[object, ...]]:
        for number in range(directories):
            name = directory_name(number)
            for status in client.list_status(f"{ROOT}/{name}"):
                file = status.path.rsplit("/", 1)[-1]
                if file == "stray":
                    continue
                is_changed = number in FINDINGS_IN and file == file_name(1)
                yield (
                    f"{hdfs.uri}{status.path}", f"{prefix}{number:07}", "bench",
                    f"in/{name}/{file}", ETAG, 0, listed_us, "00000000",
                    status.modification_time - is_changed,
                )  # fmt: skip

    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.executemany(
            "INSERT INTO transfers (id, source, destination, canonical, directory, route, state,"
            " attempt, failures, source_changes, plan_complete, renames_possible, objects_planned,"
            " bytes_planned, markers, has_letter, first_seen_at, updated_at, finished_at)"
            " VALUES (?, ?, ?, ?, ?, 'r', 'done', 1, 0, 0, 1, 0, 100, 0, 0, 0, ?, ?, ?)",
            (
                (
                    f"{prefix}{number:07}", f"s3://bench/in/{directory_name(number)}/",
                    *[f"{hdfs.uri}{ROOT}/{directory_name(number)}"] * 3, now_us, now_us, now_us,
                )
                for number in range(directories)
            ),
        )  # fmt: skip
        connection.executemany(
            "INSERT INTO published (uri, transfer_id, bucket, key, etag, size_bytes, last_modified,"
            " crc32c, modified_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows(),
        )


def _configure(servers: Servers, hdfs: Hdfs) -> Path:
    path = servers.directory / "reconcile.toml"
    rules = [
        'name = "r"',
        'source = ["s3://bench/in/"]',
        f'destination = ["{hdfs.uri}{ROOT}/"]',
    ]
    path.write_text("\n".join(["[[route]]", *rules, ""]), "utf-8")
    path.chmod(0o600)
    return path


def _environment(servers: Servers, hdfs: Hdfs, port: int) -> dict[str, str]:
    return {
        **servers.bare_environment(),
        **{name: one for name, one in environment(hdfs=hdfs).items() if name.startswith("HADOOP")},
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "listing",
        "AWS_SECRET_ACCESS_KEY": "listing",
    }


def _backhaul(
    servers: Servers, hdfs: Hdfs, port: int, config: Path, ledger: Path, directories: int
) -> Run:
    out = servers.directory / "reconcile.jsonl"
    command = [
        *BACKHAUL,
        "reconcile",
        "r",
        "--json",
        "--jobs",
        JOBS,
        "--config",
        str(config),
        "--ledger",
        str(ledger),
    ]
    words = " ".join(command)
    script = f"{words} > {out}; code=$?; [ $code = {_FOUND_SOMETHING} ]"
    run = measured(["/bin/sh", "-c", script], _environment(servers, hdfs, port))
    found = Counter(json.loads(line)["class"] for line in out.open(encoding="utf-8"))
    some = len(set(FINDINGS_IN) & set(range(directories)))
    expected = {
        "same": directories * FILES - 2 * some,
        **dict.fromkeys(("missing", "extra", "superseded", "unproved"), some),
    }
    assert found == expected, found
    return run


def _rclone(servers: Servers, hdfs: Hdfs, port: int) -> list[Run]:
    """Directory by directory, its default; and by one flat listing of S3."""
    program = find_rclone()
    if program is None:
        return []
    its = _environment(servers, hdfs, port) | {
        "RCLONE_CONFIG": str(servers.directory / "no-rclone.conf"),
        "RCLONE_S3_PROVIDER": "Other",
        "RCLONE_S3_ENDPOINT": f"http://127.0.0.1:{port}",
        "RCLONE_S3_ACCESS_KEY_ID": "listing",
        "RCLONE_S3_SECRET_ACCESS_KEY": "listing",
        "RCLONE_S3_LIST_VERSION": "2",
        "RCLONE_HDFS_NAMENODE": urlsplit(hdfs.uri).netloc,
        "RCLONE_HDFS_USERNAME": "root",
    }
    runs = []
    for flags in ([], ["--fast-list"]):
        combined, log = servers.directory / "combined", servers.directory / "rclone.log"
        words = " ".join(
            [program, "check", "--size-only", *flags, "--combined", str(combined),
             ":s3:bench/in", f":hdfs:{ROOT}"]
        )  # fmt: skip
        script = f"{words} 2>{log}; code=$?; [ $code = {_RCLONE_DIFFERS} ]"
        try:
            runs.append(measured(["/bin/sh", "-c", script], its))
        except Failed:
            tell(log.read_text("utf-8")[-2000:])
            raise
        signs = Counter(line[0] for line in combined.open(encoding="utf-8"))
        assert signs["+"] == signs["-"] > 0, signs
        assert signs["*"] == 0, signs
    return runs

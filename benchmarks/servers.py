"""What every shape needs: servers, objects of known content, and Backhaul's processes."""

from __future__ import annotations

import compileall
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hdfs_native import Client

import backhaul
from backhaul.testing.servers import Hdfs
from backhaul.testing.servers.clients import environment, s3_client
from backhaul.testing.servers.postgres import PostgreSQL
from testbed import ElasticMQ, S3Proxy
from testbed.yarn import Yarn

BUCKET = "bench"
SMALL_BYTES = 16 * 1024
MIB = 1 << 20
MIXED_SEED, MIXED_MOST_BYTES = 8, 128 * MIB
_READERS = 32
_UNSYNCED = "hdfs, unsynced"
_SPAN = ("first_seen_at", "finished_at")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much each shape does."""

    objects: int = 2000
    many_objects: int = 20_000
    mixed_objects: int = 400
    medium_bytes: int = 32 * MIB
    large_objects: int = 2
    large_bytes: int = 512 * MIB
    messages: int = 1000
    latencies: int = 50
    fleet_messages: int = 120
    wan_bytes: int = 2048 * MIB
    planned: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    distcp_bytes: int = 8192 * MIB
    distcp_objects: int = 5000
    idle_s: float = 30
    replied_steadily: int = 150
    replied_at_once: int = 200
    ledger_transfers: int = 1_000_000
    ledger_messages: int = 300
    claims: int = 400
    claimed_before: int = 100_600  # of which 100,000 and some have a destination
    reconciled: tuple[int, ...] = (1_000_000, 10_000_000)
    reconciled_files: int = 200_000


QUICK = Sizes(
    objects=200,
    many_objects=1000,
    mixed_objects=60,
    medium_bytes=4 * MIB,
    large_bytes=64 * MIB,
    messages=100,
    latencies=10,
    fleet_messages=60,
    wan_bytes=128 * MIB,
    planned=(1_000, 10_000, 100_000),
    distcp_bytes=1024 * MIB,
    distcp_objects=200,
    idle_s=10,
    replied_steadily=30,
    replied_at_once=50,
    ledger_transfers=50_000,
    ledger_messages=60,
    claims=100,
    claimed_before=10_060,
    reconciled=(100_000, 1_000_000),
    reconciled_files=5_000,
)


def tell(line: str) -> None:
    """Progress, to standard error: standard output is for the table."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


class Servers:
    """Servers started when first needed; a directory that goes away with them.

    Attributes:
        before: The command of an earlier Backhaul, measured in the same rounds instead of all other
            peers; empty: none.
        is_synced: The DataNodes have a file on their disks when it is closed, whoever writes it
            (`dfs.datanode.synconclose`), as they have Backhaul's in any case.
    """

    def __init__(self, directory: Path, before: Path | None = None) -> None:
        self.directory = directory
        self.before = command_of(before) if before is not None else []
        self.is_synced = True
        self._started: dict[str, Any] = {}
        (directory / "empty.toml").touch()
        # As it is where pip installed it; else each process compiles what it imports.
        compileall.compile_dir(backhaul.__path__[0], quiet=1)

    @property
    def s3(self) -> S3Proxy:
        server: S3Proxy = self._server("s3proxy", S3Proxy)
        return server

    @property
    def sqs(self) -> ElasticMQ:
        server: ElasticMQ = self._server("elasticmq", ElasticMQ)
        return server

    @property
    def postgresql(self) -> PostgreSQL:
        server: PostgreSQL = self._server("postgresql", PostgreSQL)
        return server

    @property
    def hdfs(self) -> Hdfs:
        settings = {"dfs.datanode.synconclose": str(self.is_synced).lower()}
        server: Hdfs = self._server(self._hdfs_name, lambda: Hdfs(settings=settings))
        return server

    @property
    def _hdfs_name(self) -> str:
        return "hdfs" if self.is_synced else _UNSYNCED

    @contextmanager
    def unsynced(self) -> Iterator[None]:
        """In the block `hdfs` is another one, with Hadoop's default: closed is not on disk."""
        self.is_synced = False
        try:
            yield
        finally:
            self.is_synced = True

    @property
    def yarn(self) -> Yarn:
        server: Yarn = self._server("yarn", lambda: Yarn(hdfs=self.hdfs, s3=self.s3))
        return server

    def _server(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._started:
            tell(f"starting {name}")
            self._started[name] = make().start()
            if name == "s3proxy":
                s3_client(self._started[name]).create_bucket(Bucket=BUCKET)
        return self._started[name]

    def server_pids(self) -> list[int]:
        """Processes of all servers that were started, of the HDFS in use alone."""
        others = {"hdfs", _UNSYNCED} - {self._hdfs_name}
        used = [server for name, server in self._started.items() if name not in others]
        return [pid for server in used for pid in server.pids.values()]

    def stop(self) -> None:
        """End all servers."""
        for server in reversed(self._started.values()):
            server.stop()

    # ------------------------------------------------------------ objects

    def put_small(self, prefix: str, count: int) -> dict[str, bytes]:
        """`count` objects of 16 KiB, all different, with S3's CRC32C; SHA-256 by file name."""
        client = s3_client(self.s3)
        tell(f"putting {count} objects of 16 KiB")

        def put(number: int) -> tuple[str, bytes]:
            body = random.Random(number).randbytes(SMALL_BYTES)  # noqa: S311 - data
            name = f"{number:06d}"
            client.put_object(
                Bucket=BUCKET, Key=prefix + name, Body=body, ChecksumAlgorithm="CRC32C"
            )
            return name, hashlib.sha256(body).digest()

        with ThreadPoolExecutor(8) as threads:
            return dict(threads.map(put, range(count)))

    def put_mixed(self, prefix: str, count: int) -> tuple[dict[str, bytes], dict[str, int]]:
        """Sizes of a log-normal law, half of them below 256 KiB; SHA-256 and bytes by file name."""
        client = s3_client(self.s3)
        chance = random.Random(MIXED_SEED)  # noqa: S311 - data
        sizes = {
            f"{number:06d}": min(MIXED_MOST_BYTES, int(256 * 1024 * chance.lognormvariate(0, 2)))
            for number in range(count)
        }
        tell(f"putting {count} objects, {sum(sizes.values()) // MIB} MiB in all")

        def put(name: str) -> tuple[str, bytes]:
            body = random.Random(name).randbytes(sizes[name])  # noqa: S311 - data
            client.put_object(
                Bucket=BUCKET, Key=prefix + name, Body=body, ChecksumAlgorithm="CRC32C"
            )
            return name, hashlib.sha256(body).digest()

        with ThreadPoolExecutor(4) as threads:
            return dict(threads.map(put, sizes)), sizes

    def put_large(
        self, prefix: str, count: int, size_bytes: int, *, algorithm: str = "CRC64NVME"
    ) -> dict[str, bytes]:
        """`count` objects with CRC64NVME, which S3 itself gives; SHA-256 by file name."""
        client = s3_client(self.s3)
        tell(f"putting {count} objects of {size_bytes // MIB} MiB")
        sums = {}
        for number in range(count):
            path = self.directory / "large"
            digest = hashlib.sha256()
            chance = random.Random(number)  # noqa: S311 - data
            with path.open("wb") as file:
                for _ in range(size_bytes // MIB):
                    piece = chance.randbytes(MIB)
                    digest.update(piece)
                    file.write(piece)
            with path.open("rb") as file:
                client.upload_fileobj(
                    file,
                    BUCKET,
                    f"{prefix}{number:06d}",
                    ExtraArgs={"ChecksumAlgorithm": algorithm, "ChecksumType": "FULL_OBJECT"},
                )
            path.unlink()
            sums[f"{number:06d}"] = digest.digest()
        return sums

    def check_hdfs(self, directory: str, sums: dict[str, bytes]) -> None:
        """Every file there and no other, each with the source's SHA-256; then remove them.

        Raises:
            AssertionError: Anything differs.
        """
        client = Client(self.hdfs.uri)
        names = {one.path.rsplit("/", 1)[-1] for one in client.list_status(directory)}
        assert names == set(sums), f"{directory}: {len(names)} names, {len(sums)} expected"

        def check(name: str) -> None:
            digest = hashlib.sha256()
            reader = client.read(f"{directory}/{name}")
            for piece in reader.read_range_stream(0, len(reader)):
                digest.update(piece)
            assert digest.digest() == sums[name], f"{directory}/{name} differs"

        with ThreadPoolExecutor(_READERS) as threads:
            list(threads.map(check, sums))
        client.delete(directory, recursive=True)

    def below(self, directory: str) -> list[str]:
        """Paths of all files and directories there, Backhaul's staging included."""
        found = []
        for one in Client(self.hdfs.uri).list_status(directory):
            found.append(one.path)
            if one.isdir:
                found += self.below(one.path)
        return found

    # ------------------------------------------------------------ processes

    def environment(self, *, hdfs: bool = False, sqs: bool = False) -> dict[str, str]:
        """For Backhaul and its peers: these servers and no configuration of this machine."""
        found = environment(
            s3=self.s3, sqs=self.sqs if sqs else None, hdfs=self.hdfs if hdfs else None
        )
        return self._clean(found)

    def bare_environment(self) -> dict[str, str]:
        """The same without any server."""
        return self._clean(environment())

    def _clean(self, found: dict[str, str]) -> dict[str, str]:
        found = {name: value for name, value in found.items() if not name.startswith("BACKHAUL_")}
        return {**found, "BACKHAUL_CONFIG": str(self.directory / "empty.toml")}

    def ledger(self, name: str) -> str:
        """Path of the ledger of this name."""
        return str(self.directory / f"{name}.db")

    def new_database(self, name: str, settings: dict[str, str]) -> str:
        """Address of a ledger on PostgreSQL that nothing is in yet.

        Args:
            settings: Gets where its password is.
        """
        settings["PGPASSFILE"] = str(self.postgresql.pass_file)
        return self.postgresql.create_database(name)

    def timed(self, arguments: list[str], environment: dict[str, str]) -> float:
        """Run to its end; seconds from start to exit.

        Raises:
            CalledProcessError: It failed; its output is in the log.
        """
        began_s = time.perf_counter()
        done = subprocess.run(
            arguments, env=environment, capture_output=True, text=True, check=False
        )
        took_s = time.perf_counter() - began_s
        if done.returncode:
            tell(f"{' '.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
            done.check_returncode()
        return took_s

    def last_transfer_s(self, ledger: str, environment: dict[str, str]) -> float:
        """From the first word about the newest transfer to its last, as the ledger has them."""
        found = subprocess.run(
            [*BACKHAUL, "history", "--json", "--limit", "1", "--ledger", ledger],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        row = json.loads(found.stdout)
        began, ended = (datetime.fromisoformat(row[name]) for name in _SPAN)
        return (ended - began).total_seconds()

    def answer(
        self, arguments: list[str], environment: dict[str, str], python: str = sys.executable
    ) -> dict[str, Any]:
        """Run a module of this package that prints JSON.

        Args:
            python: Of another checkout of Backhaul, as `command_of` has it.

        Raises:
            CalledProcessError: It failed.
        """
        done = subprocess.run(
            [python, "-m", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found


BEFORE = "Backhaul before"
BACKHAUL = [sys.executable, "-m", "backhaul"]


def command_of(checkout: Path) -> list[str]:
    """Backhaul as `./dev` has set it up in another checkout."""
    python = checkout.absolute() / ".venv/bin/python"
    if not python.exists():
        raise SystemExit(f"{python} is missing: run ./dev lint in {checkout} first")
    compileall.compile_dir(checkout / "src/backhaul", quiet=1)
    return [str(python), "-m", "backhaul"]


@contextmanager
def open_servers(before: Path | None = None) -> Iterator[Servers]:
    """A bed for one run.

    Args:
        before: A checkout of an earlier commit.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        servers = Servers(Path(name), before)
        try:
            yield servers
        finally:
            servers.stop()

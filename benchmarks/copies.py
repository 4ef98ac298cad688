"""One `backhaul copy` to HDFS against its peers and against the ceilings of the same round.

Two times of ours: all of Backhaul's process, its start and end included, which is what peers are
held against; and what the ledger says, from the first word about the transfer to the last (listing,
copy, proof, publish), which is what a running agent adds to a message and what ceilings are held
against. A ceiling does one part of the work and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from benchmarks.distcp import DISTCP, bare_s, has_yarn
from benchmarks.hadoop_fs import THREADS, find_hadoop_fs
from benchmarks.load import Load, watched
from benchmarks.measure import Run, measured
from benchmarks.peers import FOR_LARGE, FOR_SMALL, against, find_rclone, rclone
from benchmarks.report import SERVERS_CPU, Figure, best, paired
from benchmarks.servers import BACKHAUL, BEFORE, BUCKET, MIB, SMALL_BYTES, Servers, Sizes, tell

AT_MOST_MB = 450
MOST_FOR_LOCAL_DISTCP = 100  # it closes one file after the other
GIB = 1 << 30
Copy = Callable[[str], Run]
_CEILINGS = {
    "write": "HDFS write alone",
    "plain": "HDFS write alone, the client as it comes",
    "create": "HDFS create of empty files alone",
    "read": "S3 read alone",
    "copy": "S3 read and HDFS write, bare",
}
_LARGE_PEERS = {"rclone": 1.0, "hadoop fs": 1.3}
_BESIDE = ("write", "copy")  # ceilings whose load is told beside ours


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A prefix of objects, and what is wanted of it.

    Attributes:
        sums: SHA-256 by name.
        sizes: Bytes by name.
        threads: Of the ceilings; the best of them counts.
        transfers: Of rclone.
        ceiling: A key of `_CEILINGS`: what bounds this shape.
        of_ceiling: At least this much of it.
        as_fast: At least so many times as fast as these peers.
    """

    name: str
    sums: dict[str, bytes]
    sizes: dict[str, int]
    threads: tuple[int, ...]
    transfers: int
    ceiling: str
    of_ceiling: float | None = None
    as_fast: dict[str, float] = field(default_factory=dict)

    @property
    def gib(self) -> float:
        """Of all objects."""
        return sum(self.sizes.values()) / GIB


def small(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Many small objects: bound by the NameNode and by the client's 500 ms wait in close."""
    return _compare(servers, _small(servers, "small", sizes.objects), rounds)


def small_many(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Ten times as many: what start and end cost is lost in it."""
    return _compare(
        servers, replace(_small(servers, "small-20000", sizes.many_objects), as_fast={}), rounds
    )


def medium(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """24 objects of 32 MiB."""
    shape = _large(servers, "medium", 24, sizes.medium_bytes, (4, 24))
    return _compare(servers, replace(shape, as_fast=_LARGE_PEERS), rounds)


def large(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Two large objects: bound by what the DataNode takes."""
    shape = _large(servers, "large", sizes.large_objects, sizes.large_bytes, (1, 2))
    return _compare(servers, replace(shape, as_fast={**_LARGE_PEERS, DISTCP: 6.0}), rounds)


def huge(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """One object of 2 GiB: one file, one writer."""
    shape = _large(servers, "huge", 1, sizes.wan_bytes, (1,))
    return _compare(servers, replace(shape, as_fast=_LARGE_PEERS), rounds)


def mixed(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Log-normal sizes, as data sets have them: many small, a few that hold most of the bytes."""
    sums, each = servers.put_mixed("mixed/", sizes.mixed_objects)
    shape = Shape(
        name="mixed",
        sums=sums,
        sizes=each,
        threads=(64, 256),
        transfers=FOR_SMALL,
        ceiling="copy",
        of_ceiling=0.92,
        as_fast={"rclone": 2.0, "hadoop fs": 1.7},
    )
    return _compare(servers, shape, rounds)


def _small(servers: Servers, name: str, count: int) -> Shape:
    sums = servers.put_small(f"{name}/", count)
    return Shape(
        name=name,
        sums=sums,
        sizes=dict.fromkeys(sums, SMALL_BYTES),
        threads=(128, 256, 384),
        transfers=FOR_SMALL,
        ceiling="copy",
        of_ceiling=0.88,
        as_fast={"rclone": 5.0, "hadoop fs": 2.2, DISTCP: 20.0},
    )


def _large(
    servers: Servers, name: str, count: int, size_bytes: int, threads: tuple[int, ...]
) -> Shape:
    sums = servers.put_large(f"{name}/", count, size_bytes // MIB * MIB)
    return Shape(
        name=name,
        sums=sums,
        sizes=dict.fromkeys(sums, size_bytes // MIB * MIB),
        threads=threads,
        transfers=FOR_LARGE,
        ceiling="copy",
        of_ceiling=0.92,
    )


class _Ceilings:
    """Seconds by what is done and with how many threads."""

    def __init__(self, servers: Servers, shape: Shape, environment: dict[str, str]) -> None:
        self._servers, self._shape, self._environment = servers, shape, environment
        self._sizes = servers.directory / f"{shape.name}.sizes"
        self._sizes.write_text(json.dumps(shape.sizes), "utf-8")
        self.seconds: dict[str, dict[str, list[float]]] = {
            what: {f"{count} threads": [] for count in shape.threads} for what in _CEILINGS
        }
        self._loads: dict[str, dict[str, list[Load]]] = {
            what: {threads: [] for threads in by} for what, by in self.seconds.items()
        }

    def round(self) -> None:
        """Each once."""
        for what, by_threads in self.seconds.items():
            source, target = f"{BUCKET}/{self._shape.name}/", f"/ceiling/{self._shape.name}"
            where, directory = {
                "read": (source, "-"),
                "copy": (source, self._servers.hdfs.uri + target),
            }.get(what, (self._servers.hdfs.uri, target))
            for threads, times in by_threads.items():
                count = threads.split()[0]
                arguments = [what, where, directory, str(self._sizes), count]
                with watched(self._servers.server_pids) as load:
                    found = self._servers.answer(
                        ["benchmarks.ceiling", *arguments], self._environment
                    )
                times.append(float(found["seconds"]))
                self._loads[what][threads].append(load)

    def figures(self, inside: list[float]) -> list[Figure]:
        """Their times, and ours of them."""
        shape, figures = self._shape, []
        for what, by_threads in self.seconds.items():
            top = best(by_threads)
            figures += [
                Figure(
                    shape=shape.name,
                    what=f"{_CEILINGS[what]}, {top}",
                    unit="s",
                    values=tuple(by_threads[top]),
                ),
                Figure(
                    shape=shape.name,
                    what=f"transfer, of {_CEILINGS[what]}",
                    unit="x",
                    values=paired(by_threads[top], inside),
                    at_least=shape.of_ceiling if what == shape.ceiling else None,
                ),
            ]
        for what in _BESIDE:
            loads = self._loads[what][best(self.seconds[what])]
            figures += _load_figures(shape, _CEILINGS[what], loads)
        return figures


def _load_figures(shape: Shape, during: str, loads: list[Load]) -> list[Figure]:
    """Whether the cores were the bound, and how much of them the servers took."""
    return [
        Figure(
            shape=shape.name,
            what=f"servers' CPU during {during}",
            unit="s",
            values=tuple(one.servers_cpu_s for one in loads),
        ),
        Figure(
            shape=shape.name,
            what=f"idle share of the cores during {during}",
            unit="x",
            values=tuple(one.idle for one in loads),
        ),
    ]


class _Programs:
    """Backhaul and its peers on one HDFS: in the blocks of `Servers.unsynced`, that one."""

    def __init__(self, servers: Servers, shape: Shape) -> None:
        self.shape = shape
        self.peers = _peers(servers, shape)
        self.runs: dict[str, list[Run]] = {name: [] for name in ("backhaul", *self.peers)}
        self.loads: dict[str, list[Load]] = {name: [] for name in self.runs}
        self.inside: list[float] = []
        self._servers = servers
        self._environment = servers.environment(hdfs=True)
        # The servers' JVMs compile what they run.
        _copy(servers, self._environment, shape, "warm-up")

    def round(self, turn: int) -> None:
        """Each once."""
        servers, shape = self._servers, self.shape
        ours, transfer_s, load = _copy(servers, self._environment, shape, str(turn))
        self.runs["backhaul"].append(ours)
        self.loads["backhaul"].append(load)
        self.inside.append(transfer_s)
        for name, copy in self.peers.items():
            directory = f"/bench/{shape.name}-{name.replace(' ', '-')}-{turn}"
            with watched(servers.server_pids) as load:
                self.runs[name].append(copy(directory))
            self.loads[name].append(load)
            servers.check_hdfs(directory, shape.sums)
        took = ", ".join(f"{name} {of[-1].seconds:.2f} s" for name, of in self.runs.items())
        where = "" if servers.is_synced else ", closed files not synced"
        tell(f"{shape.name}{where} round {turn + 1}: {took}; the transfer alone {transfer_s:.2f} s")

    def figures(self, label: str, *, is_judged: bool) -> list[Figure]:
        """Times, CPU, memory and ratios.

        Args:
            label: In place of the shape's name.
            is_judged: Against the shape's targets.
        """
        shape = replace(self.shape, name=label)
        ours = _seconds(self.runs["backhaul"])
        return [
            *(
                one
                for name, of in self.runs.items()
                for one in program_figures(shape, name, of, self.loads[name])
            ),
            Figure(shape=label, what="its transfer alone", unit="s", values=tuple(self.inside)),
            *(
                Figure(
                    shape=label,
                    what=f"times as fast as {name}",
                    unit="x",
                    values=paired(_seconds(self.runs[name]), ours),
                    at_least=shape.as_fast.get(name) if is_judged else None,
                )
                for name in self.peers
            ),
        ]


def _compare(servers: Servers, shape: Shape, rounds: int) -> list[Figure]:
    """In turn where closed files are synced, which targets are for, and where they are not."""
    ceilings = _Ceilings(servers, shape, servers.environment(hdfs=True))
    programs = _Programs(servers, shape)
    beside: _Programs | None = None
    if not servers.before:
        with servers.unsynced():
            beside = _Programs(servers, shape)
    distcps: list[float] = []
    for turn in range(rounds):
        if not servers.before:
            ceilings.round()
        programs.round(turn)
        if beside is not None:
            with servers.unsynced():
                beside.round(turn)
        if has_yarn() and not servers.before and DISTCP in shape.as_fast:
            directory = f"/bench/{shape.name}-distcp-{turn}"
            distcps.append(bare_s(servers, f"{shape.name}/", directory, shape.sizes.values()))
            servers.check_hdfs(directory, shape.sums)
            tell(f"{shape.name} round {turn + 1}: {DISTCP} {distcps[-1]:.2f} s")
    ours = _seconds(programs.runs["backhaul"])
    figures = [
        *programs.figures(shape.name, is_judged=True),
        *against(shape.name, DISTCP, distcps, ours, shape.as_fast.get(DISTCP)),
    ]
    if beside is None:
        return figures
    return [
        *figures,
        *beside.figures(f"{shape.name}-unsynced", is_judged=False),
        *ceilings.figures(programs.inside),
        *_load_figures(shape, "backhaul", programs.loads["backhaul"]),
    ]


def program_figures(shape: Shape, name: str, runs: list[Run], loads: list[Load]) -> list[Figure]:
    """Time, CPU and memory of one program, and the CPU that servers took meanwhile."""
    return [
        Figure(shape=shape.name, what=name, unit="s", values=tuple(_seconds(runs)), program=name),
        Figure(
            shape=shape.name,
            what=f"{name}, CPU of all its processes",
            unit="s/GiB",
            values=tuple(one.cpu_s / shape.gib for one in runs),
            program=name,
        ),
        Figure(
            shape=shape.name,
            what=f"servers' CPU during {name}",
            unit=SERVERS_CPU,
            values=tuple(one.servers_cpu_s / shape.gib for one in loads),
            program=name,
        ),
        Figure(
            shape=shape.name,
            what=f"{name}, peak memory of all its processes",
            unit="MB",
            values=tuple(one.peak_mb for one in runs),
            at_most=AT_MOST_MB if name == "backhaul" else None,
            program=name,
        ),
    ]


def _seconds(runs: list[Run]) -> list[float]:
    return [one.seconds for one in runs]


def _peers(servers: Servers, shape: Shape) -> dict[str, Copy]:
    """Those that are present."""
    if servers.before:
        environment = servers.environment(hdfs=True)
        return {BEFORE: lambda directory: _whole(servers, environment, shape, directory)}
    found: dict[str, Copy] = {}
    if (program := find_rclone()) is not None:
        found["rclone"] = lambda directory: rclone(
            servers, program, f"{shape.name}/", directory, transfers=shape.transfers
        )
    if (hadoop := find_hadoop_fs(servers)) is not None:
        found["hadoop fs"] = lambda directory: hadoop.copy(f"{shape.name}/", directory)
        if len(shape.sizes) <= MOST_FOR_LOCAL_DISTCP:
            found["DistCp local"] = lambda directory: hadoop.distcp(f"{shape.name}/", directory)
    tell(f"{shape.name}: rclone {shape.transfers} transfers, hadoop fs -cp -t {THREADS}")
    return found


def _whole(servers: Servers, environment: dict[str, str], shape: Shape, directory: str) -> Run:
    """The process of an earlier Backhaul."""
    source, target = f"s3://{BUCKET}/{shape.name}/", servers.hdfs.uri + directory
    ledger = servers.ledger(f"{shape.name}-before")
    return measured(
        [*servers.before, "copy", source, target, "--allow-any", "--ledger", ledger], environment
    )


def _copy(
    servers: Servers, environment: dict[str, str], shape: Shape, turn: str
) -> tuple[Run, float, Load]:
    """The whole process, seconds of the transfer as the ledger has it, and what went on beside."""
    directory = f"/bench/{shape.name}-{turn}"
    ledger = servers.ledger(shape.name)
    with watched(servers.server_pids) as load:
        run = measured(
            [
                *(*BACKHAUL, "copy", f"s3://{BUCKET}/{shape.name}/", servers.hdfs.uri + directory),
                *("--allow-any", "--ledger", ledger),
            ],
            environment,
        )
    servers.check_hdfs(directory, shape.sums)
    return run, servers.last_transfer_s(ledger, environment), load

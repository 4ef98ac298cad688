"""Shapes over a long line: S3 behind a proxy with a 40 ms round trip and a cap per connection."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.distcp import DISTCP, bare_s, has_yarn
from benchmarks.measure import serving
from benchmarks.peers import FOR_LARGE, FOR_SMALL, against, find_rclone, rclone
from benchmarks.report import Figure
from benchmarks.servers import BACKHAUL, BUCKET, SMALL_BYTES, Servers, Sizes, tell

RTT_MS = 40


@dataclass(frozen=True, kw_only=True)
class Line:
    """A shape, and what is wanted of it.

    Attributes:
        mb_per_s: For each connection.
        transfers: Of rclone.
        as_rclone, as_distcp: At least so many times as fast; DistCp is not tried where None.
    """

    name: str
    prefix: str
    mb_per_s: int
    transfers: int
    as_rclone: float
    as_distcp: float | None = None


def wan_large_40(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """One large object, 40 MB/s for each connection: one stream cannot use the line."""
    return _large(servers, sizes, rounds, mb_per_s=40, as_rclone=3.0, as_distcp=4.0)


def wan_large_15(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """The same at 15 MB/s for each connection."""
    return _large(servers, sizes, rounds, mb_per_s=15, as_rclone=7.0, as_distcp=7.0)


def wan_small(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Many small objects: each costs a round trip, so only many at once help."""
    line = Line(
        name="wan-small",
        prefix="wan-small/",
        mb_per_s=40,
        transfers=FOR_SMALL,
        as_rclone=3.0,
    )
    return _compare(
        servers, line, servers.put_small(line.prefix, sizes.objects), rounds, SMALL_BYTES
    )


def _large(
    servers: Servers,
    sizes: Sizes,
    rounds: int,
    *,
    mb_per_s: int,
    as_rclone: float,
    as_distcp: float,
) -> list[Figure]:
    line = Line(
        name=f"wan-large-{mb_per_s}",
        prefix="wan-large/",
        mb_per_s=mb_per_s,
        transfers=FOR_LARGE,
        as_rclone=as_rclone,
        as_distcp=as_distcp,
    )
    sums = servers.put_large(line.prefix, 1, sizes.wan_bytes)
    return _compare(servers, line, sums, rounds, sizes.wan_bytes)


def _compare(
    servers: Servers, shape: Line, sums: dict[str, bytes], rounds: int, each_bytes: int
) -> list[Figure]:
    program = find_rclone()
    ours: list[float] = []
    theirs: list[float] = []
    distcps: list[float] = []
    line = (str(servers.s3.ports[0]), str(RTT_MS), str(shape.mb_per_s))
    with serving("benchmarks.wan_proxy", *line) as port:
        endpoint = f"http://127.0.0.1:{port}"
        environment = servers.environment(hdfs=True) | {"AWS_ENDPOINT_URL_S3": endpoint}
        for turn in range(rounds):
            directory = f"/bench/{shape.name}-{turn}"
            copied = [f"s3://{BUCKET}/{shape.prefix}", servers.hdfs.uri + directory]
            options = ["--allow-any", "--ledger", servers.ledger(shape.name)]
            ours.append(servers.timed([*BACKHAUL, "copy", *copied, *options], environment))
            servers.check_hdfs(directory, sums)
            tell(f"{shape.name} round {turn + 1}: backhaul {ours[-1]:.1f} s")
            if program is not None:
                run = rclone(
                    servers,
                    program,
                    shape.prefix,
                    directory,
                    transfers=shape.transfers,
                    endpoint=endpoint,
                )
                theirs.append(run.seconds)
                servers.check_hdfs(directory, sums)
                tell(f"{shape.name} round {turn + 1}: rclone {theirs[-1]:.1f} s")
            if shape.as_distcp is not None and has_yarn():
                each = [each_bytes] * len(sums)
                distcps.append(bare_s(servers, shape.prefix, directory, each, endpoint=endpoint))
                servers.check_hdfs(directory, sums)
                tell(f"{shape.name} round {turn + 1}: DistCp {distcps[-1]:.1f} s")
    return [
        Figure(shape=shape.name, what="backhaul copy", unit="s", values=tuple(ours)),
        *against(
            shape.name,
            "rclone",
            theirs,
            ours,
            shape.as_rclone,
            how=f", {shape.transfers} transfers",
        ),
        *against(shape.name, DISTCP, distcps, ours, shape.as_distcp),
    ]

"""Shapes over a long line: S3 behind a proxy with a 40 ms round trip and a cap per connection."""

from __future__ import annotations

from benchmarks.bed import BACKHAUL, BUCKET, Bed, Sizes, tell
from benchmarks.measure import serving
from benchmarks.peers import FOR_LARGE, FOR_SMALL, against_rclone, find_rclone, rclone
from benchmarks.report import Figure

RTT_MS = 40


def wan_large_40(bed: Bed, sizes: Sizes, rounds: int) -> list[Figure]:
    """One large object, 40 MB/s for each connection: one stream cannot use the line."""
    sums = bed.put_large("wan-large/", 1, sizes.wan_bytes)
    return _compare(bed, "wan-large-40", "wan-large/", sums, rounds, 40, FOR_LARGE, 3.0)


def wan_large_15(bed: Bed, sizes: Sizes, rounds: int) -> list[Figure]:
    """The same at 15 MB/s for each connection."""
    sums = bed.put_large("wan-large/", 1, sizes.wan_bytes)
    return _compare(bed, "wan-large-15", "wan-large/", sums, rounds, 15, FOR_LARGE, 7.0)


def wan_small(bed: Bed, sizes: Sizes, rounds: int) -> list[Figure]:
    """Many small objects: each costs a round trip, so only many at once help."""
    sums = bed.put_small("wan-small/", sizes.objects)
    return _compare(bed, "wan-small", "wan-small/", sums, rounds, 40, FOR_SMALL, 3.0)


def _compare(
    bed: Bed,
    shape: str,
    prefix: str,
    sums: dict[str, bytes],
    rounds: int,
    mb_per_s: int,
    transfers: int,
    at_least: float,
) -> list[Figure]:
    program = find_rclone()
    ours: list[float] = []
    theirs: list[float] = []
    line = (str(bed.s3.ports[0]), str(RTT_MS), str(mb_per_s))
    with serving("benchmarks.wan_proxy", *line) as port:
        endpoint = f"http://127.0.0.1:{port}"
        environment = bed.environment(hdfs=True) | {"AWS_ENDPOINT_URL_S3": endpoint}
        for turn in range(rounds):
            directory = f"/bench/{shape}-{turn}"
            ours.append(
                bed.timed(
                    [
                        *(*BACKHAUL, "copy", f"s3://{BUCKET}/{prefix}", bed.hdfs.uri + directory),
                        *("--allow-any", "--ledger", bed.ledger(shape)),
                    ],
                    environment,
                )
            )
            bed.check_hdfs(directory, sums)
            tell(f"{shape} round {turn + 1}: backhaul {ours[-1]:.1f} s")
            if program is not None:
                run = rclone(
                    bed, program, prefix, directory, transfers=transfers, endpoint=endpoint
                )
                theirs.append(run.seconds)
                bed.check_hdfs(directory, sums)
                tell(f"{shape} round {turn + 1}: rclone {theirs[-1]:.1f} s")
    return [
        Figure(shape=shape, what="backhaul copy", unit="s", values=tuple(ours)),
        *against_rclone(shape, transfers, theirs, ours, at_least),
    ]

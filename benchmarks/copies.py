"""Shapes `small` and `large`: one `backhaul copy` to HDFS against the client's own ceiling.

Two ratios. The stern one takes all of Backhaul's process, its start and end included, against the
mere writing. The other takes what the ledger says, from the first word about the transfer to the
last (listing, copy, proof, publish), which is what a running agent adds to a message.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bed import BACKHAUL, BUCKET, SMALL_BYTES, Bed, Sizes, tell
from benchmarks.peers import FOR_LARGE, FOR_SMALL, against_rclone, find_rclone, rclone_s
from benchmarks.report import Figure, best, paired

TARGET = 0.8


def small(bed: Bed, sizes: Sizes, rounds: int) -> list[Figure]:
    """Many small objects: bound by the NameNode and by the client's 500 ms wait in close."""
    sums = bed.put_small("small/", sizes.objects)
    return _compare(bed, "small", sums, SMALL_BYTES, rounds, (128, 256, 384), (FOR_SMALL, 5.0))


def large(bed: Bed, sizes: Sizes, rounds: int) -> list[Figure]:
    """Two large objects: bound by what the DataNode takes."""
    sums = bed.put_large("large/", sizes.large_objects, sizes.large_bytes)
    return _compare(bed, "large", sums, sizes.large_bytes, rounds, (1, 2), (FOR_LARGE, 1.1))


def _compare(
    bed: Bed,
    shape: str,
    sums: dict[str, bytes],
    size_bytes: int,
    rounds: int,
    threads: Sequence[int],
    rival: tuple[int, float],
) -> list[Figure]:
    transfers, times_as_fast = rival
    rclone = find_rclone()
    theirs: list[float] = []
    environment = bed.environment(hdfs=True)
    _copy(bed, environment, shape, "warm-up", sums)  # the servers' JVMs compile what they run
    ours: list[float] = []
    inside: list[float] = []
    ceilings: dict[str, list[float]] = {f"{count} threads": [] for count in threads}
    for turn in range(rounds):
        for name, times in ceilings.items():
            arguments = [bed.hdfs.uri, f"/ceiling/{shape}", str(len(sums)), str(size_bytes)]
            found = bed.answer(["benchmarks.ceiling", *arguments, name.split()[0]], environment)
            times.append(float(found["seconds"]))
        whole_s, transfer_s = _copy(bed, environment, shape, str(turn), sums)
        ours.append(whole_s)
        inside.append(transfer_s)
        now = ", ".join(f"{name} {times[-1]:.2f} s" for name, times in ceilings.items())
        tell(
            f"{shape} round {turn + 1}: backhaul {whole_s:.2f} s ({transfer_s:.2f} s); "
            f"write only: {now}"
        )
        if rclone is not None:
            directory = f"/bench/{shape}-rclone"
            theirs.append(rclone_s(bed, rclone, f"{shape}/", directory, transfers=transfers))
            bed.check_hdfs(directory, sums)
            tell(f"{shape} round {turn + 1}: rclone {theirs[-1]:.2f} s")
    top = best(ceilings)
    return [
        Figure(shape=shape, what="backhaul copy, whole process", unit="s", values=tuple(ours)),
        Figure(shape=shape, what="its transfer alone", unit="s", values=tuple(inside)),
        *(
            Figure(shape=shape, what=f"write only, {name}", unit="s", values=tuple(times))
            for name, times in ceilings.items()
        ),
        Figure(
            shape=shape,
            what=f"whole process, of the ceiling ({top})",
            unit="x",
            values=paired(ceilings[top], ours),
            at_least=TARGET,
        ),
        Figure(
            shape=shape,
            what="transfer alone, of the ceiling",
            unit="x",
            values=paired(ceilings[top], inside),
            at_least=TARGET,
        ),
        *against_rclone(shape, transfers, theirs, ours, times_as_fast),
    ]


def _copy(
    bed: Bed, environment: dict[str, str], shape: str, turn: str, sums: dict[str, bytes]
) -> tuple[float, float]:
    """Seconds of the whole process, and of the transfer as the ledger has it."""
    directory = f"/bench/{shape}-{turn}"
    ledger = bed.ledger(shape)
    took_s = bed.timed(
        [
            *(*BACKHAUL, "copy", f"s3://{BUCKET}/{shape}/", bed.hdfs.uri + directory),
            *("--allow-any", "--ledger", ledger),
        ],
        environment,
    )
    bed.check_hdfs(directory, sums)
    return took_s, bed.last_transfer_s(ledger, environment)

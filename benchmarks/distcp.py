"""Shapes `distcp` and `distcp-small`: a transfer by DistCp against the bare command, on real YARN.

Both copy the same objects with the same number of mappers, one after the other, in each round. What
Backhaul adds is its listing, the proof of every file by what HDFS keeps, and the publishing. Asked
for by name only: YARN needs a network namespace, and so root.
"""

from __future__ import annotations

import subprocess
import time

from benchmarks.bed import BACKHAUL, BUCKET, MIB, SMALL_BYTES, Bed, Sizes, tell
from benchmarks.report import Figure, paired

MAPS = 2  # containers that fit beside their application master
MOST = 1.10  # of the bare command's time


def distcp(bed: Bed, sizes: Sizes, rounds: int) -> list[Figure]:
    """Large objects: 8 GiB in 16."""
    sums = bed.put_large("distcp/", 16, sizes.distcp_bytes // 16, algorithm="CRC32C")
    return _compare(bed, "distcp", sums, sizes.distcp_bytes, rounds)


def distcp_small(bed: Bed, sizes: Sizes, rounds: int) -> list[Figure]:
    """Many small objects, which nobody would give to DistCp."""
    sums = bed.put_small("distcp-small/", sizes.distcp_objects)
    return _compare(bed, "distcp-small", sums, sizes.distcp_objects * SMALL_BYTES, rounds)


def _compare(
    bed: Bed, shape: str, sums: dict[str, bytes], size_bytes: int, rounds: int
) -> list[Figure]:
    environment = bed.environment(hdfs=True) | {
        "HADOOP_CONF_DIR": str(bed.yarn.conf_dir),
        "PATH": f"{bed.yarn.bin_dir}:/usr/bin:/bin",
    }
    config = bed.directory / "distcp.toml"
    config.write_text(
        f"[distcp]\nmax_maps = {MAPS}\nbytes_per_map = 1\npoll_s = 1\n"
        f'[[route]]\nname = "r"\nsource = ["s3://{BUCKET}/"]\ndestination = ["/bench/"]\n'
        'engine = "distcp"\nverify = "stored"\n',
        encoding="utf-8",
    )
    bare: list[float] = []
    ours: list[float] = []
    for turn in range(rounds):
        directory = f"/bench/{shape}-bare-{turn}"
        bare.append(_bare_s(bed, environment, shape, directory))
        bed.check_hdfs(directory, sums)
        directory = f"/bench/{shape}-{turn}"
        command = [*BACKHAUL, "copy", "--config", str(config), f"s3://{BUCKET}/{shape}/"]
        command += [directory, "--ledger", bed.ledger(shape)]
        ours.append(bed.timed(command, environment))
        bed.check_hdfs(directory, sums)
        tell(f"{shape} round {turn + 1}: bare {bare[-1]:.1f} s, backhaul {ours[-1]:.1f} s")
    left = [one for one in bed.yarn.applications() if one["state"] != "FINISHED"]
    assert not left, f"applications left: {left}"
    what = f"{len(sums)} objects, {size_bytes // MIB} MiB"
    return [
        Figure(shape=shape, what=f"hadoop distcp, {what}", unit="s", values=tuple(bare)),
        Figure(shape=shape, what="backhaul copy, whole process", unit="s", values=tuple(ours)),
        Figure(
            shape=shape,
            what=f"of the bare command's time (at most {MOST})",
            unit="x",
            values=paired(ours, bare),
        ),
    ]


def _bare_s(bed: Bed, environment: dict[str, str], shape: str, directory: str) -> float:
    started_s = time.monotonic()
    subprocess.run(
        [
            *(str(bed.yarn.bin_dir / "hadoop"), "distcp", "-overwrite", "-m", str(MAPS)),
            *(f"s3a://{BUCKET}/{shape}/", bed.hdfs.uri + directory),
        ],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.monotonic() - started_s

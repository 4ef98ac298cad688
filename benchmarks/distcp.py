"""Shapes `distcp` and `distcp-small`: a transfer by DistCp against the bare command, on real YARN.

Both copy the same objects with the same options, one after the other, in each round. What
Backhaul adds is its listing, the proof of every file by what HDFS keeps, and the publishing. The
native engine brings the same objects, too. Each result is read back, and each of Backhaul's must
be proven with no byte read again, leave no staging, and leave no application running.

Asked for by name only: YARN needs a network namespace, and so root.
"""

from __future__ import annotations

import json
import subprocess
import time

from backhaul.core.cluster import ClusterRules, Load, copy_job
from backhaul.core.model import Source
from backhaul.engines.distcp import options
from benchmarks.bed import BACKHAUL, BUCKET, MIB, SMALL_BYTES, Bed, Sizes, tell
from benchmarks.report import Figure, paired

MAPS = 2  # containers that fit beside their application master
MOST = 1.10  # of the bare command's time
RULES = ClusterRules(max_maps=MAPS, bytes_per_map=1)


def distcp(bed: Bed, sizes: Sizes, rounds: int) -> list[Figure]:
    """Large objects: 8 GiB in 16."""
    each = sizes.distcp_bytes // 16
    sums = bed.put_large("distcp/", 16, each, algorithm="CRC32C")
    return _compare(bed, "distcp", sums, each, rounds)


def distcp_small(bed: Bed, sizes: Sizes, rounds: int) -> list[Figure]:
    """Many small objects, which nobody would give to DistCp."""
    sums = bed.put_small("distcp-small/", sizes.distcp_objects)
    return _compare(bed, "distcp-small", sums, SMALL_BYTES, rounds)


def _compare(
    bed: Bed, shape: str, sums: dict[str, bytes], each_bytes: int, rounds: int
) -> list[Figure]:
    environment = bed.environment(hdfs=True) | {
        "HADOOP_CONF_DIR": str(bed.yarn.conf_dir),
        "PATH": f"{bed.yarn.bin_dir}:/usr/bin:/bin",
    }
    load = Load(objects=len(sums), size_bytes=len(sums) * each_bytes, largest_bytes=each_bytes)
    bare: list[float] = []
    ours: dict[str, list[float]] = {"distcp": [], "native": []}
    for turn in range(rounds):
        directory = f"/bench/{shape}-bare-{turn}"
        bare.append(_bare_s(bed, environment, shape, directory, load))
        bed.check_hdfs(directory, sums)
        tell(f"{shape} round {turn + 1}: bare {bare[-1]:.1f} s")
        for engine, times in ours.items():
            directory = f"/bench/{shape}-{engine}-{turn}"
            times.append(_backhaul_s(bed, environment, shape, directory, engine))
            _check(bed, environment, shape, directory, engine, sums)
            tell(f"{shape} round {turn + 1}: backhaul, {engine} {times[-1]:.1f} s")
    what = f"{len(sums)} objects, {load.size_bytes // MIB} MiB"
    return [
        Figure(shape=shape, what=f"hadoop distcp, {what}", unit="s", values=tuple(bare)),
        Figure(shape=shape, what="backhaul copy by DistCp", unit="s", values=tuple(ours["distcp"])),
        Figure(
            shape=shape,
            what="of the bare command's time",
            unit="x",
            values=paired(ours["distcp"], bare),
            at_most=MOST,
        ),
        Figure(
            shape=shape, what="backhaul copy by this node", unit="s", values=tuple(ours["native"])
        ),
    ]


def _bare_s(bed: Bed, environment: dict[str, str], shape: str, directory: str, load: Load) -> float:
    """Seconds of the bare command with the options that Backhaul gives its own."""
    job = copy_job(
        transfer_id="bare",
        epoch=1,
        source=Source(bucket=BUCKET, key=f"{shape}/"),
        keys=None,
        target=bed.hdfs.uri + directory,
        load=load,
        rules=RULES,
        checksum_type="CRC32C",
    )
    command = [str(bed.yarn.bin_dir / "hadoop"), "distcp", *options(job)]
    command += [f"s3a://{BUCKET}/{shape}/", job.target]
    started_s = time.monotonic()
    ended = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    took_s = time.monotonic() - started_s
    if ended.returncode:
        tell(f"{' '.join(command)}\n{ended.stderr[-4000:]}")
        ended.check_returncode()
    return took_s


def _backhaul_s(
    bed: Bed, environment: dict[str, str], shape: str, directory: str, engine: str
) -> float:
    config = bed.directory / f"{engine}.toml"
    config.write_text(
        f"[distcp]\nmax_maps = {RULES.max_maps}\nbytes_per_map = {RULES.bytes_per_map}\n"
        f'poll_s = 1\n[[route]]\nname = "r"\nsource = ["s3://{BUCKET}/"]\n'
        f'destination = ["/bench/"]\nengine = "{engine}"\nverify = "stored"\n',
        encoding="utf-8",
    )
    command = [*BACKHAUL, "copy", "--config", str(config), f"s3://{BUCKET}/{shape}/"]
    return bed.timed([*command, directory, "--ledger", bed.ledger(shape)], environment)


def _check(
    bed: Bed,
    environment: dict[str, str],
    shape: str,
    directory: str,
    engine: str,
    sums: dict[str, bytes],
) -> None:
    """The newest transfer: its engine, its proofs, its bytes, and what it left behind."""
    ledger = bed.ledger(shape)
    asked = [*BACKHAUL, "history", "--json", "--limit", "1", "--ledger", ledger]
    row = json.loads(subprocess.check_output(asked, env=environment, text=True))
    assert (row["state"], row["engine"] or "native") == ("done", engine), row
    asked = [*BACKHAUL, "show", row["id"], "--json", "--ledger", ledger]
    shown = json.loads(subprocess.check_output(asked, env=environment, text=True))
    proofs = {one["proof"]: one["objects"] for one in shown["proofs"]}
    assert proofs == {"direct": len(sums)}, proofs
    states = {one["state"] for one in bed.yarn.applications()}
    assert states <= {"FINISHED"}, f"applications left: {states}"
    bed.check_hdfs(directory, sums)
    left = bed.below("/bench")
    assert not left, f"left in HDFS: {left}"

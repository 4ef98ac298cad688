"""Shapes `distcp` and `distcp-small`: a transfer by DistCp against the bare command, on real YARN.

Both copy the same objects with the same options, in turns, in each round. What Backhaul adds is its
listing, the proof of every file by what HDFS keeps, and the publishing: the part of its time in
which YARN did not have the application, less the same part of the bare command. The native engine
brings the same objects, too. Each result is read back, and each of Backhaul's must
be proven with no byte read again, leave no staging, and leave no application running.

Asked for by name only, or with `--yarn`: YARN needs a network namespace, and so root. With `--yarn`
the bare command is one of the peers of other shapes, too: `bare_s`.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Collection

from backhaul.core.model import Source
from backhaul.core.ports.cluster import ClusterRules
from backhaul.core.transfer.cluster.engine_choice import Load, copy_job
from backhaul.engines.distcp import options
from benchmarks.report import Figure, paired
from benchmarks.servers import BACKHAUL, BUCKET, MIB, SMALL_BYTES, Servers, Sizes, tell
from testbed import netns

MAPS = 2  # containers that fit beside their application master
DISTCP = "DistCp on YARN"
MOST = 1.10  # of the bare command's time
RULES = ClusterRules(max_maps=MAPS, bytes_per_map=1)


def distcp(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Large objects: 8 GiB in 16."""
    each = sizes.distcp_bytes // 16
    sums = servers.put_large("distcp/", 16, each, algorithm="CRC32C")
    return _compare(servers, "distcp", sums, each, rounds)


def distcp_small(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Many small objects, which nobody would give to DistCp."""
    sums = servers.put_small("distcp-small/", sizes.distcp_objects)
    return _compare(servers, "distcp-small", sums, SMALL_BYTES, rounds)


def has_yarn() -> bool:
    """Whether YARN can run here: `--yarn` sees to it."""
    return netns.is_inside()


def _environment(servers: Servers) -> dict[str, str]:
    return servers.environment(hdfs=True) | {
        "HADOOP_CONF_DIR": str(servers.yarn.conf_dir),
        "PATH": f"{servers.yarn.bin_dir}:/usr/bin:/bin",
    }


def _compare(
    servers: Servers, shape: str, sums: dict[str, bytes], each_bytes: int, rounds: int
) -> list[Figure]:
    environment = _environment(servers)
    each = [each_bytes] * len(sums)
    walls: dict[str, list[float]] = {"bare": [], "distcp": [], "native": []}
    beside: dict[str, list[float]] = {"bare": [], "distcp": []}
    for turn in range(rounds):
        # The second of a round finds warmer servers: they take turns in that.
        for way in ("bare", "distcp", "native") if turn % 2 == 0 else ("distcp", "bare", "native"):
            directory = f"/bench/{shape}-{way}-{turn}"
            if way == "bare":
                wall_s = bare_s(servers, f"{shape}/", directory, each)
                servers.check_hdfs(directory, sums)
            else:
                wall_s = _backhaul_s(servers, environment, shape, directory, way)
                _check(servers, environment, shape, directory, way, sums)
            walls[way].append(wall_s)
            told = f"{shape} round {turn + 1}: {way} {wall_s:.1f} s"
            if way in beside:
                newest = max(servers.yarn.applications(), key=lambda one: int(one["startedTime"]))
                yarn_s = int(newest["elapsedTime"]) / 1000
                beside[way].append(wall_s - yarn_s)
                told += f", of which YARN had it {yarn_s:.1f} s"
            tell(told)
    what = f"{len(sums)} objects, {sum(each) // MIB} MiB"
    named = {
        f"hadoop distcp, {what}": walls["bare"],
        "backhaul copy by DistCp": walls["distcp"],
        "hadoop distcp, without YARN's part": beside["bare"],
        "backhaul copy, without YARN's part": beside["distcp"],
        "backhaul copy by this node": walls["native"],
    }
    return [
        *(
            Figure(shape=shape, what=name, unit="s", values=tuple(values))
            for name, values in named.items()
        ),
        Figure(
            shape=shape,
            what="of the bare command's time",
            unit="x",
            values=paired(walls["distcp"], walls["bare"]),
            at_most=MOST,
        ),
    ]


def bare_s(
    servers: Servers,
    prefix: str,
    directory: str,
    sizes: Collection[int],
    *,
    endpoint: str | None = None,
) -> float:
    """Seconds of the bare command, from a prefix into a new HDFS directory.

    It has the options that Backhaul gives its own.

    Args:
        sizes: Of the objects, in bytes.
        endpoint: Where S3 is reached; default the server itself.
    """
    job = copy_job(
        transfer_id="bare",
        epoch=1,
        source=Source(bucket=BUCKET, key=prefix),
        keys=None,
        target=servers.hdfs.uri + directory,
        load=Load(objects=len(sizes), size_bytes=sum(sizes), largest_bytes=max(sizes)),
        rules=RULES,
        checksum_type="CRC32C",
    )
    where = [f"-Dfs.s3a.endpoint={endpoint}"] if endpoint else []
    command = [str(servers.yarn.bin_dir / "hadoop"), "distcp", *where, *options(job)]
    command += [f"s3a://{BUCKET}/{prefix}", job.target]
    started_s = time.monotonic()
    ended = subprocess.run(
        command,
        env=_environment(servers),
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
    servers: Servers, environment: dict[str, str], shape: str, directory: str, engine: str
) -> float:
    config = servers.directory / f"{engine}.toml"
    config.write_text(
        f"[distcp]\nmax_maps = {RULES.max_maps}\nbytes_per_map = {RULES.bytes_per_map}\n"
        f'poll_s = 1\n[[route]]\nname = "r"\nsource = ["s3://{BUCKET}/"]\n'
        f'destination = ["/bench/"]\nengine = "{engine}"\nverify = "stored"\n',
        encoding="utf-8",
    )
    command = [*BACKHAUL, "copy", "--config", str(config), f"s3://{BUCKET}/{shape}/"]
    return servers.timed([*command, directory, "--ledger", servers.ledger(shape)], environment)


def _check(
    servers: Servers,
    environment: dict[str, str],
    shape: str,
    directory: str,
    engine: str,
    sums: dict[str, bytes],
) -> None:
    """The newest transfer: its engine, its proofs, its bytes, and what it left behind."""
    ledger = servers.ledger(shape)
    asked = [*BACKHAUL, "history", "--json", "--limit", "1", "--ledger", ledger]
    row = json.loads(subprocess.check_output(asked, env=environment, text=True))
    assert (row["state"], row["engine"] or "native") == ("done", engine), row
    asked = [*BACKHAUL, "show", row["id"], "--json", "--ledger", ledger]
    shown = json.loads(subprocess.check_output(asked, env=environment, text=True))
    proofs = {one["proof"]: one["objects"] for one in shown["proofs"]}
    assert proofs == {"direct": len(sums)}, proofs
    states = {one["state"] for one in servers.yarn.applications()}
    assert states <= {"FINISHED"}, f"applications left: {states}"
    servers.check_hdfs(directory, sums)
    left = servers.below("/bench")
    assert not left, f"left in HDFS: {left}"

"""What people would use instead: rclone, when it is installed. Each run is checked like ours."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.measure import Run, measured
from benchmarks.report import Figure, paired
from benchmarks.servers import BUCKET, Servers

FOR_SMALL = 128  # transfers at once; beyond it gained nothing
FOR_LARGE = 4  # rclone's default


def find_rclone() -> str | None:
    """From the `bench` requirements, or the machine's own."""
    beside = Path(sys.executable).with_name("rclone")
    return str(beside) if beside.exists() else shutil.which("rclone")


def rclone(
    servers: Servers,
    program: str,
    prefix: str,
    directory: str,
    *,
    transfers: int,
    endpoint: str | None = None,
) -> Run:
    """One `rclone copy` of a prefix into an HDFS directory, the whole process.

    Args:
        endpoint: Where S3 is reached; default the server itself.
    """
    namenode = urlsplit(servers.hdfs.uri).netloc
    s3 = servers.s3
    environment = servers.environment(hdfs=True) | {
        "RCLONE_CONFIG": str(servers.directory / "no-rclone.conf"),
        "RCLONE_S3_PROVIDER": "Other",
        "RCLONE_S3_ENDPOINT": endpoint or s3.endpoint,
        "RCLONE_S3_ACCESS_KEY_ID": s3.access_key,
        "RCLONE_S3_SECRET_ACCESS_KEY": s3.secret_key,
        "RCLONE_HDFS_NAMENODE": namenode,
        "RCLONE_HDFS_USERNAME": "root",
    }
    return measured(
        [
            *(program, "copy", "--quiet", "--transfers", str(transfers)),
            *(f":s3:{BUCKET}/{prefix}", f":hdfs:{directory}"),
        ],
        environment,
    )


def against(
    shape: str,
    peer: str,
    theirs: Sequence[float],
    ours: Sequence[float],
    at_least: float | None,
    *,
    how: str = "",
) -> list[Figure]:
    """A peer's times and the ratio of whole processes; nothing where it did not run.

    Args:
        how: It was called, in words behind its name.
    """
    if not theirs:
        return []
    return [
        Figure(shape=shape, what=peer + how, unit="s", values=tuple(theirs)),
        Figure(
            shape=shape,
            what=f"times as fast as {peer}",
            unit="x",
            values=paired(theirs, ours),
            at_least=at_least,
        ),
    ]

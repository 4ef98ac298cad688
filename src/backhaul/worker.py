"""The worker process: `python -m backhaul.worker FD`, started by `engines.pool`.

Only puts the parts together; its life is `engines.serve`. It imports no agent code, so it starts
quickly and stays small.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backhaul import GC_EVERY, GC_EVERY_AT_START
from backhaul.engines.pipe import Pipe
from backhaul.engines.serve import Parts, serve
from backhaul.engines.tuning import Tuning

if TYPE_CHECKING:
    from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
    from backhaul.adapters.hadoop.kerberos import Login
    from backhaul.adapters.system.governor import GovernorSpec
    from backhaul.core.checksums import Digest
    from backhaul.core.ports import SourceReader, TargetFs

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LOCAL_TUNING = Tuning(threads=16, open_files=16, open_small_files=16)


@dataclass(frozen=True, kw_only=True)
class WorkerConfiguration:
    """What a worker gets at its start; pickled, so no secret is in it.

    Attributes:
        hadoop: The node's Hadoop configuration, resolved, without its secrets.
        login: Who the agent is on a cluster with Kerberos. The user it acts for is in the worker's
            environment, as the HDFS client reads it there.
        governor: The byte-rate limit; None: there is none.
    """

    hadoop: HadoopConfiguration
    tuning: Tuning
    login: Login | None = None
    governor: GovernorSpec | None = None


def main(argv: list[str]) -> None:
    """Serve the pipe whose file descriptor is the only argument."""
    # A stop is the agent's decision; a signal to the whole group must not cut transfers short.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    gc.set_threshold(GC_EVERY_AT_START)
    _keep_freed_memory()
    pipe = Pipe.of(int(argv[0]))
    try:
        configuration: WorkerConfiguration = pipe.receive()
    except (EOFError, OSError):
        return
    has_hdfs = configuration.hadoop.directory is not None
    threading.Thread(target=_preload, args=[has_hdfs], name="preload", daemon=True).start()
    serve(pipe, _parts(configuration))


def _keep_freed_memory() -> None:
    """Let glibc use again what was freed, instead of giving it back to the kernel each time.

    Pieces of 1 MiB come and go by the thousand. By default each is mapped anew, and the kernel
    fills it with zeros first: a tenth of the CPU of a large object. Another C library does as it
    does.
    """
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 4 << 20)
        library.mallopt(_M_TRIM_THRESHOLD, 64 << 20)


def _login(configuration: WorkerConfiguration) -> Login:
    from backhaul.adapters.hadoop.kerberos import Login  # noqa: PLC0415

    return replace(
        configuration.login or Login(), run_as=os.environ.get("HADOOP_PROXY_USER") or None
    )


def _preload(has_hdfs: bool) -> None:  # noqa: FBT001 - of a thread
    """Import what the first staging needs while the agent still plans: 0.2 s off it."""
    try:
        from backhaul.adapters import digests  # noqa: F401, PLC0415
        from backhaul.adapters.aws import s3_get  # noqa: F401, PLC0415

        if has_hdfs:
            from backhaul.adapters.hadoop.hdfs import connection  # noqa: F401, PLC0415
    finally:
        gc.freeze()  # what was imported stays; no search for garbage goes through it
        gc.set_threshold(GC_EVERY)


def _parts(configuration: WorkerConfiguration) -> Parts:
    # Imported when first needed: a node without Hadoop's configuration may do without its client.
    def reader() -> SourceReader:
        from backhaul.adapters.aws.credentials import AwsCredentials  # noqa: PLC0415
        from backhaul.adapters.aws.s3_get import ObjectReader  # noqa: PLC0415
        from backhaul.adapters.hadoop.configuration.s3a import S3aConfiguration  # noqa: PLC0415

        tuning = configuration.tuning
        # Keys are no part of the configuration that came through the pipe: read from the files.
        credentials = AwsCredentials(S3aConfiguration.loader(configuration.hadoop.directory))
        return ObjectReader(credentials, tuning.threads + tuning.ranges)

    def target(filesystem: str) -> TargetFs:
        if filesystem == "file://":
            from backhaul.adapters.local import LocalTarget  # noqa: PLC0415

            return LocalTarget()
        from backhaul.adapters.hadoop.hdfs.connection import connect  # noqa: PLC0415

        return connect(filesystem, configuration.hadoop, _login(configuration))

    def digest(algorithm: str) -> Digest:
        from backhaul.adapters.digests import new_digest  # noqa: PLC0415

        return new_digest(algorithm)

    def tuning(filesystem: str) -> Tuning:
        return LOCAL_TUNING if filesystem == "file://" else configuration.tuning

    return Parts(
        reader=reader,
        target=target,
        new_digest=digest,
        tuning=tuning,
        allowance=configuration.governor.open() if configuration.governor else None,
    )


if __name__ == "__main__":
    main(sys.argv[1:])

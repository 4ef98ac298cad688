"""DistCp: the cluster's own copy engine, as one command line and the errors of its client.

The command line is made here and nowhere else. No shell sees it, and no part of a message can
become an option, a pattern or another file system. `adapters.hadoop.command` runs it,
`adapters.hadoop.yarn` is the ResourceManager; `core.transfer.cluster` decides when DistCp is used
and what its outcome means.

Source: Apache Hadoop 3.4, "DistCp Guide"; FileSystem.globStatus.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from backhaul.core.errors import BackhaulError, OutageError, TransientError
from backhaul.core.model import Source
from backhaul.core.ports.cluster import (
    Application,
    ClusterRules,
    CopyJob,
    HadoopCommand,
    JobCounters,
    JobProgress,
)
from backhaul.core.rate_limit import RateReservations
from backhaul.core.text import printable, redacted
from backhaul.core.transfer.cluster.engine_choice import refused_login

MIB = 1024**2
OWN_BANDWIDTH_MB = 100  # of each mapper, without -bandwidth

# What Hadoop's paths read as patterns, unless a backslash precedes it.
_GLOB = re.compile(r"([\\*?\[\]{}^])")
# A job's configuration is shown to all who may see the job; Hadoop hides only these properties.
_SECRETS = (
    "fs.s3a.access.key",
    "fs.s3a.secret.key",
    "fs.s3a.session.token",
    "fs.s3a.encryption.key",
    "fs.s3a.server-side-encryption.key",
)


class Yarn(Protocol):
    """YARN's ResourceManager, and MapReduce's history server where there is one."""

    def check_reachable(self) -> None: ...

    def find(self, tag: str) -> list[Application]: ...

    def kill(self, application_id: str) -> None: ...

    def progress(self, application: Application) -> JobProgress | None: ...

    def counters(self, application: Application) -> JobCounters | None: ...


class DistCp:
    """Implements `core.ports.cluster.Cluster`.

    Args:
        pause: Waits that many seconds; raises E_STOPPED when the agent stops meanwhile.
        reservations: Where a job's share of the byte rate is reserved.
        secrets: Further properties that the job's configuration must not show.
        require: Before an application is begun or killed: raises where others took this process for
            gone, or may be about to.
    """

    def __init__(
        self,
        *,
        rules: ClusterRules,
        hadoop: HadoopCommand,
        yarn: Yarn,
        pause: Callable[[float], None],
        reservations: RateReservations,
        secrets: Sequence[str] = (),
        require: Callable[[], None] = lambda: None,
    ) -> None:
        self.require = require
        self._secrets = tuple(dict.fromkeys((*_SECRETS, *secrets)))
        self._reservations = reservations
        self.rules = rules
        self._hadoop = hadoop
        self._yarn = yarn
        self._pause = pause

    def obstacle(self) -> OutageError | None:
        return self._hadoop.missing()

    def check_reachable(self) -> None:
        self._yarn.check_reachable()

    def find(self, tag: str) -> list[Application]:
        found = self._yarn.find(tag)
        if all(one.state.is_over for one in found):
            self._reservations.free(tag)
        else:
            self._reservations.keep(tag)
        return found

    def submit(self, job: CopyJob, waiting: Callable[[], None]) -> None:
        def stop_or_wait() -> None:
            self._pause(0)
            waiting()

        fitted = job

        def fit(most: int | None) -> int:
            nonlocal fitted
            fitted = within(job, most)
            return rate(fitted)

        self._reservations.reserve(job.tags[1], fit)
        with _listing(fitted) as listing:
            self.require()
            code, output = self._hadoop.run(arguments(fitted, listing, self._secrets), stop_or_wait)
        if code != 0:
            raise client_error(code, output)

    def kill(self, application_id: str) -> None:
        self.require()
        self._yarn.kill(application_id)

    def progress(self, application: Application) -> JobProgress | None:
        return self._yarn.progress(application)

    def counters(self, application: Application) -> JobCounters | None:
        return self._yarn.counters(application)

    def pause(self, seconds: float) -> None:
        self._pause(seconds)


# ---------------------------------------------------------------- the command line


def within(job: CopyJob, bytes_per_s: int | None) -> CopyJob:
    """The job, limited to this rate over all its mappers.

    DistCp takes the rate once, at its start, in whole MiB per mapper: below 1 MiB for each, the job
    gets fewer mappers.
    """
    if bytes_per_s is None:
        return job
    maps = max(1, min(job.maps, bytes_per_s // MIB))
    share = max(1, bytes_per_s // maps // MIB)
    return replace(job, maps=maps, bandwidth_mb=min(job.bandwidth_mb or OWN_BANDWIDTH_MB, share))


def rate(job: CopyJob) -> int:
    """What its mappers may read together, bytes per second."""
    return job.maps * (job.bandwidth_mb or OWN_BANDWIDTH_MB) * MIB


def arguments(
    job: CopyJob, listing: Path | None, secrets: Sequence[str] = _SECRETS
) -> tuple[str, ...]:
    """What follows `hadoop` on the command line.

    Args:
        listing: The local file with the sources, one in each line; None: the job's whole source.
        secrets: Properties that the job's configuration must not show.
    """
    defined = {
        "mapreduce.job.name": f"backhaul-{job.tags[1]}",
        "mapreduce.job.tags": ",".join(job.tags),
        "mapreduce.job.redacted-properties": ",".join(secrets),
        "mapreduce.jobhistory.jhist.format": "json",
        "dfs.checksum.type": job.checksum_type,
    }
    if job.queue is not None:
        defined["mapreduce.job.queuename"] = job.queue
    sources = ["-f", listing.as_uri()] if listing is not None else [source_uri(job.source)]
    return (
        "distcp",
        *(f"-D{name}={value}" for name, value in defined.items()),
        "-async",
        *options(job),
        *sources,
        _target(job.target),
    )


def options(job: CopyJob) -> tuple[str, ...]:
    """How DistCp is to copy; the benchmarks run a bare DistCp with the same options."""
    # Without -overwrite an existing file is skipped unread, and a directory is nested one level
    # deeper. Staging is fresh, so nothing that matters is overwritten.
    chosen = ["-overwrite", "-direct", "-m", str(job.maps)]
    chosen += ["-numListstatusThreads", str(job.list_threads)]
    if job.is_dynamic:
        chosen += ["-strategy", "dynamic"]
    if job.bandwidth_mb is not None:
        chosen += ["-bandwidth", str(job.bandwidth_mb)]
    return tuple(chosen)


def source_uri(source: Source) -> str:
    """`s3a://` with every pattern character of the key escaped.

    Raises:
        ValueError: A key that a path's URI cannot hold; the planner leaves such keys to this node.
    """
    if re.search(r"[\r\n\0:]", source.key):
        raise ValueError(f"{source.uri!r} cannot be named to DistCp")
    escaped = _GLOB.sub(r"\\\1", source.key)
    return f"s3a://{source.bucket}/{escaped}"


def _target(uri: str) -> str:
    """The URI as it is: staging has only generated names, below a directory that policy allowed."""
    if not re.match(r"hdfs://[^/]+/", uri):
        raise ValueError(f"{uri!r} is no directory of HDFS")
    return uri


@contextmanager
def _listing(job: CopyJob) -> Iterator[Path | None]:
    """A file with the escaped URI of every key; readable by this user alone."""
    if job.keys is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="backhaul-distcp-") as directory:
        path = Path(directory) / "sources"
        lines = (source_uri(Source(bucket=job.source.bucket, key=key)) for key in job.keys)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        yield path


# ---------------------------------------------------------------- errors of the client

_EXCEPTION = re.compile(
    r"^(?:Exception in thread \S+ |Caused by: )?(?P<java>[\w.$]+(?:Exception|Error))(?:: .*)?$"
)
_MISSING_CLASS = re.compile(r"Could not find or load main class|No such file or directory: .*java")
_YARN_DOWN = ("ConnectException", "NoRouteToHostException", "ConnectTimeoutException")
_CREDENTIALS = ("AccessDenied", "NoAuth", "Credential", "AccessControl", "InvalidAccessKeyId")


def client_error(code: int, output: str) -> BackhaulError:
    """Why the client failed, by the exceptions in its output; warnings around them are normal."""
    if (refused := refused_login(output)) is not None:
        return refused
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    found = [match for line in lines if (match := _EXCEPTION.match(line))]
    reason = found[0].group(0) if found else (lines[-1] if lines else "no output")
    message = f"hadoop distcp ended with {code}: {printable(redacted(reason), 300)}"
    names = " ".join(match["java"] for match in found)
    if any(_MISSING_CLASS.search(line) for line in lines) or (not found and code in {1, 126, 127}):
        return OutageError.of(
            "yarn",
            "E_HADOOP_COMMAND",
            message,
            hint="run `hadoop distcp` as the agent's user: it must print its usage",
        )
    if "Failed to submit application" in output:
        return OutageError.of(
            "yarn",
            "E_YARN_REFUSED",
            message,
            hint="check [distcp] queue, and that the agent's user may submit to it",
        )
    if any(name in names for name in _YARN_DOWN):
        return OutageError.of(
            "yarn",
            "E_YARN_UNREACHABLE",
            message,
            hint="check that the ResourceManager and the NameNode run",
        )
    if any(name in f"{names} {reason}" for name in _CREDENTIALS):
        return OutageError.of(
            "credentials",
            "E_DISTCP_CREDENTIALS",
            message,
            hint="S3A has its own credentials: a credential provider in core-site.xml; check them"
            " with `hadoop fs -ls s3a://BUCKET/`",
        )
    return TransientError(
        "E_DISTCP_CLIENT",
        message,
        hint="run the same command by hand to see its whole output; nothing was published",
    )

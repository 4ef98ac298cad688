"""Java, and the jars that the Java servers run on, copied once by Maven into a cache.

The cache is ``${BACKHAUL_TESTBED_CACHE:-${XDG_CACHE_HOME:-~/.cache}/backhaul/testbed}``; under it
``<hash of pom.xml>/lib-PROFILE``. Where Maven fetches from is Maven's own setting.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backhaul.testing.servers.errors import ServerUnavailable

PROFILES = ("elasticmq", "s3proxy", "hdfs", "yarn")
# For small servers that must start fast on few cores: the second compiler costs more at the start
# than it brings, and hsperfdata files would stay behind at a SIGKILL.
JVM_OPTIONS = (
    *("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"),
    "-Djava.net.preferIPv4Stack=true",
)
_POM = Path(__file__).with_name("pom.xml")
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
# Hadoop 3.4 uses what Java 24 took away (Subject.getSubject); ElasticMQ and S3Proxy need 17.
_JAVA_OLDEST, _JAVA_NEWEST = 17, 23
_INSTALL = "install: apt-get install openjdk-17-jdk-headless maven"
# About 15 s on a fast line when Maven's own repository is empty.
_FETCH_TIMEOUT_S = 900


def cache_root() -> Path:
    """Directory for everything that the test bed keeps between runs."""
    if chosen := os.environ.get("BACKHAUL_TESTBED_CACHE"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "backhaul" / "testbed"


def java() -> Path:
    """Path of a java program of a fitting version, from JAVA_HOME, else from PATH.

    Raises:
        ServerUnavailable: There is none, or it is too old or too new.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if found is None:
        raise ServerUnavailable(
            f"java not found{f' in JAVA_HOME={home}' if home else ''}; {_INSTALL}"
        )
    shown = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(\d+)', shown.stderr)
    if version is None or not _JAVA_OLDEST <= int(version[1]) <= _JAVA_NEWEST:
        is_version = version[1] if version else "of unknown version"
        raise ServerUnavailable(
            f"{found} is {is_version}, wanted {_JAVA_OLDEST} to {_JAVA_NEWEST}"
            f" (JAVA_HOME chooses); {_INSTALL}"
        )
    return Path(found)


def jars(profile: str, pom: Path = _POM) -> Path:
    """Directory with the jars of one profile of pom.xml; fetches them when they are not there.

    Safe to call from several processes at once: one fetches, the others wait.

    Args:
        profile: One of `PROFILES`, or of another pom.
        pom: The file that has it.

    Raises:
        ServerUnavailable: Maven is missing or could not fetch.
    """
    base = cache_root() / hashlib.sha256(pom.read_bytes()).hexdigest()[:16]
    ready = base / f"lib-{profile}"
    if ready.is_dir():
        return ready
    base.mkdir(parents=True, exist_ok=True)
    with _locked(base / f"lib-{profile}.lock"):
        if not ready.is_dir():
            _fetch(profile, ready, pom)
    return ready


def prepare(profiles: Iterable[str] = PROFILES) -> None:
    """Fetch all jars, so that later starts need no network: about 270 MB on disk.

    Raises:
        ServerUnavailable: Java or Maven is missing, or Maven could not fetch.
    """
    java()
    for profile in profiles:
        jars(profile)


def _fetch(profile: str, ready: Path, source: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerUnavailable(f"mvn not found; {_INSTALL}")
    java()
    # Next to its final place, so that the rename is one step: a directory named lib-* is complete.
    with tempfile.TemporaryDirectory(prefix=f".{profile}-", dir=ready.parent) as scratch:
        # A pom of its own place, as Maven may write a target/ next to it.
        pom, copied = Path(scratch, "pom.xml"), Path(scratch, "lib")
        shutil.copyfile(source, pom)
        command = [maven, "-q", "-B", "-f", str(pom), "-P", profile, _COPY]
        try:
            done = subprocess.run(
                [*command, f"-DoutputDirectory={copied}", "-DincludeScope=runtime"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_FETCH_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise ServerUnavailable(
                f"mvn did not fetch the jars of {profile} in {_FETCH_TIMEOUT_S} s"
            ) from exc
        if done.returncode != 0 or not copied.is_dir():
            tail = "\n".join(done.stdout.splitlines()[-20:])
            raise ServerUnavailable(
                f"mvn did not fetch the jars of {profile} (status {done.returncode})\n{tail}"
            )
        copied.rename(ready)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:  # Closing the file gives the lock back, death of the process too.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

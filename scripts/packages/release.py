"""What is built, for which Pythons and which machine: values alone."""

from __future__ import annotations

import platform
import re
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINUX = ROOT / "packaging" / "linux"
PYTHONS = ("3.11", "3.12", "3.13")
LOCK = ROOT / "requirements" / "runtime.txt"
RELEASE_LOCK = ROOT / "requirements" / "release.txt"
# The names that packages have for a processor: Debian's, which nfpm turns into RPM's.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
GLIBC_NEWEST = 28  # the minor version of glibc 2.28, which RHEL 8 has


@dataclass(frozen=True, kw_only=True)
class Release:
    """One version for one kind of machine.

    Attributes:
        version: Of Backhaul's wheel, `0.2.0rc1`.
        epoch_s: The time that every file gets, in seconds since 1970.
        machine: `x86_64` or `aarch64`.
    """

    version: str
    epoch_s: int
    machine: str

    @property
    def package_version(self) -> str:
        """For deb and rpm, which sort `0.2.0~rc1` before `0.2.0`."""
        return re.sub(r"(?<=\d)\.?(?=a|b|rc|dev)", "~", self.version)

    @property
    def architecture(self) -> str:
        """Debian's name of the machine."""
        return ARCHITECTURES[self.machine]

    @property
    def time(self) -> str:
        """`epoch_s` as nfpm reads it."""
        return datetime.fromtimestamp(self.epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def project() -> dict[str, str]:
    """The table `project` of pyproject.toml."""
    table: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return table


def this_machine() -> str:
    """The processor's name.

    Raises:
        SystemExit: One for which no package is made.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise SystemExit(f"packages are made for {', '.join(ARCHITECTURES)}; this is {machine}")
    return machine

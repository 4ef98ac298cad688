"""What the manual's page on hdfs-native states is still so, shown by its own programs.

A program that fails here shows that the library does something that it did not: let the page, and
what works around it, follow.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from backhaul.testing.servers import Hdfs
from testbed.kms import Kms
from tests.docs.manual import DOCS, text_of

PAGE = DOCS / "upstream.md"
PROGRAMS = DOCS / "upstream"
TIMEOUT_S = 120.0
PERIOD_S = "1"  # of the test server's metrics
WITHOUT_HDFS = {"public_interface.py": [], "rpc_timeout.py": ["2"]}
ARGUMENTS = {
    "block_checksum.py": ["1"],
    "close_wait.py": ["200", PERIOD_S, "2"],
    "error_classes.py": [],
    "hardware_crc32c.py": ["16"],
    "memoryview_write.py": ["1"],
    "simple_fallback.py": [],
    "sync_block.py": ["1", "0", PERIOD_S],
    "unfinished_file.py": [],
}
# Minutes on a busy machine. A new version of the library is noticed without them.
SLOW = {"block_checksum.py", "close_wait.py", "memoryview_write.py", "sync_block.py"}
IN_A_ZONE = "overwrite_in_zone.py"
BY_WEB_ADDRESS = {"close_wait.py", "sync_block.py"}


def _run(name: str, *arguments: str, path: Path | None = None) -> None:
    environment = os.environ if path is None else {**os.environ, "PATH": f"{path}:/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(PROGRAMS / name), *arguments],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout


@pytest.mark.parametrize("name", WITHOUT_HDFS)
def test_what_needs_no_cluster_is_as_reported(name: str) -> None:
    _run(name, *WITHOUT_HDFS[name])


@pytest.mark.integration
@pytest.mark.hdfs
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[pytest.mark.long] * (one in SLOW)) for one in ARGUMENTS]
)
def test_the_library_is_as_reported(hdfs: Hdfs, name: str) -> None:
    addresses = [hdfs.uri, hdfs.endpoint] if name in BY_WEB_ADDRESS else [hdfs.uri]
    _run(name, *addresses, *ARGUMENTS[name], path=hdfs.bin_dir)


@pytest.mark.integration
@pytest.mark.hdfs
@pytest.mark.timeout(300)
def test_a_refused_overwrite_in_a_zone_is_as_reported(wide_hdfs: Hdfs, kms: Kms) -> None:
    _run(IN_A_ZONE, wide_hdfs.uri, "/zone", kms.provider)


def test_every_program_is_run_and_on_the_page() -> None:
    programs = {path.name for path in PROGRAMS.glob("*.py")}
    assert programs == {*WITHOUT_HDFS, *ARGUMENTS, IN_A_ZONE}
    assert programs == set(re.findall(r"\]\(upstream/(\w+\.py)\)", text_of(PAGE)))


def test_the_page_is_about_the_version_that_is_installed() -> None:
    """Its figures and files are of one version: read the sources of another anew."""
    assert f"hdfs-native {version('hdfs-native')}" in text_of(PAGE)

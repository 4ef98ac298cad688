"""`tests/yarn`, run where YARN may run: in network namespaces of their own.

Two at once, as an application mostly waits for one JVM after the other to start: the tests that
share one cluster, and those that need one of their own.

BACKHAUL_TEST_YARN_ALL=1 runs the slow ones, too; BACKHAUL_TEST_YARN_KILL_ROUNDS=20 kills the agent
so often at random moments.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed import netns

OWN_CLUSTER = {"tests/yarn/test_kerberos.py", "tests/yarn/test_managers.py"}


@pytest.mark.integration
@pytest.mark.hdfs
@pytest.mark.yarn
@pytest.mark.timeout(2400)
def test_the_tests_on_yarn_pass(tmp_path: Path) -> None:
    if not netns.is_possible():
        if os.environ.get("CI"):
            pytest.fail("needed in CI: root, for a network namespace", pytrace=False)
        pytest.skip("a network namespace needs root")
    chosen = [] if os.environ.get("BACKHAUL_TEST_YARN_ALL") else ["-m", "not slow"]
    everything = {str(path) for path in Path("tests/yarn").glob("test_*.py")}
    assert everything > OWN_CLUSTER
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
    with (tmp_path / "one").open("wb") as first, (tmp_path / "two").open("wb") as second:
        runs = [
            subprocess.Popen(
                netns.command([*command, *sorted(files)]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            for files, log in ((everything - OWN_CLUSTER, first), (OWN_CLUSTER, second))
        ]
        try:
            codes = [run.wait() for run in runs]
        finally:
            for run in runs:
                run.kill()
                run.wait()
    told = [(tmp_path / name).read_text("utf-8", "replace")[-20_000:] for name in ("one", "two")]
    assert codes == [0, 0], "\n".join(told)

"""`tests/yarn`, run where YARN may run: in a network namespace of its own.

BACKHAUL_TEST_YARN_ALL=1 runs the slow ones, too; BACKHAUL_TEST_YARN_KILL_ROUNDS=20 kills the agent
so often at random moments.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from backhaul.testing.servers import netns


@pytest.mark.integration
@pytest.mark.hdfs
@pytest.mark.yarn
@pytest.mark.timeout(1200)
def test_the_tests_on_yarn_pass() -> None:
    if not netns.is_possible():
        if os.environ.get("CI"):
            pytest.fail("needed in CI: root, for a network namespace", pytrace=False)
        pytest.skip("a network namespace needs root")
    chosen = [] if os.environ.get("BACKHAUL_TEST_YARN_ALL") else ["-m", "not slow"]
    pytest_run = [sys.executable, "-m", "pytest", "-q", "tests/yarn", "-p", "no:cacheprovider"]
    pytest_run += chosen
    ended = subprocess.run(
        netns.command(pytest_run), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stdout.decode("utf-8", "replace")[-30_000:]

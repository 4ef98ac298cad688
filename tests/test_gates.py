"""Make pytest's closing line speak for the gates that `./dev test` runs before it."""

import os

import pytest


def test_no_gate_failed() -> None:
    failed = os.environ.get("DEV_FAILED_GATES")
    if failed is None:
        pytest.skip("the gates are run by ./dev test without arguments")
    assert not failed, f"see above, or build/log: {failed}"

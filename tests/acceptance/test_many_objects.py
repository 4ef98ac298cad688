"""Prefixes of more objects than a listing page holds, into directories that are used already."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.installation import Installation

pytestmark = pytest.mark.integration


def put_many(it: Installation, prefix: str, count: int) -> dict[str, bytes]:
    """Objects of three bytes below the prefix; name to content."""
    wanted = {f"{number:05}": f"{number % 1000:03}".encode() for number in range(count)}
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: it.put(f"{prefix}{name}", wanted[name]), wanted))
    return wanted


def test_a_prefix_of_three_pages_arrives_in_a_directory_that_exists(local: Installation) -> None:
    wanted = put_many(local, "many/", 2300)
    local.landing.put("many/stranger", b"was here")
    local.ask_for("many/", "many")
    ended = local.drained()
    assert local.dead_letters() == [], ended
    assert not ended.of("attempt failed"), ended
    assert local.landing.files() == {
        "many/stranger": b"was here",
        **{f"many/{name}": content for name, content in wanted.items()},
    }

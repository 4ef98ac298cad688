"""Warnings at the start about the destinations of the routes."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backhaul.access import mount_point
from backhaul.app.start import check_targets
from backhaul.core.facts import InstallationWarned
from backhaul.core.file_systems import FileSystems
from backhaul.core.model import Location
from backhaul.core.requests.policy import Policy, parse_allow


def warned(destination: str, existing: str) -> list[Any]:
    """Facts of a start where this directory is the nearest that exists."""
    emitted: list[Any] = []
    route = parse_allow(f"s3://bucket/ -> {destination}/", default_fs=FileSystems())
    assert route.destinations is not None
    (place,) = route.destinations
    above = Location(scheme=place.scheme, authority=place.authority, path=existing)
    session = SimpleNamespace(write_access=lambda _location: (above, None))
    pool = SimpleNamespace(session=lambda *_: nullcontext(session))
    ports: Any = SimpleNamespace(pool=pool, emit=emitted.append)
    check_targets(Policy(routes=(route,)), ports)
    return emitted


def test_a_missing_directory_of_a_route_is_named_with_the_mount_it_would_be_made_on() -> None:
    (fact,) = warned("file:///proc/none/landing", "/proc")
    assert isinstance(fact, InstallationWarned)
    assert fact.code == "W_DST_AWAY"
    assert "file:///proc/none/landing does not exist" in fact.reason
    assert fact.reason.endswith("mounted at /proc")
    assert fact.hint is not None
    assert "RequiresMountsFor=/proc/none/landing" in fact.hint
    assert "mkdir -p /proc/none/landing" in fact.hint


@pytest.mark.parametrize(
    ("destination", "existing"),
    [("file:///srv/landing", "/srv/landing"), ("hdfs://nn:8020/landing", "/")],
)
def test_a_directory_that_is_there_or_in_hdfs_is_no_warning(
    destination: str, existing: str
) -> None:
    assert warned(destination, existing) == []


def test_the_mount_point_of_a_directory(tmp_path: Path) -> None:
    assert mount_point("/proc/self") == "/proc"
    assert Path(mount_point(str(tmp_path))).is_mount()
    assert mount_point("/") == "/"

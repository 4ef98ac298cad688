"""Fixtures of the packages' tests."""

from __future__ import annotations

import pytest

from tests.packages import built
from tests.packages.built import Entry, Packages


@pytest.fixture(scope="session")
def packages() -> Packages:
    """What `./dev package` makes of this source."""
    return built.current()


@pytest.fixture(scope="session")
def deb(packages: Packages) -> dict[str, Entry]:
    """The files of the deb, by path."""
    built.need("dpkg-deb")
    return built.deb_entries(packages.deb)


@pytest.fixture(scope="session")
def bundle(packages: Packages) -> dict[str, Entry]:
    """The files of the bundle, by path."""
    return built.bundle_entries(packages.bundle)

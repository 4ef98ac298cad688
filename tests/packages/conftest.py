"""Fixtures of the packages' tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages import built, machine
from tests.packages.built import Entry, Packages
from tests.packages.machine import Machine


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


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A small Debian, never to be changed."""
    return machine.make(tmp_path_factory.mktemp("debian") / "root")


@pytest.fixture
def fresh(debian: Machine, tmp_path: Path) -> Iterator[Machine]:
    """A copy, without the package."""
    built.run("cp", "-a", debian.root, tmp_path / "root")
    yield Machine(tmp_path / "root")
    shutil.rmtree(tmp_path / "root")

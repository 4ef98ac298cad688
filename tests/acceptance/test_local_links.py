"""The real process on a mounted destination that a stranger may write to, too."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation
from tests.acceptance.landing import STAGING, LocalLanding
from tests.unit.links import SECRET, STRANGER, snapshot, swapping

MEMORY = Path("/dev/shm")


@pytest.fixture(params=["disk", pytest.param("tmpfs", marks=pytest.mark.long)])
def outside(request: pytest.FixtureRequest, local: Installation, tmp_path: Path) -> Iterator[Path]:
    """A stranger's directory beside the landing directory, both on one file system."""
    base = tmp_path.resolve()
    if request.param == "tmpfs":
        base = MEMORY / f"backhaul-{uuid.uuid4().hex}"
        base.mkdir()
    local.landing = LocalLanding(base / "landing")
    local.landing.path.mkdir()
    directory = base / "outside"
    directory.mkdir()
    for name in ("a", "b", "sub/1", "1/f", "2/f"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(SECRET)
    yield directory
    if request.param == "tmpfs":
        shutil.rmtree(base)


def landing(it: Installation) -> Path:
    assert isinstance(it.landing, LocalLanding)
    return it.landing.path


def test_a_linked_directory_below_the_destination_is_not_written_through(
    local: Installation, outside: Path
) -> None:
    before = snapshot(outside)
    for key in ("p/a", "p/sub/1", "p/sub/2"):
        local.put(key, b"new")
    (landing(local) / "out").mkdir()
    (landing(local) / "out" / "sub").symlink_to(outside / "sub")
    local.ask_for("p/", "out")
    local.drained()
    letter = local.the_dead_letter()
    assert letter["backhaul.code"] == "E_DST_MOUNT"
    assert str(landing(local) / "out" / "sub") in letter["backhaul.reason"]
    assert snapshot(outside) == before
    assert local.landing.staging() == []


def test_a_link_at_a_final_path_is_replaced_and_its_target_is_left(
    local: Installation, outside: Path
) -> None:
    """Also where the target has the very bytes: they are not the route's."""
    local.put("p/a", SECRET)
    local.put("p/b", b"new")
    before = snapshot(outside)
    out = landing(local) / "out"
    out.mkdir()
    for name in ("a", "b"):
        (out / name).symlink_to(outside / name)
    local.ask_for("p/", "out")
    local.drained()
    assert local.dead_letters() == []
    assert {path.name: path.is_symlink() for path in out.iterdir()} == {"a": False, "b": False}
    assert local.landing.files() == {"out/a": SECRET, "out/b": b"new"}
    assert snapshot(outside) == before


def staging_is_a_link(directory: Path, outside: Path) -> None:
    (directory / STAGING).symlink_to(outside)


def staging_is_a_strangers(directory: Path, outside: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory to a stranger")
    shutil.copytree(outside, directory / STAGING)
    os.chown(directory / STAGING, STRANGER, STRANGER)


@pytest.mark.parametrize("plant", [staging_is_a_link, staging_is_a_strangers])
def test_staging_that_was_planted_is_not_used(
    local: Installation, outside: Path, plant: Callable[[Path, Path], None]
) -> None:
    local.put("p/a", b"new")
    out = landing(local) / "out"
    out.mkdir()
    plant(out, outside)
    before = snapshot(outside), snapshot(out / STAGING)
    local.ask_for("p/", "out")
    local.drained()
    assert local.the_dead_letter()["backhaul.code"] in {"E_DST_MOUNT", "E_DST_STAGING"}
    assert (snapshot(outside), snapshot(out / STAGING)) == before


def test_a_root_of_staging_that_is_a_link_is_not_fenced(local: Installation, outside: Path) -> None:
    """Its numbered directories are a stranger's, and the first thing of an attempt is the fence."""
    local.put("p/a", b"new")
    (landing(local) / "out").mkdir()
    before = snapshot(outside)
    destination = f"{local.landing.uri}/out"
    digest = hashlib.sha256(destination.encode()).hexdigest()[:16]  # anybody can compute it
    for directory in (landing(local), landing(local) / "out"):
        (directory / STAGING).mkdir(0o700)
        (directory / STAGING / digest).symlink_to(outside)
    local.ask_for("p/", "out")
    local.drained()
    assert local.the_dead_letter()["backhaul.code"] == "E_DST_MOUNT"
    assert snapshot(outside) == before


def test_directories_swapped_for_links_while_transfers_run(
    local: Installation, outside: Path
) -> None:
    """Each message ends, done or dead; whatever it did, it did below the route."""
    for number in range(300):
        local.put(f"p/sub/{number}", b"new")
    before = snapshot(outside)
    swapped = landing(local) / "out" / "sub"
    swapped.mkdir(parents=True)
    for _ in range(6):
        local.ask_for("p/", "out")
    with swapping(swapped, outside / "sub", every_s=0.001):
        local.drained()
    assert snapshot(outside) == before
    assert local.landing.staging() == []
    ended = {row["state"] for row in local.history()}
    assert ended <= {"done", "dead"}

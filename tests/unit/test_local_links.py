"""Links and swapped directories below a mounted destination change nothing outside the route."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backhaul.access import group_name
from backhaul.adapters.digests import new_digest
from backhaul.adapters.local import LocalTarget
from backhaul.adapters.local.walk import Walker
from backhaul.core.errors import BackhaulError, CannotWrite, TransientError
from backhaul.core.model import VerifyLevel
from backhaul.core.objects import PlannedObject
from backhaul.core.ports import StageTask
from backhaul.core.transfer.listing import list_pages
from backhaul.engines.counter import Counter
from backhaul.engines.native import Stager
from backhaul.engines.tuning import Tuning
from backhaul.testing.fakes import FakeClock, FakeStore
from tests.unit.links import (
    HASH,
    SECRET,
    STRANGER,
    Ground,
    descriptors,
    is_refused,
    names,
    swapping,
)

pytestmark = pytest.mark.slow  # many files, swapped under way

MEMORY = Path("/dev/shm")
TURNS = 150  # of each race
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to a stranger")


@pytest.fixture(params=["disk", "tmpfs"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "disk":
        yield tmp_path.resolve()
        return
    if not os.access(MEMORY, os.W_OK):
        pytest.skip("no tmpfs here")
    path = MEMORY / f"backhaul-{uuid.uuid4().hex}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["openat2", "level by level"])
def ground(request: pytest.FixtureRequest, base: Path) -> Ground:
    if request.param == "openat2" and not Walker().has_openat2:
        pytest.skip("this kernel has no openat2")
    walker = Walker(has_openat2=request.param == "openat2")
    made = Ground(base=base, target=LocalTarget(walker))
    made.lay_out()
    return made


# ---------------------------------------------------------------- attacks

Attack = Callable[[Ground], None]


def a_linked_directory_in_staging_takes_no_file(at: Ground) -> None:
    at.stage()
    (at.staging / "sub").symlink_to(at.outside)
    assert is_refused(lambda: at.target.create(f"{at.staging}/sub/new", 1))


def a_linked_directory_in_staging_takes_no_directory(at: Ground) -> None:
    at.stage()
    (at.staging / "sub").symlink_to(at.outside)
    assert is_refused(lambda: at.target.mkdir(f"{at.staging}/sub/new"))
    assert is_refused(lambda: at.target.mkdir(f"{at.staging}/sub"))


def a_link_to_nothing_makes_nothing(at: Ground) -> None:
    at.stage()
    (at.staging / "new").symlink_to(at.outside / "new")
    assert is_refused(lambda: at.target.create(f"{at.staging}/new", 1))
    assert is_refused(lambda: at.target.mkdirs(f"{at.staging}/new/deeper"))


def directories_are_not_made_behind_a_link(at: Ground) -> None:
    (at.route / "out").symlink_to(at.outside)
    assert is_refused(lambda: at.target.mkdirs(f"{at.route}/out/a/b/c"))
    assert is_refused(lambda: at.target.mkdirs(f"{at.route}/out/sub"))


def a_linked_staging_is_not_fenced(at: Ground) -> None:
    (at.route / ".backhaul").symlink_to(at.outside)
    assert is_refused(lambda: at.operations.fence(str(at.root), 3))


def a_linked_root_is_not_fenced(at: Ground) -> None:
    (at.route / ".backhaul").mkdir(0o700)
    at.root.symlink_to(at.outside)
    assert is_refused(lambda: at.operations.fence(str(at.root), 3))
    assert is_refused(lambda: at.operations.fence_keeping(str(at.root), 2, 3))


def a_linked_epoch_goes_alone(at: Ground) -> None:
    at.root.mkdir(0o700, parents=True)
    (at.root / "1").symlink_to(at.outside)
    assert at.operations.fence(str(at.root), 3) == 1
    assert names(at.root) == ["3"]


def a_linked_epoch_is_not_taken_over(at: Ground) -> None:
    at.root.mkdir(0o700, parents=True)
    (at.root / "1").symlink_to(at.outside)
    assert is_refused(lambda: at.operations.take_over(str(at.root), 1, 3))


def a_linked_root_is_not_taken_over(at: Ground) -> None:
    (at.route / ".backhaul").mkdir(0o700)
    at.root.symlink_to(at.outside)
    assert is_refused(lambda: at.operations.take_over(str(at.root), 1, 3))


def a_linked_root_goes_alone(at: Ground) -> None:
    (at.route / ".backhaul").mkdir(0o700)
    at.root.symlink_to(at.outside)
    at.operations.remove_staging(str(at.root))
    assert not (at.route / ".backhaul").exists()


def epochs_behind_a_linked_root_stay(at: Ground) -> None:
    (at.route / ".backhaul").mkdir(0o700)
    at.root.symlink_to(at.outside)
    assert is_refused(lambda: at.operations.remove_staging(str(at.root), 2))


def epochs_behind_a_linked_staging_stay(at: Ground) -> None:
    (at.route / ".backhaul").symlink_to(at.outside)
    assert is_refused(lambda: at.operations.remove_staging(str(at.root), 2))
    assert is_refused(lambda: at.operations.remove_staging(str(at.root)))


def a_file_is_not_renamed_into_a_linked_directory(at: Ground) -> None:
    staged = at.stage()
    (at.route / "out").symlink_to(at.outside)
    for replace in (True, False):
        pairs = [(str(staged), f"{at.route}/out/f"), (str(staged), f"{at.route}/out/fresh")]
        for pair in pairs:
            assert is_refused(lambda: at.operations.publish_files([pair], replace=replace))  # noqa: B023
    assert staged.read_bytes() == b"new"


def a_file_is_not_renamed_out_of_a_linked_directory(at: Ground) -> None:
    at.stage()
    (at.staging / "sub").symlink_to(at.outside)
    pair = (f"{at.staging}/sub/f", f"{at.route}/f")
    for replace in (True, False):
        assert is_refused(lambda: at.operations.publish_files([pair], replace=replace))  # noqa: B023
    assert not (at.route / "f").exists()


def a_tree_is_not_renamed_into_a_linked_directory(at: Ground) -> None:
    at.stage()
    (at.route / "out").symlink_to(at.outside)
    assert is_refused(lambda: at.operations.publish_tree(str(at.staging), f"{at.route}/out/new"))


def a_tree_does_not_replace_a_link(at: Ground) -> None:
    at.stage()
    (at.route / "out").symlink_to(at.outside / "empty")
    assert not at.operations.publish_tree(str(at.staging), f"{at.route}/out")
    assert (at.staging / "f").exists()


def a_link_at_the_final_path_is_replaced_itself(at: Ground) -> None:
    staged = at.stage()
    (at.route / "f").symlink_to(at.outside / "f")
    at.operations.publish_files([(str(staged), f"{at.route}/f")], replace=True)
    assert not (at.route / "f").is_symlink()
    assert (at.route / "f").read_bytes() == b"new"


def a_link_at_the_final_path_counts_as_taken(at: Ground) -> None:
    staged = at.stage()
    (at.route / "f").symlink_to(at.outside / "f")
    assert is_refused(
        lambda: at.operations.publish_files([(str(staged), f"{at.route}/f")], replace=False)
    )
    assert staged.exists()


def a_hard_link_at_the_final_path_is_replaced_itself(at: Ground) -> None:
    staged = at.stage()
    os.link(at.outside / "f", at.route / "f")
    at.operations.publish_files([(str(staged), f"{at.route}/f")], replace=True)
    assert (at.route / "f").read_bytes() == b"new"


def a_link_to_the_right_bytes_is_not_adopted(at: Ground) -> None:
    (at.route / "f").symlink_to(at.outside / "f")
    assert at.operations.stored_checksums([str(at.route / "f")]) == [None]
    found = at.target.status(str(at.route / "f"))
    assert found is not None
    assert not found.is_file
    assert is_refused(lambda: list(at.target.read(str(at.route / "f"))))
    assert at.target.stored_checksums([str(at.route / "f")]) == [None]


def nothing_is_read_behind_a_linked_directory(at: Ground) -> None:
    (at.route / "out").symlink_to(at.outside)
    path = str(at.route / "out" / "f")
    for look in (
        lambda: at.target.status(path),
        lambda: list(at.target.read(path)),
        lambda: at.target.stored_checksums([path]),
        lambda: at.operations.stored_checksums([path]),
        lambda: at.target.names(str(at.route / "out")),
        lambda: at.target.entries(str(at.route / "out")),
        lambda: at.target.sync_directory(str(at.route / "out")),
        lambda: at.operations.existing_ancestor(path),
        lambda: at.operations.existing_ancestor(str(at.route / "out" / "none")),
        lambda: at.operations.existing_ancestor(str(at.route / "out")),
    ):
        assert is_refused(look)


def a_fifo_a_socket_and_a_device_are_not_waited_for(at: Ground) -> None:
    os.mkfifo(at.route / "f")
    assert at.operations.stored_checksums([str(at.route / "f")]) == [None]
    assert is_refused(lambda: list(at.target.read(str(at.route / "f"))))
    staged = at.stage()
    at.operations.publish_files([(str(staged), f"{at.route}/f")], replace=True)
    assert (at.route / "f").read_bytes() == b"new"


def a_half_written_file_that_is_a_link_goes_alone(at: Ground) -> None:
    (at.route / "evidence.part").symlink_to(at.outside / "f")
    at.operations.write_whole(str(at.route / "evidence"), b"new")
    assert (at.route / "evidence").read_bytes() == b"new"


def evidence_is_not_written_through_a_link(at: Ground) -> None:
    (at.route / "evidence").symlink_to(at.outside / "f")
    at.operations.write_whole(str(at.route / "evidence"), b"new")
    assert not (at.route / "evidence").is_symlink()
    (at.route / "out").symlink_to(at.outside)
    assert is_refused(lambda: at.operations.write_whole(str(at.route / "out" / "evidence"), b"new"))


def pruning_ends_at_links(at: Ground) -> None:
    at.stage("kept")
    (at.staging / "out").symlink_to(at.outside)
    assert at.operations.count_files(str(at.staging)) == (2, 0)
    assert at.operations.prune(str(at.staging), ["kept"]) == 1
    assert names(at.staging) == ["kept"]
    (at.route / "out").symlink_to(at.outside)
    assert is_refused(lambda: at.operations.prune(str(at.route / "out"), []))
    assert is_refused(lambda: at.operations.count_files(str(at.route / "out")))


def a_tree_with_links_in_it_goes_without_what_they_lead_to(at: Ground) -> None:
    at.stage("deep/f")
    (at.staging / "out").symlink_to(at.outside)
    (at.staging / "deep" / "f2").symlink_to(at.outside / "f")
    os.link(at.outside / "f", at.staging / "hard")
    os.mkfifo(at.staging / "deep" / "fifo")
    at.target.remove(str(at.staging))
    assert not at.staging.exists()


def nothing_is_removed_behind_a_linked_directory(at: Ground) -> None:
    (at.route / "out").symlink_to(at.outside)
    assert is_refused(lambda: at.target.remove(str(at.route / "out" / "1")))
    assert is_refused(lambda: at.target.remove(str(at.route / "out" / "f")))
    at.target.remove_empty(str(at.route / "out" / "empty"))
    at.target.remove_empty(str(at.route / "out"))


def a_link_in_the_place_of_a_staged_file_is_not_published(at: Ground) -> None:
    staged = at.stage()
    staged.unlink()
    staged.symlink_to(at.outside / "f")
    for replace in (True, False):
        pair = (str(staged), f"{at.route}/f")
        assert is_refused(lambda: at.operations.publish_files([pair], replace=replace))  # noqa: B023
    assert not os.path.lexists(at.route / "f")


def a_linked_route_is_no_way_out(at: Ground) -> None:
    shutil.rmtree(at.route)
    at.route.symlink_to(at.outside)
    assert is_refused(lambda: at.operations.existing_ancestor(str(at.route / "new")))
    assert is_refused(lambda: at.operations.fence(str(at.root), 3))
    assert is_refused(lambda: at.target.create(str(at.route / "new"), 1))


def links_to_links_and_loops_are_links(at: Ground) -> None:
    (at.route / "one").symlink_to("two")
    (at.route / "two").symlink_to("one")
    (at.route / "up").symlink_to("../outside")
    (at.route / "process").symlink_to(f"/proc/{os.getpid()}/cwd")
    for name in ("one", "two", "up", "process"):
        assert is_refused(lambda: at.target.create(str(at.route / name / "new"), 1))  # noqa: B023
        assert is_refused(lambda: at.operations.fence(str(at.route / name / HASH), 3))  # noqa: B023


def a_path_with_dots_is_no_path(at: Ground) -> None:
    at.stage()
    for bad in ("../outside/1", "./../outside/1", "..", "sub/../../outside/f", "a\0/../f", "/x"):
        for use in (at.target.remove, at.target.mkdirs, at.target.status, at.target.names):
            with pytest.raises(BackhaulError):
                use(f"{at.route}/{bad}")


def a_process_directory_is_not_entered(at: Ground) -> None:
    here = os.open(at.outside, os.O_RDONLY)
    try:
        path = f"/proc/self/fd/{here}"
        assert is_refused(lambda: at.target.create(f"{path}/new", 1))
        assert is_refused(lambda: at.target.remove(f"{path}/1"))
    finally:
        os.close(here)


ATTACKS: list[Attack] = [
    a_linked_directory_in_staging_takes_no_file,
    a_linked_directory_in_staging_takes_no_directory,
    a_link_to_nothing_makes_nothing,
    directories_are_not_made_behind_a_link,
    a_linked_staging_is_not_fenced,
    a_linked_root_is_not_fenced,
    a_linked_epoch_goes_alone,
    a_linked_epoch_is_not_taken_over,
    a_linked_root_is_not_taken_over,
    a_linked_root_goes_alone,
    epochs_behind_a_linked_root_stay,
    epochs_behind_a_linked_staging_stay,
    a_file_is_not_renamed_into_a_linked_directory,
    a_file_is_not_renamed_out_of_a_linked_directory,
    a_tree_is_not_renamed_into_a_linked_directory,
    a_tree_does_not_replace_a_link,
    a_link_at_the_final_path_is_replaced_itself,
    a_link_at_the_final_path_counts_as_taken,
    a_hard_link_at_the_final_path_is_replaced_itself,
    a_link_to_the_right_bytes_is_not_adopted,
    nothing_is_read_behind_a_linked_directory,
    a_fifo_a_socket_and_a_device_are_not_waited_for,
    a_half_written_file_that_is_a_link_goes_alone,
    evidence_is_not_written_through_a_link,
    pruning_ends_at_links,
    a_tree_with_links_in_it_goes_without_what_they_lead_to,
    nothing_is_removed_behind_a_linked_directory,
    a_link_in_the_place_of_a_staged_file_is_not_published,
    a_linked_route_is_no_way_out,
    links_to_links_and_loops_are_links,
    a_path_with_dots_is_no_path,
    a_process_directory_is_not_entered,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.__name__)
@pytest.mark.timeout(60)
def test_nothing_outside_the_route_changes(ground: Ground, attack: Attack) -> None:
    before = ground.snapshot()
    attack(ground)
    assert ground.snapshot() == before


# ---------------------------------------------------------------- whose staging it is


@as_root
@pytest.mark.parametrize("name", [".backhaul", f".backhaul/{HASH}"])
def test_staging_of_another_user_is_refused(ground: Ground, name: str) -> None:
    (ground.root / "1").mkdir(parents=True)
    (ground.root / "1" / "f").write_bytes(SECRET)
    for directory in (ground.route / ".backhaul", ground.root):
        directory.chmod(0o755)
    os.chown(ground.route / name, STRANGER, STRANGER)
    for use in (
        lambda: ground.operations.fence(str(ground.root), 3),
        lambda: ground.operations.remove_staging(str(ground.root), 2),
        lambda: ground.target.mkdir(f"{ground.root}/4"),
        lambda: ground.target.remove(f"{ground.root}/1"),
        lambda: ground.operations.publish_tree(f"{ground.root}/1", f"{ground.route}/out"),
    ):
        with pytest.raises(CannotWrite, match="E_DST_STAGING") as caught:
            use()
        assert str(STRANGER) in caught.value.message
        assert f"{ground.route}/{name}" in caught.value.message
    assert (ground.root / "1" / "f").read_bytes() == SECRET
    assert names(ground.route) == [".backhaul"], "the look at owners left nothing behind"


def test_staging_that_everybody_may_write_is_refused(ground: Ground) -> None:
    ground.stage()
    (ground.route / ".backhaul").chmod(0o1777)
    with pytest.raises(CannotWrite, match="E_DST_STAGING") as caught:
        ground.operations.fence(str(ground.root), 4)
    assert "chmod 0700" in caught.value.hint
    assert (ground.staging / "f").exists()


@as_root
@pytest.mark.parametrize("name", [".backhaul", f".backhaul/{HASH}"])
@pytest.mark.parametrize("mode", [0o775, 0o2770, 0o720])
def test_staging_that_another_group_may_write_is_refused(
    ground: Ground, name: str, mode: int
) -> None:
    ground.stage()
    os.chown(ground.route / name, -1, STRANGER)
    (ground.route / name).chmod(mode)
    with pytest.raises(CannotWrite, match="E_DST_STAGING") as caught:
        ground.operations.fence(str(ground.root), 4)
    assert (
        f"its group {group_name(STRANGER)} may write it (mode {mode:04o})" in caught.value.message
    )
    assert caught.value.hint.endswith(f"chmod 0700 {ground.route / name}")
    assert (ground.staging / "f").exists()


@as_root
@pytest.mark.parametrize(("group", "mode"), [(STRANGER, 0o755), (STRANGER, 0o2750), (0, 0o775)])
def test_staging_that_only_this_process_s_group_may_write_is_trusted(
    ground: Ground, group: int, mode: int
) -> None:
    ground.stage()
    os.chown(ground.route / ".backhaul", -1, group)
    (ground.route / ".backhaul").chmod(mode)
    ground.operations.fence(str(ground.root), 4)
    assert not (ground.staging / "f").exists()


def test_staging_is_private_and_what_is_published_has_the_umasks_mode(
    ground: Ground,
) -> None:
    before = os.umask(0o022)
    try:
        ground.operations.fence(str(ground.root), 3)
        ground.stage("sub/f")
        assert ground.operations.publish_tree(str(ground.staging), f"{ground.route}/out")
    finally:
        os.umask(before)
    assert stat.S_IMODE((ground.route / ".backhaul").stat().st_mode) == 0o700
    assert stat.S_IMODE((ground.route / "out").stat().st_mode) == 0o755
    assert stat.S_IMODE((ground.route / "out/sub/f").stat().st_mode) == 0o644


@as_root
def test_a_server_that_squashes_users_into_one_is_no_stranger(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root on NFS with root_squash: what it makes belongs to nobody, and so does its staging."""
    from backhaul.adapters.local import staging

    ground.stage()
    os.chown(ground.route / ".backhaul", STRANGER, STRANGER)
    os.chown(ground.root, STRANGER, STRANGER)
    monkeypatch.setattr(staging, "_owner_of_new_file", lambda _directory: STRANGER)
    assert ground.operations.fence(str(ground.root), 4) == 3


# ---------------------------------------------------------------- races


def put(at: Ground, path: Path) -> None:
    at.write(path)
    at.target.remove(str(path))


RACES: dict[str, tuple[str, Callable[[Ground, int], object]]] = {
    "create": ("out", lambda at, n: put(at, at.route / "out" / f"new-{n}")),
    "mkdirs": ("out", lambda at, n: at.target.mkdirs(f"{at.route}/out/new-{n}/deeper")),
    "remove": ("out", lambda at, _: at.target.remove(f"{at.route}/out/1")),
    "remove a file": ("out", lambda at, _: at.target.remove(f"{at.route}/out/f")),
    "remove a tree around it": ("top/out", lambda at, _: at.target.remove(f"{at.route}/top")),
    "publish": (
        "out",
        lambda at, n: at.operations.publish_files(
            [(str(at.stage(f"f{n}")), f"{at.route}/out/f")],
            replace=True,
        ),
    ),
    "publish a tree": (
        "out",
        lambda at, n: (
            at.stage(),
            at.operations.publish_tree(str(at.staging), f"{at.route}/out/t{n}"),
        ),
    ),
    "fence": (f".backhaul/{HASH}", lambda at, n: at.operations.fence(str(at.root), n + 3)),
    "fence below": (".backhaul", lambda at, n: at.operations.fence(str(at.root), n + 3)),
    "tidy": (
        f".backhaul/{HASH}",
        lambda at, _: at.operations.remove_staging(str(at.root), 2),
    ),
    "evidence": ("out", lambda at, _: at.operations.write_whole(f"{at.route}/out/f", b"new")),
    "prune": ("out", lambda at, _: at.operations.prune(f"{at.route}/out", [])),
}


@pytest.mark.parametrize("race", RACES)
@pytest.mark.timeout(120)
def test_a_directory_swapped_for_a_link_meanwhile_changes_nothing(
    ground: Ground, race: str
) -> None:
    name, work = RACES[race]
    before = ground.snapshot()
    swapped = ground.route / name
    swapped.mkdir(0o700, parents=True)
    with swapping(swapped, ground.outside):
        for turn in range(TURNS):
            swapped.parent.mkdir(parents=True, exist_ok=True)
            try:
                work(ground, turn)
            except (BackhaulError, FileNotFoundError, NotADirectoryError):
                # FileNotFoundError: of this test's own `stage`, never of Backhaul's calls.
                continue
    assert ground.snapshot() == before


@pytest.mark.timeout(120)
def test_a_file_swapped_for_a_link_meanwhile_gives_only_its_own_bytes(ground: Ground) -> None:
    ground.write(ground.route / "f", b"mine")
    with swapping(ground.route / "f", ground.outside / "f"):
        for _ in range(TURNS):
            try:
                data = b"".join(ground.target.read(str(ground.route / "f")))
            except BackhaulError:
                continue
            assert data == b"mine"


@pytest.mark.timeout(120)
def test_staging_swapped_while_bytes_travel_leaves_the_stranger_alone(ground: Ground) -> None:
    """The whole of a staging call, with its directories' fsync at the end."""
    store = FakeStore(FakeClock(), new_digest)
    for number in range(TURNS):
        store.put(f"sub/{number}", b"x" * 100)
    endpoint = store.endpoint("raw")
    tasks = [
        StageTask(planned=PlannedObject(seq=seq, pin=pin, relative=pin.key), endpoint=endpoint)
        for page in list_pages(store, "raw", "sub/")
        for seq, pin in enumerate(page.pins)
    ]
    before = ground.snapshot()
    ground.stage("sub/first")
    stager = Stager(
        reader=store,
        target=ground.target,
        new_digest=new_digest,
        tuning=Tuning(tries=1),
        counter=Counter(),
        directory=str(ground.staging),
        verify=VerifyLevel.STORED,
    )
    with swapping(ground.staging / "sub", ground.outside):
        for task in tasks:
            is_refused(lambda: stager.stage(task))  # noqa: B023
        is_refused(stager.sync_directories)
    stager.close()
    assert ground.snapshot() == before


# ---------------------------------------------------------------- removal


def test_a_tree_deeper_than_any_path_may_be_is_removed_with_few_descriptors(
    ground: Ground,
) -> None:
    ground.stage()
    here = os.open(ground.staging, os.O_RDONLY)
    for _ in range(1500):  # 1,500 times 4 bytes: longer than PATH_MAX, deeper than Python's stack
        os.mkdir("abc", dir_fd=here)
        below = os.open("abc", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    before = descriptors()
    try:
        ground.target.remove(str(ground.staging))
        assert not ground.staging.exists()
        assert descriptors() == before
    finally:
        # Should it fail: what is left is too deep for Python's own removal.
        subprocess.run(["rm", "-rf", str(ground.staging)], check=True)


def test_a_path_that_is_too_long_is_refused_by_its_limit(ground: Ground) -> None:
    path = f"{ground.route}/" + "/".join(["n" * 200] * 25)
    with pytest.raises(BackhaulError, match="E_DST_LIMIT"):
        ground.target.create(path, 1)
    with pytest.raises(BackhaulError, match="E_DST_LIMIT"):
        ground.target.mkdirs(path)


MOUNTED = """
import subprocess, sys
from backhaul.adapters.local import LocalTarget
from backhaul.core.errors import CannotWrite
inside = sys.argv[1] + "/tree/mounted"
subprocess.run(["mount", "-t", "tmpfs", "none", inside], check=True)
open(inside + "/f", "w").close()
try:
    LocalTarget().remove(sys.argv[1] + "/tree")
except CannotWrite as error:
    print(error.code)
open(inside + "/f").close()
"""


@as_root
def test_a_file_system_mounted_inside_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "tree" / "mounted").mkdir(parents=True)
    ran = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", MOUNTED, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in ran.stderr or "mount:" in ran.stderr:
        pytest.skip(f"no mounts here: {ran.stderr.strip()}")
    assert ran.stdout == "E_DST_MOUNT\n", ran.stderr


# ---------------------------------------------------------------- what stays as it was


def test_no_call_leaves_a_descriptor_open(ground: Ground) -> None:
    ground.stage("sub/f")
    (ground.route / "link").symlink_to(ground.outside)
    before = descriptors()
    for _ in range(20):
        ground.operations.fence(str(ground.root), 1)
        ground.target.status(str(ground.staging / "sub/f"))
        ground.target.status("/")
        ground.target.entries(str(ground.staging))
        list(ground.target.read(str(ground.staging / "sub/f")))
        for bad in ("link/f", "none/f"):
            is_refused(lambda: ground.target.create(str(ground.route / bad), 1))  # noqa: B023
            is_refused(lambda: list(ground.target.read(str(ground.route / bad))))  # noqa: B023
    assert descriptors() == before


def test_a_destination_replaced_meanwhile_is_the_new_one(ground: Ground) -> None:
    """Moved away by who owns it: what is published goes to the name, not after the old one."""
    staged = ground.stage()
    (ground.route / "out").mkdir()
    (ground.route / "out").rename(ground.outside / "moved")
    (ground.route / "out").mkdir()
    ground.operations.publish_files([(str(staged), f"{ground.route}/out/f")], replace=False)
    assert (ground.route / "out" / "f").read_bytes() == b"new"
    assert names(ground.outside / "moved") == []


def test_a_fenced_process_cannot_create_in_staging_that_was_taken_over(ground: Ground) -> None:
    """No descriptor of the old directory is kept (S6)."""
    ground.stage()
    ground.operations.take_over(str(ground.root), 3, 4)
    with pytest.raises(TransientError, match="E_DST_MISSING"):
        ground.target.create(f"{ground.staging}/late", 1)
    assert names(ground.root / "4") == ["f"]


def test_a_kernel_without_openat2_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(1, "as an old seccomp filter does")

    monkeypatch.setattr(Walker, "_openat2", refuse)
    assert not Walker().has_openat2

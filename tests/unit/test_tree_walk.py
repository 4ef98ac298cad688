"""A tree is walked in the order of its paths' bytes, however its file system lists."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backhaul import spool
from backhaul.adapters.local import LocalTarget
from backhaul.core.objects import FileStatus
from backhaul.core.ports import TargetFs
from backhaul.engines.sorting import in_order
from backhaul.engines.tree_walk import TreeWalks, walk_files
from backhaul.testing.fakes import FakeClock, FakeTarget

if TYPE_CHECKING:
    import pytest

names = st.lists(
    st.sampled_from(["a", "a.b", "a-b", "a b", "b", "ä", "日", "\U0001f600", "z" * 255]),
    min_size=1,
    max_size=4,
)


def tree(paths: set[str]) -> FakeTarget:
    target = FakeTarget(FakeClock())
    target.mkdirs("/t")
    for path in sorted(paths, key=len):
        above = path.split("/")
        if not any("/".join(above[:count]) in paths for count in range(1, len(above))):
            target.put(f"/t/{path}", path.encode())
    return target


def walked(target: TargetFs, after: str = "", most: int = 3) -> list[str]:
    """By pages."""
    walks, found = TreeWalks(), []
    while True:
        page = walks.page(target, "/t", after, most)
        found += [one.relative for one in page]
        if len(page) < most:
            return found
        after = page[-1].relative


@settings(max_examples=200, deadline=None)
@given(st.sets(names.map("/".join), max_size=12), names.map("/".join))
def test_files_come_in_the_order_of_their_bytes(paths: set[str], after: str) -> None:
    target = tree(paths)
    every = sorted((one.removeprefix("/t/") for one in target.files("/t")), key=str.encode)
    assert walked(target) == every
    assert walked(target, after) == [one for one in every if one.encode() > after.encode()]


def test_a_directory_comes_where_its_slash_puts_it() -> None:
    target = tree({"a/c", "a-b", "a.b", "a0"})
    assert walked(target) == ["a-b", "a.b", "a/c", "a0"]


def test_staging_is_not_entered() -> None:
    target = tree({"a"})
    target.put("/t/.backhaul/0123/1/a", b"")
    assert walked(target) == ["a"]


def test_what_is_not_there_has_no_files() -> None:
    assert walked(FakeTarget(FakeClock())) == []


class Counted(FakeTarget):
    listed: list[str]

    def statuses(self, path: str) -> Iterator[tuple[str, FileStatus]]:
        self.listed.append(path)
        return super().statuses(path)


def test_the_next_page_costs_no_second_listing() -> None:
    target = Counted(FakeClock())
    target.listed = []
    for number in range(30):
        target.put(f"/t/d{number % 3}/f{number:02}", b"")
    assert len(walked(target, most=7)) == 30
    assert sorted(target.listed) == ["/t", "/t/d0", "/t/d1", "/t/d2"]


def test_behind_a_path_directories_before_it_are_not_listed() -> None:
    target = Counted(FakeClock())
    target.listed = []
    for number in range(9):
        target.put(f"/t/d{number % 3}/f{number:02}", b"")
    assert [one.relative for one in walk_files(target, "/t", "d1/f04")] == [
        "d1/f07",
        "d2/f02",
        "d2/f05",
        "d2/f08",
    ]
    assert target.listed == ["/t", "/t/d1", "/t/d2"]


def test_names_that_are_no_utf_8_and_links_are_walked_on_a_mounted_file_system(
    tmp_path: Path,
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "f").write_bytes(b"1234")
    Path(bytes(tmp_path).decode() + "/b\udcff").write_bytes(b"12")
    (tmp_path / "link").symlink_to("b")
    found = list(walk_files(LocalTarget(), str(tmp_path)))
    assert [(one.relative, one.is_special) for one in found] == [
        ("b/f", False),
        ("b\udcff", False),
        ("link", True),
    ]
    assert [one.size_bytes for one in found][:2] == [4, 2]


def test_sorted_runs_are_on_disk_and_not_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(spool, "ON_DISK", tmp_path)
    made: Any = tempfile.TemporaryFile
    directories = []

    def noted(**about: Any) -> Any:
        directories.append(about["dir"])
        return made(**about)

    monkeypatch.setattr(tempfile, "TemporaryFile", noted)
    assert list(in_order("cab", str, most=2)) == ["a", "b", "c"]
    assert directories == [tmp_path, tmp_path]


@given(st.lists(st.text(max_size=3)), st.integers(1, 5))
def test_more_than_memory_holds_is_sorted_in_runs(items: list[str], most: int) -> None:
    numbered = list(enumerate(items))
    assert list(in_order(numbered, lambda one: one[1], most=most)) == sorted(
        numbered, key=lambda one: one[1]
    )

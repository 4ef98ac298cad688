"""Three trees become rows and classes: as an oracle in memory decides, for any trees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backhaul.core.errors import TransientError
from backhaul.core.model import TransferState
from backhaul.core.reconciliation.checks import DOUBTFUL_MOST, MOST, checked
from backhaul.core.reconciliation.classes import Judge
from backhaul.core.reconciliation.covers import Covers
from backhaul.core.reconciliation.merge import merged
from backhaul.core.reconciliation.values import (
    FINDINGS,
    ComparedPath,
    Cover,
    ObjectClass,
    ProvenFile,
    Row,
    SourceObject,
    TargetFile,
)

NOW = 1_800_000_000_000_000
SECOND = 1_000_000
OLD = NOW - 3600 * SECOND
ROOT = "/landing/"


def an_object(name: str, *, etag: str = "e1", size: int = 4, at: int = OLD, **more: Any) -> Any:
    return SourceObject(f"{ROOT}{name}", "raw", f"in/{name}", size, etag, at, **more)


def a_proof(name: str, *, etag: str = "e1", size: int = 4, at: int = OLD, **more: Any) -> Any:
    values = {"version_id": None, "modified_ms": 77, "transfer_id": "t1", "route": "r", **more}
    return ProvenFile(
        f"{ROOT}{name}", "raw", more.pop("key", f"in/{name}"), size, etag, at, **_proof(values)
    )


def _proof(values: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in values.items() if name != "key"}


def a_file(name: str, *, size: int = 4, ms: int = 77, is_special: bool = False) -> TargetFile:
    return TargetFile(f"{ROOT}{name}", size, ms, is_special)


def judge(*covers: Cover, settle_s: int = 10) -> Judge:
    return Judge(
        now_us=lambda: NOW, settle_us=settle_s * SECOND, cover=Covers(covers).of, route="r"
    )


def row(source: Any = None, proof: Any = None, target: Any = None) -> Row:
    first = source or proof or target
    return Row(first.path, source, proof, target)


def compared(*parts: Any, covers: Sequence[Cover] = ()) -> ComparedPath:
    return judge(*covers).compare(row(*parts))


def a_cover(key: str = "in/", state: TransferState = TransferState.STAGING, **more: Any) -> Cover:
    values: dict[str, Any] = {"transfer_id": "t9", "bucket": "raw", "directory": "/landing"}
    return Cover(**{**values, "key": key, "state": state, **more})


# ---------------------------------------------------------------- each class


def test_what_was_proven_and_is_untouched_is_the_same() -> None:
    found = compared(an_object("a"), a_proof("a"), a_file("a"))
    assert (found.found, found.why, found.transfer_id) == (ObjectClass.SAME, "", "t1")


def test_an_unknown_modification_time_does_not_make_a_difference() -> None:
    found = compared(an_object("a"), a_proof("a", modified_ms=0), a_file("a", ms=5))
    assert found.found is ObjectClass.SAME


@pytest.mark.parametrize(
    ("parts", "expected", "why"),
    [
        ((an_object("a"), None, None), ObjectClass.MISSING, "no transfer brought it"),
        (
            (an_object("a"), a_proof("a"), None),
            ObjectClass.MISSING,
            "transfer t1 brought it, and it was removed from the target since",
        ),
        ((None, None, a_file("a")), ObjectClass.EXTRA, "no transfer brought it"),
        (
            (None, a_proof("a"), a_file("a")),
            ObjectClass.EXTRA,
            "S3 has no object that belongs here",
        ),
        ((None, a_proof("a"), a_file("a", ms=9)), ObjectClass.EXTRA, "changed since"),
        ((an_object("a", size=5), None, a_file("a")), ObjectClass.DIFFERS, "S3 has 5 B"),
        (
            (an_object("a"), a_proof("a"), a_file("a", size=3)),
            ObjectClass.DIFFERS,
            "the target 3 B",
        ),
        (
            (an_object("a"), None, a_file("a", is_special=True)),
            ObjectClass.DIFFERS,
            "no regular file",
        ),
        (
            (an_object("a", etag="e2"), a_proof("a", key="in/other"), a_file("a")),
            ObjectClass.DIFFERS,
            "holds s3://raw/in/other",
        ),
        (
            (an_object("a", etag="e0", at=OLD - SECOND), a_proof("a"), a_file("a")),
            ObjectClass.DIFFERS,
            "went back to an earlier state",
        ),
        (
            (an_object("a", etag="e2", at=OLD + SECOND), a_proof("a"), a_file("a")),
            ObjectClass.SUPERSEDED,
            "t1 brought an earlier state",
        ),
        ((an_object("a"), None, a_file("a")), ObjectClass.UNPROVED, "only its length"),
        (
            (an_object("a"), a_proof("a"), a_file("a", ms=9)),
            ObjectClass.UNPROVED,
            "changed on the target after transfer t1",
        ),
        (
            (an_object("a", at=NOW - 3 * SECOND), None, None),
            ObjectClass.TOO_YOUNG,
            "written 3 s ago",
        ),
        (
            (an_object("a", at=NOW + 3600 * SECOND), None, None),
            ObjectClass.TOO_YOUNG,
            "S3's clock is 3,600 s ahead",
        ),
        (
            (an_object("a", etag="e2", at=NOW), a_proof("a"), a_file("a")),
            ObjectClass.TOO_YOUNG,
            "written 0 s ago",
        ),
        ((an_object("a", excluded="archived"), None, None), ObjectClass.EXCLUDED, "archived"),
        ((None, a_proof("a"), None), ObjectClass.EXCLUDED, "neither S3 nor the target"),
        ((None, None, a_file(".backhaul-t1.jsonl")), ObjectClass.EXCLUDED, "Backhaul's own"),
        (
            (None, a_proof("a", route="other"), a_file("a")),
            ObjectClass.EXCLUDED,
            "route other brought it",
        ),
    ],
)
def test_class_and_reason(parts: Any, expected: ObjectClass, why: str) -> None:
    found = compared(*parts)
    assert found.found is expected
    assert why in found.why


def test_what_was_brought_once_is_missing_however_young_it_is() -> None:
    found = compared(an_object("a", at=NOW), a_proof("a", at=NOW), None)
    assert found.found is ObjectClass.MISSING


def test_an_open_transfer_explains_what_is_missing() -> None:
    found = compared(an_object("a"), covers=[a_cover()])
    assert (found.found, found.transfer_id) == (ObjectClass.IN_FLIGHT, "t9")
    assert "staging" in found.why


def test_an_open_transfer_does_not_hide_what_is_the_same() -> None:
    found = compared(an_object("a"), a_proof("a"), a_file("a"), covers=[a_cover()])
    assert found.found is ObjectClass.SAME


def test_a_transfer_that_died_is_named() -> None:
    dead = a_cover("in/a", TransferState.DEAD, code="E_DST_DENIED", ended_us=OLD)
    found = compared(an_object("a"), covers=[dead])
    assert (found.found, found.transfer_id) == (ObjectClass.DEAD, "t9")
    assert "E_DST_DENIED" in found.why


def test_a_transfer_that_died_before_the_object_was_written_explains_nothing() -> None:
    dead = a_cover("in/a", TransferState.DEAD, code="E_DST_DENIED", ended_us=OLD - SECOND)
    assert compared(an_object("a"), covers=[dead]).found is ObjectClass.MISSING


@pytest.mark.parametrize("key", ["in/x/a", "in/x/", "in/x", "in/", "in", ""])
def test_a_transfer_covers_its_object_and_everything_below_its_prefix(key: str) -> None:
    found = compared(an_object("x/a"), covers=[a_cover(key)])
    assert found.found is ObjectClass.IN_FLIGHT


@pytest.mark.parametrize(
    "cover",
    [
        a_cover("in/x/"),
        a_cover("in/xy"),
        a_cover(directory="/elsewhere"),
        a_cover(bucket="other"),
    ],
)
def test_a_transfer_of_something_else_covers_nothing(cover: Cover) -> None:
    assert compared(an_object("xyz"), covers=[cover]).found is ObjectClass.MISSING


def test_an_open_transfer_comes_before_one_that_died_and_the_last_death_counts() -> None:
    first = a_cover("in/", TransferState.DEAD, transfer_id="d1", ended_us=OLD + 1)
    last = a_cover("in/a", TransferState.DEAD, transfer_id="d2", ended_us=OLD + 2)
    still = a_cover("", transfer_id="o")
    assert compared(an_object("a"), covers=[first, last]).transfer_id == "d2"
    assert compared(an_object("a"), covers=[last, first]).transfer_id == "d2"
    assert compared(an_object("a"), covers=[still, last, first]).transfer_id == "o"


def test_a_route_is_not_needed() -> None:
    found = Judge(now_us=lambda: NOW, settle_us=0, cover=lambda _source: None).compare(
        row(None, a_proof("a", route="other"), a_file("a"))
    )
    assert found.found is ObjectClass.EXTRA


@pytest.mark.parametrize(
    ("size", "known", "expected"),
    [
        (0, "_SUCCESS", ObjectClass.EXCLUDED),
        (1, "_SUCCESS", ObjectClass.EXTRA),  # somebody wrote over it
        (0, "_other", ObjectClass.EXTRA),
    ],
)
def test_completion_marker_is_not_foreign(size: int, known: str, expected: ObjectClass) -> None:
    found = replace(judge(), is_marker=lambda path: path == f"{ROOT}{known}").compare(
        row(None, None, a_file("_SUCCESS", size=size))
    )
    assert found.found is expected


# ---------------------------------------------------------------- the merge


def test_several_objects_of_one_path_are_several_rows() -> None:
    one = an_object("a")._replace(key="x/a")
    two = an_object("a", at=OLD + 1)._replace(key="y/a")
    three = an_object("a", at=OLD - 1)._replace(key="z/a", excluded="archived")
    rows = list(merged(iter([one, two, three]), iter([]), iter([a_file("a")])))
    assert [each.source.key for each in rows if each.source] == ["x/a", "z/a", "y/a"]
    assert [each.target is not None for each in rows] == [False, False, True]
    excluded = [each.source.excluded for each in rows[:2] if each.source]
    assert excluded == ["s3://raw/y/a has the same path", "archived"]


def test_of_several_objects_the_one_that_was_brought_is_compared() -> None:
    one = an_object("a")._replace(key="x/a")
    two = an_object("a", at=OLD + 1)._replace(key="y/a")
    rows = list(merged(iter([one, two]), iter([a_proof("a", key="x/a")]), iter([])))
    assert rows[-1].source == one


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_stream_that_falls_back_is_refused(which: int) -> None:
    make: Any = (an_object, a_proof, a_file)[which]
    streams: list[Any] = [[], [], []]
    streams[which] = [make("b"), make("a")]
    with pytest.raises(TransientError, match="comes after") as caught:
        list(merged(*map(iter, streams)))
    assert caught.value.code == "E_RECONCILE_ORDER"


def test_a_proof_or_a_file_that_comes_twice_is_refused() -> None:
    with pytest.raises(TransientError):
        list(merged(iter([]), iter([]), iter([a_file("a"), a_file("a")])))


# ---------------------------------------------------------------- the second look


def test_findings_are_looked_at_again_and_the_order_stays() -> None:
    same = [
        compared(an_object(f"{number}"), a_proof(f"{number}"), a_file(f"{number}"))
        for number in range(3)
    ]
    missing = [compared(an_object(f"m{number}")) for number in range(2)]

    def again(findings: Sequence[ComparedPath]) -> list[ComparedPath | None]:
        assert list(findings) == missing
        return [same[2], None]

    every = [same[0], missing[0], same[1], missing[1]]
    assert list(checked(every, again)) == [same[0], same[2], same[1]]


def test_findings_are_looked_at_in_groups_of_bounded_size() -> None:
    groups: list[int] = []

    def again(findings: Sequence[ComparedPath]) -> Sequence[ComparedPath]:
        groups.append(len(findings))
        return findings

    missing = compared(an_object("m"))
    every = [missing] * (DOUBTFUL_MOST + 1)
    assert list(checked(every, again)) == every
    assert groups == [DOUBTFUL_MOST, 1]
    same = compared(an_object("a"), a_proof("a"), a_file("a"))
    groups.clear()
    every = [missing, *[same] * MOST, missing]
    assert list(checked(every, again)) == every
    assert groups == [1, 1]


def test_without_findings_nothing_is_looked_at() -> None:
    same = compared(an_object("a"), a_proof("a"), a_file("a"))

    def again(findings: Sequence[ComparedPath]) -> Sequence[ComparedPath]:
        raise AssertionError(findings)

    assert list(checked([same], again)) == [same]


# ---------------------------------------------------------------- any three trees


ODD = [
    "a",
    "a/b",
    "a.b",
    "a-b",
    "a/",
    "a b",
    "a+b",
    "ä",
    "日本",
    "\U0001f600",
    "\uffff",
    "a\n",
    "~",
]
segments = st.one_of(
    st.sampled_from(["a", "b", "a.b", "a-b", "a b", "ä", "日本", "\uffff", "\U0001f600", "a\t"]),
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=4
    ),
)
names = st.one_of(
    st.sampled_from([one for one in ODD if not one.endswith("/")]),
    st.lists(segments, min_size=1, max_size=4).map("/".join),
    st.just("k" * 1019 + "é"),  # with its prefix a key of 1,024 bytes
)


@dataclass(frozen=True)
class Trees:
    sources: dict[str, SourceObject]
    proofs: dict[str, ProvenFile]
    files: dict[str, TargetFile]
    covers: tuple[Cover, ...]


@st.composite
def trees(draw: st.DrawFn) -> Trees:
    every = sorted(draw(st.sets(names, max_size=12)))
    times = st.sampled_from([OLD - SECOND, OLD, OLD + SECOND, NOW - SECOND, NOW + 10**10])
    etags, sizes = st.sampled_from(["e1", "e2"]), st.sampled_from([0, 4])
    sources, proofs, files = {}, {}, {}
    for name in every:
        has = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
        if has[0]:
            excluded = draw(st.sampled_from(["", "", "", "archived"]))
            sources[name] = an_object(
                name, etag=draw(etags), size=draw(sizes), at=draw(times), excluded=excluded
            )
        if has[1]:
            route = draw(st.sampled_from(["r", "r", "other", None]))
            ms = draw(st.sampled_from([0, 77, 77]))
            proofs[name] = a_proof(
                name,
                etag=draw(etags),
                size=draw(sizes),
                at=draw(times),
                route=route,
                modified_ms=ms,
            )
        if has[2]:
            files[name] = a_file(name, size=draw(sizes), ms=draw(st.sampled_from([77, 77, 78])))
    keys = st.sampled_from(["", "in/", *(f"in/{name}" for name in every)])
    states = st.sampled_from([TransferState.STAGING, TransferState.DEAD])
    covers = draw(st.lists(st.tuples(keys, states, times), max_size=3))
    return Trees(
        sources,
        proofs,
        files,
        tuple(
            a_cover(key, state, ended_us=at if state is TransferState.DEAD else None)
            for key, state, at in covers
        ),
    )


def oracle(three: Trees, name: str) -> ObjectClass:  # noqa: PLR0911 - as the manual's table has it
    """The class by the manual's words, from dictionaries."""
    source, proof, file = three.sources.get(name), three.proofs.get(name), three.files.get(name)
    is_kept = (
        proof is not None
        and file is not None
        and file.size_bytes == proof.size_bytes
        and proof.modified_ms in {0, file.modified_ms}
    )
    if source is None:
        if file is None or (proof is not None and proof.route == "other"):
            return ObjectClass.EXCLUDED
        return ObjectClass.EXTRA
    state = (source.etag, source.size_bytes)
    is_state = proof is not None and (proof.etag, proof.size_bytes) == state
    if is_state and is_kept:
        return ObjectClass.SAME
    if source.excluded:
        return ObjectClass.EXCLUDED
    covering = [
        one
        for one in three.covers
        if one.key in {source.key, ""} or source.key.startswith(one.key.rstrip("/") + "/")
    ]
    if any(one.ended_us is None for one in covering):
        return ObjectClass.IN_FLIGHT
    if file is not None and not is_kept and file.size_bytes == source.size_bytes:
        return ObjectClass.UNPROVED
    if not is_state:
        if source.modified_us > NOW - 10 * SECOND:
            return ObjectClass.TOO_YOUNG
        if any((one.ended_us or 0) >= source.modified_us for one in covering):
            return ObjectClass.DEAD
    if file is None:
        return ObjectClass.MISSING
    if is_kept and proof is not None and source.modified_us >= proof.modified_us:
        return ObjectClass.SUPERSEDED
    return ObjectClass.DIFFERS


def in_order(tree: dict[str, Any]) -> Iterator[Any]:
    return iter([tree[name] for name in sorted(tree, key=lambda one: one.encode())])


@settings(max_examples=400, deadline=None)
@given(trees())
def test_any_three_trees_are_classified_as_the_oracle_does(three: Trees) -> None:
    rows = merged(*(in_order(each) for each in (three.sources, three.proofs, three.files)))
    found = [judge(*three.covers).compare(one) for one in rows]
    union = set(three.sources) | set(three.proofs) | set(three.files)
    assert [one.row.path for one in found] == [
        f"{ROOT}{name}" for name in sorted(union, key=lambda one: one.encode())
    ]
    for one in found:
        name = one.row.path.removeprefix(ROOT)
        assert one.found is oracle(three, name), name
        assert (one.found in FINDINGS) is (
            one.found
            not in {
                ObjectClass.SAME,
                ObjectClass.IN_FLIGHT,
                ObjectClass.TOO_YOUNG,
                ObjectClass.EXCLUDED,
            }
        )

"""Paths of viewfs: which place they become, and which ones are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.core.errors import ConfigurationError, PermanentError
from backhaul.core.file_systems import FileSystems, Mount, MountTable
from backhaul.core.model import Location
from backhaul.core.requests.overlap import refuse_overlaps
from backhaul.core.requests.paths import parse_destination
from backhaul.core.requests.policy import parse_allow


def hdfs(authority: str, path: str) -> Location:
    return Location(scheme="hdfs", authority=authority, path=path)


BED = MountTable(
    name="bed",
    mounts=(
        Mount(path="/data", target=hdfs("ns0", "/d")),
        Mount(path="/data/hot", target=hdfs("ns1", "/hot")),
        Mount(path="/twin", target=hdfs("ns0", "/d")),
        Mount(path="/whole", target=hdfs("ns1", "/")),
        Mount(path="/user/a", target=hdfs("ns1", "/home/a")),
        Mount(path="/local", target=Location(scheme="file", authority="", path="/mnt")),
        Mount(path="/broken", fault="core-site.xml, line 9: the target names no usable HDFS"),
        Mount(path="/kept", target=hdfs("ns1", "/.snapshot")),
        Mount(path="/far", target=hdfs("ns1", "/" + "x/" * 3990 + "x")),
    ),
)
ALL = MountTable(name="all", mounts=(Mount(path="/", target=hdfs("ns1", "/root")),))
BAD = MountTable(name="bad", fault="core-site.xml, line 3: linkRegex.x may match any path")
NONE = MountTable(name="none")
SYSTEMS = FileSystems(
    default="viewfs://bed",
    nameservices=frozenset({"ns0", "ns1"}),
    mount_tables=(BED, ALL, BAD, NONE),
    unnamed_table="all",
)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("/data/x", "hdfs://ns0/d/x"),
        ("/twin/", "hdfs://ns0/d"),
        ("viewfs://bed/data/x/y/", "hdfs://ns0/d/x/y"),
        ("viewfs://bed/data/hot/x", "hdfs://ns1/hot/x"),
        ("viewfs://bed/data/hotter", "hdfs://ns0/d/hotter"),
        ("viewfs://bed/twin/x", "hdfs://ns0/d/x"),
        ("viewfs://bed/whole/x", "hdfs://ns1/x"),
        ("viewfs://bed/user/a", "hdfs://ns1/home/a"),
        ("viewfs://bed/local/x", "file:///mnt/x"),
        ("viewfs:///x", "hdfs://ns1/root/x"),
        ("viewfs://all/x", "hdfs://ns1/root/x"),
        ("hdfs://ns0/d/x", "hdfs://ns0/d/x"),
    ],
)
def test_a_path_becomes_the_one_behind_its_longest_mount(text: str, uri: str) -> None:
    found = parse_destination(text, default_fs=SYSTEMS)
    assert found.uri == uri
    assert parse_destination(uri, default_fs=SYSTEMS) == found


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("/nowhere/x", "E_DST_NO_MOUNT", "viewfs://bed/nowhere/x is outside every mount of bed"),
        ("/dat", "E_DST_NO_MOUNT", "a fallback is not used"),
        ("/datax/y", "E_DST_NO_MOUNT", "outside"),
        ("viewfs://none/x", "E_DST_NO_MOUNT", "outside"),
        ("/data", "E_DST_MOUNT", "viewfs://bed/data is above the mount /data/hot"),
        ("/user", "E_DST_MOUNT", "above the mount /user/a"),
        ("/", "E_DST_ROOT", "root"),
        ("viewfs://bed", "E_DST_ROOT", "root"),
        ("/whole", "E_DST_ROOT", "is the root of hdfs://ns1 behind its mount"),
        ("/broken/x", "E_DST_AUTHORITY", "line 9: the target names no usable HDFS"),
        ("viewfs://bad/x", "E_DST_AUTHORITY", "line 3: linkRegex.x may match any path"),
        ("viewfs://other/x", "E_DST_SCHEME", "no mount table named other"),
        ("viewfs://bed:8020/data/x", "E_DST_AUTHORITY", "no usable mount table: bed:8020"),
        ("viewfs://u:secret@bed/data", "E_DST_AUTHORITY", "not shown"),
        # For Java these are no hosts, and viewfs would take the default mount table.
        ("viewfs://my_bed/data/x", "E_DST_AUTHORITY", "my_bed"),
        ("viewfs://bed.1/data/x", "E_DST_AUTHORITY", "bed.1"),
        ("/kept/x", "E_DST_RESERVED", ".snapshot"),
        ("/far/" + "y" * 200, "E_DST_LIMIT", "characters"),
        ("/data/../other", "E_DST_DOT_SEG", "'..'"),
        ("/data/.backhaul/x", "E_DST_RESERVED", ".backhaul"),
    ],
)
def test_what_is_in_no_single_mount_is_refused(text: str, code: str, words: str) -> None:
    with pytest.raises(PermanentError) as caught:
        parse_destination(text, default_fs=SYSTEMS)
    assert (caught.value.code, words in caught.value.message) == (code, True), caught.value
    assert caught.value.hint
    assert "secret" not in caught.value.message + caught.value.hint


def test_a_refusal_names_the_mounts_to_choose_from() -> None:
    with pytest.raises(PermanentError) as caught:
        parse_destination("/nowhere", default_fs=SYSTEMS)
    assert caught.value.hint == (
        "write a path below one of its mounts: /broken, /data, /data/hot, /far, /kept and 4 more"
    )
    with pytest.raises(PermanentError) as caught:
        parse_destination("viewfs://none/x", default_fs=SYSTEMS)
    assert caught.value.hint.endswith("it has none")
    with pytest.raises(PermanentError) as caught:
        parse_destination("/user", default_fs=SYSTEMS)
    assert caught.value.hint.endswith("such as viewfs://bed/user/a/dir")


def test_two_names_of_one_directory_are_one_to_the_policy() -> None:
    names = ("/twin/x/", "viewfs://bed/data/x/", "hdfs://ns0/d/x/")
    routes = [parse_allow(f"s3://bucket/p/ -> {name}", default_fs=SYSTEMS) for name in names]
    assert len({route.destinations for route in routes}) == 1
    assert len({route.name for route in routes}) == 1
    for route in routes[1:]:
        with pytest.raises(ConfigurationError, match="E_CFG_OVERLAP"):
            refuse_overlaps([routes[0], route])


def test_what_cannot_be_used_is_listed() -> None:
    assert [name for name, _ in SYSTEMS.mount_faults] == ["viewfs://bed/broken", "viewfs://bad/"]
    assert FileSystems(mount_tables=(ALL, NONE)).mount_faults == ()


def test_viewfs_without_its_mount_table_is_no_default() -> None:
    bare = FileSystems(default="viewfs://bed")
    assert bare.default_table is None
    with pytest.raises(PermanentError, match="E_DST_NO_DEFAULT_FS") as caught:
        parse_destination("/x", default_fs=bare)
    assert "viewfs://bed is not hdfs:// or file://, and has no mount table" in caught.value.message
    with pytest.raises(PermanentError, match="no mount table for viewfs:///"):
        parse_destination("viewfs:///x", default_fs=None)
    for default in ("hdfs://ns0", None, "s3a://bed"):
        assert FileSystems(default=default, mount_tables=(BED,)).default_table is None
    whole = FileSystems(default="viewfs:///", mount_tables=(ALL,), unnamed_table="all")
    assert parse_destination("/x", default_fs=whole).uri == "hdfs://ns1/root/x"


def test_where_mount_tables_are_another_nodes_the_form_alone_counts() -> None:
    elsewhere = FileSystems(default="hdfs://default:8020", has_any_table=True)
    assert parse_destination("viewfs://any/x", default_fs=elsewhere).path == "/x"
    for text in ("viewfs://any/", "viewfs://any:1/x", "viewfs://any/.Trash"):
        with pytest.raises(PermanentError):
            parse_destination(text, default_fs=elsewhere)


# ---------------------------------------------------------------- against a naive reading

SEGMENTS = st.sampled_from(["a", "b", "ab", "é"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map(lambda found: "/" + "/".join(found))


@given(st.lists(PATHS, unique=True, max_size=6), PATHS)
def test_a_resolved_path_never_leaves_the_one_mount_that_it_is_in(
    links: list[str], path: str
) -> None:
    mounts = tuple(
        Mount(path=link, target=hdfs(f"ns{number}", f"/t{number}"))
        for number, link in enumerate(links)
    )
    systems = FileSystems(mount_tables=(MountTable(name="bed", mounts=mounts),))
    words = path.split("/")
    # Hadoop goes down its tree of links, a name at a time, and remembers the last link.
    passed = [one for one in links if words[: one.count("/") + 1] == one.split("/")]
    below = [one for one in links if one.startswith(f"{path}/")]
    if below or not passed:
        code = "E_DST_MOUNT" if below else "E_DST_NO_MOUNT"
        with pytest.raises(PermanentError, match=code):
            parse_destination(f"viewfs://bed{path}", default_fs=systems)
        return
    found = parse_destination(f"viewfs://bed{path}", default_fs=systems)
    deepest = max(passed, key=lambda one: one.count("/"))
    number = links.index(deepest)
    rest = words[deepest.count("/") + 1 :]
    assert found == hdfs(f"ns{number}", "/".join([f"/t{number}", *rest]))
    target = mounts[number].target
    assert target is not None
    assert found.is_within(target)

"""Published files are as `hdfs dfs -put` with the same configuration makes them in the same place."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest

from backhaul.testing.servers import ElasticMQ, Hdfs, S3Proxy
from tests.acceptance import attributes
from tests.acceptance.attributes import USER, WebHdfs, hdfs_dfs, write_tree
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation

pytestmark = [pytest.mark.integration, pytest.mark.hdfs]

FILES = {"a.csv": b"a,b,c", "_SUCCESS": b"", "sub/b.csv": b"b" * 70_000, "sub/deep/c": b"c"}
MIB = 1 << 20
_numbers = itertools.count(1)


class Twins:
    """Two places with equal attributes: one for Backhaul, one for `hdfs dfs -put`."""

    def __init__(self, hdfs: Hdfs, it: Installation, scratch: Path) -> None:
        self.hdfs = hdfs
        self.it = it
        self.web = WebHdfs(hdfs)
        self.scratch = scratch
        base = f"/twins-{next(_numbers)}-{scratch.name}"
        self.web.mkdir(base, owner="hdfs", group="supergroup")
        self.both = (f"{base}/ours", f"{base}/theirs")
        self.ours, self.theirs = self.both
        for place in self.both:
            self.web.mkdir(place)
        self.local = write_tree(scratch / "tree", FILES)
        for name, data in FILES.items():
            it.put(f"p/{name}", data)

    def copied(self, below: str = "", properties: Mapping[str, str] | None = None) -> None:
        """The tree, to the same directory below both places."""
        own = properties or {}
        ours, theirs = (f"{place}/{below}".rstrip("/") for place in self.both)
        configured = attributes.configuration(self.hdfs, self.scratch / "conf", own)
        ended = self.it.backhaul(
            "copy",
            self.it.uri("p/"),
            f"{self.hdfs.uri}{ours}",
            "--allow",
            f"{self.it.uri('')} -> {self.hdfs.uri}{self.ours}/",
            HADOOP_CONF_DIR=str(configured),
            HADOOP_USER_NAME=USER,
        )
        assert ended.code == 0, ended
        options = attributes.defined(own)
        sources = sorted(str(path) for path in self.local.iterdir())
        put = [*options, "-put", *sources, theirs]
        hdfs_dfs(self.hdfs, self.scratch, [[*options, "-mkdir", "-p", theirs], put])

    def are_equal(self) -> dict[str, attributes.Shown]:
        found, wanted = (self.web.below(place) for place in self.both)
        assert found == wanted
        return found


@pytest.fixture
def twins(
    hdfs: Hdfs, install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, tmp_path: Path
) -> Twins:
    return Twins(hdfs, install(elasticmq, s3proxy, hdfs), tmp_path)


@pytest.mark.parametrize(
    ("umask", "modes"),
    [
        ("027", {"d": "750", "d/a.csv": "640", "d/sub/deep": "750"}),
        ("002", {"d": "775", "d/_SUCCESS": "664"}),
        ("u=rwx,g=rx,o=", {"d/sub": "750", "d/sub/deep/c": "640"}),
    ],
)
def test_the_umask_is_the_client_s(twins: Twins, umask: str, modes: dict[str, str]) -> None:
    twins.copied("d", {"fs.permissions.umask-mode": umask})
    found = twins.are_equal()
    assert {path: found[path].mode for path in modes} == modes


def test_directories_that_are_made_on_the_way_have_the_umask_too(twins: Twins) -> None:
    twins.copied("new/er/d", {"fs.permissions.umask-mode": "077"})
    assert twins.are_equal()["new"].mode == "700"


@pytest.mark.parametrize(
    ("properties", "replication", "block_bytes"),
    [
        ({"dfs.replication": "2", "dfs.blocksize": "2097152"}, 2, 2 * MIB),
        ({"dfs.blocksize": "1m"}, 3, MIB),
        ({}, 3, 128 * MIB),
    ],
)
def test_replication_and_block_size_are_the_client_s(
    twins: Twins, properties: dict[str, str], replication: int, block_bytes: int
) -> None:
    twins.copied("d", properties)
    found = twins.are_equal()
    for name in FILES:
        shown = found[f"d/{name}"]
        assert (shown.replication, shown.block_bytes) == (replication, block_bytes)


@pytest.mark.parametrize("below", ["finance", "finance/day=01", "finance/y/m"])
def test_group_and_default_acl_are_those_of_the_directory(twins: Twins, below: str) -> None:
    for place in twins.both:
        twins.web.mkdir(f"{place}/finance", group="finance", mode="750")
        twins.web.default_acl(
            f"{place}/finance", "user:analyst:r-x", "group:audit:r-x", "other::---"
        )
    twins.copied(below)
    shown = twins.are_equal()[f"{below}/a.csv"]
    assert (shown.group, shown.mode) == ("finance", "640")
    assert "user:analyst:r-x" in shown.acl


@pytest.mark.parametrize("umask", ["022", "077"])
def test_a_default_acl_that_lets_the_group_write_is_not_cut(twins: Twins, umask: str) -> None:
    for place in twins.both:
        twins.web.mkdir(f"{place}/team", group="team", mode="770")
        twins.web.default_acl(f"{place}/team", "group::rwx", "user:bob:rwx", "other::---")
    twins.copied("team", {"fs.permissions.umask-mode": umask})
    assert twins.are_equal()["team/sub/b.csv"].mode == "660"


def test_storage_policy_is_that_of_the_directory(twins: Twins) -> None:
    for place in twins.both:
        twins.web.mkdir(f"{place}/cold")
        twins.web.storage_policy(f"{place}/cold", "COLD")
    twins.copied("cold/d")
    assert twins.are_equal()["cold/d/a.csv"].storage_policy == 2


def test_nothing_of_staging_is_left_in_the_directory(twins: Twins) -> None:
    for place in twins.both:
        twins.web.mkdir(f"{place}/there/sub")
        twins.web.mkdir(f"{place}/there")
        twins.web.mkdir(f"{place}/there/sub")
    twins.copied("there")
    assert not [path for path in twins.are_equal() if ".backhaul" in path]


def test_small_objects_are_copied_whatever_the_least_block_size_is(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, tmp_path: Path
) -> None:
    least = {"dfs.namenode.fs-limits.min-block-size": str(16 * MIB)}
    with Hdfs(settings=least) as hdfs:
        twins = Twins(hdfs, install(elasticmq, s3proxy, hdfs), tmp_path)
        twins.copied("d")
        assert twins.are_equal()["d/a.csv"].block_bytes == 128 * MIB
        refused = twins.it.backhaul(
            "copy",
            twins.it.uri("p/a.csv"),
            f"{hdfs.uri}{twins.ours}/e",
            "--allow-any",
            HADOOP_CONF_DIR=str(
                attributes.configuration(hdfs, tmp_path / "small", {"dfs.blocksize": "1m"})
            ),
            HADOOP_USER_NAME=USER,
        )
    assert refused.code != 0
    assert "E_HDFS_SETTING" in refused.err + refused.out

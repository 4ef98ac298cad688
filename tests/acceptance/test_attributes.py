"""Published files are as `hdfs dfs -put` with the same configuration makes them there."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backhaul.testing.servers import Hdfs, clients
from testbed import ElasticMQ, S3Proxy
from tests.acceptance import attributes
from tests.acceptance.attributes import USER, Shown, WebHdfs, hdfs_dfs, write_tree
from tests.acceptance.installation import Installation

pytestmark = [pytest.mark.integration, pytest.mark.hdfs, pytest.mark.timeout(600)]

FILES = {"a.csv": b"a,b,c", "_SUCCESS": b"", "sub/b.csv": b"b" * 70_000, "sub/deep/c": b"c"}
MIB = 1 << 20
Prepare = Callable[[WebHdfs, str], None]
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One tree to one directory, in both ways.

    Attributes:
        below: The directory, below a place of `USER`'s own.
        properties: The client's configuration.
        prepare: What is there before; called for each of the two places.
        options: Of the request.
    """

    below: str
    properties: Mapping[str, str] = field(default_factory=dict)
    prepare: Prepare = lambda _web, _place: None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Everything below the two places, by relative path."""

    ours: dict[str, Shown]
    theirs: dict[str, Shown]

    @property
    def equal(self) -> dict[str, Shown]:
        assert self.ours == self.theirs
        return self.ours


def compare(
    hdfs: Hdfs, it: Installation, cases: Mapping[str, Case], scratch: Path
) -> dict[str, Compared]:
    """Copy each case by Backhaul, then all of them by `hdfs dfs`, and look at both."""
    web = WebHdfs(hdfs)
    base = f"/compared-{it.name}"
    web.mkdir(base, owner="hdfs", group="supergroup")
    local = sorted(str(path) for path in write_tree(scratch / "tree", FILES).iterdir())
    for name, data in FILES.items():
        it.put(f"p/{name}", data)
    commands = []
    for name, case in cases.items():
        ours, theirs = f"{base}/{name}-ours", f"{base}/{name}-theirs"
        for place in (ours, theirs):
            web.mkdir(place)
            case.prepare(web, place)
        configured = attributes.configuration(hdfs, scratch / name, case.properties)
        ended = it.backhaul(
            *("copy", it.uri("p/"), f"{hdfs.uri}{ours}/{case.below}".rstrip("/")),
            *("--allow", f"{it.uri('')} -> {hdfs.uri}{ours}/"),
            *(word for option in case.options for word in ("--option", option)),
            HADOOP_CONF_DIR=str(configured),
            HADOOP_USER_NAME=USER,
            timeout_s=120,
        )
        assert ended.code == 0, f"{name}: {ended}"
        target = f"{theirs}/{case.below}".rstrip("/")
        options = attributes.defined(case.properties)
        commands += [[*options, "-mkdir", "-p", target], [*options, "-put", *local, target]]
    hdfs_dfs(hdfs, scratch, commands)
    return {
        name: Compared(
            ours=web.below(f"{base}/{name}-ours"), theirs=web.below(f"{base}/{name}-theirs")
        )
        for name in cases
    }


def installed(elasticmq: ElasticMQ, s3proxy: S3Proxy, hdfs: Hdfs, home: Path) -> Installation:
    it = Installation(
        name=f"attributes-{next(_numbers)}",
        home=home,
        sqs=clients.sqs_client(elasticmq),
        s3=clients.s3_client(s3proxy),
        environment=clients.environment(sqs=elasticmq, s3=s3proxy, hdfs=hdfs),
    )
    it.home.mkdir()
    return it


# ---------------------------------------------------------------- the client's configuration


def _umask(text: str) -> dict[str, str]:
    return {"fs.permissions.umask-mode": text}


def _finance(web: WebHdfs, place: str) -> None:
    web.mkdir(f"{place}/finance", group="finance", mode="750")
    web.default_acl(f"{place}/finance", "user:analyst:r-x", "group:audit:r-x", "other::---")


def _team(web: WebHdfs, place: str) -> None:
    web.mkdir(f"{place}/team", group="team", mode="770")
    web.default_acl(f"{place}/team", "group::rwx", "user:bob:rwx", "other::---")


def _fast(web: WebHdfs, place: str) -> None:
    web.mkdir(f"{place}/fast")
    web.storage_policy(f"{place}/fast", "ALL_SSD")


def _subdirectories(web: WebHdfs, place: str) -> None:
    """Each gives something else than the one above; `etl` is in no group of theirs."""
    web.mkdir(f"{place}/d", group="etl")
    web.mkdir(f"{place}/d/sub", group="audit", mode="770")
    web.default_acl(f"{place}/d/sub", "group::rwx", "user:bob:r-x", "other::---")
    web.mkdir(f"{place}/d/sub/deep", group="legal")
    web.storage_policy(f"{place}/d/sub/deep", "ALL_SSD")


def _equal_subdirectories(web: WebHdfs, place: str) -> None:
    web.mkdir(f"{place}/d")
    web.mkdir(f"{place}/d/sub")


def _policy_below_only(web: WebHdfs, place: str) -> None:
    web.mkdir(f"{place}/d/sub")
    web.mkdir(f"{place}/d")
    web.mkdir(f"{place}/d/sub")
    web.storage_policy(f"{place}/d", "WARM")
    web.storage_policy(f"{place}/d/sub", "HOT")


CASES = {
    "umask-027": Case(below="d", properties=_umask("027")),
    "umask-002-per-file": Case(below="d", properties=_umask("002"), options=("publish=per-file",)),
    "umask-in-letters": Case(below="d", properties=_umask("u=rwx,g=rx,o=")),
    "umask-on-the-way": Case(below="new/er/d", properties=_umask("077")),
    "replication-and-blocks": Case(
        below="d", properties={"dfs.replication": "2", "dfs.blocksize": "2097152"}
    ),
    "old-names": Case(below="d", properties={"dfs.umaskmode": "077", "dfs.block.size": "1048576"}),
    "hadoop-s-defaults": Case(below="d"),
    "directory-with-acl": Case(below="finance", prepare=_finance),
    "below-it": Case(below="finance/day=01", prepare=_finance),
    "below-it-per-file": Case(below="finance/y/m", prepare=_finance, options=("publish=per-file",)),
    "acl-instead-of-umask": Case(below="team", prepare=_team, properties=_umask("077")),
    "acl-instead-of-umask-tree": Case(below="team/d", prepare=_team, properties=_umask("077")),
    "storage-policy": Case(below="fast/d", prepare=_fast),
    "subdirectories": Case(below="d", prepare=_subdirectories, properties=_umask("027")),
    "subdirectories-are-equal": Case(below="d", prepare=_equal_subdirectories),
    "policy-against-the-one-above": Case(below="d", prepare=_policy_below_only),
}


@pytest.fixture(scope="module")
def compared(
    hdfs: Hdfs, elasticmq: ElasticMQ, s3proxy: S3Proxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Compared]]:
    """All cases at once: Java starts once."""
    scratch = tmp_path_factory.mktemp("compared")
    it = installed(elasticmq, s3proxy, hdfs, scratch / "home")
    yield compare(hdfs, it, CASES, scratch)
    it.clean_up()


@pytest.mark.parametrize("name", CASES)
def test_everything_is_as_put_makes_it(compared: dict[str, Compared], name: str) -> None:
    found = compared[name].equal
    below = CASES[name].below
    assert {f"{below}/{each}" for each in FILES} <= found.keys()
    assert not [path for path in found if ".backhaul" in path]


@pytest.mark.parametrize(
    ("name", "path", "fact", "value"),
    [
        ("umask-027", "d", "mode", "750"),
        ("umask-027", "d/a.csv", "mode", "640"),
        ("umask-002-per-file", "d/sub/deep", "mode", "775"),
        ("umask-002-per-file", "d/_SUCCESS", "mode", "664"),
        ("umask-in-letters", "d/sub/deep/c", "mode", "640"),
        ("umask-on-the-way", "new", "mode", "700"),
        ("replication-and-blocks", "d/a.csv", "replication", 2),
        ("replication-and-blocks", "d/_SUCCESS", "block_bytes", 2 * MIB),
        ("old-names", "d/a.csv", "mode", "600"),
        ("old-names", "d/sub/b.csv", "block_bytes", MIB),
        ("hadoop-s-defaults", "d/a.csv", "replication", 3),
        ("hadoop-s-defaults", "d/a.csv", "block_bytes", 128 * MIB),
        ("directory-with-acl", "finance/a.csv", "group", "finance"),
        ("directory-with-acl", "finance/a.csv", "mode", "640"),
        ("below-it", "finance/day=01/sub", "mode", "750"),
        ("below-it-per-file", "finance/y/m/sub/b.csv", "group", "finance"),
        ("acl-instead-of-umask", "team/sub/b.csv", "mode", "660"),
        ("acl-instead-of-umask-tree", "team/d/sub", "mode", "770"),
        ("storage-policy", "fast/d/a.csv", "storage_policy", 12),
        ("subdirectories", "d/a.csv", "group", "etl"),
        ("subdirectories", "d/a.csv", "mode", "640"),
        ("subdirectories", "d/sub/b.csv", "group", "audit"),
        ("subdirectories", "d/sub/b.csv", "mode", "660"),
        ("subdirectories", "d/sub/deep/c", "group", "legal"),
        ("policy-against-the-one-above", "d/sub/b.csv", "storage_policy", 7),
    ],
)
def test_what_put_makes_of_it(
    compared: dict[str, Compared], name: str, path: str, fact: str, value: object
) -> None:
    """Written down, so that both cannot be wrong together."""
    assert getattr(compared[name].ours[path], fact) == value


def test_named_users_and_groups_of_the_default_acl_are_there(
    compared: dict[str, Compared],
) -> None:
    acl = compared["directory-with-acl"].ours["finance/sub/b.csv"].acl
    assert {"user:analyst:r-x", "group:audit:r-x"} <= set(acl)


# ---------------------------------------------------------------- what the NameNode refuses


def test_small_objects_are_copied_whatever_the_least_block_size_is(
    elasticmq: ElasticMQ, s3proxy: S3Proxy, tmp_path: Path
) -> None:
    least = {"dfs.namenode.fs-limits.min-block-size": str(16 * MIB)}
    with Hdfs(settings=least) as hdfs:
        it = installed(elasticmq, s3proxy, hdfs, tmp_path / "home")
        found = compare(hdfs, it, {"small": Case(below="d")}, tmp_path)["small"].equal
        assert found["d/a.csv"].block_bytes == 128 * MIB
        configured = attributes.configuration(hdfs, tmp_path / "conf", {"dfs.blocksize": "1m"})
        refused = it.backhaul(
            *("copy", it.uri("p/a.csv"), f"{hdfs.uri}/e", "--allow-any"),
            HADOOP_CONF_DIR=str(configured),
        )
    assert "E_HDFS_SETTING" in refused.err + refused.out
    assert refused.code != 0


# ---------------------------------------------------------------- any place, any configuration

EXAMPLES = int(os.environ.get("BACKHAUL_ATTRIBUTE_EXAMPLES", "4"))
_PLACES = ("d", "d/sub", "d/sub/deep")
_ACL = ("user:bob:rwx", "user:ann:r--", "group:audit:r-x", "group::rwx", "mask::r-x", "other::---")


def _anything(seed: int) -> Case:
    """A random configuration of the client, and random directories on the way to the files."""
    chance = random.Random(f"attributes {seed}")
    there = _PLACES[: chance.randint(0, 3)]
    facts = {
        path: (
            chance.choice(("etl", "finance", "audit", "legal")),
            chance.choice(("700", "750", "770", "755", "1777")),
            chance.sample(_ACL, chance.choice((0, 0, 1, 3))),
            chance.choice(("", "", "ALL_SSD", "WARM", "HOT")),
            chance.choice(("", "", "RS-3-2-1024k")),
        )
        for path in there
    }

    def prepare(web: WebHdfs, place: str) -> None:
        for path, (group, mode, acl, storage, coding) in facts.items():
            web.mkdir(f"{place}/{path}", group=group, mode=mode)
            if acl:
                web.default_acl(f"{place}/{path}", *acl)
            if storage:
                web.storage_policy(f"{place}/{path}", storage)
            if coding:
                web.erasure_coding(f"{place}/{path}", coding)

    properties = {
        "fs.permissions.umask-mode": chance.choice(("022", "027", "002", "077", "u=rwx,g=rx,o=")),
        "dfs.replication": str(chance.randint(1, 3)),
        "dfs.blocksize": chance.choice(("1m", "2097152", "128m")),
    }
    options = chance.choice(((), ("publish=per-file",)))
    below = chance.choice(("d", "d", "d/new"))
    return Case(below=below, properties=properties, prepare=prepare, options=options)


@pytest.mark.timeout(300 + 60 * EXAMPLES)
def test_any_place_and_configuration_gives_what_put_gives(
    wide_hdfs: Hdfs, elasticmq: ElasticMQ, s3proxy: S3Proxy, tmp_path: Path
) -> None:
    """More of them: `BACKHAUL_ATTRIBUTE_EXAMPLES=200 ./dev test tests/acceptance/…`."""
    it = installed(elasticmq, s3proxy, wide_hdfs, tmp_path / "home")
    cases = {f"seed-{seed}": _anything(seed) for seed in range(EXAMPLES)}
    found = compare(wide_hdfs, it, cases, tmp_path)
    it.clean_up()
    differing = {name: one for name, one in found.items() if one.ours != one.theirs}
    assert not differing, "\n".join(
        f"{name}: {path}: {one.ours.get(path)} instead of {one.theirs.get(path)}"
        for name, one in differing.items()
        for path in sorted(one.ours.keys() | one.theirs.keys())
        if one.ours.get(path) != one.theirs.get(path)
    )

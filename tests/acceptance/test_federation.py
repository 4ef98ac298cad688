"""Two HDFS behind one name, by viewfs and a Router: what arrives, what is refused, what waits."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import pytest

from testbed import ElasticMQ, S3Proxy
from testbed.federation import Federation
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation, Running, eventually
from tests.acceptance.landing import HdfsLanding
from tests.acceptance.proxy import Answer, Proxy
from tests.witness import Witness

pytestmark = [pytest.mark.integration, pytest.mark.hdfs, pytest.mark.timeout(300)]
TREE = {f"part-{n:02}": random.Random(n).randbytes(3000 + n) for n in range(8)}
TREE["large"] = random.Random(99).randbytes(3_000_000)
COPY_S = 4
# The HDFS client by itself gives up a Router that is gone after three minutes.
HELD_S = 60


@pytest.fixture
def it(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, federation: Federation
) -> Installation:
    made = install(elasticmq, s3proxy, federation)
    made.landing = landing(federation, made)
    for name, data in TREE.items():
        made.put(f"tree/{name}", data)
    return made


def landing(
    federation: Federation, it: Installation, number: int = 0, at: str = "/d"
) -> HdfsLanding:
    """The directory as its own NameNode has it."""
    return HdfsLanding(federation.namenode_uris[number], f"{at}/{it.name}")


def allowed(it: Installation, *destinations: str) -> list[str]:
    return [word for one in destinations for word in ("--allow", f"s3://{it.bucket}/ -> {one}/")]


@pytest.mark.parametrize("way", ["default", "viewfs", "router"])
def test_data_arrives_behind_a_mount(way: str, it: Installation, federation: Federation) -> None:
    mounted = f"/data/{it.name}"
    name = {"default": "", "viewfs": "viewfs://bed", "router": federation.uri}[way] + mounted
    own = federation.uri if way == "router" else federation.namenode_uris[0]
    inside = mounted if way == "router" else f"/d/{it.name}"
    it.leave(f"{it.bucket}/tree/, {name}/out")
    it.leave(f"{it.bucket}/tree/large, {name}/one")
    # The route's own directories: before they exist, staging is above them, and so the fence looks.
    it.drained(*allowed(it, f"{name}/out", f"{name}/one"))
    assert it.dead_letters() == []
    expected = {f"out/{key}": data for key, data in TREE.items()} | {"one/large": TREE["large"]}
    assert it.landing.files() == expected
    assert it.landing.staging() == []
    rows = it.history()
    assert {row["state"] for row in rows} == {"done"}
    assert {row["destination"] for row in rows} == {f"{own}{inside}/out", f"{own}{inside}/one"}
    for place in (f"{name}/out/large", f"{mounted}/out/large"):
        where = it.backhaul("where", place)
        assert where.code == 0, where
        assert it.bucket in where.out


def test_two_names_of_one_directory_are_one(it: Installation, federation: Federation) -> None:
    below = f"/{it.name}/out"
    names = (
        f"/data{below}",
        f"viewfs://bed/data{below}",
        f"{federation.namenode_uris[0]}/d{below}",
    )
    for name in names:
        it.leave(f"{it.bucket}/tree/, {name}")
    ended = it.drained(*allowed(it, f"/data/{it.name}"))
    assert it.dead_letters() == []
    assert it.landing.files() == {f"out/{key}": data for key, data in TREE.items()}
    assert {row["destination"] for row in it.history()} == {names[-1]}
    # Whichever came first copied; for the others it was there.
    assert len(ended.of("transfer done")) == len(names)
    config = it.home / "two.toml"
    config.write_text(
        "".join(
            f'[[route]]\nname = "r{number}"\nsource = ["{it.uri("")}"]\ndestination = ["{name}/"]\n'
            for number, name in enumerate(names[:2])
        )
    )
    refused = it.backhaul("run", it.queue, "us-east-1", "--config", str(config))
    assert (refused.code, "E_CFG_OVERLAP" in refused.err) == (78, True), refused


def test_what_is_outside_every_mount_is_refused_and_nothing_is_written(
    it: Installation, federation: Federation
) -> None:
    outside = {
        f"/nowhere/{it.name}": "E_DST_NO_MOUNT",
        "viewfs://bed/deep": "E_DST_MOUNT",
        "viewfs://bed/mixed": "E_DST_MOUNT",
        "viewfs://elsewhere/x": "E_DST_SCHEME",
        f"{federation.uri}/nowhere/{it.name}": "E_DST_NO_MOUNT",
        f"{federation.uri}/deep": "E_DST_NO_MOUNT",
    }
    for name in outside:
        it.leave(f"{it.bucket}/tree/part-00, {name}")
    ended = it.drain("--allow-any")
    assert ended.code == 0, ended
    letters = {one["body"].partition(", ")[2]: one["backhaul.code"] for one in it.dead_letters()}
    assert letters == outside
    for number in (0, 1):
        listed = landing(federation, it, number, at="").client.list_status("/", recursive=True)
        assert not [one.path for one in listed if ".backhaul" in one.path or it.name in one.path]
    for name, code in (("/nowhere", "E_DST_NO_MOUNT"), ("/mixed", "E_DST_MOUNT")):
        refused = it.backhaul("run", it.queue, "us-east-1", *allowed(it, name))
        assert refused.code == 78, refused
        assert code in refused.err


def test_a_router_refuses_to_publish_across_its_mounts_and_nothing_is_lost(
    it: Installation, federation: Federation
) -> None:
    """Its mount table is not in the client's configuration; it says where a mount begins."""
    across = landing(federation, it, 1, at="/o")
    across.put("old", b"stays")
    for key in (f"other/{it.name}/new", "zz"):
        it.put(f"across/{key}", b"content")
    it.leave(f"{it.bucket}/across/, {federation.uri}/mixed")
    it.drain("--allow", f"s3://{it.bucket}/ -> {federation.uri}/mixed/")
    letter = it.the_dead_letter()
    assert letter["backhaul.code"] == "E_DST_MOUNT", letter
    assert f"mounted at {federation.uri}/mixed/other" in letter["backhaul.reason"]
    (row,) = it.history()
    assert row["copied_bytes"] == 0, "before anything is staged"
    assert across.files() == {"old": b"stays"}
    own = landing(federation, it, 0, at="/m")
    assert [
        one.path
        for one in own.client.list_status("/m", recursive=True)
        if ".backhaul" in one.path or one.path.endswith("/zz")
    ] == []


# ---------------------------------------------------------------- what is away


def slowly(answer: Answer) -> None:
    answer.rate = len(answer.body) / COPY_S


def waits(agent: Running) -> list[dict[str, object]]:
    lines = [*agent.of("transfer waiting for a dependency"), *agent.of("transfer held")]
    return [line for line in lines if line["dependency"] == "hdfs"]


@contextlib.contextmanager
def witnessed_copy(
    it: Installation, federation: Federation, s3_proxy: Proxy, name: str
) -> Iterator[Running]:
    """A copy is under way in the block; after it the data is there, whole, without a failure."""
    target = it.landing
    assert isinstance(target, HdfsLanding)
    s3_proxy.lie(slowly)
    it.leave(f"{it.bucket}/tree/, {name}/out")
    own = federation.namenode_uris[0]
    with Witness(own, target.path, {"out": TREE}, {}, seed=1) as witness:
        agent = it.start(*allowed(it, name), BACKHAUL_AGENT__STALL_TIMEOUT_S="20")
        eventually(s3_proxy.object_gets, what="copying")
        eventually(target.everything, what="staging")
        assert not agent.of("transfer done")
        yield agent
        s3_proxy.be_honest()
        agent.logged("transfer done", within_s=120)
        eventually(lambda: it.counts() == (0, 0), what="deleted")
        agent.terminate()
        ended = agent.wait()
    assert ended.code == 0, ended
    assert witness.wrong == []
    assert target.files() == {f"out/{key}": data for key, data in TREE.items()}
    assert target.staging() == []
    assert it.dead_letters() == []
    (row,) = it.history()
    assert (row["state"], row["failures"]) == ("done", 0)
    assert "Traceback" not in ended.out + ended.err


@pytest.fixture
def slow(
    install: Install,
    elasticmq: ElasticMQ,
    s3proxy: S3Proxy,
    s3_proxy: Proxy,
    federation: Federation,
) -> Installation:
    made = install(elasticmq, s3_proxy, federation, s3_direct=s3proxy)
    made.landing = landing(federation, made)
    for name, data in TREE.items():
        made.put(f"tree/{name}", data)
    return made


@pytest.mark.parametrize(
    ("begin", "end", "through"),
    [
        ("kill_router", "start_router", "router"),
        ("kill_namenode", "start_namenode", "viewfs"),
        pytest.param("suspend_router", "resume_router", "router", marks=pytest.mark.long),
        pytest.param("kill_namenode", "start_namenode", "router", marks=pytest.mark.long),
        pytest.param("suspend_namenode", "resume_namenode", "router", marks=pytest.mark.long),
    ],
)
def test_what_goes_away_under_a_copy_is_waited_for(
    begin: str,
    end: str,
    through: str,
    slow: Installation,
    s3_proxy: Proxy,
    federation: Federation,
) -> None:
    name = f"{federation.uri if through == 'router' else 'viewfs://bed'}/data/{slow.name}"
    with witnessed_copy(slow, federation, s3_proxy, name) as agent:
        getattr(federation, begin)()
        try:
            eventually(lambda: waits(agent), within_s=HELD_S, what=lambda: agent.out[-3000:])
        finally:
            getattr(federation, end)()


def test_without_a_router_a_message_is_held_and_spends_nothing(
    it: Installation, federation: Federation
) -> None:
    name = f"{federation.uri}/data/{it.name}"
    federation.kill_router()
    try:
        it.leave(f"{it.bucket}/tree/, {name}/out")
        agent = it.start(*allowed(it, name))
        eventually(lambda: waits(agent), within_s=HELD_S, what=lambda: agent.out[-3000:])
    finally:
        federation.start_router()
    agent.logged("transfer done", within_s=120)
    agent.terminate()
    assert agent.wait().code == 0
    (row,) = it.history()
    assert (row["state"], row["failures"]) == ("done", 0)

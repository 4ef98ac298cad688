"""A message is left; the data arrives, whole and proven; the message is gone."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backhaul.testing.servers import Hdfs
from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import REGION, Installation
from tests.acceptance.landing import HdfsLanding, LocalLanding
from tests.acceptance.proxy import Proxy

pytestmark = pytest.mark.integration
CHANCE = random.Random(3)


def data(size_bytes: int) -> bytes:
    return CHANCE.randbytes(size_bytes)


@pytest.fixture(params=["file", "hdfs by HADOOP_CONF_DIR", "hdfs by its URI"])
def anywhere(
    request: pytest.FixtureRequest,
    install: Install,
    elasticmq: ElasticMQ,
    s3proxy: S3Proxy,
) -> Installation:
    """Each kind of target in turn."""
    if request.param == "file":
        return install(elasticmq, s3proxy)
    hdfs: Hdfs = request.getfixturevalue("hdfs")
    is_named = request.param.endswith("URI")
    made = install(elasticmq, s3proxy, None if is_named else hdfs)
    made.landing = HdfsLanding(hdfs.uri, f"/landing/{made.name}", is_named=is_named)
    return made


def test_objects_and_prefixes_arrive_by_line_and_json(anywhere: Installation) -> None:
    it = anywhere
    wanted = {
        "day=1/a.bin": data(1),
        "day=1/b/c.bin": data(300_000),
        "day=1/b/empty": b"",
        "day=1/_SUCCESS": b"",
        "day=10/no.bin": data(10),
        "one.csv": data(70_000),
        "two.csv": data(2_000_000),
    }
    for key, content in wanted.items():
        it.put(key, content)
    it.landing.put("line/prefix/stranger", b"was here")
    it.landing.put("line/object/stranger", b"was here")
    uri = it.landing.uri
    it.leave(f"{it.bucket}/one.csv, {uri}/line/object")
    it.leave(f"  s3a://{it.bucket}/day=1 ,{uri}/line/prefix\n")
    it.leave(json.dumps({"v": 1, "source": it.uri("two.csv"), "destination": f"{uri}/json/object"}))
    it.leave(json.dumps({"v": 1, "source": it.uri("day=1/"), "destination": f"{uri}/json/prefix"}))

    ended = it.drained()

    day = {key.removeprefix("day=1/"): wanted[key] for key in wanted if key.startswith("day=1/")}
    assert it.landing.files() == {
        "line/object/one.csv": wanted["one.csv"],
        "line/object/stranger": b"was here",
        "line/prefix/stranger": b"was here",
        **{f"line/prefix/{name}": content for name, content in day.items()},
        "json/object/two.csv": wanted["two.csv"],
        **{f"json/prefix/{name}": content for name, content in day.items()},
    }
    assert it.landing.staging() == []
    assert it.dead_letters() == []
    assert len(ended.of("transfer done")) == 4
    modes = {
        row["destination"].rsplit("/", 2)[-2:][0] + row["publish_mode"] for row in it.history()
    }
    assert "jsontree" in modes, modes


def test_a_whole_bucket_arrives(local: Installation) -> None:
    local.put("a", b"1")
    local.put("b/c", b"2")
    local.leave(f"s3://{local.bucket}/, {local.landing.uri}/all")
    local.drained()
    assert local.landing.files() == {"all/a": b"1", "all/b/c": b"2"}


def test_an_empty_queue_ends_the_drain_with_0(local: Installation) -> None:
    ended = local.drained()
    assert not ended.of("message")


def test_an_object_that_is_also_a_prefix_is_refused(on_moto: Installation) -> None:
    on_moto.put("both", b"object")
    on_moto.put("both/part", b"below")
    on_moto.ask_for("both", "x")
    on_moto.drained()
    letter = on_moto.the_dead_letter()
    assert letter["backhaul.code"] == "E_SRC_AMBIGUOUS", letter
    assert letter["body"] == f"{on_moto.bucket}/both, {on_moto.landing.uri}/x"
    assert "/" in letter["backhaul.hint"]
    assert on_moto.landing.everything() == []


def test_a_prefix_with_its_slash_and_an_object_of_the_same_name_are_two_things(
    on_moto: Installation,
) -> None:
    on_moto.put("both", b"object")
    on_moto.put("both/part", b"below")
    on_moto.ask_for("both/", "x")
    on_moto.drained()
    assert on_moto.landing.files() == {"x/part": b"below"}


@pytest.mark.parametrize("key", ["nothing/", "nothing"])
def test_a_source_that_is_empty_is_an_error_and_no_success(local: Installation, key: str) -> None:
    local.put("nothing-else", b"x")
    local.ask_for(key)
    local.drained()
    letter = local.the_dead_letter()
    assert letter["backhaul.code"] in {"E_SRC_EMPTY", "E_SRC_MISSING"}, letter
    assert local.landing.everything() == []
    (row,) = local.history()
    assert row["state"] == "dead"


def test_a_repeated_message_reads_no_object_again(
    behind_proxy: Installation, s3_proxy: Proxy
) -> None:
    it = behind_proxy
    for number in range(20):
        it.put(f"p/{number}", data(1000))
    it.ask_for("p/", "out")
    it.drained()
    assert len(s3_proxy.object_gets()) == 20
    s3_proxy.forget()

    it.ask_for("p/", "out")
    it.drained()

    assert s3_proxy.object_gets() == []
    again, first = it.history()
    assert first["publish_mode"] == "tree"
    assert again["publish_mode"] == "adopted"
    assert {line["proof"] for line in it.evidence(again["id"])} == {"adopted"}


def test_a_changed_object_alone_is_read_again(behind_proxy: Installation, s3_proxy: Proxy) -> None:
    it = behind_proxy
    for number in range(5):
        it.put(f"p/{number}", b"old")
    it.ask_for("p/", "out")
    it.drained()
    s3_proxy.forget()
    it.put("p/3", b"newer")
    it.ask_for("p/", "out")
    it.drained()
    assert [one.path.rsplit("/", 1)[1] for one in s3_proxy.object_gets()] == ["3"]
    assert it.landing.files()["out/3"] == b"newer"


def test_a_published_file_that_someone_damaged_is_brought_again(local: Installation) -> None:
    local.put("a", b"right")
    local.ask_for("a", "out")
    local.drained()
    local.landing.put("out/a", b"wrong")
    local.ask_for("a", "out")
    local.drained()
    assert local.landing.files() == {"out/a": b"right"}


@pytest.mark.timeout(240)
def test_an_object_of_130_mb_arrives_by_ranges(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, s3_proxy: Proxy, hdfs: Hdfs
) -> None:
    it = install(elasticmq, s3_proxy, hdfs, s3_direct=s3proxy)
    it.landing = landing = HdfsLanding(hdfs.uri, f"/landing/{it.name}", is_named=False)
    content = data(130_000_001)
    it.put("large.bin", content)
    it.ask_for("large.bin")
    it.drained(timeout_s=200)
    assert landing.files() == {"large.bin": content}
    ranges = [one.headers["range"] for one in s3_proxy.object_gets() if "range" in one.headers]
    assert len(ranges) >= 10


# ---------------------------------------------------------------- keys that bite

ODD_KEYS = [
    "with blank",
    " leading blank and trailing ",
    "plus+plus",
    "percent%2Fslash",
    "percent%",
    "quote'single",
    'quote"double',
    "$(touch CANARY)",
    "`touch CANARY`",
    ";touch CANARY;",
    "| touch CANARY",
    "-rf",
    "--config",
    "*",
    "?[a-z]{b,c}",
    "ümlaut-é-日本-😀",
    "e\u0301 decomposed",
    "back\\slash",
    "tilde~",
    "#hash",
    "question?x=y&z",
    "semi;colon",
    "equals=1",
    "dots..in..name",
    "...",
    ".hidden",
]


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hostile texts would make a file CANARY; nothing may."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob("CANARY")), "something ran"
    assert not [path for path in (Path("/CANARY"), Path("/etc/CANARY")) if path.exists()]


@pytest.mark.usefixtures("canary")
def test_odd_keys_arrive_byte_for_byte_and_nothing_runs(on_moto: Installation) -> None:
    it = on_moto
    wanted = {f"d {n}'$(id)/{key}": data(n + 1) for n, key in enumerate(ODD_KEYS)}
    for key, content in wanted.items():
        it.put(f"odd/{key}", content)
    it.ask_for("odd/", "tree")
    it.drained()
    assert it.dead_letters() == []
    assert it.landing.files() == {f"tree/{key}": content for key, content in wanted.items()}


@pytest.mark.usefixtures("canary")
def test_odd_keys_arrive_one_message_each_on_hdfs(
    install: Install, moto_server: Any, hdfs: Hdfs
) -> None:
    it = install(moto_server, moto_server, hdfs)
    it.landing = HdfsLanding(hdfs.uri, f"/landing/{it.name}", is_named=False)
    keys = [key for key in ODD_KEYS if ":" not in key]
    for number, key in enumerate(keys):
        it.put(f"odd/{number}/{key}", key.encode())
        source, target = it.uri(f"odd/{number}/{key}"), f"{it.landing.uri}/{number} $(id) '*'"
        it.leave(json.dumps({"v": 1, "source": source, "destination": target}))
    it.drained()
    assert it.dead_letters() == []
    wanted = {f"{n} $(id) '*'/{key}": key.encode() for n, key in enumerate(keys)}
    assert it.landing.files() == wanted


HOSTILE = [
    "$(touch CANARY)",
    "`touch CANARY`, /x",
    "BUCKET/a; touch CANARY, LANDING/x",
    "BUCKET/a' --config CANARY, LANDING/$(touch CANARY)",
    "--config=CANARY, LANDING",
    "BUCKET/a, LANDING/../../CANARY",
    "BUCKET/../a, LANDING",
    "BUCKET/a, /etc/CANARY",
    "BUCKET/a, file:///CANARY",
    "BUCKET/a, LANDING/.backhaul/CANARY",
    "BUCKET/a, LANDINGbut-not-below/CANARY",
    "other-bucket/a, LANDING",
    '{"v":1,"source":"s3://BUCKET/a","destination":"LANDING","engine":"CANARY"}',
    '{"v":1,"source":"s3://BUCKET/a","destination":"LANDING","options":{"on_exists":"CANARY"}}',
]


@pytest.mark.usefixtures("canary")
def test_hostile_text_is_dead_lettered_unchanged_and_reaches_nothing(local: Installation) -> None:
    local.put("a", b"content")
    bodies = [
        text.replace("BUCKET", local.bucket).replace("LANDING", local.landing.uri)
        for text in HOSTILE
    ]
    for body in bodies:
        local.leave(body)
    ended = local.drained()
    letters = local.dead_letters()
    assert sorted(letter["body"] for letter in letters) == sorted(bodies)
    assert all(letter["backhaul.code"].startswith("E_") for letter in letters)
    assert all(letter["backhaul.reason"] for letter in letters)
    assert {letter["backhaul.attempts"] for letter in letters} == {"1"}
    assert local.landing.everything() == []
    assert not ended.of("unexpected"), ended


# ---------------------------------------------------------------- versions


def test_an_overwritten_object_of_a_versioned_bucket_arrives_whole(on_moto: Installation) -> None:
    it = on_moto
    it.s3.put_bucket_versioning(Bucket=it.bucket, VersioningConfiguration={"Status": "Enabled"})
    it.put("v/a", b"first")
    it.ask_for("v/", "out")
    it.drained()
    it.put("v/a", b"second")
    it.ask_for("v/", "out")
    it.drained()
    assert it.landing.files() == {"out/a": b"second"}
    lines = [it.evidence(row["id"])[0] for row in it.history()]
    assert len({line["version_id"] for line in lines}) == 2
    assert None not in {line["version_id"] for line in lines}


def test_a_deleted_object_of_a_versioned_bucket_is_no_source(on_moto: Installation) -> None:
    it = on_moto
    it.s3.put_bucket_versioning(Bucket=it.bucket, VersioningConfiguration={"Status": "Enabled"})
    it.put("v/a", b"first")
    it.s3.delete_object(Bucket=it.bucket, Key="v/a")
    it.ask_for("v/a")
    it.drained()
    assert it.the_dead_letter()["backhaul.code"] in {"E_SRC_EMPTY", "E_SRC_MISSING"}


# ---------------------------------------------------------------- the other ways in


def test_a_message_left_by_send_arrives(local: Installation) -> None:
    local.put("a,b", b"comma")
    source, target = local.uri("a,b"), f"{local.landing.uri}/x"
    sent = local.backhaul("send", local.queue, REGION, source, target)
    assert sent.code == 0, sent
    assert len(sent.out.splitlines()) == 1
    ended = local.drained()
    assert ended.of("message received")[0]["message_id"] == sent.out.strip()
    assert local.landing.files() == {"x/a,b": b"comma"}


def test_copy_brings_the_same_without_a_queue(local: Installation) -> None:
    local.put("p/a", b"1")
    local.put("p/b", b"2")
    done = local.backhaul("copy", local.uri("p/"), f"{local.landing.uri}/x", "--allow", local.allow)
    assert done.code == 0, done
    assert local.landing.files() == {"x/a": b"1", "x/b": b"2"}
    assert local.landing.staging() == []


def test_a_configuration_file_is_all_that_run_needs(local: Installation, tmp_path: Path) -> None:
    landing = local.landing
    assert isinstance(landing, LocalLanding)
    where = local.home / ".config" / "backhaul"
    where.mkdir(parents=True)
    (where / "backhaul.toml").write_text(
        f'ledger = "{tmp_path}/my-ledger.db"\n'
        f'[log]\nfile = "{tmp_path}/backhaul.log"\n'
        f'[[route]]\nname = "all"\nsource = ["s3://{local.bucket}/"]\n'
        f'destination = ["{landing.uri}/"]\n'
    )
    local.put("a", b"1")
    local.ask_for("a")
    ended = local.backhaul("run", local.queue, REGION, "--drain")
    assert ended.code == 0, ended
    assert landing.files() == {"a": b"1"}
    assert (tmp_path / "my-ledger.db").exists()
    assert "transfer done" in (tmp_path / "backhaul.log").read_text()

"""Each mistake gets its exit code and one clear line, or its dead-letter reason."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from backhaul.testing.servers import Hdfs
from backhaul.testing.servers.ports import free_ports
from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import REGION, Ended, Installation
from tests.acceptance.landing import HdfsLanding
from tests.acceptance.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration
ROUTE = '[[route]]\nname = "a"\nsource = ["s3://b/"]\ndestination = ["file:///x/"]\n'


def refused(ended: Ended, exit_code: int, code: str) -> str:
    """One line `backhaul: E_CODE: …`, a hint, nothing on standard output; gives that line."""
    assert ended.code == exit_code, ended
    assert "Traceback" not in ended.err + ended.out, ended
    lines = [line for line in ended.err.splitlines() if not line.startswith("backhaul: warning: ")]
    assert lines, ended
    assert lines[0].startswith(f"backhaul: {code}: "), ended
    assert any(line.startswith("hint: ") for line in lines[1:]), ended
    return lines[0]


def nowhere() -> str:
    """An endpoint at which nothing listens."""
    return f"127.0.0.1:{free_ports(1)[0]}"


# ---------------------------------------------------------------- at the start


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "a", "b", "c"],
        ["fly"],
        ["--fly"],
        ["run", "--fly", "a", "b"],
        ["history", "--limit", "-1"],
        ["history", "--state", "lost"],
        ["send", "q", "r", "s3://b/k", "/d", "--option", "no-equals-sign"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_64(local: Installation, arguments: list[str]) -> None:
    ended = local.backhaul(*arguments)
    assert ended.code == 64, ended
    assert "Error: " in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("arguments", [[], ["queue-without-region"]], ids=" ".join)
def test_a_run_that_names_no_queue_is_64(local: Installation, arguments: list[str]) -> None:
    line = refused(local.backhaul("run", *arguments), 64, "E_QUEUE_WHICH")
    assert not arguments or arguments[0] in line


def test_no_configuration_is_78_and_says_how_to_write_one(local: Installation) -> None:
    ended = local.backhaul("run", local.queue, REGION)
    refused(ended, 78, "E_CFG_NO_ROUTE")
    assert "[[route]]" in ended.err
    assert "--allow" in ended.err


def test_an_unknown_setting_is_78_with_file_and_line(local: Installation, tmp_path: Path) -> None:
    path = tmp_path / "backhaul.toml"
    path.write_text(
        '[agent]\nslots = 2\nslotz = 3\n\n[[route]]\nname = "a"\nsource = ["s3://b/"]\n'
        'destination = ["file:///x/"]\n'
    )
    ended = local.backhaul("run", local.queue, REGION, "--config", str(path))
    line = refused(ended, 78, "E_CFG_UNKNOWN")
    assert f"{path}, line 3" in line
    assert "slotz" in line


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("[agent\n", "E_CFG_TOML", "line 1"),
        ("[agent]\nslots = 0\n", "E_CFG_VALUE", "line 2"),
        ('[agent]\nslots = "many"\n', "E_CFG_VALUE", "line 2"),
        ("[agent]\nvisibility_timeout_s = 59\n", "E_CFG_VALUE", "line 2"),
        (
            '[[route]]\nname = "a"\nsource = ["s3://b/x"]\ndestination = ["file:///x/"]\n',
            "E_CFG_ROUTE",
            "does not end in '/'",
        ),
        (
            f'{ROUTE}engine = "distcp"\n'.replace("s3://b/", "s3://raw/"),
            "E_CFG_ROUTE",
            "distcp is for HDFS",
        ),
    ],
)
def test_a_wrong_setting_is_78_with_its_place(
    local: Installation, tmp_path: Path, text: str, code: str, says: str
) -> None:
    path = tmp_path / "backhaul.toml"
    path.write_text(text)
    ended = local.backhaul("run", local.queue, REGION, "--config", str(path))
    line = refused(ended, 78, code)
    assert str(path) in line
    assert says in line


def test_a_configuration_file_that_is_not_there_is_78(local: Installation) -> None:
    ended = local.backhaul("run", local.queue, REGION, "--config", "/nowhere/x.toml")
    assert "/nowhere/x.toml" in refused(ended, 78, "E_CFG_FILE")


def test_an_environment_variable_that_is_no_setting_is_78(local: Installation) -> None:
    ended = local.drain(BACKHAUL_SLOTS="3")
    assert "BACKHAUL_SLOTS" in refused(ended, 78, "E_CFG_ENV")


def test_a_misspelt_variable_of_a_section_is_78(local: Installation) -> None:
    ended = local.drain(BACKHAUL_AGENT__SLOTZ="3")
    assert "slotz" in refused(ended, 78, "E_CFG_UNKNOWN")


def test_a_queue_that_does_not_exist_is_78(local: Installation) -> None:
    for command in (
        ["run", "no-such-queue", REGION, "--allow", local.allow],
        ["send", "no-such-queue", REGION, local.uri("a"), local.landing.uri],
    ):
        assert "no-such-queue" in refused(local.backhaul(*command), 78, "E_QUEUE_NOT_FOUND")


def test_no_credentials_is_78(local: Installation) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del local.environment[name]
    ended = local.drain()
    refused(ended, 78, "E_AWS_NO_CREDENTIALS")
    assert "AWS_ACCESS_KEY_ID" in ended.err


def test_an_sqs_that_cannot_be_reached_is_69(local: Installation) -> None:
    local.environment["AWS_ENDPOINT_URL_SQS"] = f"http://{nowhere()}"
    assert local.queue in refused(local.drain(), 69, "E_SQS_UNREACHABLE")


def test_plain_http_to_another_machine_is_78(local: Installation) -> None:
    local.environment["AWS_ENDPOINT_URL_SQS"] = "http://sqs.example.com"
    refused(local.drain(), 78, "E_CFG_TLS")


def test_a_second_agent_on_the_same_ledger_is_75(local: Installation) -> None:
    first = local.start()
    first.logged("agent started")
    refused(local.drain(), 75, "E_LEDGER_IN_USE")
    assert first.is_alive
    first.terminate()
    assert first.wait().code == 0
    local.drained()


def test_a_ledger_that_cannot_be_written_is_refused_before_any_message(
    local: Installation, tmp_path: Path
) -> None:
    local.put("a", b"1")
    local.ask_for("a")
    (tmp_path / "file").write_text("no directory")
    ended = local.drain("--ledger", str(tmp_path / "file" / "ledger.db"))
    assert ended.code == 78, ended
    assert f"backhaul: E_LEDGER_PLACE: no ledger can be at {tmp_path}/file/ledger.db" in ended.err
    assert f"{tmp_path}/file is no directory" in ended.err
    assert "Traceback" not in ended.err
    assert local.counts() == (1, 0)


# ---------------------------------------------------------------- one message


MALFORMED = {
    "no comma at all": "E_MSG_FORMAT",
    "a,b,c": "E_MSG_FORMAT",
    "x" * 200_000: "E_MSG_TOO_LARGE",
    "{not json": "E_MSG_FORMAT",
    '{"v":2,"source":"s3://b/k","destination":"/d"}': "E_MSG_VERSION",
    "[" * 5000: "E_MSG_SHAPE",
    '{"Records":[]}': "E_MSG_EVENT_EMPTY",
    '{"Records":[{"eventVersion":"3.0"}]}': "E_MSG_EVENT_VERSION",
    '{"Type":"SubscriptionConfirmation","TopicArn":"t","Message":"m"}': "E_MSG_ENVELOPE",
    '{"detail-type":"Scheduled Event","source":"aws.events"}': "E_MSG_EVENT_TYPE",
}


def test_malformed_messages_are_dead_lettered_with_their_reasons(local: Installation) -> None:
    for body in MALFORMED:
        local.leave(body)
    ended = local.drained()
    letters = local.dead_letters()
    assert {letter["body"]: letter["backhaul.code"] for letter in letters} == MALFORMED
    assert all(letter["backhaul.reason"] and letter["backhaul.hint"] for letter in letters)
    assert len(letters) == len(ended.of("message dead-lettered")) == len(MALFORMED)
    assert {line["dead_letter_queue"] for line in ended.of("message dead-lettered")} == {
        f"{local.queue}-dead"
    }


def test_a_bucket_that_does_not_exist_is_dead_lettered(local: Installation) -> None:
    missing = f"{local.bucket}-missing"
    local.leave(f"{missing}/a, {local.landing.uri}")
    ended = local.drain("--allow", f"s3://{missing}/ -> {local.landing.uri}/")
    assert ended.code == 0
    letter = local.the_dead_letter()
    assert letter["backhaul.code"] == "E_SRC_NO_BUCKET"
    assert missing in letter["backhaul.reason"]


def test_a_source_or_destination_without_a_route_is_dead_lettered(local: Installation) -> None:
    local.put("a", b"1")
    local.leave(f"other/a, {local.landing.uri}")
    local.leave(f"{local.bucket}/a, file:///elsewhere")
    local.drained()
    codes = {letter["backhaul.code"] for letter in local.dead_letters()}
    assert codes == {"E_POLICY_SOURCE", "E_POLICY_DEST"}


@pytest.mark.parametrize("what", ["listing", "object"])
def test_a_source_that_s3_forbids_is_dead_lettered(
    behind_proxy: Installation, s3_proxy: Proxy, what: str
) -> None:
    it = behind_proxy
    it.put("p/a", b"1")
    s3_proxy.lie(
        lambda answer: answer.refuse(403, "AccessDenied"),
        to=lambda seen: seen.is_list if what == "listing" else seen.is_object_get,
    )
    it.ask_for("p/", "out")
    it.drained()
    letter = it.the_dead_letter()
    assert letter["backhaul.code"] == "E_SRC_DENIED"
    assert letter["backhaul.hint"]
    assert it.landing.files() == {}


def test_an_hdfs_directory_that_may_not_be_written_is_dead_lettered(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, hdfs: Hdfs
) -> None:
    it = install(elasticmq, s3proxy, hdfs)
    it.landing = landing = HdfsLanding(hdfs.uri, f"/forbidden/{it.name}", is_named=False)
    landing.client.mkdirs(landing.path, create_parent=True)
    it.environment["HADOOP_USER_NAME"] = "bob"
    it.put("a", b"1")
    it.ask_for("a", "deep/er")
    it.drained()
    letter = it.the_dead_letter()
    assert letter["backhaul.code"] == "E_DST_DENIED"
    assert landing.path in letter["backhaul.reason"]
    assert "bob" in letter["backhaul.reason"]
    assert landing.everything() == []

    copied = it.backhaul("copy", it.uri("a"), f"{it.landing.uri}/x", "--allow", it.allow)
    refused(copied, 73, "E_DST_DENIED")


def test_a_file_where_a_directory_is_needed_is_dead_lettered(local: Installation) -> None:
    local.landing.put("out", b"a file")
    local.put("a", b"1")
    local.ask_for("a", "out/deeper")
    local.ask_for("a", "out")
    local.drained()
    letters = local.dead_letters()
    assert {letter["backhaul.code"] for letter in letters} <= {"E_DST_PARENT_FILE", "E_DST_EXISTS"}
    assert len(letters) == 2
    assert local.landing.files() == {"out": b"a file"}


def test_a_directory_where_a_file_should_go_is_dead_lettered_and_stays(
    local: Installation,
) -> None:
    local.landing.put("out/a/inner", b"inner")
    local.put("a", b"1")
    local.ask_for("a", "out")
    local.drained()
    assert local.the_dead_letter()["backhaul.code"] in {"E_DST_EXISTS", "E_DST_PARENT_FILE"}
    assert local.landing.files() == {"out/a/inner": b"inner"}


def test_without_a_dead_letter_queue_a_dead_message_is_kept(
    local: Installation, elasticmq: ElasticMQ
) -> None:
    local.sqs.create_queue(QueueName=f"{local.queue}-alone")
    local.queue_url = local.sqs.get_queue_url(QueueName=f"{local.queue}-alone")["QueueUrl"]
    local.queue += "-alone"
    local.leave("no comma")
    ended = local.drain()
    assert ended.code == 0, ended
    assert ended.of("message dead and kept hidden")
    assert local.counts() == (0, 1)


def test_a_route_that_refuses_existing_files_dead_letters_and_leaves_them(
    local: Installation,
) -> None:
    local.landing.put("out/a", b"older")
    local.put("a", b"newer")
    local.leave(
        f'{{"v":1,"source":"{local.uri("a")}","destination":"{local.landing.uri}/out",'
        '"options":{"on_exists":"fail"}}'
    )
    local.drained()
    assert local.the_dead_letter()["backhaul.code"] == "E_DST_EXISTS"
    assert local.landing.files() == {"out/a": b"older"}


# ---------------------------------------------------------------- copy says the same by its exit


@pytest.mark.parametrize(
    ("source", "destination", "exit_code", "code"),
    [
        ("s3://BUCKET/missing", "LANDING", 65, "E_SRC_"),
        ("s3://no-such-bucket-here/a", "LANDING", 65, "E_SRC_NO_BUCKET"),
        ("s3://BUCKET/../a", "LANDING", 65, "E_SRC_KEY_DOT_SEG"),
        ("ftp://BUCKET/a", "LANDING", 65, "E_SRC_URI"),
        ("s3://BUCKET/a", "file:///elsewhere", 77, "E_POLICY_DEST"),
        ("s3://BUCKET/a", "hdfs://NOWHERE/landing", 69, "E_HDFS_UNREACHABLE"),
    ],
)
def test_copy_exits_by_what_went_wrong(
    local: Installation, source: str, destination: str, exit_code: int, code: str
) -> None:
    def real(text: str) -> str:
        return (
            text.replace("BUCKET", local.bucket)
            .replace("LANDING", local.landing.uri)
            .replace("NOWHERE", nowhere())
        )

    local.put("a", b"1")
    there = real(destination)
    allowed = ["--allow", local.allow]
    allowed += ["--allow", f"s3://no-such-bucket-here/ -> {local.landing.uri}/"]
    if there.startswith("hdfs"):
        allowed += ["--allow", f"s3://{local.bucket}/ -> {there}/"]
    ended = local.backhaul("copy", real(source), there, *allowed)
    assert ended.code == exit_code, ended
    assert re.search(rf"^backhaul: {code}", ended.err, re.MULTILINE), ended
    assert "Traceback" not in ended.err


def test_copy_with_an_s3_that_cannot_be_reached_is_69(local: Installation) -> None:
    local.environment["AWS_ENDPOINT_URL_S3"] = f"http://{nowhere()}"
    ended = local.backhaul(
        "copy", local.uri("a"), local.landing.uri, "--allow", local.allow, timeout_s=90
    )
    refused(ended, 69, "E_S3_UNREACHABLE")


# ---------------------------------------------------------------- a dependency that is down


def spends_nothing(
    it: Installation,
    code: str,
    mend: Callable[[], None],
) -> None:
    """A drain gives up with 69, leaves the message as it was, and all is well once mended."""
    it.put("a", b"content")
    it.ask_for("a")
    ended = it.drain(BACKHAUL_AGENT__DRAIN_PATIENCE_S="1")
    assert ended.code == 69, ended
    assert "Traceback" not in ended.err + ended.out
    held = ended.of("transfer held")
    assert held, ended
    assert {line["code"] for line in held} == {code}, held
    assert it.counts() == (1, 0), "visible at once, for whoever comes next"
    assert it.dead_letters() == []
    (row,) = it.history()
    assert row["failures"] == 0, row
    assert it.landing.files() == {}
    mend()
    it.drained()
    assert it.landing.files() == {"a": b"content"}
    assert it.landing.staging() == []


def test_wrong_keys_for_s3_hold_and_spend_nothing(local: Installation) -> None:
    right = local.environment["AWS_SECRET_ACCESS_KEY"]
    local.environment["AWS_SECRET_ACCESS_KEY"] = "wrong"

    def mend() -> None:
        local.environment["AWS_SECRET_ACCESS_KEY"] = right

    spends_nothing(local, "E_AWS_DENIED", mend)


def test_copy_with_wrong_keys_is_69_or_77_with_a_hint(local: Installation) -> None:
    local.put("a", b"1")
    local.environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
    ended = local.backhaul("copy", local.uri("a"), local.landing.uri, "--allow", local.allow)
    assert ended.code in {69, 77}
    refused(ended, ended.code, "E_AWS_DENIED")


def test_an_s3_that_cannot_be_reached_holds_and_spends_nothing(local: Installation) -> None:
    right = local.environment["AWS_ENDPOINT_URL_S3"]
    local.environment["AWS_ENDPOINT_URL_S3"] = f"http://{nowhere()}"

    def mend() -> None:
        local.environment["AWS_ENDPOINT_URL_S3"] = right

    spends_nothing(local, "E_S3_UNREACHABLE", mend)


def test_an_hdfs_that_cannot_be_reached_holds_and_spends_nothing(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, hdfs: Hdfs, tmp_path: Path
) -> None:
    it = install(elasticmq, s3proxy, hdfs)
    it.landing = HdfsLanding(hdfs.uri, f"/landing/{it.name}", is_named=False)
    broken = tmp_path / "conf"
    broken.mkdir()
    text = (hdfs.conf_dir / "core-site.xml").read_text()
    (broken / "core-site.xml").write_text(text.replace(hdfs.uri.removeprefix("hdfs://"), nowhere()))
    it.environment["HADOOP_CONF_DIR"] = str(broken)

    def mend() -> None:
        it.environment["HADOOP_CONF_DIR"] = str(hdfs.conf_dir)

    spends_nothing(it, "E_HDFS_UNREACHABLE", mend)


@pytest.mark.timeout(180)
def test_safe_mode_holds_and_the_agent_goes_on_by_itself(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, hdfs: Hdfs
) -> None:
    it = install(elasticmq, s3proxy, hdfs)
    it.landing = HdfsLanding(hdfs.uri, f"/landing/{it.name}", is_named=False)
    it.put("a", b"content")
    hdfs.safemode("enter")
    try:
        it.ask_for("a")
        agent = it.start()
        held = agent.logged("transfer held", times=2)
        assert {line["code"] for line in held} == {"E_HDFS_SAFE_MODE"}
        assert it.landing.files() == {}
    finally:
        hdfs.safemode("leave")
    agent.logged("transfer done", within_s=60)
    agent.terminate()
    assert agent.wait().code == 0
    assert it.landing.files() == {"a": b"content"}
    assert it.landing.staging() == []
    (row,) = it.history()
    assert (row["state"], row["failures"]) == ("done", 0)


# ---------------------------------------------------------------- nothing spins


def test_an_idle_agent_asks_once_per_poll_and_rests(
    install: Install, sqs_proxy: Proxy, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> None:
    it = install(sqs_proxy, s3proxy, sqs_direct=elasticmq)
    agent = it.start()
    agent.logged("agent started")
    process = psutil.Process(agent.pid)
    before = sum(process.cpu_times()[:2])
    asked, told = len(sqs_proxy.of("ReceiveMessage")), agent.out
    time.sleep(6)
    assert len(sqs_proxy.of("ReceiveMessage")) - asked <= 7
    assert sum(process.cpu_times()[:2]) - before < 1.5
    assert agent.out == told, "no line for an empty queue"
    agent.terminate()
    assert agent.wait().code == 0


def test_a_held_message_and_a_dead_queue_make_few_requests(
    install: Install, sqs_proxy: Proxy, s3_proxy: Proxy, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> None:
    it = install(sqs_proxy, s3_proxy, sqs_direct=elasticmq, s3_direct=s3proxy)
    it.put("a", b"1")
    s3_proxy.lie(lambda answer: answer.refuse(500, "InternalError"), to=lambda seen: True)
    it.ask_for("a")
    agent = it.start()
    agent.logged("transfer held")
    sqs_proxy.lie(
        lambda answer: answer.refuse(500, "InternalError"),
        to=lambda seen: seen.action == "ReceiveMessage",
    )
    process = psutil.Process(agent.pid)
    before = sum(process.cpu_times()[:2])
    s3_proxy.forget()
    sqs_proxy.forget()
    time.sleep(8)
    assert agent.is_alive
    assert len(s3_proxy.seen) <= 40
    assert len(sqs_proxy.of("ReceiveMessage")) <= 8
    assert sum(process.cpu_times()[:2]) - before < 2
    s3_proxy.be_honest()
    sqs_proxy.be_honest()
    agent.logged("transfer done", within_s=60)
    it.ask_for("a", "again")
    agent.logged("transfer done", times=2, within_s=60)
    agent.terminate()
    assert agent.wait().code == 0
    assert it.landing.files() == {"a": b"1", "again/a": b"1"}


# ---------------------------------------------------------------- links


def test_a_destination_that_is_a_link_elsewhere_is_refused(
    local: Installation, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    local.put("a", b"1")
    landing = Path(local.landing.uri.removeprefix("file://"))
    landing.mkdir()
    (landing / "link").symlink_to(elsewhere)
    local.ask_for("a", "link/deeper")
    local.drained()
    assert local.the_dead_letter()["backhaul.code"] == "E_DST_MOUNT"

    through = f"s3://{local.bucket}/ -> {local.landing.uri}/link/"
    ended = local.backhaul("run", local.queue, REGION, "--allow", through)
    assert str(elsewhere) in refused(ended, 78, "E_DST_MOUNT")
    assert list(elsewhere.iterdir()) == []

"""The commands as a person or a program at the shell meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from testbed import ElasticMQ
from tests.acceptance.installation import REGION, Ended, Installation, Running, eventually
from tests.acceptance.proxy import Answer, Proxy

pytestmark = pytest.mark.integration
COMMANDS = [
    "run",
    "send",
    "copy",
    "explain",
    "status",
    "top",
    "check",
    "history",
    "show",
    "dlq",
    "verify",
    "demo",
    "limit",
]
COMMANDS += ["pause", "resume", "retry", "journal", "where", "arrived", "receipt", "doctor"]
COMMANDS += ["report"]
HEAVY = {"boto3", "botocore", "sqlalchemy", "rich", "hdfs_native", "pydantic", "alembic"}


def transferred(it: Installation) -> dict[str, Any]:
    it.put("p/a", b"1")
    it.put("p/b", b"22")
    it.ask_for("p/", "out")
    it.drained()
    return it.history()[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_begins_with_an_example_and_ends_with_0(local: Installation, command: str) -> None:
    ended = local.backhaul(command, "--help")
    assert ended.code == 0, ended
    text = ended.out.split("Options:")[0]
    assert f"backhaul {command}" in text.split("Example")[1]
    assert text.index("Example") < 300
    assert local.backhaul(command, "-h").out == ended.out


def test_help_lists_every_command_and_imports_no_client_library(local: Installation) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "backhaul", "--help"],
        env=local.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(f"  {command} " in done.stdout for command in COMMANDS)
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert not HEAVY & imported


def test_version_is_printed(local: Installation) -> None:
    ended = local.backhaul("--version")
    assert ended.code == 0
    assert "backhaul" in ended.out


def test_history_and_show_print_the_same_for_people_and_programs(local: Installation) -> None:
    row = transferred(local)
    assert (row["state"], row["objects_planned"], row["bytes_planned"]) == ("done", 2, 3)
    assert row["source"] == local.uri("p/")
    assert row["destination"] == f"{local.landing.uri}/out"
    table = local.backhaul("history")
    assert row["id"] in table.out
    assert "done" in table.out
    shown = local.show(row["id"])
    assert shown["transfer"] == row
    assert local.show(row["id"][:10]) == shown, "the beginning of an id is enough"
    text = local.backhaul("show", row["id"])
    assert local.uri("p/") in text.out
    assert [line["key"] for line in local.evidence(row["id"])] == ["p/a", "p/b"]
    assert len(local.history("--state", "done")) == 1
    assert local.history("--state", "dead") == []
    assert local.history("--since", "2100-01-01") == []


def test_show_has_who_sent_the_message_when_and_its_trace(on_moto: Installation) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    x_ray = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"
    on_moto.put("p/a", b"a")
    on_moto.sqs.send_message(
        QueueUrl=on_moto.queue_url,
        MessageBody=f"{on_moto.uri('p/')}, {on_moto.landing.uri}/out",
        MessageAttributes={"traceparent": {"DataType": "String", "StringValue": trace}},
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": x_ray}},
    )
    on_moto.drained()
    (row,) = on_moto.history()
    assert (row["traceparent"], row["aws_trace_header"]) == (trace, x_ray)
    assert row["sender"]
    assert row["sent_at"] <= row["first_seen_at"]
    text = on_moto.backhaul("show", row["id"]).out
    for part in (trace, x_ray, row["sender"], row["sent_at"][:19].replace("T", " ")):
        assert part in text


def test_where_goes_from_a_file_to_its_message_and_from_an_object_to_its_file(
    local: Installation,
) -> None:
    row = transferred(local)
    file, source = f"{local.landing.uri}/out/b", local.uri("p/b")
    shown = local.backhaul("where", file)
    for fact in (source, row["id"], row["message_id"], row["sender"], "proof", "2 B"):
        assert fact in shown.out, shown
    forward = json.loads(local.backhaul("where", source, "--json").out)
    (passage,) = forward["transfers"]
    assert (passage["target"], passage["presence"]) == (file, "now")
    # Another state of the object, and then the path has a history.
    local.put("p/b", b"333")
    local.ask_for("p/b", "out")
    local.drained()
    backward = json.loads(local.backhaul("where", file, "--json").out)
    (now,) = backward["now"]
    assert (now["size_bytes"], now["transfer"]) == (3, backward["transfers"][0]["transfer"])
    assert [one["presence"] for one in backward["transfers"]] == ["now", "replaced"]
    ended = local.backhaul("where", local.uri("other"))
    assert ended.code == 65, ended
    assert ended.err.startswith("backhaul: E_WHERE_NOTHING: ")


def test_history_without_a_ledger_is_empty_and_show_refuses(local: Installation) -> None:
    assert local.history() == []
    assert local.backhaul("history").code == 0
    ended = local.backhaul("show", "abc")
    assert ended.code == 78, ended
    assert ended.err.startswith("backhaul: E_LEDGER_MISSING: ")


def test_show_of_an_unknown_id_is_65(local: Installation) -> None:
    transferred(local)
    ended = local.backhaul("show", "zzzzzz")
    assert ended.code == 65, ended
    assert ended.err.startswith("backhaul: E_NO_SUCH_TRANSFER")


def test_history_and_show_read_while_the_agent_writes(
    behind_proxy: Installation, s3_proxy: Proxy
) -> None:
    it = behind_proxy

    def slow(answer: Answer) -> None:
        answer.rate = len(answer.body) / 4

    s3_proxy.lie(slow)
    it.put("p/a", b"x" * 10_000)
    it.ask_for("p/", "out")
    agent = it.start()
    agent.logged("message received")
    seen = []
    while not agent.of("transfer done"):
        rows = it.history()
        seen += [row["state"] for row in rows]
        for row in rows:
            assert it.show(row["id"])["transfer"]["id"] == row["id"]
    agent.terminate()
    assert agent.wait().code == 0
    assert "staging" in seen, seen
    assert it.history()[0]["state"] == "done"


def test_head_closes_the_pipe_and_nothing_complains(local: Installation) -> None:
    row = transferred(local)
    program = " ".join([*map(str, local.argv()), "show", row["id"], "--evidence"])
    for command in (f"{program} | head -c 1", f"{program} | true"):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            env=local.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done
        assert done.stderr == "", done


def test_send_prints_the_id_alone_and_refuses_what_the_agent_would(local: Installation) -> None:
    good: Ended = local.backhaul("send", local.queue, REGION, local.uri("a"), "/landing")
    assert good.code == 0
    answer = local.sqs.receive_message(QueueUrl=local.queue_url)["Messages"][0]
    assert good.out == f"{answer['MessageId']}\n"
    assert good.err == ""
    for source, target in (("a b", "/x"), (local.uri("../a"), "/x"), (local.uri("a"), "x")):
        bad = local.backhaul("send", local.queue, REGION, source, target)
        assert bad.code == 65, bad
        assert bad.out == ""
        assert bad.err.startswith("backhaul: E_")
    assert local.counts() == (0, 1)


def test_send_with_options_leaves_json(local: Installation) -> None:
    ended = local.backhaul(
        "send", local.queue, REGION, local.uri("a"), "/x", "--option", "verify=stored"
    )
    assert ended.code == 0, ended
    body = local.sqs.receive_message(QueueUrl=local.queue_url)["Messages"][0]["Body"]
    assert json.loads(body)["options"] == {"verify": "stored"}
    bad = local.backhaul(
        "send", local.queue, REGION, local.uri("a"), "/x", "--option", "verify=maybe"
    )
    assert bad.code == 65, bad


def test_copy_in_a_pipe_has_plain_lines(local: Installation) -> None:
    local.put("p/a", b"1")
    ended = local.backhaul(
        "copy", local.uri("p/"), f"{local.landing.uri}/x", "--allow", local.allow
    )
    assert ended.code == 0, ended
    assert "\x1b" not in ended.out + ended.err
    assert "1" in ended.out


def test_the_log_has_one_line_per_message_and_one_per_outcome(local: Installation) -> None:
    for number in range(3):
        local.put(f"{number}", b"x")
        local.ask_for(f"{number}")
    ended = local.drained()
    events = [line["event"] for line in ended.events]
    assert events.count("message received") == 3
    assert events.count("transfer done") == 3
    assert len(events) <= 3 + 3 + 3, events
    for line in ended.of("transfer done"):
        assert {"at", "level", "message_id", "source", "destination"} <= line.keys(), line


def test_no_secret_is_in_log_ledger_or_arguments(local: Installation) -> None:
    secret = local.environment["AWS_SECRET_ACCESS_KEY"]
    local.put("a", b"1")
    local.ask_for("a")
    local.leave("s3://user:hunter2@bucket/a, /x")
    agent = local.start()
    agent.logged("transfer done")
    for process in agent.workers():
        assert secret not in " ".join(process.cmdline())
    agent.logged("message dead-lettered")
    agent.terminate()
    ended = agent.wait()
    assert secret not in ended.out + ended.err
    assert "hunter2" not in ended.out + ended.err
    for path in local.home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert secret.encode() not in content, path
            assert b"hunter2" not in content, path


# ---------------------------------------------------------------- Ctrl-C


def running(it: Installation, directory: Path, *arguments: str) -> Running:
    return Running(it.argv(*arguments), it.environment, directory)


def test_ctrl_c_during_verify_is_130_and_changes_nothing(
    local: Installation, tmp_path: Path
) -> None:
    transfer_id = transferred(local)["id"]
    evidence = local.evidence(transfer_id)
    verify = running(local, tmp_path / "verify", "verify", transfer_id)
    try:
        # Its worker is stopped before it can answer: the command waits.
        (worker,) = eventually(verify.workers, what="no worker")
        worker.suspend()
        verify.send_signal(signal.SIGINT)
        ended = verify.wait()
    finally:
        verify.clean_up()
    assert ended.code == 130, ended
    assert "Traceback" not in ended.err
    assert local.evidence(transfer_id) == evidence
    assert local.backhaul("verify", transfer_id).code == 0


def test_ctrl_c_during_redrive_is_130_and_loses_no_letter(
    local: Installation, elasticmq: ElasticMQ, tmp_path: Path
) -> None:
    for key in ("gone-1", "gone-2"):
        local.ask_for(key)
    local.drained()
    redrive = running(local, tmp_path / "redrive", "dlq", "redrive", local.queue, REGION, "--all")
    (pid,) = elasticmq.pids.values()
    os.kill(pid, signal.SIGSTOP)
    try:
        # Its queue does not answer, from the first call on.
        eventually(lambda: _has_connection(redrive.pid), what="no connection")
        redrive.send_signal(signal.SIGINT)
        ended = redrive.wait()
    finally:
        os.kill(pid, signal.SIGCONT)
        redrive.clean_up()
    assert ended.code == 130, ended
    assert "Traceback" not in ended.err
    again = local.backhaul("dlq", "redrive", local.queue, REGION, "--all")
    assert again.code == 0, again
    assert local.dead_letters() == []
    assert sum(local.counts()) == 2


def _has_connection(pid: int) -> bool:
    """It has connected to a server of this machine."""
    return any(one.status == "ESTABLISHED" for one in psutil.Process(pid).net_connections())

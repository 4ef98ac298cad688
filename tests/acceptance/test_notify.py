"""Notifications by the real agent: once, in time, and never in the way of a transfer or a stop."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from testbed import ElasticMQ, S3Proxy
from testbed.mail import PASSWORD, USER, Mailbox, certificate, mail_server, scripted
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation, eventually
from tests.acceptance.test_outages import Through
from tests.acceptance.test_secrets import Canaries
from tests.docs.test_schemas import SCHEMAS, _TypeFirst
from tests.torture.tcp import TcpProxy

pytestmark = pytest.mark.integration


def configured(it: Installation, *lines: str) -> Path:
    """A configuration of one route and one `[[notify]]` with these lines."""
    path = it.home / "backhaul.toml"
    path.write_text(
        f'[[route]]\nname = "landing"\nsource = ["s3://{it.bucket}/"]\n'
        f'destination = ["{it.landing.uri}/"]\n'
        '[[notify]]\nname = "oncall"\n' + "\n".join(lines) + "\n"
    )
    return path


def hook(it: Installation, *lines: str) -> str:
    """A command of these lines of shell, which begin in HOME."""
    path = it.home / "hook"
    path.write_text(f"#!/bin/sh\ncd {it.home}\n" + "\n".join(lines) + "\n")
    path.chmod(0o755)
    return f'command = ["{path}"]'


KEEP = ("cat > given.$$", "mv given.$$ notified.$$")


def notified(it: Installation) -> list[dict[str, Any]]:
    """What the hook has read so far, oldest first."""
    found = [json.loads(path.read_text()) for path in it.home.glob("notified.*")]
    return sorted(found, key=lambda one: str(one["at"]))


def is_at_work(process: psutil.Process) -> bool:
    """False for a zombie, too."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def schema_takes(document: dict[str, Any]) -> bool:
    schema = json.loads((SCHEMAS / "notification.schema.json").read_text("utf-8"))
    return _TypeFirst(schema).accepts(document)


def test_a_dead_message_is_one_call_of_the_command(local: Installation) -> None:
    config = configured(local, hook(local, *KEEP))
    for key in ("none/1", "none/2"):
        local.ask_for(key)
    local.leave("no message at all")
    agent = local.start("--config", str(config))
    agent.logged("notification sent")
    (found,) = notified(local)
    assert schema_takes(found)
    assert (found["v"], found["about"], found["health"]) == (1, ["dead"], None)
    assert found["dead"]["count"] == 3
    groups = {(one["code"], one["route"]): one["count"] for one in found["dead"]["groups"]}
    assert groups == {("E_SRC_EMPTY", "landing"): 2, ("E_MSG_FORMAT", ""): 1}
    known = {row["id"]: row for row in local.history()}
    for one in found["dead"]["examples"]:
        row = known.pop(one["transfer"])
        assert (one["code"], one["show"]) == (row["code"], f"backhaul show {row['id']}")
    assert not known
    sources = {one["source"] for one in found["dead"]["examples"]}
    assert sources == {local.uri("none/1"), local.uri("none/2"), ""}
    agent.terminate()
    assert agent.wait().code == 0
    assert len(notified(local)) == 1


def test_what_must_wait_is_sent_by_a_later_run_and_each_death_once(local: Installation) -> None:
    config = configured(local, hook(local, *KEEP), 'every = "4s"')
    for number in range(3):
        local.ask_for(f"none/{number}")
        ended = local.drained("--config", str(config))
        assert ended.code == 0
    time.sleep(4)  # the least time between two
    ended = local.drained("--config", str(config))
    transfers = [one["transfer"] for found in notified(local) for one in found["dead"]["examples"]]
    assert sorted(transfers) == sorted(row["id"] for row in local.history())
    assert len(transfers) == 3


def test_health_is_reported_once_it_lasts_and_its_end(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> None:
    with TcpProxy(urlsplit(s3proxy.endpoint).port or 0) as between:
        s3 = Through(
            endpoint=f"http://127.0.0.1:{between.port}",
            access_key=s3proxy.access_key,
            secret_key=s3proxy.secret_key,
        )
        it = install(elasticmq, s3, s3_direct=s3proxy)
        config = configured(it, hook(it, *KEEP), 'every = "1s"', 'after = "1s"')
        it.put("a", b"content")
        between.refuse()
        it.ask_for("a")
        agent = it.start("--config", str(config))
        eventually(lambda: notified(it), within_s=60, what=lambda: agent.out[-2000:])
        between.be_honest()
        agent.logged("transfer done", within_s=60)
        eventually(lambda: len(notified(it)) == 2, within_s=60, what=lambda: agent.out[-2000:])
        agent.terminate()
        assert agent.wait().code == 0
    trouble, recovery = notified(it)
    assert (trouble["about"], trouble["health"]["state"]) == (["health"], "held")
    assert "Held by s3" in trouble["subject"]
    assert recovery["about"] == ["recovery"]
    assert schema_takes(trouble)
    assert schema_takes(recovery)


def test_a_command_that_hangs_delays_no_transfer_and_no_stop(local: Installation) -> None:
    config = configured(local, hook(local, "sleep 3600"))
    local.ask_for("none")
    agent = local.start("--config", str(config))
    agent.logged("message dead-lettered")
    eventually(lambda: [p for p in agent.workers() if p.name() in {"hook", "sleep"}])
    for number in range(5):
        local.put(f"k{number}", b"1")
        local.ask_for(f"k{number}")
    agent.logged("transfer done", times=5)
    hanging = [one for one in agent.workers() if one.name() in {"hook", "sleep"}]
    began_s = time.monotonic()
    agent.terminate()
    ended = agent.wait()
    assert ended.code == 0
    assert time.monotonic() - began_s < 30
    assert ended.of("notification kept for the next start")
    assert hanging
    assert not [one for one in hanging if is_at_work(one)]

    hook(local, *KEEP)
    again = local.drained("--config", str(config))
    assert again.of("notification sent")
    (found,) = notified(local)
    assert found["dead"]["count"] == 1


def test_a_mail_server_that_hangs_delays_no_transfer_and_no_stop(local: Installation) -> None:
    is_reached = threading.Event()

    def silent(connection: Any) -> None:
        is_reached.set()
        while connection.recv(1024):
            pass

    with scripted(silent) as port:
        config = configured(
            local,
            'email = { to = ["a@example.com"], from = "b@example.com", tls = "none",'
            f' smtp = "127.0.0.1:{port}" }}',
        )
        local.ask_for("none")
        local.put("k", b"1")
        local.ask_for("k")
        agent = local.start("--config", str(config))
        agent.logged("message dead-lettered")
        agent.logged("transfer done")
        assert is_reached.wait(60), "it talks to the server"
        began_s = time.monotonic()
        agent.terminate()
        assert agent.wait().code == 0
        assert time.monotonic() - began_s < 30


def test_mail_with_starttls_and_login_and_no_secret_anywhere(
    local: Installation, tmp_path: Path
) -> None:
    box = Mailbox()
    ca_file, context = certificate(tmp_path)
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    canaries = Canaries(PASSWORD)
    with mail_server(box, starttls=context, wants_login=True) as port:
        config = configured(
            local,
            f'email = {{ to = ["a@example.com"], from = "b@example.com", user = "{USER}",'
            f' password_file = "{secret}", ca_file = "{ca_file}", smtp = "localhost:{port}" }}',
            "[log]",
            'level = "debug"',
        )
        local.ask_for("none")
        local.leave(f"s3://user:{PASSWORD}@{local.bucket}/p/, {local.landing.uri}")
        ended = local.drained("--config", str(config))
        canaries.assert_not_in(ended, "run")
        assert ended.of("notification sent"), ended
        tried = local.backhaul("notify", "test", "--config", str(config))
        assert tried.out.startswith("oncall: delivered in ")
        secret.write_text("canaryc0ffeeWRONG")
        canaries = Canaries(PASSWORD, "canaryc0ffeeWRONG")
        wrong = local.backhaul("notify", "test", "oncall", "--config", str(config))
        assert wrong.code == 69
        assert "E_NOTIFY_SMTP" in wrong.out
        assert "refuses the login: 535" in wrong.out
        for one, what in ((tried, "test"), (wrong, "wrong")):
            canaries.assert_not_in(one, what)
        listed = local.backhaul("notify", "list", "--json", "--config", str(config))
        canaries.assert_not_in(listed, "list")
    died, test = box.mails
    assert died["Subject"].endswith("2 dead: E_SRC_EMPTY 1, E_SRC_URI 1")
    assert test["Subject"].startswith("[backhaul] TEST: ")
    for mail in box.mails:
        canaries.assert_absent("a mail", mail.as_bytes() + mail.get_content().encode())
    canaries.assert_not_in_files(local.home.rglob("*"))


def test_a_command_that_fails_is_one_warning_and_loses_nothing(local: Installation) -> None:
    """Here the test command: the agent's own tries take minutes, which unit tests cover."""
    config = configured(local, hook(local, "echo pager is down >&2", "exit 3"))
    tried = local.backhaul("notify", "test", "--json", "--config", str(config))
    found = json.loads(tried.out)
    assert (tried.code, found["is_delivered"], found["code"]) == (69, False, "E_NOTIFY_COMMAND")
    assert found["reason"].endswith("ended with 3: pager is down")


def test_list_shows_who_is_notified_of_what_and_when_it_was(local: Installation) -> None:
    config = configured(local, hook(local, *KEEP), 'on = ["dead"]')
    before = local.backhaul("notify", "list", "--config", str(config))
    assert "oncall  dead  command " in before.out
    assert before.out.endswith("every 15 min, after 2 min; none sent yet\n")
    local.ask_for("none")
    local.drained("--config", str(config))
    local.ask_for("none/more")
    local.drained("--config", str(config))
    after = local.backhaul("notify", "list", "--config", str(config))
    assert "; last 20" in after.out
    assert after.out.endswith("; 1 dead message for the next one\n")
    (found,) = map(
        json.loads,
        local.backhaul("notify", "list", "--json", "--config", str(config)).out.splitlines(),
    )
    assert (found["name"], found["on"], found["waiting_dead"]) == ("oncall", ["dead"], 1)
    assert found["is_troubled"] is False


def test_bad_names_and_no_names_are_clear_errors(local: Installation) -> None:
    config = configured(local, hook(local, *KEEP))
    unknown = local.backhaul("notify", "test", "on-call", "--config", str(config))
    assert unknown.code == 64
    assert "E_NOTIFY_NAME: no [[notify]] is named on-call" in unknown.err
    assert "hint: one of oncall" in unknown.err
    none = local.backhaul("notify", "test")
    assert none.code == 78
    assert "E_NOTIFY_SETTING: there is no [[notify]]" in none.err
    listed = local.backhaul("notify", "list")
    assert (listed.code, listed.out) == (0, "")
    assert "no [[notify]] is configured" in listed.err
    assert local.backhaul("notify").code in {0, 64}
    (local.home / "hook").unlink()
    started = local.drain("--config", str(config))
    assert started.code == 78
    assert "there is no program" in started.err
    config.chmod(0o666)
    tried = local.backhaul("notify", "test", "--config", str(config))
    assert tried.code == 78
    assert "E_CFG_PERMISSIONS" in tried.err


def test_list_says_what_it_cannot_read(local: Installation) -> None:
    config = configured(local, hook(local, *KEEP))
    local.ask_for("none")
    local.drained("--config", str(config))
    (memory,) = local.home.rglob("*.notify")
    memory.write_text("damaged")
    listed = local.backhaul("notify", "list", "--config", str(config))
    assert listed.code == 0
    assert "E_NOTIFY_MEMORY" in listed.err
    assert "oncall" in listed.out
    local.ask_for("none/again")
    ended = local.drained("--config", str(config))
    assert ended.of("notifications cannot be kept across a restart")
    assert ended.of("notification sent")

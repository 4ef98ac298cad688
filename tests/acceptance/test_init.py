"""`backhaul init` on a terminal, and the agent with nothing but what it wrote and allows."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
import pytest
import urllib3
from botocore.config import Config

from backhaul.core.access_policy import (
    QueueAccess,
    RouteAccess,
    access_policy,
    operator_policy,
    policy_text,
)
from backhaul.testing.servers import Moto
from tests.acceptance.installation import REGION, Installation

pytestmark = pytest.mark.integration
ACCOUNT = "123456789012"  # moto's


class Terminal:
    """`backhaul init` on a terminal of its own. Use it as a context manager."""

    def __init__(self, it: Installation, *arguments: str) -> None:
        self._handle, other = pty.openpty()
        environment = {k: v for k, v in it.environment.items() if not k.startswith("AWS_")}
        self._process = subprocess.Popen(
            it.argv("init", *arguments),
            env={**environment, "TERM": "dumb"},
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - no thread of this test holds a lock
        )
        os.close(other)
        self.shown = ""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait(30)
        os.close(self._handle)

    def until(self, text: str, within_s: float = 30) -> None:
        """Read until this is on the screen, after what was waited for before."""
        deadline_s = time.monotonic() + within_s
        while text not in self.shown[self._seen :]:
            assert time.monotonic() < deadline_s, self.shown
            assert self._read(), self.shown
        self._seen = self.shown.index(text, self._seen) + len(text)

    def type(self, text: str) -> None:
        os.write(self._handle, text.encode())

    def press_until_it_ends(self, key: str) -> int:
        """As a person does: Python misses a Ctrl-C between its prompt and its reading."""
        for _ in range(30):
            self.type(key)
            while self._read(1):
                pass
            with suppress(subprocess.TimeoutExpired):
                return self._process.wait(1)
        raise AssertionError(self.shown)

    def end(self) -> int:
        while self._read():
            pass
        return self._process.wait(30)

    def _read(self, within_s: float = 30) -> bool:
        if not select.select([self._handle], [], [], within_s)[0]:
            return False
        try:
            found = os.read(self._handle, 4096)
        except OSError:  # the other end is closed
            return False
        self.shown += found.decode()
        return bool(found)


def _take_terminal() -> None:
    """Make standard input the controlling terminal, so that Ctrl-C reaches the process."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))


def written(it: Installation) -> list[str]:
    """All files below HOME, without what another command has left."""
    return sorted(str(path.relative_to(it.home)) for path in it.home.rglob("*") if path.is_file())


@pytest.fixture
def it(on_moto: Installation) -> Installation:
    on_moto.environment["XDG_CONFIG_HOME"] = str(on_moto.home / "conf")
    return on_moto


def test_answers_on_a_terminal_make_a_configuration_and_a_wrong_one_is_asked_again(
    it: Installation,
) -> None:
    with Terminal(it, str(it.home / "b.toml")) as terminal:
        terminal.until("AWS region")
        terminal.type("Oregon\n")
        terminal.until("Oregon is no AWS region")
        terminal.until("AWS region")
        terminal.type("us-west-2\n")
        terminal.until("SQS queue")
        terminal.type("my-queue\n")
        terminal.until("Source in S3")
        terminal.type("s3://acme-raw/click\n")
        terminal.until("Destination directory")
        terminal.type("/landing/click\n")
        terminal.until("send an event for each object?")
        terminal.type("y\n")
        terminal.until("backhaul run my-queue us-west-2")
        assert terminal.end() == 0
    text = (it.home / "b.toml").read_text()
    assert 'source = ["s3://acme-raw/click/"]' in text
    assert 'event_destination = "/landing/click/{rel_dir}/"' in text


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["ctrl-c", "end-of-input"])
def test_half_answered_leaves_nothing(it: Installation, key: str) -> None:
    where = (str(it.home / "b.toml"), "--terraform", str(it.home / "x.tf"))
    with Terminal(it, *where) as terminal:
        terminal.until("AWS region")
        terminal.type("us-west-2\n")
        terminal.until("SQS queue")
        assert terminal.press_until_it_ends(key) == 130
    assert "backhaul: interrupted" in terminal.shown
    assert written(it) == []


# ---------------------------------------------------------------- the policy, enforced


class Iam:
    """moto's IAM. It judges actions, and of S3 also resources; of SQS none, and no condition."""

    def __init__(self, server: Moto) -> None:
        self._server = server
        self._client: Any = boto3.client(
            "iam",
            region_name=REGION,
            endpoint_url=server.endpoint,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            config=Config(proxies={}),
        )

    def keys_with(self, user: str, policy: dict[str, Any]) -> dict[str, Any]:
        """Variables of a new user who has this policy."""
        statements = [
            {**one, "Resource": "*"} if ":sqs:" in str(one["Resource"]) else one
            for one in policy["Statement"]
        ]
        document = policy_text({**policy, "Statement": statements})
        self._client.create_user(UserName=user)
        self._client.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=document)
        key = self._client.create_access_key(UserName=user)["AccessKey"]
        return {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }

    @contextmanager
    def enforced(self) -> Iterator[None]:
        self._set("0")
        try:
            yield
        finally:
            self._set("inf")

    def _set(self, unjudged_calls: str) -> None:
        url = f"{self._server.endpoint}/moto-api/reset-auth"
        answer = urllib3.request("POST", url, body=unjudged_calls, retries=False)
        assert answer.status == 200


def test_agent_and_operator_work_with_what_their_policies_allow_and_nothing_else(
    it: Installation, moto_server: Moto
) -> None:
    config = it.home / "b.toml"
    flags = ["--queue", it.queue, "--region", REGION, "--source", it.uri("p/")]
    ended = it.backhaul("init", str(config), *flags, "--destination", f"{it.landing.uri}/p/")
    assert ended.code == 0, ended
    queue = QueueAccess(
        name=it.queue, region=REGION, account=ACCOUNT, dead_letter=f"{it.name}-dead"
    )
    route = RouteAccess(name="p", sources=((it.bucket, "p/"),))
    iam = Iam(moto_server)
    agent = iam.keys_with(f"{it.name}-agent", access_policy([queue], [route]))
    operator = iam.keys_with(f"{it.name}-operator", operator_policy([queue]))
    it.put("p/a", b"1", ChecksumAlgorithm="CRC32C")
    it.put("q/a", b"1")
    it.ask_for("p/", "p")
    it.ask_for("q/", "p")  # no route allows it
    with iam.enforced():
        drained = it.backhaul("run", it.queue, REGION, "--drain", "--config", str(config), **agent)
        listed = it.backhaul("dlq", "list", it.queue, REGION, "--json", **operator)
        shut_out = it.backhaul("copy", it.uri("q/"), f"{it.landing.uri}/q", "--allow-any", **agent)
    assert drained.code == 0, drained
    assert (Path(it.landing.uri.removeprefix("file://")) / "p" / "a").read_bytes() == b"1"
    assert json.loads(listed.out.splitlines()[0])["code"] == "E_POLICY_SOURCE", listed
    assert shut_out.code != 0, shut_out
    assert "E_SRC_DENIED" in shut_out.err, shut_out

"""What a program or a receiver repeats of its secrets is in nothing that is kept or shown."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.system.log import describe
from backhaul.app.context import load_context
from backhaul.app.doctor import hive, replies
from backhaul.app.doctor.bundle import write_bundle
from backhaul.app.doctor.context import read_context
from backhaul.app.doctor.probes import Section
from backhaul.app.doctor.run import examine
from backhaul.app.replying import Replying
from backhaul.cli import cli
from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey
from backhaul.core.replies.delivery import ReplyDead, ReplyNotTaken
from backhaul.core.replies.reply import ReplyEvent, ReplyWish
from testbed.receiver import Receiver, receiving

CANARY = "canaryc0ffeePASSWORD"
SPECIAL = "canary#c0ffee,PASS;WORD&x"
PLANTED = (CANARY, SPECIAL, "c0ffee,PASS", "PASS;WORD", "WORD&x")  # whole and in pieces
NOW = datetime(2026, 11, 1, 3, tzinfo=UTC)
ROUTE = """
[[route]]
name = "sales"
source = ["s3://raw/"]
destination = ["file:///landing/"]
"""


@contextmanager
def configured(directory: Path, kind: str) -> Iterator[str]:
    """A target of this kind that repeats what it was given, and refuses it."""
    program = directory / "program"
    program.write_text('#!/bin/sh\necho "Error: no login with ${2#--token=} today" >&2\nexit 1\n')
    program.chmod(0o755)
    if kind == "hive":
        yield (
            f'[hive]\ncommand = ["{program}", "-p", "{SPECIAL}"]\n{ROUTE}'
            'hive = { database = "lake", table = "sales" }\n'
        )
    elif kind == "command":
        yield (
            f'[[reply]]\nname = "command"\ncommand = ["{program}", "-s", "--token={SPECIAL}"]\n'
            f'{ROUTE}replies = ["command"]\n'
        )
    else:
        body = f"Cannot POST /services/{CANARY}".encode()
        with receiving(Receiver(status=503, body=body)) as receiver:
            yield (
                '[[reply]]\nname = "webhook"\n'
                f'webhook = "http://127.0.0.1:{receiver.port}/services/{CANARY}"\n'
                f'{ROUTE}replies = ["webhook"]\n'
            )


@pytest.mark.parametrize("kind", ["hive", "command", "webhook"])
def test_it_is_in_no_fact_ledger_list_check_list_or_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for name in ("BACKHAUL_CONFIG", "STATE_DIRECTORY", "HADOOP_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    path, config = tmp_path / "ledger.db", tmp_path / "backhaul.toml"
    seen: dict[str, str] = {}
    with configured(tmp_path, kind) as text:
        config.write_text(text, "utf-8")
        facts = delivered(path, config, kind)
        (failed,) = [one for one in facts if isinstance(one, ReplyNotTaken | ReplyDead)]
        assert "***" in failed.reason
        seen["facts"] = repr(facts)
        seen["log"] = str([describe(one) for one in facts])
        at = ("--ledger", str(path), "--config", str(config))
        for words in (
            ("replies", "list", "-o", "wide"),
            ("replies", "list", "-o", "json"),
            ("replies", "test", kind),
            ("replies", "test", kind, "--json"),
            ("show", "t1"),
            ("show", "t1", "--json"),
        ):
            done = CliRunner().invoke(cli, [*words, *at])
            seen[" ".join(words)] = done.output + repr(done.exception)
        assert "***" in seen[f"replies test {kind}"]
        context = read_context(config=config, ledger=path, queue=None, region=None)
        findings = [
            one
            for _, one in examine(
                context, [Section("hive", hive.PROBES), Section("replies", replies.PROBES)]
            )
        ]
        seen["doctor"] = repr(findings)
        write_bundle(context, findings, tmp_path / "bundle.tgz")
    with tarfile.open(tmp_path / "bundle.tgz") as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member)
            assert content is not None
            seen[member.name] = content.read().decode()
    for file in tmp_path.glob("ledger.db*"):
        seen[file.name] = file.read_bytes().decode("latin-1")
    assert len(seen) > 15
    assert [where for where, found in seen.items() if any(one in found for one in PLANTED)] == []


def delivered(path: Path, config: Path, target: str) -> list[object]:
    """What an agent's sender reports of one try."""
    found: list[object] = []

    def emit(fact: object) -> None:
        found.append(fact)

    replying = Replying()
    with closing(open_ledger(path, create=True)) as ledger:
        wish = ReplyWish(target=target, events=frozenset({ReplyEvent.DEAD}))
        key = MessageKey(queue="q", message_id="m1")
        ledger.begin(
            key, "t1", "s3://raw/a", "file:///landing/a", NOW, route="sales", replies=[wish]
        )
        ledger.fail("t1", TransferState.DEAD, "E_X", "why", NOW)
        context = load_context(config=config, ledger=path)
        replying.start(context, ledger, "us-west-2", emit)
        replying.close()
    return found

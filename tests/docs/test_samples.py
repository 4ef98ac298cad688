"""Samples in the manual go through the real parsers."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backhaul.core.errors import PermanentError
from backhaul.core.model import Request, SignatureRule
from backhaul.core.requests.body import parse_message, read_message
from backhaul.core.requests.content import ObjectEvent
from backhaul.core.requests.paths import parse_destination
from backhaul.core.requests.policy import Policy, parse_allow
from backhaul.core.requests.signature import verify
from backhaul.settings.load import load_settings
from backhaul.settings.model import Settings
from backhaul.settings.notify import check_notify
from backhaul.settings.routes import make_routes
from tests.docs.manual import (
    DOCS,
    REFERENCE,
    code,
    console,
    fences,
    pages,
    prose,
    tables,
    text_of,
)

DEFAULT_FS = "hdfs://nameservice"


def _fenced(language: str) -> list[tuple[str, str]]:
    return [(page.name, body) for page in pages() for body in fences(page, language)]


# ---------------------------------------------------------------- configuration


def _toml() -> list[tuple[str, str]]:
    return _fenced("toml")


@pytest.mark.parametrize(("page", "body"), _toml())
def test_toml_is_a_configuration(page: str, body: str, tmp_path: Path) -> None:
    path = tmp_path / "backhaul.toml"
    path.write_text(body, "utf-8")
    settings = load_settings(path)
    check_notify(settings.notify, path)
    assert make_routes(settings, path, DEFAULT_FS) or settings.notify or settings.lineage.url


def test_single_settings_in_the_text_exist() -> None:
    """`log.file = "…"`, `on_exists = "replace"`: what stands as an assignment can be read."""
    assignment = re.compile(r"([a-z_]+(?:\.[a-z_]+)*) = (\"[^\"]*\"|\d+)")
    found = 0
    for page in pages():
        for text in code(prose(page)):
            if not (match := assignment.fullmatch(text)):
                continue
            if page.parent.name == "decisions":
                continue
            value = tomllib.loads(f"value = {match[2]}")["value"]
            head, dot, rest = match[1].partition(".")
            values = {head: {rest: value}} if dot else {head: value}
            if not dot and head not in Settings.model_fields:
                route = {"name": "a", "source": ["b-1/"], "destination": ["/d/"], head: value}
                values = {"route": [route]}
            Settings.model_validate(values)
            found += 1
    assert found >= 5


def test_variables_named_as_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    told = re.findall(r"`(BACKHAUL_[A-Z_]+)=([^`]+)`", text_of(REFERENCE / "settings.md"))
    assert len(told) == 3
    for name, value in told:
        monkeypatch.setenv(name, value)
    settings = load_settings(None)
    assert (settings.agent.slots, settings.log.level) == (8, "debug")
    assert settings.ledger == Path("/srv/ledger.db")


def _allows() -> list[str]:
    return [text for page in pages() for text in re.findall(r"--allow '([^']+)'", text_of(page))]


@pytest.mark.parametrize("text", sorted({text for text in _allows() if text != "SOURCE -> DEST"}))
def test_allow_samples_are_routes(text: str) -> None:
    if "BUCKET" not in text:
        parse_allow(text, default_fs=DEFAULT_FS)


# ---------------------------------------------------------------- messages


def _message_rows(first: str, second: str) -> list[tuple[str, ...]]:
    return [
        row
        for one in tables(REFERENCE / "messages.md")
        if one.columns[:2] == (first, second)
        for row in one.rows
    ]


@pytest.mark.parametrize("row", _message_rows("body", "source"), ids=lambda row: str(row[0]))
def test_accepted_lines_become_what_the_manual_says(row: tuple[str, ...]) -> None:
    body, source, destination = (code(cell)[0] for cell in row)
    request = parse_message(body, default_fs=DEFAULT_FS)
    assert request.source.uri == source
    assert request.destination == parse_destination(destination, default_fs=DEFAULT_FS)


@pytest.mark.parametrize("row", _message_rows("body", "refused with"), ids=lambda row: str(row[0]))
def test_refused_neighbours_are_refused_with_that_code(row: tuple[str, ...]) -> None:
    with pytest.raises(PermanentError) as caught:
        parse_message(code(row[0])[0], default_fs=DEFAULT_FS)
    assert caught.value.code == code(row[1])[0]


def test_json_samples_of_messages_are_accepted() -> None:
    bodies = fences(REFERENCE / "messages.md", "json")
    assert len(bodies) >= 2
    for body in bodies:
        for ask in read_message(body, default_fs=DEFAULT_FS).records:
            assert isinstance(ask, (Request, ObjectEvent))


def test_python_of_the_manual_makes_a_good_signature() -> None:
    (program,) = fences(REFERENCE / "messages.md", "python")
    made: dict[str, Any] = {}
    exec(program, made)  # noqa: S102 - the manual's own
    key, queue = b"k" * 32, "arn:aws:sqs:us-west-2:123456789012:my-queue"
    value = made["signature"](key, "b-1/é, /d", queue)
    rule = SignatureRule(keys=(key,), max_age_s=86_400)
    verify(rule, value, body="b-1/é, /d", queue=queue, sent_at=datetime.now(tz=UTC))


def _told_bodies() -> list[str]:
    """Bodies in commands and steps: `--message-body '…'`, `echo '…' | backhaul explain`."""
    found = []
    for page in pages():
        for line in console(page):
            found += re.findall(r"--message-body '([^']+)'", line)
            found += re.findall(r"echo '([^']+)' \|", line)
        found += re.findall(r'"--message-body", "([^"]+)"', text_of(page))
    return found


@pytest.mark.parametrize("body", sorted(set(_told_bodies())))
def test_bodies_in_commands_are_accepted_and_on_the_route_of_the_quick_start(body: str) -> None:
    _is_allowed(body)


class _Sent:
    """SQS as the recipes call it."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def client(self, service: str, **_settings: str) -> _Sent:
        assert service == "sqs"
        return self

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> dict[str, str]:  # noqa: N803 - AWS's names
        assert QueueUrl.startswith("https://sqs.")
        self.bodies.append(MessageBody)
        return {"MessageId": "id"}


@pytest.mark.parametrize("page", ["emr.md", "glue-spark.md", "lambda.md"])
def test_python_of_the_recipes_runs_and_leaves_a_message(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (program,) = fences(DOCS / "recipes" / page, "python")
    sent = _Sent()
    monkeypatch.setattr("boto3.client", sent.client)
    monkeypatch.setattr("sys.argv", ["job", "01"])
    monkeypatch.setenv("QUEUE_URL", "https://sqs.us-west-2.amazonaws.com/123456789012/my-queue")
    names: dict[str, Any] = {}
    exec(compile(program, page, "exec"), names)  # noqa: S102 - the manual's own
    if "handler" in names:
        assert names["handler"]({"day": "01"}, None) == {"message_id": "id"}
    (body,) = sent.bodies
    _is_allowed(body)


def test_the_state_machine_of_the_recipe_leaves_an_accepted_message() -> None:
    (text,) = fences(DOCS / "recipes" / "step-functions.md", "json")
    machine = json.loads(text)
    state = machine["StartAt"]
    while not machine["States"][state].get("End"):
        state = machine["States"][state]["Next"]
    last = machine["States"][state]
    assert last["Resource"] == "arn:aws:states:::sqs:sendMessage"
    body = {
        name.removesuffix(".$"): re.sub(
            r"States\.Format\('(.*)\{\}(.*)', \$\.day\)", r"\g<1>01\g<2>", str(value)
        )
        if name.endswith(".$")
        else value
        for name, value in last["Parameters"]["MessageBody"].items()
    }
    assert body["source"] == "s3://acme-raw/click/day=01/"
    _is_allowed(json.dumps(body))


def _is_allowed(body: str) -> None:
    """By the route of the quick start."""
    (configuration,) = fences(DOCS / "quickstart.md", "toml")
    settings = Settings.model_validate(tomllib.loads(configuration))
    policy = Policy(routes=make_routes(settings, None, DEFAULT_FS))
    policy.decide(parse_message(body, default_fs=DEFAULT_FS), sender_id="AIDAEXAMPLE")


# ---------------------------------------------------------------- JSON and shell


@pytest.mark.parametrize(("page", "body"), _fenced("json"))
def test_json_is_json(page: str, body: str) -> None:
    json.loads(body)


@pytest.mark.parametrize(
    "line", sorted({line for page in pages() for line in console(page)}), ids=lambda line: line[:40]
)
def test_commands_are_well_quoted(line: str) -> None:
    shlex.split(line, comments=True)

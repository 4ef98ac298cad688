"""The published JSON Schemas are current, and agree with the parsers."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

from backhaul.core.checksums import Checksum
from backhaul.core.model import Location
from backhaul.core.objects import Pin, PlannedObject, Proof, StagedObject
from backhaul.core.requests.body import parse_message
from backhaul.core.transfer.evidence import Manifest, object_line, sealing_line
from backhaul.settings.model import Settings
from backhaul.settings.sizes import parse_rate, parse_size
from tests import catalogue
from tests.docs.manual import DOCS, REFERENCE, ROOT, fences, pages

SCHEMAS = DOCS / "schema"
# Refusals that a schema can know of; the others are about names, text and policy.
OF_THE_SHAPE = {"E_MSG_VERSION", "E_MSG_TYPE", "E_MSG_RANGE", "E_MSG_SHAPE"}


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "make_schemas", ROOT / "scripts" / "make_schemas.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _schema(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    return document


def test_schemas_are_current() -> None:
    for name, text in _script().texts().items():
        found = (SCHEMAS / name).read_text("utf-8")
        assert found == text, "run: .venv/bin/python scripts/make_schemas.py"


TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
# Words that say nothing about a value, or that `Checker` reads together with another one.
SILENT = {"$schema", "$defs", "title", "description", "default", "format", "required"}


class Checker:
    """As much of JSON Schema as ours use; an unknown word fails the test."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root

    def accepts(self, value: object, schema: dict[str, Any] | None = None) -> bool:
        schema = self._root if schema is None else schema
        return all(
            self._word(word, wanted, value, schema)
            for word, wanted in schema.items()
            if word not in SILENT
        )

    def _word(  # noqa: C901, PLR0911, PLR0912 - one table: a word, its meaning
        self, word: str, wanted: Any, value: Any, schema: dict[str, Any]
    ) -> bool:
        match word:
            case "$ref":
                return self.accepts(value, self._root["$defs"][wanted.rsplit("/", 1)[1]])
            case "anyOf":
                return any(self.accepts(value, one) for one in wanted)
            case "type":
                is_boolean = isinstance(value, bool)
                return (
                    is_boolean
                    if wanted == "boolean"
                    else (isinstance(value, TYPES[wanted]) and not is_boolean)
                )
            case "const":
                return type(value) is type(wanted) and bool(value == wanted)
            case "enum":
                return bool(value in wanted)
            case "pattern":
                return re.search(wanted, value) is not None
            case "minLength":
                return bool(len(value) >= wanted)
            case "maxLength":
                return bool(len(value) <= wanted)
            case "minItems":
                return bool(len(value) >= wanted)
            case "minimum":
                return bool(value >= wanted)
            case "maximum":
                return bool(value <= wanted)
            case "exclusiveMinimum":
                return bool(value > wanted)
            case "items":
                return all(self.accepts(one, wanted) for one in value)
            case "properties":
                has_all = all(name in value for name in schema.get("required", ()))
                return has_all and all(
                    self.accepts(value[name], one) for name, one in wanted.items() if name in value
                )
            case "additionalProperties":
                return wanted is not False or set(value) <= set(schema["properties"])
            case _:
                raise AssertionError(word)


class _TypeFirst(Checker):
    """Stops at a wrong type, so that the other words see values they can judge."""

    def accepts(self, value: object, schema: dict[str, Any] | None = None) -> bool:
        chosen = self._root if schema is None else schema
        if "type" in chosen and not self._word("type", chosen["type"], value, chosen):
            return False
        return super().accepts(value, chosen)


# ---------------------------------------------------------------- messages


def _json_rows() -> list[catalogue.Row]:
    rows = []
    for row in catalogue.rows("messages"):
        try:
            document = json.loads(row.input)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, (dict, list)):
            rows.append(row)
    return rows


@pytest.mark.parametrize("row", _json_rows(), ids=catalogue.name)
def test_the_message_schema_agrees_with_the_parser(row: catalogue.Row) -> None:
    accepted = _TypeFirst(_schema("message")).accepts(json.loads(row.input))
    if row.code is None and row.where in {"", "parse"}:
        parse_message(row.input, default_fs="hdfs://nameservice")
        assert accepted
    elif row.code in OF_THE_SHAPE:
        assert not accepted


# Of a whole body: what a schema of events can know.
OF_THE_EVENT = {"E_MSG_EVENT_EMPTY", "E_MSG_EVENT_VERSION", "E_MSG_TYPE", "E_MSG_RANGE"}


def _events() -> list[catalogue.Row]:
    marks = ('"Records"', '"detail-type"', '"TopicArn"', '"Event"')
    return [row for row in _json_rows() if any(mark in row.input for mark in marks)]


@pytest.mark.parametrize("row", _events(), ids=catalogue.name)
def test_the_event_schema_agrees_with_the_parser(row: catalogue.Row) -> None:
    accepted = _TypeFirst(_schema("event")).accepts(json.loads(row.input))
    outcomes = [row.code or row.gives or ""]
    if row.code is None:
        outcomes = outcomes[0].split("; ")
    if not any(one.startswith("E_") for one in outcomes):
        assert accepted
    elif set(outcomes) <= OF_THE_EVENT:
        assert not accepted


@pytest.mark.parametrize(
    "options", [{}, {"verify": "stored"}, {"on_exists": "same-ok", "publish": "per-file"}]
)
def test_the_message_schema_takes_every_option(options: dict[str, str]) -> None:
    body = {"v": 1, "source": "s3://b-1/p/", "destination": "hdfs://nn:8020/d", "options": options}
    parse_message(json.dumps(body), default_fs=None)
    assert _TypeFirst(_schema("message")).accepts(body)


# ---------------------------------------------------------------- evidence


PLANNED = PlannedObject(
    seq=0,
    pin=Pin(
        bucket="b-1",
        key="p/é",
        size_bytes=3,
        etag="e",
        last_modified=datetime(2026, 11, 1, tzinfo=UTC),
    ),
    relative="é",
)
STAGED = StagedObject(
    seq=0, size_bytes=3, content=Checksum("CRC32C", "00000000"), proof=Proof.DIRECT
)
TARGET = Location(scheme="hdfs", authority="ns", path="/d/é")


def _lines() -> list[dict[str, Any]]:
    full = replace(
        STAGED,
        algorithm="CRC32C",
        checksum="AAAAAA==",
        checksum_type="FULL_OBJECT",
        target_checksum=Checksum("CRC32C", "00000000"),
        checksum_source="datanode",
        proven_at=PLANNED.pin.last_modified,
    )
    manifest = Manifest()
    lines = [
        object_line("t1", PLANNED, full, TARGET),
        object_line("t1", PLANNED, STAGED, TARGET),
        object_line("t1", PLANNED, None, None),
    ]
    manifest.add(lines[0])
    sealing = [
        sealing_line(
            "t1",
            manifest.sum,
            source="s3://b-1/p/",
            destination="/d",
            state="done",
            publish="tree",
            finished_at=PLANNED.pin.last_modified,
            previous=previous,
        )
        for previous in ("", "0" * 64)
    ]
    return [*lines, *map(json.loads, sealing)]


def test_the_evidence_schema_takes_what_is_written_and_names_every_field() -> None:
    checker = _TypeFirst(_schema("evidence"))
    for line in _lines():
        assert checker.accepts(line), line
        assert not checker.accepts({**line, "another": 1})
        for name in line:
            assert not checker.accepts({k: v for k, v in line.items() if k != name}), name


def test_the_receipt_schema_takes_the_example_and_names_every_field() -> None:
    checker = _TypeFirst(_schema("receipt"))
    lines = (REFERENCE / "receipt-example.jsonl").read_text("utf-8").splitlines()
    for line in map(json.loads, lines):
        assert checker.accepts(line), line
        assert not checker.accepts({**line, "another": 1})
        for name in line:
            assert not checker.accepts({k: v for k, v in line.items() if k != name}), name
    statement, signature = json.loads(lines[0]), json.loads(lines[-1])
    for line, change in (
        (statement, {"v": 2}),
        (statement, {"state": "superseded"}),
        (statement, {"manifest": "x"}),
        (statement, {"key": "K" * 32}),
        (signature, {"alg": "none"}),
        (signature, {"payload_type": "text/plain"}),
        (signature, {"signature": "AAAA"}),
    ):
        assert not checker.accepts(line | change), change


# ---------------------------------------------------------------- configuration


def test_the_configuration_schema_takes_every_sample_of_the_manual() -> None:
    checker = _TypeFirst(_schema("configuration"))
    samples = [body for page in pages() for body in fences(page, "toml")]
    assert samples
    for body in samples:
        assert checker.accepts(tomllib.loads(body)), body


@pytest.mark.parametrize(
    "wrong",
    [
        {"agents": {}},
        {"agent": {"slots": 0}},
        {"agent": {"slots": "4"}},
        {"log": {"level": "loud"}},
        {"log": {"file_bytes": "50 megabytes"}},
        {"route": [{"name": "a", "source": ["b-1/"]}]},
        {"route": [{"name": "a", "source": [], "destination": ["/d/"]}]},
        {"route": [{"name": "a b", "source": ["b-1/"], "destination": ["/d/"]}]},
    ],
    ids=str,
)
def test_the_configuration_schema_refuses_neighbours(wrong: dict[str, Any]) -> None:
    assert not _TypeFirst(_schema("configuration")).accepts(wrong)


@pytest.mark.parametrize(
    "text", ["1", "5TiB", "500MB", "1.5GiB", " 7 kB ", "0B", "5TB", "5tib", "50M", "64Ki"]
)
def test_sizes_in_the_schema_are_sizes_to_the_parser(text: str) -> None:
    assert isinstance(parse_size(text), int)
    assert re.search(_script().SIZE["pattern"], text)


@pytest.mark.parametrize(
    "text", ["", "five", "5 Ti B", "-1", "5tibit", "1,000", "KB", "5iB", "5MB/s"]
)
def test_neighbours_of_sizes_are_none_to_both(text: str) -> None:
    with pytest.raises(ValueError, match="write a size"):
        parse_size(text)
    assert not re.search(_script().SIZE["pattern"], text)


@pytest.mark.parametrize(
    "text", ["off", "50MB/s", "50MB", "1.5GiB/s", "65536", " 7 MB ", "50 mb/s", "400Mbit/s", "OFF"]
)
def test_rates_in_the_schema_are_rates_to_the_parser(text: str) -> None:
    parse_rate(text)
    assert re.search(_script().RATE["pattern"], text)


@pytest.mark.parametrize("text", ["", "on", "50MB/m", "400Mbps", "-1"])
def test_neighbours_of_rates_are_none_to_both(text: str) -> None:
    with pytest.raises(ValueError, match="write a rate"):
        parse_rate(text)
    assert not re.search(_script().RATE["pattern"], text)


def test_defaults_of_the_schema_are_accepted_by_the_parser() -> None:
    defaults = {
        name: field["default"]
        for name, field in _schema("configuration")["properties"].items()
        if field.get("default") is not None
    }
    assert Settings.model_validate(defaults) == Settings()

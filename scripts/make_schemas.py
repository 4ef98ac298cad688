"""Write the JSON Schemas of the manual, `docs/schema/*.schema.json`.

The configuration's comes from `settings.Settings`, the message's and the events' stand here by
hand, with the values of options from `core.model`. `tests/docs/test_schemas.py` holds all against
the real parsers and fails when the files are not what this script writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backhaul.app.command_schemas import command_schemas
from backhaul.app.document import documents
from backhaul.app.ledger_check import ledger_states
from backhaul.app.outlook import lines
from backhaul.app.where_document import where_documents
from backhaul.core.health import HealthState
from backhaul.core.model import EngineName, OnExists, PublishMode, VerifyLevel
from backhaul.core.objects import Proof
from backhaul.core.rate_limit import LOWEST_BYTES_PER_S
from backhaul.core.receipts.statement import KEY_ID, PAYLOAD_TYPE
from backhaul.core.receipts.statement import VERSION as RECEIPT_VERSION
from backhaul.core.reconciliation.values import ObjectClass
from backhaul.core.replies.reply import REPLY_VERSION, ReplyEvent
from backhaul.core.requests.marker_names import MARKER_NAME
from backhaul.settings.model import MIB, schema

DRAFT = "https://json-schema.org/draft/2020-12/schema"
DIRECTORY = Path(__file__).parent.parent / "docs" / "schema"
# What `settings.parse_size` reads besides a number of bytes.
_AMOUNT = r"[0-9]+(\.[0-9]+)?\s*([kKmMgGtTpP][iI]?)?"
SIZE = {"type": "string", "pattern": rf"^\s*{_AMOUNT}[bB]?\s*$"}
RATE = {
    "type": "string",
    "pattern": rf"^\s*([oO][fF][fF]|{_AMOUNT}([bB]|[bB][iI][tT])?(/[sS])?)\s*$",
}
RATES = (
    ("BandwidthSection", "limit", LOWEST_BYTES_PER_S),
    ("DistcpSection", "bandwidth", MIB),
)
SPAN = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*[sSmMhHdD]\s*$"}
SPANS = (
    ("NotifySettings", "every"),
    ("NotifySettings", "after"),
    ("ReplySettings", "held_after"),
    ("ReplySettings", "timeout"),
    ("RetentionSection", "objects"),
)
# What may stand alone where a list is meant.
ONE_OR_MORE = (("RouteSettings", "expect"), ("ExpectSettings", "days"))
SIZES = (
    ("LimitSettings", "bytes"),
    ("ExpectSettings", "bytes"),
    ("LogSection", "file_bytes"),
    ("DistcpSection", "auto_min_bytes"),
    ("DistcpSection", "auto_min_mean_bytes"),
    ("DistcpSection", "bytes_per_map"),
)


def message_schema() -> dict[str, Any]:
    """The JSON form of a message; a line is no JSON and has no schema."""
    choices = {
        "on_exists": (OnExists, "what a file that stands there already means"),
        "publish": (PublishMode, "how a verified tree appears"),
        "engine": (EngineName, "what carries the bytes"),
        "verify": (VerifyLevel, "how much proof"),
    }
    return {
        "$schema": DRAFT,
        "title": "Backhaul message, version 1",
        "description": "This S3 path, to that directory.",
        "type": "object",
        "additionalProperties": False,
        "required": ["v", "source", "destination"],
        "properties": {
            "v": {"const": 1, "description": "version of this form"},
            "source": {
                "type": "string",
                "pattern": "^(s3a?://)?[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/",
                "description": "s3://bucket/key for an object, s3://bucket/prefix/ for all below",
            },
            "destination": {
                "type": "string",
                "pattern": "^(/|hdfs://[^/ ]+/|viewfs://[^/ ]*/|file:///)(.*[^ ])?$",
                "description": "a directory: /dir, hdfs://nameservice/dir, viewfs://table/dir or file:///dir",
            },
            "options": {
                "type": "object",
                "description": "may only tighten the route",
                "additionalProperties": False,
                "properties": {
                    name: {"enum": [str(choice) for choice in values], "description": means}
                    for name, (values, means) in choices.items()
                },
            },
            "marker": {
                "type": "string",
                "pattern": f"^{MARKER_NAME}$",
                "description": "name of an empty file that is published after all others",
            },
        },
    }


TEXT = {"type": "string"}
TIME = {"anyOf": [TEXT, {"type": "null"}]}
SEQUENCER = {"anyOf": [{"type": "string", "pattern": "^[0-9A-Fa-f]{0,64}$"}, {"type": "null"}]}
VERSION_ID = {"anyOf": [{"type": "string", "pattern": "^[!-~]{0,1024}$"}, {"type": "null"}]}
SIZE_BYTES = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    """An object that has at least these, and may have more."""
    return {"type": "object", "required": required, "properties": properties}


def event_schema() -> dict[str, Any]:
    """What an event must have to be read; AWS puts more into it."""
    bucket = _object(["name"], name={**TEXT, "pattern": "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"})
    key = {**TEXT, "minLength": 1}
    record = _object(
        ["eventVersion", "eventSource", "eventName", "s3"],
        eventVersion={**TEXT, "pattern": r"^2\.[0-9]{1,4}$"},
        eventSource={"const": "aws:s3"},
        eventName=TEXT,
        eventTime=TIME,
        s3=_object(
            ["bucket", "object"],
            bucket=bucket,
            object=_object(
                ["key"],
                key={**key, "description": "form-url-encoded"},
                size=SIZE_BYTES,
                sequencer=SEQUENCER,
                versionId=VERSION_ID,
            ),
        ),
    )
    created = _object(
        ["bucket", "object"],
        bucket=bucket,
        object=_object(
            ["key"],
            **{"version-id": VERSION_ID},
            key={**key, "description": "not encoded"},
            size=SIZE_BYTES,
            sequencer=SEQUENCER,
        ),
    )
    created["properties"]["event-version"] = {**TEXT, "pattern": r"^1\.[0-9]{1,4}$"}
    step = _object(
        ["name", "clusterId", "stepId", "state"], name=TEXT, clusterId=TEXT, stepId=TEXT, state=TEXT
    )
    forms = {
        "S3 event notification": _object(
            ["Records"], Records={"type": "array", "minItems": 1, "items": record}
        ),
        "S3 test event": _object(
            ["Service", "Event"], Service={"const": "Amazon S3"}, Event={"const": "s3:TestEvent"}
        ),
        "S3 event from EventBridge": _object(
            ["detail-type", "source", "account", "detail"],
            **{"detail-type": TEXT},
            source={"const": "aws.s3"},
            account={**TEXT, "pattern": "^[0-9]{12}$"},
            time=TIME,
            detail=created,
        ),
        "S3 API call that CloudTrail reports: ignored at most": _object(
            ["detail-type", "source", "detail"],
            **{"detail-type": {"const": "AWS API Call via CloudTrail"}},
            source={"const": "aws.s3"},
        ),
        "EMR step from EventBridge": _object(
            ["detail-type", "source", "detail"],
            **{"detail-type": {"const": "EMR Step Status Change"}},
            source={"const": "aws.emr"},
            time=TIME,
            detail=step,
        ),
        "SNS notification": _object(
            ["Type", "TopicArn", "Message"],
            Type={"const": "Notification"},
            TopicArn={"description": "by which SNS is known"},
            Message={**TEXT, "description": "a line, JSON, or an S3 event notification"},
        ),
    }
    return {
        "$schema": DRAFT,
        "title": "Events that Backhaul reads",
        "description": "What must be there; other fields do no harm.",
        "anyOf": [{"title": title, **form} for title, form in forms.items()],
    }


def evidence_schema() -> dict[str, Any]:
    """One line of a manifest: of an object, or the one that seals them."""

    def text(description: str, **more: Any) -> dict[str, Any]:
        return {"type": "string", "description": description, **more}

    def maybe(description: str) -> dict[str, Any]:
        return {
            "anyOf": [{"type": "string"}, {"type": "null"}],
            "description": f"{description}; null where there is none",
        }

    def count(description: str) -> dict[str, Any]:
        return {"type": "integer", "minimum": 0, "description": description}

    digest = "^[0-9a-f]{64}$"
    pin = {
        "v": {"const": 1, "description": "version of this form"},
        "kind": {"const": "object"},
        "transfer": text("its id"),
        "seq": count("position in the plan"),
        "bucket": text("of the source"),
        "key": text("of the source, byte for byte"),
        "version_id": maybe("the version that was read"),
        "etag": text("the ETag that was read"),
        "size": count("bytes of the object"),
        "last_modified": text("of the object, ISO 8601"),
        "target": maybe("URI of the file"),
        "proof": {"anyOf": [{"enum": [str(one) for one in Proof]}, {"type": "null"}]},
    }
    proof = {
        "checksum_algorithm": maybe("S3's, that was compared"),
        "checksum": maybe("its value as S3 gives it"),
        "checksum_type": {
            "anyOf": [{"enum": ["FULL_OBJECT", "COMPOSITE", "ETAG"]}, {"type": "null"}],
        },
        "crc32c": maybe(
            "of the bytes received, or of the file that was adopted; null where only CRC32 was"
            " compared"
        ),
        "target_size": count("bytes of the file"),
        "target_algorithm": maybe("of what the target holds"),
        "target_checksum": maybe("its value, hex"),
        "asked": {"enum": ["datanode", "command", "read", "ledger", ""]},
        "note": text("why no stronger rung was reached, or who knew an adopted file"),
        "bytes_read": count("from S3, repeated reads included"),
        "proven_at": maybe("ISO 8601"),
    }
    sealing = {
        "v": pin["v"],
        "kind": {"const": "transfer"},
        "transfer": text("its id"),
        "source": text("as asked for"),
        "destination": text("as asked for"),
        "state": {"enum": ["done", "superseded"]},
        "publish": text("how it was published"),
        "objects": count("object lines before this one"),
        "size": count("bytes of all objects"),
        "bytes_read": count("from S3 for all objects"),
        "finished_at": text("ISO 8601"),
        "manifest": text("SHA-256 of the object lines, line ends included", pattern=digest),
        "previous": text(
            "SHA-256 of the sealing line before; empty for the first", pattern=f"^$|{digest}"
        ),
    }
    return {
        "$schema": DRAFT,
        "title": "Backhaul evidence, version 1: one line",
        "anyOf": [
            _exact("an object with its proof", {**pin, **proof}),
            _exact("an object without one yet", pin),
            _exact("the line that seals those before it", sealing),
            _exact(
                "in place of object lines that were dropped: the sealing line has their digest",
                {
                    "v": pin["v"],
                    "kind": {"const": "pruned"},
                    "transfer": text("its id"),
                    "pruned_at": text("ISO 8601"),
                    "pruned_by": text("the setting, or the command and who typed it"),
                },
            ),
        ],
    }


def receipt_schema() -> dict[str, Any]:
    """One line of a receipt: the statement, an object, the sealing line, the signature."""

    def text(description: str, **more: Any) -> dict[str, Any]:
        return {"type": "string", "description": description, **more}

    def maybe(description: str) -> dict[str, Any]:
        null = f"{description}; null where there was no message"
        return {"anyOf": [{"type": "string"}, {"type": "null"}], "description": null}

    digest = "^[0-9a-f]{64}$"
    key = text("id of the key that signs", pattern=f"^{KEY_ID.pattern}$")
    count = {"type": "integer", "minimum": 0}
    version = {"const": RECEIPT_VERSION, "description": "version of this form"}
    route = {"anyOf": [TEXT, {"type": "null"}], "description": "which allowed it"}
    started = {"anyOf": [TEXT, {"type": "null"}], "description": "ISO 8601 in UTC"}
    statement = {
        "v": version,
        "kind": {"const": "receipt"},
        "transfer": text("its id"),
        "state": {"const": "done"},
        "route": route,
        "queue": maybe("of the message"),
        "message": maybe("SQS's id"),
        "sender": maybe("SQS's SenderId"),
        "source": text("as requested"),
        "destination": text("as requested"),
        "publish": text("how it was published"),
        "objects": {**count, "description": "object lines"},
        "size": {**count, "description": "bytes of all objects"},
        "manifest": text("SHA-256 of the object lines, line feeds included", pattern=digest),
        "seal": text("SHA-256 of the sealing line, without its line feed", pattern=digest),
        "previous": text("the seal before; empty for the first", pattern=f"^$|{digest}"),
        "ledger": text("which ledger"),
        "sent_at": maybe("ISO 8601 in UTC, by SQS's clock"),
        "started_at": started,
        "finished_at": text("ISO 8601 in UTC"),
        "issued_at": text("ISO 8601 in UTC, by the clock that signed"),
        "issued_by": text("program and version"),
        "key": key,
    }
    signature = {
        "v": version,
        "kind": {"const": "signature"},
        "payload_type": {"const": PAYLOAD_TYPE},
        "key": key,
        "signature": text("Ed25519, 64 bytes, base64", pattern="^[A-Za-z0-9+/]{86}==$"),
    }
    proven, unproven, sealing, _pruned = evidence_schema()["anyOf"]
    return {
        "$schema": DRAFT,
        "title": "Backhaul receipt, version 1: one line",
        "anyOf": [
            _exact("the first line, which is signed", statement),
            proven,
            unproven,
            sealing,
            _exact("the last line", signature),
        ],
    }


def notification_schema() -> dict[str, Any]:
    """What a notification's command reads, as `adapters.notify.rendering` writes it."""

    def text(description: str) -> dict[str, Any]:
        return {**TEXT, "description": description}

    def maybe(schema: dict[str, Any]) -> dict[str, Any]:
        return {"anyOf": [schema, {"type": "null"}]}

    def exact(description: str, **properties: Any) -> dict[str, Any]:
        return _exact(description, properties)

    count = {"type": "integer", "minimum": 1, "description": "dead messages and records"}
    health = exact(
        "null where nothing of the health is to be reported",
        change={"enum": ["trouble", "recovery"]},
        state={"enum": [str(one) for one in HealthState]},
        sentence=text("as `backhaul status` has it"),
        code=text("the error behind it; empty for none"),
        hint=text("the fix; empty for none"),
        since=maybe(text("when it began, ISO 8601 in UTC")),
    )
    example = exact(
        "one dead message, or one record of it",
        transfer=text("its id"),
        message=text("SQS's id"),
        at=text("ISO 8601 in UTC"),
        code=text("a code of the errors reference"),
        reason=text("one line"),
        hint=text("the fix; empty for none"),
        attempts={"type": "integer", "minimum": 0},
        route=text("empty where no route allowed it, or where it is not known"),
        source=text("URI; empty likewise"),
        destination=text("URI; empty likewise"),
        dead_letter_queue=maybe(text("null: there is none, and the message is kept hidden")),
        show=text("the command that shows more"),
    )
    group = exact(
        "dead ones of one code on one route",
        code=text("`other` for those past the hundredth group"),
        route=text("empty: none"),
        count=count,
    )
    dead = exact(
        "null where no message died",
        count=count,
        first_at=text("ISO 8601 in UTC"),
        last_at=text("ISO 8601 in UTC"),
        groups={"type": "array", "items": group, "description": "largest first, 100 at most"},
        examples={"type": "array", "items": example, "description": "oldest first, 20 at most"},
    )
    notice = exact(
        "data that did not come, came late, or will come too late",
        about={"enum": ["expected", "forecast"]},
        at=text("ISO 8601 in UTC"),
        code=text("a code beginning with W_; empty for good news"),
        sentence=text("one line"),
        hint=text("the fix; empty for none"),
    )
    data = exact(
        "null where nothing of data is to be reported",
        count={"type": "integer", "minimum": 1},
        notices={"type": "array", "items": notice, "description": "oldest first, 50 at most"},
    )
    return {
        "$schema": DRAFT,
        "title": "Backhaul notification, version 1",
        **exact(
            "What the command of a [[notify]] reads from its standard input: one line.",
            v={"const": 1, "description": "version of this form"},
            id=text("the same in every try of it"),
            name=text("of the [[notify]]"),
            about={
                "type": "array",
                "minItems": 1,
                "items": {
                    "enum": ["health", "recovery", "dead", "expected", "forecast", "test"],
                },
            },
            at=text("when it was made, ISO 8601 in UTC"),
            subject=text("one line that fits a pager"),
            agent=exact(
                "who sends it",
                host=text("its name"),
                version=text("of Backhaul"),
                queue=text("that it works"),
                region=text("of the queue"),
            ),
            health=maybe(health),
            dead=maybe(dead),
            data=maybe(data),
        ),
    }


def reply_schema() -> dict[str, Any]:
    """What replies say; a receiver accepts fields that are not here."""

    def maybe(kind: dict[str, Any]) -> dict[str, Any]:
        description = {"description": kind.pop("description")}
        return {"anyOf": [kind, {"type": "null"}], **description}

    def text(description: str, **more: Any) -> dict[str, Any]:
        return {"type": "string", "description": description, **more}

    def count(description: str) -> dict[str, Any]:
        return {"type": "integer", "minimum": 0, "description": description}

    events = [one.value for one in ReplyEvent if one is not ReplyEvent.STARTED]
    properties = {
        "v": {"const": REPLY_VERSION, "description": "version of this form"},
        "event": {"enum": events, "description": "what it is about"},
        "code": maybe(text("the error's, of dead and held; superseded")),
        "reason": maybe(text("its sentence")),
        "transfer": text("its id"),
        "epoch": count("of the claim of the destination; 0 where none was made"),
        "key": text("the same in each copy of this reply: act once for each"),
        "at": text("when it happened, ISO 8601 in UTC", format="date-time"),
        "route": text("the name of the route"),
        "source": text("s3://, as requested"),
        "destination": text("hdfs:// or file:///, as requested"),
        "objects": maybe(count("planned; null where it ended before that was known")),
        "bytes": maybe(count("their sum")),
        "digest": maybe(text("SHA-256 of the manifest; null unless data was published")),
        "message": maybe(text("SQS's id of the message")),
    }
    return {
        "$schema": DRAFT,
        "title": "Backhaul reply, version 1",
        "description": "The body of a reply; a field that is not here may be added.",
        "type": "object",
        "required": list(properties),
        "properties": {
            **properties,
            "test": {"const": True, "description": "of backhaul replies test alone"},
        },
    }


def _exact(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    """Exactly these fields."""
    return {
        "description": description,
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def configuration_schema() -> dict[str, Any]:
    """The configuration file as pydantic sees it, and sizes as text besides."""
    made = {"$schema": DRAFT, **schema(), "title": "Backhaul configuration"}
    for section, name in SIZES:
        field = made["$defs"][section]["properties"][name]
        kinds = field.pop("anyOf", None) or [
            {key: field.pop(key) for key in ("type", "minimum") if key in field}
        ]
        field["anyOf"] = [*kinds, SIZE]
    for section, name in SPANS:
        field = made["$defs"][section]["properties"][name]
        number = {key: field.pop(key) for key in ("type", "minimum", "maximum") if key in field}
        field["anyOf"] = [number, SPAN]
    for section, name in ONE_OR_MORE:
        field = made["$defs"][section]["properties"][name]
        several = {key: field.pop(key) for key in ("type", "items") if key in field}
        field["anyOf"] = [several, several["items"]]
    for section, name, minimum in RATES:
        limit = made["$defs"][section]["properties"][name]
        limit["anyOf"] = [{"type": "integer", "minimum": minimum}, {"type": "null"}, RATE]
    return made


def check_schema() -> dict[str, Any]:
    """What `backhaul check --json` prints."""
    found = documents().json_schema(mode="serialization")
    return {"$schema": DRAFT, **found, "title": "Backhaul check, version 1"}


def ledger_check_schema() -> dict[str, Any]:
    """What `backhaul ledger check --json` prints."""
    found = ledger_states().json_schema(mode="serialization")
    return {"$schema": DRAFT, **found, "title": "Backhaul ledger check, version 1"}


def expectations_schema() -> dict[str, Any]:
    """One line of `backhaul expectations --json`."""
    found = lines().json_schema(mode="serialization")
    return {"$schema": DRAFT, **found, "title": "Backhaul expectation, version 1"}


def where_schema() -> dict[str, Any]:
    """What `backhaul where --json` prints."""
    found = where_documents().json_schema(mode="serialization")
    return {"$schema": DRAFT, **found, "title": "Backhaul where, version 1"}


def reconcile_schema() -> dict[str, Any]:
    """One line of `backhaul reconcile --json`."""

    def text_or_null(description: str) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, {"type": "null"}], "description": description}

    properties: dict[str, Any] = {
        "v": {"const": 1},
        "class": {"enum": [each.value for each in ObjectClass]},
        "source": text_or_null("URI of the object; null: S3 has none that belongs there"),
        "target": {"type": "string", "description": "URI of the path"},
        "size": {
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}],
            "description": "bytes of the object, else of the file; null: there is neither",
        },
        "why": text_or_null("the reason, for people; null for what is the same"),
        "transfer": text_or_null("id of the transfer that is behind it, where one is known"),
    }
    return {
        "$schema": DRAFT,
        "title": "Backhaul reconcile, version 1",
        "description": "A line for each path; a field that is not here may be added.",
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def texts() -> dict[str, str]:
    """File name to content."""
    return {
        f"{name}.schema.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        for name, document in (
            ("message", message_schema()),
            ("event", event_schema()),
            ("configuration", configuration_schema()),
            ("evidence", evidence_schema()),
            ("receipt", receipt_schema()),
            ("notification", notification_schema()),
            ("reply", reply_schema()),
            ("check", check_schema()),
            ("expectations", expectations_schema()),
            ("ledger-check", ledger_check_schema()),
            ("where", where_schema()),
            ("reconcile", reconcile_schema()),
            *command_schemas().items(),
        )
    }


if __name__ == "__main__":
    for file_name, text in texts().items():
        (DIRECTORY / file_name).write_text(text, encoding="utf-8")

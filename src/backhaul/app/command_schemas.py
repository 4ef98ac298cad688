"""The JSON Schemas of what commands print with `--json`; `docs/schema` is made of them.

A row of the ledger has the fields of its class, whose docstring describes them. A field may be
added; what is taken away or changes its meaning makes `v` another number.
"""

from __future__ import annotations

import inspect
import re
import types
from dataclasses import fields
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from backhaul.adapters.ledger import (
    JobRow,
    JournalRow,
    OperatorAction,
    ProofTotals,
    ReplyRow,
    TransferRow,
)
from backhaul.adapters.ledger.reading.transfer_rows import SettledBy
from backhaul.app.agents import AgentRow
from backhaul.app.letters import DeadLetterDetails
from backhaul.core.model import Location

DRAFT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
MOMENT: Schema = {"type": "string", "format": "date-time"}
OBJECT: Schema = {"type": "object"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _row(kind: type) -> Schema:
    """Of a dataclass, as `records.row_as_json` writes it."""
    hints = get_type_hints(kind)
    about = _described(kind)
    properties = {}
    for field in fields(kind):
        schema = _value(hints[field.name])
        if field.name in about:
            schema = {**schema, "description": about[field.name]}
        properties[field.name] = schema
    return _object(properties)


def _value(hint: Any) -> Schema:
    if get_origin(hint) in {Union, types.UnionType}:
        (inner,) = (one for one in get_args(hint) if one is not type(None))
        return _or_null(_value(inner))
    if get_origin(hint) is tuple:
        return _list(_value(get_args(hint)[0]))
    if hint is bool:
        return FLAG
    if hint is int:
        return {"type": "integer"}
    if hint in {float, timedelta}:
        return NUMBER
    if hint is datetime:
        return MOMENT
    if hint is Location or hint is str:
        return TEXT
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _one_of(*(one.value for one in hint))
    raise TypeError(hint)


def _described(kind: type) -> dict[str, str]:
    """What the docstring says of each attribute."""
    _, _, text = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if match := re.match(r"    (\w+): (.*)", line):
            name, found[match[1]] = match[1], match[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return found


def _transfer() -> dict[str, Schema]:
    about = "of what left S3 for it, by the prices of its last day"
    properties: dict[str, Schema] = _row(TransferRow)["properties"]
    return {**properties, "cost_usd": {**NUMBER, "description": about}}


def _details() -> dict[str, Schema]:
    return {
        "transfer": _object({"v": {"const": 1}, **_transfer()}),
        "jobs": _list(_row(JobRow)),
        "proofs": _list(_row(ProofTotals)),
    }


def _explanation() -> dict[str, Schema]:
    texts = (
        "form",
        "event",
        "budget",
        "source",
        "destination",
        "route",
        "policy",
        "ignored",
        "signature",
    )
    more = (
        "code",
        "reason",
        "hint",
        "on_exists",
        "publish",
        "verify",
        "engine",
        "made_in",
        "budget",
    )
    counts = ("objects", "bytes", "markers", "collisions")
    return {
        **{name: _or_null(TEXT) for name in (*texts, *more, "completion_marker")},
        **{name: _or_null(COUNT) for name in counts},
        "decision": _one_of("accepted", "refused", "ignored"),
        "hive_table": _or_null(TEXT),
        **dict.fromkeys(("targets", "partitions"), _list(TEXT)),
        "tables": _list(_one_of("delta", "iceberg")),
        "egress_usd": _or_null(NUMBER),
        "egress_price": _or_null(TEXT),
    }


def _paused() -> dict[str, Schema]:
    return {
        "route": TEXT,
        "is_paused": FLAG,
        "since": _or_null(MOMENT),
        "until": _or_null(MOMENT),
        "operator": _or_null(TEXT),
        "reason": _or_null(TEXT),
        "was_paused": FLAG,
    }


def _budget() -> dict[str, Schema]:
    return {
        "route": _or_null(TEXT),
        "unit": _one_of("bytes", "usd"),
        "per": _one_of("day", "month"),
        **dict.fromkeys(("begins_at", "ends_at"), MOMENT),
        **dict.fromkeys(("amount", "raised", "spent", "left", "share", "forecast"), NUMBER),
        "is_held": FLAG,
        "held_transfers": COUNT,
        **dict.fromkeys(("sentence", "hint"), TEXT),
    }


def _verify_lines() -> list[dict[str, Schema]]:
    finding = {
        "kind": _one_of("finding"),
        **dict.fromkeys(("finding", "transfer", "what"), TEXT),
    }
    total = {
        "kind": _one_of("sum"),
        **dict.fromkeys(("transfers", "same", "size", "replaced", "findings"), COUNT),
        "asked": OBJECT,
    }
    return [finding, total]


def _receipt_lines() -> list[dict[str, Schema]]:
    texts = ("verdict", "bucket", "key", "reason")
    finding = {
        "kind": _one_of("object"),
        **dict.fromkeys(texts, TEXT),
        "version_id": _or_null(TEXT),
    }
    total = {
        "kind": _one_of("sum"),
        **dict.fromkeys(("transfer", "source", "destination", "key"), TEXT),
        **dict.fromkeys(("finished_at", "issued_at"), MOMENT),
        **dict.fromkeys(("objects", "size", "by_version", "by_checksum"), COUNT),
        **dict.fromkeys(("findings", "unknown"), COUNT),
        "proofs": OBJECT,
        "verdicts": OBJECT,
        "is_offline": FLAG,
    }
    return [finding, total]


def _small() -> dict[str, dict[str, Schema]]:
    """Of the commands that print one kind of object."""
    return {
        "arrived": {
            "place": TEXT,
            "is_complete": FLAG,
            **dict.fromkeys(("arrived", "objects"), COUNT),
            "last_at": _or_null(MOMENT),
            "missing": _list(
                _object(
                    {
                        **dict.fromkeys(("transfer_id", "state", "source", "destination"), TEXT),
                        "code": _or_null(TEXT),
                    }
                )
            ),
        },
        "budget-show": _budget(),
        "budget-raise": _budget(),
        "cancel": {"transfer_id": TEXT, "state": _one_of("dead"), "code": TEXT},
        "config-check": {
            "file": _or_null(TEXT),
            "ledger": TEXT,
            "hadoop": _or_null(TEXT),
            "routes": _list(
                _object({"name": TEXT, "sources": _list(TEXT), "destinations": _list(TEXT)})
            ),
            "warnings": _list(_object(dict.fromkeys(("code", "reason", "hint"), TEXT))),
        },
        "copy": {
            "transfer_id": TEXT,
            "state": _one_of("done", "superseded"),
            "source": TEXT,
            "destination": TEXT,
            **dict.fromkeys(("objects", "size_bytes", "copied_bytes", "adopted"), COUNT),
            "publish": TEXT,
            "duration_s": NUMBER,
        },
        "dlq-delete": {"dead_letter_id": TEXT, "transfer_id": _or_null(TEXT)},
        "dlq-redrive": {
            "dead_letter_id": TEXT,
            "transfer_id": _or_null(TEXT),
            "message_id": TEXT,
        },
        "doctor": {
            "exit_code": COUNT,
            "findings": _list(
                _object(
                    {
                        **dict.fromkeys(("check", "subject", "text"), TEXT),
                        "state": _one_of("ok", "warning", "failed", "skipped"),
                        "code": _or_null(TEXT),
                        "fix": _list(TEXT),
                        "route": _or_null(TEXT),
                    }
                )
            ),
        },
        "ledger-prune": {
            **dict.fromkeys(("objects", "transfers", "paths"), COUNT),
            "is_dropped": FLAG,
        },
        "ledger-migrate": dict.fromkeys(("ledger", "before", "after"), TEXT),
        "ledger-backup": {
            "path": TEXT,
            **dict.fromkeys(("size_bytes", "transfers", "objects"), COUNT),
        },
        "agents": _row(AgentRow)["properties"],
        "limit": {
            "bytes_per_s": _or_null(COUNT),
            "why": _one_of("by hand", "window", "configured"),
            "until": _or_null(MOMENT),
            "configured_bytes_per_s": _or_null(COUNT),
            "applications_bytes_per_s": COUNT,
        },
        "notify-list": {
            **dict.fromkeys(("name", "how"), TEXT),
            "on": _list(TEXT),
            **dict.fromkeys(("every_s", "after_s"), NUMBER),
            "sent_at": _or_null(MOMENT),
            "waiting_dead": COUNT,
            "is_troubled": FLAG,
        },
        "notify-test": {
            **dict.fromkeys(("name", "left_out", "code", "reason", "hint"), TEXT),
            "is_delivered": FLAG,
            "seconds": NUMBER,
        },
        "pause": _paused(),
        "resume": _paused(),
        "receipt-key-list": {
            "keys": _list(_object({"key": TEXT, "is_current": FLAG, "public": TEXT}))
        },
        "replies-list": _row(ReplyRow)["properties"],
        "replies-drop": {
            **dict.fromkeys(("key", "target"), TEXT),
            "outcome": _one_of("planned", "dropped", "skipped"),
        },
        "replies-resend": {
            **dict.fromkeys(("key", "target"), TEXT),
            "outcome": _one_of("planned", "resent", "skipped"),
        },
        "replies-test": {
            **dict.fromkeys(("name", "code", "reason", "hint"), TEXT),
            "kind": _one_of("sqs", "sns", "webhook", "command", "hive", "lineage"),
            "tables": _list(TEXT),
            **dict.fromkeys(("is_sent", "is_delivered"), FLAG),
            "seconds": _or_null(NUMBER),
            "reply": OBJECT,
            "headers": _or_null(OBJECT),
        },
        "report": {
            "kind": _one_of("group", "total"),
            "by": _one_of("route", "sender", "day"),
            **dict.fromkeys(("since", "until", "key", "price"), TEXT),
            **dict.fromkeys(("transfers", "done", "dead", "objects", "bytes"), COUNT),
            **dict.fromkeys(("copy_bytes", "retry_bytes", "verify_bytes"), COUNT),
            "cost_usd": NUMBER,
        },
        "retry": {
            "transfer_id": TEXT,
            "outcome": _one_of("planned", "sent", "refused"),
            **{name: _or_null(TEXT) for name in ("message_id", "why", "hint")},
        },
        "send": {"message_id": TEXT, "queue": TEXT, "region": TEXT},
        "status": _details(),
        "show": {
            **_details(),
            "settled_by": _or_null(_row(SettledBy)),
            "objects": _list(OBJECT),
            "journal": _list(_row(JournalRow)),
            "replies": _list(_row(ReplyRow)),
        },
    }


def command_schemas() -> dict[str, Schema]:
    """Those that are made here, by the words of the command, joined by hyphens."""
    v: dict[str, Schema] = {"v": {"const": 1}}
    letter = {**v, **_row(DeadLetterDetails)["properties"]}
    found: dict[str, Schema] = {
        "dlq-list": _object(letter),
        "dlq-show": _object(letter),
        "history": _object({**v, **_transfer()}),
        "journal": _object({**v, **_row(OperatorAction)["properties"]}),
        "explain": {
            "anyOf": [
                _object({**v, **_explanation()}),
                _object({**v, "form": _or_null(TEXT), "records": _list(_object(_explanation()))}),
            ]
        },
        "verify": {"anyOf": [_object({**v, **one}) for one in _verify_lines()]},
        "receipt-verify": {"anyOf": [_object({**v, **one}) for one in _receipt_lines()]},
        **{name: _object({**v, **properties}) for name, properties in _small().items()},
    }
    return {
        name: {
            "$schema": DRAFT,
            "title": f"backhaul {name.replace('-', ' ')} --json, version 1",
            "description": "One object a line; a field that is not here may be added.",
            **schema,
        }
        for name, schema in sorted(found.items())
    }

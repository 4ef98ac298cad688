"""Events as AWS sends them: S3 notifications, EventBridge events of S3 and EMR.

Strict about the fields that are used, open to those that a later minor version adds. Records are
read one by one: an unreadable one becomes an error beside the others.

Sources: S3 user guide, "Event message structure" (keys are form-url-encoded, major version 2) and
"EventBridge event message structure" (keys are not encoded, sequencer and version likewise);
EMR management guide, "Monitoring Amazon EMR events" (EMR Step Status Change).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

from backhaul.core.errors import BadMessage, PermanentError
from backhaul.core.model import Source
from backhaul.core.requests.content import (
    SEQUENCER_DIGITS,
    CallEvent,
    Ignored,
    ObjectEvent,
    RecordBody,
    StepEvent,
    padded_sequencer,
)
from backhaul.core.requests.foreign_bodies import refuse_record
from backhaul.core.requests.paths import parse_source
from backhaul.core.requests.strict_json import kind, optional_text_at, text_at
from backhaul.core.text import find_control, printable

MAX_RECORDS = 100  # of one event; S3 itself sends one at a time
S3_MAJOR = "2"
BRIDGE_MAJOR = "1"  # of the S3 schema inside EventBridge, where the event names one
CLOUDTRAIL_EVENT = "AWS API Call via CloudTrail"
STEP_EVENT = "EMR Step Status Change"

_HINT = "send the event as AWS made it, unchanged"
_VERSION = re.compile(r"([0-9]{1,4})\.[0-9]{1,4}")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SEQUENCER = re.compile(rf"[0-9A-Fa-f]{{1,{SEQUENCER_DIGITS}}}")
_VERSION_ID = re.compile(r"[!-~]{1,1024}")
_ACCOUNT = re.compile(r"[0-9]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")


def read_records(document: Mapping[str, Any]) -> tuple[RecordBody, ...]:
    """`{"Records":[…]}`, an S3 event notification.

    Raises:
        BadMessage: E_MSG_TYPE, E_MSG_EVENT_EMPTY, E_MSG_RECORDS. The error of one record is
            among the results.
    """
    records = document["Records"]
    if not isinstance(records, list):
        raise BadMessage(
            "E_MSG_TYPE", f"field Records is {kind(records)}, not an array", hint=_HINT
        )
    if not records:
        raise BadMessage(
            "E_MSG_EVENT_EMPTY", "event has no records: nothing to do is not success", hint=_HINT
        )
    if len(records) > MAX_RECORDS:
        raise BadMessage(
            "E_MSG_RECORDS",
            f"event has {len(records)} records, at most {MAX_RECORDS} are read",
            hint="send S3's events as they come: S3 puts one record into each",
        )
    return tuple(_readable(record) for record in records)


def single_records(document: Mapping[str, Any]) -> tuple[str, ...]:
    """For each of several records, an event with this record alone."""
    records = document["Records"]
    if len(records) < 2:  # noqa: PLR2004 - several
        return ()
    return tuple(json.dumps({"Records": [record]}, separators=(",", ":")) for record in records)


def _readable(record: object) -> RecordBody:
    try:
        return _read_record(record)
    except PermanentError as error:
        return error


def _read_record(record: object) -> ObjectEvent:
    if not isinstance(record, dict):
        raise BadMessage("E_MSG_TYPE", f"record is {kind(record)}, not an object", hint=_HINT)
    refuse_record(record)
    if "eventVersion" in record and record.get("eventSource", "aws:s3") == "aws:s3":
        # First of all: another major version may have other fields.
        _check_major(_text(record, "eventVersion"), S3_MAJOR)
    _text(record, "eventSource")
    _check_major(_text(record, "eventVersion"), S3_MAJOR)
    _check_time(_optional(record, "eventTime"))
    name = _one_line(_text(record, "eventName").removeprefix("s3:"), "event name")
    return ObjectEvent(
        name=name,
        is_created=name.startswith("ObjectCreated:"),
        source=_source(
            _text(record, "s3.bucket.name"),
            _decoded(_text(record, "s3.object.key")),
        ),
        size_bytes=_size(record["s3"]["object"]),
        version_id=_version_id(_optional(record, "s3.object.versionId")),
        sequencer=_sequencer(_optional(record, "s3.object.sequencer")),
    )


def read_test_event(document: Mapping[str, Any]) -> Ignored:
    """The event that S3 sends once when a notification is set up.

    Raises:
        BadMessage: E_MSG_FIELD: it only resembles it.
    """
    if document.get("Event") != "s3:TestEvent" or document.get("Service") != "Amazon S3":
        raise BadMessage(
            "E_MSG_FIELD", "field Event is there, and it is not S3's test event", hint=_HINT
        )
    bucket = document.get("Bucket")
    about = f" of bucket {printable(bucket, 80)}" if isinstance(bucket, str) else ""
    return Ignored(reason="S3_TEST_EVENT", what=f"S3's test event{about}")


def read_bridge(document: Mapping[str, Any]) -> RecordBody:
    """An EventBridge event of S3 or of EMR.

    Raises:
        BadMessage: E_MSG_FIELD, E_MSG_TYPE, E_MSG_TIME, E_MSG_EVENT_VERSION, E_MSG_EVENT_TYPE.
        PermanentError: what `paths` raises for bucket and key.
    """
    detail_type = _one_line(_text(document, "detail-type"), "event name")
    sender = _text(document, "source")
    _check_time(_optional(document, "time"))
    if sender == "aws.s3" and detail_type == CLOUDTRAIL_EVENT:
        return _read_call(document)
    if sender == "aws.s3":
        return _read_bridge_object(document, detail_type)
    if sender == "aws.emr" and detail_type == STEP_EVENT:
        return StepEvent(
            name=_one_line(_text(document, "detail.name"), "detail.name"),
            cluster=_one_line(_text(document, "detail.clusterId"), "clusterId"),
            step=_one_line(_text(document, "detail.stepId"), "stepId"),
            state=_one_line(_text(document, "detail.state"), "state"),
        )
    raise BadMessage(
        "E_MSG_EVENT_TYPE",
        f"event is {printable(detail_type, 60)} from {printable(sender, 40)}:"
        " neither an object of S3 nor a step of EMR",
        hint="narrow the EventBridge rule to what routes can use",
    )


def _read_call(document: Mapping[str, Any]) -> CallEvent:
    """A call of S3's API that CloudTrail recorded; it names an object, or only a bucket, or none.

    Source: CloudTrail user guide, "CloudTrail record contents for management and data events".
    """
    detail = document.get("detail")
    detail = detail if isinstance(detail, dict) else {}
    parameters = detail.get("requestParameters")  # null for calls such as ListBuckets
    parameters = parameters if isinstance(parameters, dict) else {}
    name, bucket, key = detail.get("eventName"), parameters.get("bucketName"), parameters.get("key")
    source = None
    if isinstance(bucket, str) and isinstance(key, str):
        with suppress(PermanentError):  # it is only shown, and compared with routes
            source = _source(bucket, key)
    return CallEvent(name=name if isinstance(name, str) else "a call", source=source)


def _read_bridge_object(document: Mapping[str, Any], detail_type: str) -> ObjectEvent:
    version = _optional(document, "detail.event-version")
    if version is not None:
        _check_major(version, BRIDGE_MAJOR)
    account = _text(document, "account")
    if not _ACCOUNT.fullmatch(account):
        raise BadMessage("E_MSG_FIELD", "field account is not 12 digits", hint=_HINT)
    return ObjectEvent(
        name=detail_type,
        is_created=detail_type == "Object Created",
        source=_source(
            _text(document, "detail.bucket.name"),
            _text(document, "detail.object.key"),
        ),
        size_bytes=_size(document["detail"]["object"]),
        version_id=_version_id(_optional(document, "detail.object.version-id")),
        sequencer=_sequencer(_optional(document, "detail.object.sequencer")),
        account=account,
    )


# ---------------------------------------------------------------- single values


def _check_major(version: str, wanted: str) -> None:
    match = _VERSION.fullmatch(version)
    if match is None or match[1] != wanted:
        raise BadMessage(
            "E_MSG_EVENT_VERSION",
            f"event has version {printable(version, 20)}, this program reads {wanted}.x",
            hint="install a version of Backhaul that knows it",
        )


def _text(record: Mapping[str, Any], path: str) -> str:
    return text_at(record, path, hint=_HINT)


def _optional(record: Mapping[str, Any], path: str) -> str | None:
    """The text at `a.b.c`; None where it is missing, null or empty.

    Libraries that read an event into a structure and write it again (Go's and Java's) put an empty
    text or null where AWS leaves a field out.
    """
    return optional_text_at(record, path, hint=_HINT) or None


def _check_time(text: str | None) -> None:
    """The time is not used, but a malformed one means that AWS did not make the event."""
    if text is not None and not is_moment(text):
        raise BadMessage(
            "E_MSG_TIME",
            f"time {printable(text, 40)} is no moment: a date, a time and a zone are needed",
            hint="write it as 2026-11-22T12:00:00Z",
        )


def is_moment(text: str) -> bool:
    """True for a valid ISO 8601 time with its zone."""
    if not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))  # no finer than Python is
    except ValueError:
        return False
    return True


def _one_line(text: str, what: str) -> str:
    if find_control(text) is not None:
        raise BadMessage("E_MSG_CONTROL", f"{what} has a control character", hint=_HINT)
    return text


def _decoded(key: str) -> str:
    """Form-url-decoded once: `+` is a blank, `%2B` a plus."""
    if (broken := _BROKEN_ESCAPE.search(key)) is not None:
        raise BadMessage(
            "E_MSG_FIELD",
            f"key {printable(key)} is not url-encoded: a bare % at character {broken.start()}",
            hint="S3 encodes keys in notifications; " + _HINT,
        )
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError as exc:
        raise BadMessage(
            "E_MSG_UNICODE", f"key {printable(key)} does not decode to UTF-8", hint=_HINT
        ) from exc


def _source(bucket: str, key: str) -> Source:
    if "/" in bucket:
        raise PermanentError(
            "E_SRC_BUCKET", f"{printable(bucket, 80)} is not a bucket name", hint=_HINT
        )
    if key == "":
        raise BadMessage("E_MSG_FIELD", "the object's key is empty", hint=_HINT)
    return parse_source(f"s3://{bucket}/{key}")


def _size(about: Mapping[str, Any]) -> int | None:
    size = about.get("size")
    if size is None:
        return None
    if type(size) is not int:
        raise BadMessage(
            "E_MSG_TYPE", f"field size is {kind(size)}, not a whole number", hint=_HINT
        )
    if size < 0:
        raise BadMessage("E_MSG_RANGE", f"field size is {size}", hint=_HINT)
    return size


def _version_id(text: str | None) -> str | None:
    if text is not None and not _VERSION_ID.fullmatch(text):
        raise BadMessage("E_MSG_FIELD", "the object's version id is not one of S3", hint=_HINT)
    return text


def _sequencer(text: str | None) -> str | None:
    if text is None:
        return None
    if not _SEQUENCER.fullmatch(text):
        raise BadMessage(
            "E_MSG_FIELD", f"sequencer {printable(text, 40)} is not hexadecimal", hint=_HINT
        )
    return padded_sequencer(text)

"""How a message body becomes requests or events, and how `backhaul send` writes one.

The forms: the original's line `bucket/path, /dir`; strict JSON `{"v":1,...}`; events of S3 and EMR
as AWS sends them (`aws_events`). Each may come in an SNS envelope. Any other body is refused with a
reason, never guessed at. Any text gives a `Content` or a `PermanentError`, in time linear in its
length.

Order of the checks, first one wins:
    body      E_MSG_TOO_LARGE, E_MSG_UNICODE (raw), E_MSG_EMPTY, E_MSG_FORMAT (byte order mark)
    JSON      what `strict_json` raises; E_MSG_SHAPE; then the form, by its own fields: E_MSG_FIELD
              (two forms at once), E_MSG_ENVELOPE
    request   E_MSG_VERSION, E_POLICY_USER, E_MSG_FIELD, E_MSG_TYPE, the options, then the fields
    line      E_MSG_FORMAT (not one comma), then the fields
    fields    E_MSG_CONTROL, so inside a request E_KEY_CONTROL never shows; E_MSG_FIELD (blanks
              around a JSON field); then `paths`: the source before the destination
    at last   E_MSG_CONFLICT: a message attribute differs

Which requests are allowed, and what events mean, is decided in `policy` and `event_routes`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from backhaul.core.errors import BackhaulError, BadMessage, NotAllowed
from backhaul.core.file_systems import DefaultFs
from backhaul.core.model import EngineName, OnExists, Options, PublishMode, Request, VerifyLevel
from backhaul.core.requests.aws_events import (
    read_bridge,
    read_records,
    read_test_event,
    single_records,
)
from backhaul.core.requests.content import Content
from backhaul.core.requests.foreign_bodies import (
    JSON_FORM,
    QUOTES,
    refuse_array,
    refuse_object,
    refuse_text,
    refuse_unknown,
    why_bad_json,
    why_not_read,
)
from backhaul.core.requests.marker_names import MARKER_HINT, is_marker_name
from backhaul.core.requests.paths import parse_destination, parse_source
from backhaul.core.requests.strict_json import kind, load
from backhaul.core.text import byte_offset, excerpt, find_control, find_surrogate, printable

MAX_BODY_BYTES = 64 * 1024  # SQS carries 1 MiB; a request needs about 10 KiB at most
VERSION = 1

_FIELDS = ("v", "source", "destination", "options", "marker", "reply_to")
_OPTIONS: dict[str, type[StrEnum]] = {
    "on_exists": OnExists,
    "publish": PublishMode,
    "engine": EngineName,
    "verify": VerifyLevel,
}
_FORMS = f"write `bucket/path, /dir` with one comma, or JSON where names have commas: {JSON_FORM}"
_BLANKS = " \t"
_BODY_BLANKS = " \t\r\n"  # JSON's own white space
_SCALAR = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null|NaN|-?Infinity")
# One field that each form alone has; the version comes first, so that a request is a request.
_MARKS = {"v": "json", "Records": "s3", "TopicArn": "sns", "detail-type": "eventbridge"}
_TEST_MARK = "Event"
_USER_FIELDS = frozenset({"runAs", "run_as", "user"})


def read_message(
    body: str, *, default_fs: DefaultFs, attributes: Mapping[str, str] | None = None
) -> Content:
    """Read a message body of any form.

    Args:
        default_fs: Where a destination such as `/dir` lives; see `paths.parse_destination`.
        attributes: The sender's message attributes. A valid `source` or `destination` among them
            must equal the body's; the others are not read.

    Raises:
        BadMessage: E_MSG codes: the body is none of the forms.
        PermanentError: what `paths` raises for the source or the destination of a request.
    """
    content = _read(_checked_body(body), default_fs, is_wrapped=False)
    _check_attributes(content, attributes or {}, default_fs)
    return content


def parse_message(body: str, *, default_fs: DefaultFs) -> Request:
    """Read a body that must be a request itself: a line or JSON.

    Raises:
        PermanentError: as `read_message`; E_MSG_SHAPE for an event, which only a route can turn
            into a request.
    """
    content = read_message(body, default_fs=default_fs)
    (request, *_) = content.records
    if not isinstance(request, Request):
        raise BadMessage("E_MSG_SHAPE", f"body is an event ({content.form})", hint=_FORMS)
    return request


def _read(text: str, default_fs: DefaultFs, *, is_wrapped: bool) -> Content:
    if text[0] in '{["' or _SCALAR.fullmatch(text):
        document = load(text, hint=why_bad_json(text) or _FORMS)
        return _from_document(document, default_fs, is_wrapped=is_wrapped)
    fields = text.split(",")
    if text[0] in QUOTES and (found := why_not_read(text)):
        raise BadMessage("E_MSG_FORMAT", found, hint=_FORMS)
    if len(fields) != 2:  # noqa: PLR2004 - two fields, one comma
        raise BadMessage("E_MSG_FORMAT", _why_no_line(text, len(fields) - 1), hint=_FORMS)
    source, destination = (field.strip(_BLANKS) for field in fields)
    request = _request(source, destination, Options(), form="line", default_fs=default_fs)
    return Content(form="line", records=(request,))


def request_from_arguments(
    source: str, destination: str, options: Options, *, default_fs: DefaultFs
) -> Request:
    """The request of `backhaul copy`: as strict as a JSON message.

    Raises:
        PermanentError: as `parse_message`, without those for the form.
    """
    return _request(source, destination, options, form="cli", default_fs=default_fs)


def parse_options(pairs: Mapping[str, object]) -> Options:
    """Options by name and value, from a message or from `--option k=v`.

    Raises:
        BadMessage: E_MSG_FIELD unknown name, E_MSG_TYPE not text, E_MSG_RANGE unknown value.
    """
    for name in pairs:
        _refuse_user(name)
        if name not in _OPTIONS:
            accepted = ", ".join(_OPTIONS)
            raise BadMessage(
                "E_MSG_FIELD",
                f"unknown option {printable(name, 40)}; accepted: {accepted}",
                hint="remove or correct the option",
            )
    return Options(
        **{name: _choice(one, name, pairs[name]) for name, one in _OPTIONS.items() if name in pairs}
    )


def format_json(
    source: str, destination: str, options: Options, reply_to: str | None = None
) -> str:
    """A JSON message; ASCII only, because SQS refuses some characters that keys may have."""
    document: dict[str, object] = {"v": VERSION, "source": source, "destination": destination}
    given = {name: str(value) for name in _OPTIONS if (value := getattr(options, name)) is not None}
    if given:
        document["options"] = given
    if reply_to is not None:
        document["reply_to"] = reply_to
    return json.dumps(document, separators=(",", ":"))


def format_line(source: str, destination: str) -> str:
    """A message in the original's form.

    Raises:
        BadMessage: E_MSG_FORMAT when a comma, or a blank at an end, would not come back.
    """
    if any("," in field or field != field.strip(_BODY_BLANKS) for field in (source, destination)):
        raise BadMessage(
            "E_MSG_FORMAT",
            "a field with a comma, or a blank at an end, cannot be written as a line",
            hint=f"send it as JSON: {JSON_FORM}",
        )
    return f"{source}, {destination}"


# ---------------------------------------------------------------- the body as text


def _checked_body(body: str) -> str:
    """The body without outer blanks: not empty, not too large, encodable."""
    if len(body) <= MAX_BODY_BYTES and (index := find_surrogate(body)) is not None:
        raise BadMessage(
            "E_MSG_UNICODE",
            f"body has half a surrogate pair at byte {byte_offset(body, index)}",
            hint="encode the body as UTF-8",
        )
    size = len(body) if len(body) > MAX_BODY_BYTES else len(body.encode())
    if size > MAX_BODY_BYTES:
        raise BadMessage(
            "E_MSG_TOO_LARGE",
            f"body has at least {size} B, at most {MAX_BODY_BYTES} B are read",
            hint="name a prefix instead of many objects",
        )
    text = body.strip(_BODY_BLANKS)
    if text == "":
        raise BadMessage("E_MSG_EMPTY", "body is empty", hint=_FORMS)
    if text.startswith("\ufeff"):
        raise BadMessage(
            "E_MSG_FORMAT", "body begins with a byte order mark", hint="send UTF-8 without it"
        )
    return text


def _why_no_line(text: str, commas: int) -> str:
    found = why_not_read(text)
    if commas > 0 and not found:
        return f"body is not JSON, and as a line it has {commas} commas instead of one"
    return found or f"body is neither JSON nor a line with one comma: {excerpt(text, 60)}"


# ---------------------------------------------------------------- JSON


def _from_document(document: object, default_fs: DefaultFs, *, is_wrapped: bool) -> Content:
    if isinstance(document, list):
        refuse_array(document)
    if isinstance(document, str):
        refuse_text(document)
    if not isinstance(document, dict):
        raise BadMessage(
            "E_MSG_SHAPE",
            f"body is JSON: {kind(document)}, not an object",
            hint=f"write {JSON_FORM}",
        )
    marks = [name for name in _MARKS if name in document]
    if len(marks) > 1:
        raise BadMessage(
            "E_MSG_FIELD",
            f"body has the fields {' and '.join(marks)}, which belong to different forms",
            hint=_FORMS,
        )
    form = _MARKS[marks[0]] if marks else "json"
    if is_wrapped and form in {"sns", "eventbridge"}:
        raise BadMessage(
            "E_MSG_ENVELOPE",
            "body is an envelope inside an SNS envelope; one is taken off, not two",
            hint="send events to the queue by SNS or by EventBridge, not by both",
        )
    match form:
        case "s3":
            return Content(
                form=form, records=read_records(document), single_bodies=single_records(document)
            )
        case "eventbridge":
            return Content(form=form, records=(read_bridge(document),))
        case "sns":
            return _unwrapped(document, default_fs)
        case _ if not marks and _TEST_MARK in document:
            return Content(form="s3", records=(read_test_event(document),))
        case _:
            if not marks:
                refuse_object(document)
                refuse_unknown(document, _FIELDS, hint=_FORMS)
            return Content(form=form, records=(_from_json(document, default_fs),))


def _unwrapped(document: Mapping[str, Any], default_fs: DefaultFs) -> Content:
    """The message inside; the queue's policy, not SNS's signature, decides who may send."""
    if document.get("Type") != "Notification":
        found = printable(json.dumps(document.get("Type")), 60)
        raise BadMessage(
            "E_MSG_ENVELOPE",
            f"body is from SNS and of type {found}, not Notification",
            hint="the owner of the topic must confirm the subscription",
        )
    inner = document.get("Message")
    if not isinstance(inner, str):
        raise BadMessage(
            "E_MSG_ENVELOPE",
            f"SNS carried no text: Message is {kind(inner)}",
            hint="publish the message as text",
        )
    content = _read(_checked_body(inner), default_fs, is_wrapped=True)
    return Content(
        form=f"{content.form} in sns", records=content.records, single_bodies=content.single_bodies
    )


def _from_json(document: Mapping[str, Any], default_fs: DefaultFs) -> Request:
    _check_version(document)
    for name in document:
        _refuse_user(name)
        if name not in _FIELDS:
            raise BadMessage(
                "E_MSG_FIELD",
                f"unknown field {printable(name, 40)}; accepted: {', '.join(_FIELDS)}",
                hint="remove or correct the field",
            )
    source = _text_field(document, "source")
    destination = _text_field(document, "destination")
    pairs = document.get("options", {})
    if not isinstance(pairs, dict):
        raise BadMessage(
            "E_MSG_TYPE",
            f"field options is {kind(pairs)}, not an object",
            hint='write "options":{"on_exists":"fail"}, or leave it out',
        )
    options = parse_options(pairs)
    request = _request(source, destination, options, form="json", default_fs=default_fs)
    if "marker" in document:
        marker = _text_field(document, "marker")
        if not is_marker_name(marker):
            raise BadMessage(
                "E_MSG_RANGE",
                f"marker is {printable(marker, 60)}, no name of a completion marker",
                hint=MARKER_HINT,
            )
        request = replace(request, completion_marker=marker)
    if "reply_to" in document:
        request = replace(request, reply_to=_text_field(document, "reply_to"))
    return request


def _check_version(document: Mapping[str, Any]) -> None:
    version = document.get("v")
    if type(version) is not int or version != VERSION:  # True and 1.0 equal 1 and are not
        found = "missing" if "v" not in document else printable(json.dumps(version), 24)
        raise BadMessage(
            "E_MSG_VERSION",
            f'field v is {found}; this version reads "v":{VERSION}',
            hint=f"write {JSON_FORM}",
        )


def _refuse_user(name: str) -> None:
    if name in _USER_FIELDS:
        raise NotAllowed(
            "E_POLICY_USER",
            f"message names a user ({name}); the user who writes is set on the route",
            hint="remove the field",
        )


def _text_field(document: Mapping[str, Any], name: str) -> str:
    if name not in document:
        raise BadMessage("E_MSG_FIELD", f"field {name} is missing", hint=f"write {JSON_FORM}")
    value = document[name]
    if not isinstance(value, str):
        raise BadMessage(
            "E_MSG_TYPE", f"field {name} is {kind(value)}, not text", hint=f"write {JSON_FORM}"
        )
    return value


def _choice(choices: type[StrEnum], name: str, value: object) -> Any:
    accepted = ", ".join(choices)
    if not isinstance(value, str):
        raise BadMessage(
            "E_MSG_TYPE",
            f"option {name} is {kind(value)}, not text; accepted: {accepted}",
            hint="write the value in double quotes",
        )
    if value not in list(choices):
        raise BadMessage(
            "E_MSG_RANGE",
            f"option {name} is {printable(value, 40)}; accepted: {accepted}",
            hint="use one of the accepted values, or leave it to the route",
        )
    return choices(value)


# ---------------------------------------------------------------- the fields


def _request(
    source: str, destination: str, options: Options, *, form: str, default_fs: DefaultFs
) -> Request:
    for name, value in (("source", source), ("destination", destination)):
        _check_control(name, value)
        if form != "line":  # a line's fields have lost their blanks already
            _check_blanks(name, value)
    return Request(
        source=parse_source(source),
        destination=parse_destination(destination, default_fs=default_fs),
        options=options,
        form=form,
    )


def _check_control(name: str, value: str) -> None:
    """The error does not show the value: it may hold a secret."""
    if (index := find_control(value)) is not None:
        raise BadMessage(
            "E_MSG_CONTROL",
            f"{name} has the control character {printable(value[index])}"
            f" at byte {byte_offset(value, index)}",
            hint="use names without control characters",
        )


def _check_blanks(name: str, value: str) -> None:
    """Refuse blanks around the bucket or the destination; in keys they are legal."""
    exact = value
    if name == "source":
        exact = value.removeprefix("s3://").removeprefix("s3a://").partition("/")[0]
    if exact != exact.strip(" ") or value.startswith(" "):
        raise BadMessage(
            "E_MSG_FIELD",
            f"{name} has blanks around its {'bucket' if name == 'source' else 'path'}",
            hint="remove the blanks: only the line form strips them",
        )


def _check_attributes(
    content: Content, attributes: Mapping[str, str], default_fs: DefaultFs
) -> None:
    """Refuse an attribute that differs from the body: a reader of either one would be deceived.

    An attribute of that name that is not a valid source or destination has another meaning.
    """
    for name, parse in (
        ("source", parse_source),
        ("destination", lambda text: parse_destination(text, default_fs=default_fs)),
    ):
        if name not in attributes:
            continue
        try:
            meant = parse(attributes[name])
        except BackhaulError:
            continue
        if any(
            not isinstance(record, Request) or meant != getattr(record, name)
            for record in content.records
        ):
            raise BadMessage(
                "E_MSG_CONFLICT",
                f"message attribute {name} and the body differ",
                hint="leave the attribute out: the body is enough",
            )

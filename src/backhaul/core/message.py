"""How a message body becomes a `Request`, and how `backhaul send` writes one.

Two forms: the original's line `bucket/path, /dir`, and strict JSON `{"v":1,...}`. A body that is
neither is refused with a reason, never guessed at. Any text gives a `Request` or a
`PermanentError`, in time linear in its length.

Order of the checks, first one wins:
    body    E_MSG_TOO_LARGE, E_MSG_UNICODE (raw), E_MSG_EMPTY, E_MSG_FORMAT (byte order mark)
    JSON    E_MSG_SHAPE (nesting), then as the parser meets them: E_MSG_FORMAT, E_MSG_CONTROL
            (raw), E_MSG_DUP_KEY, E_MSG_NUMBER; then E_MSG_UNICODE (escaped), E_MSG_SHAPE,
            E_MSG_FIELD (a form of a later version), E_MSG_VERSION, E_MSG_FIELD, E_MSG_TYPE,
            the options, then the fields
    line    E_MSG_FORMAT (not one comma), then the fields
    fields  E_MSG_CONTROL, so inside a message E_KEY_CONTROL never shows; E_MSG_FIELD (blanks
            around a JSON field); then `paths`: the source before the destination

Which requests are allowed is decided in `policy`.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from backhaul.core.errors import BadMessage
from backhaul.core.model import EngineName, OnExists, Options, PublishMode, Request, VerifyLevel
from backhaul.core.paths import parse_destination, parse_source
from backhaul.core.text import byte_offset, find_control, find_surrogate, printable

_SECRET = re.compile(r"@|secret|token|passw|credential|signature|access.?key", re.IGNORECASE)

MAX_BODY_BYTES = 64 * 1024  # SQS carries 1 MiB; a request needs about 10 KiB at most
MAX_NESTING = 32  # levels; a request needs 2
MAX_INTEGER_DIGITS = 20
VERSION = 1

_FIELDS = ("v", "source", "destination", "options")
_OPTIONS = tuple(field.name for field in dataclasses.fields(Options))
_JSON_FORM = '{"v":1,"source":"s3://bucket/prefix/","destination":"/dir"}'
_FORMS = f"write `bucket/path, /dir` with one comma, or JSON where names have commas: {_JSON_FORM}"
_BLANKS = " \t"
_BODY_BLANKS = " \t\r\n"  # JSON's own white space
_SCALAR = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null|NaN|-?Infinity")
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
# Fields by which forms are known that a later version may accept.
_LATER_FORMS = {
    "Records": "an S3 event notification",
    "TopicArn": "an SNS notification",
    "detail-type": "an EventBridge event",
    "Event": "an S3 test event",
}

_Choice = TypeVar("_Choice", bound=StrEnum)


def parse_message(body: str, *, default_fs: str | None) -> Request:
    """Read a message body.

    Args:
        default_fs: Where a destination such as `/dir` lives; see `paths.parse_destination`.

    Raises:
        BadMessage: E_MSG codes: the body is neither form.
        PermanentError: what `paths` raises for the source or the destination.
    """
    text = _checked_body(body)
    if text[0] in '{["' or _SCALAR.fullmatch(text):
        return _from_document(_load_json(text), default_fs)
    fields = text.split(",")
    if len(fields) != 2:  # noqa: PLR2004 - two fields, one comma
        raise BadMessage("E_MSG_FORMAT", _why_no_line(text, len(fields) - 1), hint=_FORMS)
    source, destination = (field.strip(_BLANKS) for field in fields)
    return _request(source, destination, Options(), form="line", default_fs=default_fs)


def request_from_arguments(
    source: str, destination: str, options: Options, *, default_fs: str | None
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
        if name not in _OPTIONS:
            accepted = ", ".join(_OPTIONS)
            raise BadMessage(
                "E_MSG_FIELD",
                f"unknown option {printable(name, 40)}; accepted: {accepted}",
                hint="remove or correct the option",
            )
    return Options(
        on_exists=_choice(OnExists, pairs, "on_exists"),
        publish=_choice(PublishMode, pairs, "publish"),
        engine=_choice(EngineName, pairs, "engine"),
        verify=_choice(VerifyLevel, pairs, "verify"),
    )


def format_json(source: str, destination: str, options: Options) -> str:
    """A JSON message; ASCII only, because SQS refuses some characters that keys may have."""
    document: dict[str, object] = {"v": VERSION, "source": source, "destination": destination}
    given = {name: str(value) for name in _OPTIONS if (value := getattr(options, name)) is not None}
    if given:
        document["options"] = given
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
            hint=f"send it as JSON: {_JSON_FORM}",
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
    if commas > 0:
        return f"body is not JSON, and as a line it has {commas} commas instead of one"
    if _is_base64_of_request(text):
        return "body looks like base64 of a request: send the text itself"
    return f"body is neither JSON nor a line with one comma: {_excerpt(text)}"


def _excerpt(text: str) -> str:
    """The beginning of a foreign body, fit for an error; nothing of it when it smells of secrets.

    Such a body may carry credentials in a shape that nobody foresaw; a `=` alone is a partition.
    """
    if _SECRET.search(text):
        return "(not shown: it may hold credentials)"
    return printable(text, 60)


def _is_base64_of_request(text: str) -> bool:
    try:
        decoded = base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, ValueError):
        return False
    return "," in decoded


# ---------------------------------------------------------------- JSON


def _load_json(text: str) -> object:
    """Parse strictly: no duplicate keys, no NaN, no giant numbers, no deep nesting."""
    _check_nesting(text)
    try:
        document: object = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_no_number,
        )
    except json.JSONDecodeError as exc:
        at = f"at byte {byte_offset(text, exc.pos)}"
        if exc.msg.startswith("Invalid control character"):
            raise BadMessage(
                "E_MSG_CONTROL",
                f"body has a raw control character inside a JSON string {at}",
                hint="use names without control characters",
            ) from exc
        raise BadMessage(
            "E_MSG_FORMAT", f"body is not valid JSON {at}: {exc.msg}", hint=_FORMS
        ) from exc
    # Only now: an escape such as \ud83d may be the first half of a whole character.
    if find_surrogate(json.dumps(document, ensure_ascii=False)) is not None:
        raise BadMessage(
            "E_MSG_UNICODE",
            "body has an escape that is half a surrogate pair",
            hint="encode names as UTF-8",
        )
    return document


def _check_nesting(text: str) -> None:
    """Before parsing: the parser recurses, and its own limit depends on the caller's stack."""
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        if match[0] in "[{":
            depth += 1
        elif match[0] in "]}":
            depth -= 1
        if depth > MAX_NESTING:
            raise BadMessage(
                "E_MSG_SHAPE",
                f"body is nested deeper than {MAX_NESTING} levels"
                f" at byte {byte_offset(text, match.start())}",
                hint=_FORMS,
            )


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document: dict[str, object] = {}
    for name, value in pairs:
        if name in document:
            raise BadMessage(
                "E_MSG_DUP_KEY",
                f"field {printable(name, 40)} stands there twice",
                hint="give each field once",
            )
        document[name] = value
    return document


def _integer(text: str) -> int:
    return int(text) if len(text) <= MAX_INTEGER_DIGITS else _no_number(text)


def _float(text: str) -> float:
    value = float(text)
    return _no_number(text) if math.isinf(value) else value


def _no_number(text: str) -> int:
    raise BadMessage(
        "E_MSG_NUMBER",
        f"number {printable(text, 24)} is not a number that JSON can carry",
        hint="no field needs such a number: remove it",
    )


def _from_document(document: object, default_fs: str | None) -> Request:
    if not isinstance(document, dict):
        raise BadMessage(
            "E_MSG_SHAPE",
            f"body is JSON {_kind(document)}, not an object",
            hint=f"write {_JSON_FORM}",
        )
    _check_form(document)
    for name in document:
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
            f"field options is {_kind(pairs)}, not an object",
            hint='write "options":{"on_exists":"fail"}, or leave it out',
        )
    options = parse_options(pairs)
    return _request(source, destination, options, form="json", default_fs=default_fs)


def _check_form(document: Mapping[str, object]) -> None:
    """The version; where there is none, say what the body seems to be."""
    if "v" not in document:
        form = next((form for name, form in _LATER_FORMS.items() if name in document), None)
        if form:
            raise BadMessage(
                "E_MSG_FIELD",
                f"body is {form}; this version of Backhaul does not accept that form",
                hint=f"send a request instead: {_JSON_FORM}",
            )
    version = document.get("v")
    if type(version) is not int or version != VERSION:  # True and 1.0 equal 1 and are not
        found = "missing" if "v" not in document else printable(json.dumps(version), 24)
        raise BadMessage(
            "E_MSG_VERSION",
            f'field v is {found}; this version reads "v":{VERSION}',
            hint=f"write {_JSON_FORM}",
        )


def _text_field(document: Mapping[str, object], name: str) -> str:
    if name not in document:
        raise BadMessage("E_MSG_FIELD", f"field {name} is missing", hint=f"write {_JSON_FORM}")
    value = document[name]
    if not isinstance(value, str):
        raise BadMessage(
            "E_MSG_TYPE", f"field {name} is {_kind(value)}, not text", hint=f"write {_JSON_FORM}"
        )
    return value


def _choice(choices: type[_Choice], pairs: Mapping[str, object], name: str) -> _Choice | None:
    if name not in pairs:
        return None
    value = pairs[name]
    accepted = ", ".join(choices)
    if not isinstance(value, str):
        raise BadMessage(
            "E_MSG_TYPE",
            f"option {name} is {_kind(value)}, not text; accepted: {accepted}",
            hint="write the value in double quotes",
        )
    if value not in list(choices):
        raise BadMessage(
            "E_MSG_RANGE",
            f"option {name} is {printable(value, 40)}; accepted: {accepted}",
            hint="use one of the accepted values, or leave it to the route",
        )
    return choices(value)


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case list():
            return "an array"
        case dict():
            return "an object"
        case _:
            return "a number"


# ---------------------------------------------------------------- the fields


def _request(
    source: str, destination: str, options: Options, *, form: str, default_fs: str | None
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
    """The value is not shown: it may hold a secret."""
    if (index := find_control(value)) is not None:
        raise BadMessage(
            "E_MSG_CONTROL",
            f"{name} has the control character {printable(value[index])}"
            f" at byte {byte_offset(value, index)}",
            hint="use names without control characters",
        )


def _check_blanks(name: str, value: str) -> None:
    """Blanks are legal in keys only: not around the bucket, not around the destination."""
    exact = value
    if name == "source":
        exact = value.removeprefix("s3://").removeprefix("s3a://").partition("/")[0]
    if exact != exact.strip(" ") or value.startswith(" "):
        raise BadMessage(
            "E_MSG_FIELD",
            f"{name} has blanks around its {'bucket' if name == 'source' else 'path'}",
            hint="remove the blanks: only the line form strips them",
        )

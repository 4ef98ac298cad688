"""JSON read strictly: nothing twice, no NaN, no giant numbers, no deep nesting, no half characters.

Any text gives a document or a `BadMessage`, in time linear in its length. The meaning of the
document is read in `body` and `aws_events`.

Order of the checks, first one wins: E_MSG_SHAPE (nesting), then as the parser meets them:
E_MSG_FORMAT, E_MSG_CONTROL (raw), E_MSG_DUP_KEY, E_MSG_NUMBER; then E_MSG_UNICODE (escaped).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from backhaul.core.errors import BadMessage
from backhaul.core.text import byte_offset, find_surrogate, printable

MAX_NESTING = 32  # levels; a request needs 2, an event 5
MAX_INTEGER_DIGITS = 20

_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
# Only an escape can bring half a character into a text that was checked before.
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def load(text: str, *, hint: str) -> object:
    """The document.

    Args:
        hint: What to write instead, for errors of the form.

    Raises:
        BadMessage: one of the codes above.
    """
    _check_nesting(text, hint)
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
            "E_MSG_FORMAT", f"body is not valid JSON {at}: {exc.msg}", hint=hint
        ) from exc
    # Only now: an escape such as \ud83d may be the first half of a whole character.
    if _SURROGATE_ESCAPE.search(text) and (
        find_surrogate(json.dumps(document, ensure_ascii=False)) is not None
    ):
        raise BadMessage(
            "E_MSG_UNICODE",
            "body has an escape that is half a surrogate pair",
            hint="encode names as UTF-8",
        )
    return document


def _check_nesting(text: str, hint: str) -> None:
    """Before parsing: the parser recurses, and its own limit depends on the caller's stack."""
    if text.count("[") + text.count("{") <= MAX_NESTING:
        return
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
                hint=hint,
            )


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document: dict[str, object] = {}
    for name, value in pairs:
        if name in document:
            raise BadMessage(
                "E_MSG_DUP_KEY",
                f"duplicate key {printable(name, 40)}",
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


def kind(value: object) -> str:
    """What a value is, in words for an error."""
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


def text_at(document: Mapping[str, Any], path: str, *, hint: str) -> str:
    """The text at `a.b.c`.

    Raises:
        BadMessage: E_MSG_FIELD where there is none, E_MSG_TYPE where it is something else.
    """
    found = optional_text_at(document, path, hint=hint)
    if found is None:
        raise BadMessage("E_MSG_FIELD", f"field {path} is missing", hint=hint)
    return found


def optional_text_at(document: Mapping[str, Any], path: str, *, hint: str) -> str | None:
    """As `text_at`; None where the last field is missing or null."""
    *tables, last = path.split(".")
    value: Any = document
    for number, name in enumerate(tables, 1):
        value = value.get(name, {})
        if not isinstance(value, dict):
            where = ".".join(tables[:number])
            raise BadMessage(
                "E_MSG_TYPE", f"field {where} is {kind(value)}, not an object", hint=hint
            )
    value = value.get(last)
    if value is not None and not isinstance(value, str):
        raise BadMessage("E_MSG_TYPE", f"field {path} is {kind(value)}, not text", hint=hint)
    return value

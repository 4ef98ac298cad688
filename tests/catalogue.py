"""The rows of the bad-input catalogue as data: `tests/data/<section>.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row, or a neighbour of one (`B45+`).

    Attributes:
        id: The catalogue's number; a `+` marks a neighbour that the catalogue does not list.
        input: The hostile or harmless text.
        code: The error code that must come, None where the input is accepted.
        where: Which function judges it; the section's test says what the names mean.
        gives: What an accepted input becomes.
        allow: `SOURCE -> DEST`, where the policy judges.
        attributes: Of the message.
        sender: Its SenderId.
        sign: What is signed in place of the true things; None: nothing is.
        other: The other half of a request (a source's destination, a destination's source).
    """

    id: str
    input: str
    code: str | None = None
    where: str = ""
    gives: str | None = None
    allow: str = ""
    other: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    sender: str = "AROAANYONE"
    sign: dict[str, str] | None = None


def rows(section: str) -> list[Row]:
    """All rows of a section; `repeat` in the file multiplies the input, then come the ends."""
    document = tomllib.loads((DATA / f"{section}.toml").read_text("utf-8"))
    found = []
    for raw in document["row"]:
        text = raw.pop("before", "") + raw.pop("input") * raw.pop("repeat", 1)
        found.append(Row(input=text + raw.pop("after", ""), **raw))
    return found


def configuration(section: str) -> str:
    """The configuration that stands before a section's rows."""
    document = tomllib.loads((DATA / f"{section}.toml").read_text("utf-8"))
    text: str = document["configuration"]
    return text


def name(row: Row) -> str:
    """A test id that fits on a line."""
    return f"{row.id}-{row.code or 'ok'}-{row.input[:24]!a}"

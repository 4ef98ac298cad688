"""The rows of the bad-input catalogue as data: `tests/data/<section>.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
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
        other: The other half of a request (a source's destination, a destination's source).
    """

    id: str
    input: str
    code: str | None = None
    where: str = ""
    gives: str | None = None
    allow: str = ""
    other: str = ""


def rows(section: str) -> list[Row]:
    """All rows of a section; `repeat` in the file multiplies the input, then come the ends."""
    document = tomllib.loads((DATA / f"{section}.toml").read_text("utf-8"))
    found = []
    for raw in document["row"]:
        text = raw.pop("before", "") + raw.pop("input") * raw.pop("repeat", 1)
        found.append(Row(input=text + raw.pop("after", ""), **raw))
    return found


def name(row: Row) -> str:
    """A test id that fits on a line."""
    return f"{row.id}-{row.code or 'ok'}-{row.input[:24]!a}"

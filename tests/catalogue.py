"""The rows of the bad-input catalogue as data: `tests/data/<section>.toml`.

A row is judged by its data, or names the test that proves it, or says why there is none yet.
`tests/unit/test_catalogue.py` holds the files to the catalogue; `scripts/make_catalogue.py` makes
the manual's page of them.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
SECTIONS = {
    "messages": "Message bodies",
    "sources": "S3 sources",
    "destinations": "Destinations",
    "configuration": "Configuration",
    "commands": "Command line",
}


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
        given: The input in words, for rows whose proof is a test and for the manual.
        test: `path::name` of the test that proves it, where data cannot.
        status: `not built`: what the row is about does not exist; `why` says more.
        why: For `not built`, and where the outcome is another one than the catalogue's.
        arguments: Of `backhaul`, where the whole program judges.
        environment: Of it; `{dir}` is a directory of the test's own, also in the other texts.
        files: Files in that directory.
        exit: The exit code that must come.
        says: Words that the error must have.
    """

    id: str
    input: str = ""
    code: str | None = None
    where: str = ""
    gives: str | None = None
    allow: str = ""
    other: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    sender: str = "AROAANYONE"
    sign: dict[str, str] | None = None
    given: str = ""
    test: str = ""
    status: str = ""
    why: str = ""
    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    exit: int | None = None
    says: str = ""

    @property
    def is_judged(self) -> bool:
        """By its data."""
        return not self.test and not self.status


def entries(section: str) -> list[Row]:
    """All rows of a section; `repeat` in the file multiplies the input, then come the ends."""
    document = tomllib.loads((DATA / f"{section}.toml").read_text("utf-8"))
    found = []
    for raw in document["row"]:
        text = raw.pop("before", "") + raw.pop("input", "") * raw.pop("repeat", 1)
        found.append(Row(input=text + raw.pop("after", ""), **_checked(raw)))
    return found


def configuration(section: str) -> str:
    """The configuration that stands before a section's rows."""
    document = tomllib.loads((DATA / f"{section}.toml").read_text("utf-8"))
    text: str = document["configuration"]
    return text


def rows(section: str) -> list[Row]:
    """Those that are judged by their data."""
    return [row for row in entries(section) if row.is_judged]


def name(row: Row) -> str:
    """A test id that fits on a line."""
    shown = row.input or row.given or " ".join(row.arguments)
    return f"{row.id}-{row.code or 'ok'}-{shown[:24]!a}"


def _checked(raw: dict[str, Any]) -> dict[str, Any]:
    if raw.get("status", "not built") != "not built":
        raise ValueError(f"{raw['id']}: status {raw['status']!r} means nothing")
    return raw

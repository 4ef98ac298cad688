"""Reading the manual: its pages, tables and fenced blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table; cells as they are written.

    Attributes:
        heading: The nearest heading above, without its marks.
    """

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def pages() -> list[Path]:
    """Every page that people read."""
    front = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")]
    return [*front, *sorted(DOCS.rglob("*.md"))]


@cache
def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def fences(page: Path, language: str) -> list[str]:
    """The fenced blocks in that language."""
    return [body for found, body in _FENCE.findall(text_of(page)) if found == language]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text_of(page))


def tables(page: Path) -> list[Table]:
    """The page's tables, in order."""
    found: list[Table] = []
    heading = ""
    lines: list[list[str]] = []
    for line in [*prose(page).splitlines(), ""]:
        if line.startswith("|"):
            lines.append(_cells(line))
            continue
        if lines:
            columns, _, *rows = lines
            assert all(len(row) == len(columns) for row in rows), f"{page}: uneven: {columns}"
            found.append(
                Table(heading=heading, columns=tuple(columns), rows=tuple(map(tuple, rows)))
            )
            lines = []
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
    return found


def table(page: Path, *, heading: str, first: str) -> Table:
    """The table under this heading whose first column is called so."""
    found = [one for one in tables(page) if one.heading == heading and one.columns[0] == first]
    assert len(found) == 1, f"{page.name}: {len(found)} tables {first!r} under {heading!r}"
    return found[0]


def code(cell: str) -> list[str]:
    """What stands in backquotes."""
    return _CODE.findall(cell)


def console(page: Path) -> list[str]:
    """The commands of the page's console blocks, continued lines joined, prompts removed."""
    return commands_in(text_of(page))


def commands_in(text: str) -> list[str]:
    """The same of a part of a page."""
    found = []
    for block in (body for language, body in _FENCE.findall(text) if language == "console"):
        lines = block.replace("\\\n", " ").splitlines()
        found += [line[2:] for line in lines if line.startswith(("$ ", "# "))]
    return found


def first_copy() -> list[str]:
    """The quick start's commands on a cluster, up to the first proven copy."""
    _, _, rest = text_of(DOCS / "quickstart.md").partition("### Install and configure\n")
    return commands_in(rest.partition("### Without AWS and without a cluster\n")[0])


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]

"""Write what the dashboard shows for an error's code, from the manual's tables of errors.

    python scripts/make_error_texts.py

`docs/reference/errors.md` is the source; a test fails where the two differ.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "docs" / "reference" / "errors.md"
TARGET = ROOT / "src" / "backhaul" / "dashboard" / "error_texts.json"

_ROW = re.compile(r"^\| `(E_[A-Z0-9_]+)` \| (.*) \|$", re.MULTILINE)
_CELLS = re.compile(r"(?<!\\) \| ")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")


def texts() -> str:
    """A line for each code: when it occurs and how it is fixed; backticks stay, links go."""
    lines, above = [], ["", "", "", ""]
    for code, row in _ROW.findall(SOURCE.read_text("utf-8")):
        cells = [_LINK.sub(r"\1", cell).strip() for cell in _cells(row)]
        cells = [old if new == "the same" else new for new, old in zip(cells, above, strict=True)]
        when, _, _, fix = above = cells
        lines.append(f'"{code}": {json.dumps([when, fix], ensure_ascii=False)}')
    return "{\n" + ",\n".join(sorted(lines)) + "\n}\n"


def _cells(row: str) -> list[str]:
    """`| |` in a row is an empty cell."""
    return [cell.replace(r"\|", "|") for cell in _CELLS.split(row.replace(" | | ", " |  | "))]


if __name__ == "__main__":
    TARGET.write_text(texts(), "utf-8")

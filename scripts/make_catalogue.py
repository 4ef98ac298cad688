"""Write docs/reference/bad-input.md from tests/data; `--check` only says whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.catalogue import SECTIONS, Row, entries  # noqa: E402 - after the path is known

PAGE = ROOT / "docs" / "reference" / "bad-input.md"
HEAD = """\
# Bad input

What becomes of input that is wrong, hostile or merely odd. Every line is a test, and this page is
made from the tests' own data. A code is explained in [Errors](errors.md). A line that says *not
built* is about something that this version does not have.
"""
_INPUTS_SHOWN = 2
_INPUT_MAX = 48
_MARKDOWN = frozenset("&<>|`*_{}[]\\~#$")


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for section, title in SECTIONS.items():
        parts.append(f"## {title}\n\n| row | given | becomes |\n|---|---|---|")
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in entries(section):
            groups.setdefault((row.id.rstrip("+"), _outcome(row)), []).append(row)
        parts.append(
            "\n".join(
                f"| {number} | {_given(group)} | {outcome} |"
                for (number, outcome), group in sorted(
                    groups.items(), key=lambda item: int(item[0][0][1:])
                )
            )
        )
        parts.append("")
    return "\n".join(parts)


def _outcome(row: Row) -> str:
    if row.status:
        return f"*{row.status}*: {row.why}"
    if row.exit is not None and row.code is None:
        return f"exit {row.exit}"
    found = f"`{row.code}`" if row.code else _of_records(row.gives or "")
    return f"{found}; {row.why}" if row.why else found


def _of_records(gives: str) -> str:
    """What becomes of each record, where the row says it; else it is accepted."""
    told = []
    for one in gives.split("; "):
        reason = one.removeprefix("ignored ")
        if one.startswith("E_"):
            told.append(f"`{one}`")
        else:
            told.append("accepted" if reason == one else f"ignored, `{reason}`")
    return "; ".join(told)


def _given(group: list[Row]) -> str:
    shown = [row.given or _quoted(row.input) for row in group[:_INPUTS_SHOWN]]
    more = len(group) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _quoted(text: str) -> str:
    if not text:
        return "nothing"
    cut = text if len(text) <= _INPUT_MAX else f"{text[:_INPUT_MAX]}…"
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
    escaped = "".join(f"&#{ord(c)};" if c in _MARKDOWN else c for c in plain)
    return f"<code>{escaped.replace(' ', '&nbsp;')}</code>"


def main() -> int:
    """Write, or check."""
    text = page()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.read_text("utf-8") == text else 1
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Writes docs/glossary.md: the product's own words, then every public noun of `core`.

What a noun means is the first sentence of its class's docstring, so it is written once.

    python scripts/make_glossary.py
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "src" / "backhaul" / "core"
PAGE = ROOT / "docs" / "glossary.md"

ROOMS = {
    ".": "Values",
    "ports": "Ports",
    "requests": "Requests",
    "transfer": "A transfer",
    "agent": "The agent",
    "receipts": "Receipts",
    "replies": "Replies",
}

INTRODUCTION = """\
# Glossary

One word, one meaning. Where AWS, Hadoop or Prometheus have a word, Backhaul uses theirs. The terms of the
protocol, such as claim, epoch, fence, intent and pin, are in [Protocol](protocol.md#terms).

## Words of the manual

| word | meaning |
|---|---|
| abandoned staging | staging whose transfer will not use it any more; the sweep removes it |
| adopt | take over a file that is already at its final path, after proving it, instead of copying it |
| completion marker | a file such as `_SUCCESS` that tells readers a directory is complete; published last |
| dead letter | a message on the dead-letter queue, with the code and the reason why no attempt can succeed |
| directory placeholder | an empty object such as `x/` or `x_$folder$` that makes a prefix look like a directory; counted, not copied |
| drain | work until the queue is empty, then end |
| evidence | the manifest of a transfer and the line that seals it, from which `verify` checks the files again |
| governor | what shares one limit of bytes a second among all processes of a ledger |
| hold | a wait for a dependency that is down; the message stays hidden and no attempt is spent |
| proof level | what was compared for one file, from `direct` to `size`; [the list](reference/evidence.md#proof-levels) |
| receipt | a signed statement of what a done transfer brought, which S3 alone confirms: [Receipts](reference/receipt.md) |
| record | one request of a message that has several, such as an S3 notification |
| redrive | send a dead letter back to its queue |
| sweep | the regular removal of abandoned staging |
| trigger | an object whose event means that a prefix is complete, such as `_SUCCESS` in S3 |
| watchdog | what ends the process when one of its threads hangs |
"""

NOUNS = """
## Public nouns of the core

Made from the code by `scripts/make_glossary.py`.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, NOUNS]
    for folder, title in ROOMS.items():
        rows = sorted(_nouns(CORE / folder))
        parts.append(f"\n### {title}\n\n| noun | meaning | in |\n|---|---|---|\n")
        parts += [f"| `{name}` | {meaning} | `{where}` |\n" for name, meaning, where in rows]
    return "".join(parts)


def _nouns(folder: Path) -> list[tuple[str, str, str]]:
    return [
        (node.name, _meaning(node), path.relative_to(CORE.parent).as_posix())
        for path in sorted(folder.glob("*.py") if folder == CORE else folder.rglob("*.py"))
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]


def _meaning(node: ast.ClassDef) -> str:
    paragraph = (ast.get_docstring(node) or "").split("\n\n")[0]
    sentence = re.split(r"(?<=\.)\s+(?=[A-Z`])", " ".join(paragraph.split()))[0]
    return sentence.rstrip(".").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")

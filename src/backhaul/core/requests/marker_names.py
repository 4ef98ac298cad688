"""Which names a completion marker may have: the empty file that is published after all others."""

from __future__ import annotations

import re

from backhaul.core.errors import BackhaulError
from backhaul.core.requests.paths import UNFINISHED
from backhaul.core.text import printable

HINT = 'write a name such as "_SUCCESS": it begins with "_", then letters, digits, ".", "_" or "-"'
MAX_NAME = 255  # bytes, as of any name in a directory
_NAME = re.compile(r"_[A-Za-z0-9][A-Za-z0-9._-]*")
# Names that readers and writers of tables take for a directory, or for a file with content.
_TAKEN = frozenset(
    {
        UNFINISHED,
        "_common_metadata",
        "_delta_log",
        "_last_checkpoint",
        "_metadata",
        "_symlink_format_manifest",
    }
)


def why_no_marker(name: str) -> str:
    """Why a text cannot be the name of a completion marker; empty: it can."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        return "is no single name that begins with '_'"
    if name in _TAKEN:
        return "is a name that has another meaning to readers of tables"
    return ""


def check_marker(name: str, refused: type[BackhaulError], code: str, what: str) -> str:
    """The name itself.

    Args:
        refused: The error to raise, with this code.
        what: Where it was written, for the sentence.

    Raises:
        BackhaulError: `refused`.
    """
    if why := why_no_marker(name):
        raise refused(code, f"{what} {printable(name, 60)} {why}", hint=HINT)
    return name

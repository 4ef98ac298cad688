"""Which names a completion marker may have: the empty file that is published after all others."""

from __future__ import annotations

import re

from backhaul.core.errors import BackhaulError
from backhaul.core.requests.paths import UNFINISHED
from backhaul.core.text import printable

# Names that readers and writers of tables take for a directory, or for a file with content.
_TAKEN = (
    *(UNFINISHED, "_common_metadata", "_delta_log", "_last_checkpoint", "_metadata"),
    "_symlink_format_manifest",
)
MARKER_NAME = (
    rf"_(?!(?:{'|'.join(name[1:] for name in _TAKEN)})$)[A-Za-z0-9][A-Za-z0-9._-]{{0,253}}"
)
HINT = (
    'write a name such as "_SUCCESS": "_", then letters, digits, ".", "_" or "-"; names that '
    "readers of tables know, such as _metadata, are taken"
)


def check_marker(name: str, refused: type[BackhaulError], code: str, what: str) -> str:
    """The name itself.

    Args:
        refused: The error to raise, with this code.
        what: Where it was written, for the sentence.

    Raises:
        BackhaulError: `refused`.
    """
    if not re.fullmatch(MARKER_NAME, name):
        raise refused(
            code, f"{what} is {printable(name, 60)}, no name of a completion marker", hint=HINT
        )
    return name

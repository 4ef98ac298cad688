"""Which names a completion marker may have: the empty file that is published after all others."""

from __future__ import annotations

import re

from backhaul.core.requests.paths import UNFINISHED

# Names that readers and writers of tables take for a directory, or for a file with content.
_TAKEN = (
    *(UNFINISHED, "_common_metadata", "_delta_log", "_last_checkpoint", "_metadata"),
    "_symlink_format_manifest",
)
MARKER_NAME = (
    rf"_(?!(?:{'|'.join(name[1:] for name in _TAKEN)})$)[A-Za-z0-9][A-Za-z0-9._-]{{0,253}}"
)
MARKER_HINT = (
    'write a name such as "_SUCCESS": "_", then letters, digits, ".", "_" or "-"; names that '
    "readers of tables know, such as _metadata, are taken"
)


def is_marker_name(name: str) -> bool:
    """Whether a completion marker may have this name."""
    return re.fullmatch(MARKER_NAME, name) is not None

"""What a reconciliation found, as lines for programs and in rclone's form."""

from __future__ import annotations

import json
from typing import Any

from backhaul.core.model import Location
from backhaul.core.reconciliation.values import ComparedPath, ObjectClass
from backhaul.core.text import is_text, printable

_ENCODER = json.JSONEncoder(ensure_ascii=False)
_ESCAPING = json.JSONEncoder()  # of a name that is not UTF-8: its bytes are U+DC80 to U+DCFF
# The signs of `rclone check --combined`, and what each means there: equal, only in the destination,
# only in the source, different, not comparable. What is excluded has none.
_SIGNS = {
    ObjectClass.SAME: "=",
    ObjectClass.EXTRA: "-",
    ObjectClass.MISSING: "+",
    ObjectClass.DIFFERS: "*",
    ObjectClass.SUPERSEDED: "*",
    ObjectClass.UNPROVED: "!",
}


def as_json(one: ComparedPath, filesystem: str) -> str:
    """One line; its schema is `docs/schema/reconcile.schema.json`."""
    row = one.row
    source, target = row.source, row.target
    size_bytes = source.size_bytes if source else target.size_bytes if target else None
    line: dict[str, Any] = {
        "v": 1,
        "class": one.found.value,
        "source": source.uri if source else None,
        "target": f"{filesystem}{row.path}",
        "size": size_bytes,
        "why": one.why or None,
        "transfer": one.transfer_id or None,
    }
    return (_ENCODER if is_text(row.path) else _ESCAPING).encode(line)


def combined(one: ComparedPath, root: Location) -> str | None:
    """One line as `rclone check --combined` writes it; None: nothing is compared there."""
    sign = _SIGNS.get(one.found)
    if one.found is ObjectClass.EXCLUDED:
        return None
    if sign is None:  # in flight, dead, too young
        sign = "+" if one.row.target is None else "*"
    base = "/" if root.path == "/" else f"{root.path}/"
    return f"{sign} {printable(one.row.path.removeprefix(base), 4096)}"

"""`backhaul replies list` and `resend`: what was sent, waits or was given up, from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backhaul.adapters.ledger import ReplyRow, find_reader, open_ledger, open_reader
from backhaul.adapters.system.clock import host_name
from backhaul.core.errors import PermanentError
from backhaul.core.ports import Act, Operator, OperatorEntry
from backhaul.core.ports.replies import ReplyState
from backhaul.core.text import printable

NAMED_MOST = 5  # keys in a line of the journal


@dataclass(frozen=True, kw_only=True)
class ReplyList:
    """Some replies, the newest transfers' first; `is_cut`: there are more."""

    rows: tuple[ReplyRow, ...]
    is_cut: bool


def read_replies(
    path: Path,
    *,
    state: ReplyState | None = None,
    target: str | None = None,
    keys: Sequence[str] = (),
    most: int,
) -> ReplyList | None:
    """None where there is no ledger yet."""
    reader = find_reader(path)
    if reader is None:
        return None
    with closing(reader):
        found = reader.replies(state=state, target=target, keys=keys, most=most + 1)
    return ReplyList(rows=tuple(found[:most]), is_cut=len(found) > most)


def replies_by_key(path: Path, keys: Sequence[str], *, most: int) -> ReplyList:
    """Those with these keys, whatever has become of them, for all their targets.

    Raises:
        PermanentError: E_NO_SUCH_REPLY: one of them is not there.
    """
    with closing(open_reader(path)) as reader:
        found = reader.replies(keys=keys, most=most)
    missing = set(keys) - {one.key for one in found}
    if missing:
        raise PermanentError(
            "E_NO_SUCH_REPLY",
            f"no reply has the key {printable(min(missing), 200)}",
            hint="backhaul replies list",
        )
    return ReplyList(rows=tuple(found), is_cut=False)


def resend_replies(path: Path, by: Operator, chosen: Sequence[ReplyRow]) -> int:
    """Have them delivered again, with the keys that they have; a line of the operators' journal.

    The agent that runs, or the next one that starts, sends them.

    Returns:
        How many.
    """
    keys = [one.key for one in chosen]
    more = f" and {len(keys) - NAMED_MOST} more" if len(keys) > NAMED_MOST else ""
    entry = OperatorEntry(
        at=datetime.now(UTC),
        by=by,
        act=Act.RESEND,
        subject=" ".join(keys[:NAMED_MOST]) + more,
        transfers=len({one.transfer_id for one in chosen}),
    )
    with closing(open_ledger(path, create=False, host=host_name())) as ledger:
        return ledger.resend_replies([(one.key, one.target) for one in chosen], entry)

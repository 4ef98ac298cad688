"""`backhaul replies list`, `resend` and `drop`: what was sent, waits or was given up."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from shlex import quote

from backhaul.adapters.ledger import ReplyRow, find_reader, open_ledger, open_reader
from backhaul.adapters.system.clock import host_name
from backhaul.core.errors import PermanentError
from backhaul.core.ports import Act, Operator, OperatorEntry
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.ports.replies import ReplyCounts, ReplyState
from backhaul.core.replies.reply import HIVE, LINEAGE, setting_of
from backhaul.core.requests.reply_addresses import is_reply_address
from backhaul.core.text import printable
from backhaul.settings.model import Settings

NAMED_MOST = 5  # keys in a line of the journal


@dataclass(frozen=True, kw_only=True)
class ReplyList:
    """Some replies, the newest transfers' first; `is_cut`: there are more."""

    rows: tuple[ReplyRow, ...]
    is_cut: bool


def read_replies(
    path: LedgerPlace,
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


def replies_by_key(path: LedgerPlace, keys: Sequence[str], *, most: int) -> ReplyList:
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


def waiting_in_vain(settings: Settings, path: LedgerPlace) -> list[ReplyCounts]:
    """How many wait for what the configuration does not have any more, by target."""
    reader = find_reader(path)
    if reader is None:
        return []
    with closing(reader):
        counts = reader.reply_counts()
    return [one for one in counts if one.waiting and not is_reply_target(settings, one.target)]


def is_reply_target(settings: Settings, target: str) -> bool:
    """Whether an agent with these settings delivers to this name or address."""
    if target == HIVE:
        return settings.hive.command is not None
    if target == LINEAGE:
        return settings.lineage.url is not None
    is_named = any(one.name == target and one.marker is None for one in settings.reply)
    return is_named or is_reply_address(target)


def in_vain(one: ReplyCounts) -> str:
    """A sentence about what waits for a target that is not there."""
    replies = "1 reply waits" if one.waiting == 1 else f"{one.waiting:,} replies wait"
    return f"{replies} for {printable(one.target, 80)}, which is not in the configuration"


def in_vain_fix(one: ReplyCounts) -> tuple[str, ...]:
    """What to do about them, in words and commands that alternate."""
    target = printable(quote(one.target))
    return (
        f"write {setting_of(one.target)} again, restart the agent, then:",
        f"backhaul replies resend --target {target}",
        "or forget them:",
        f"backhaul replies drop --target {target}",
    )


def in_vain_hint(one: ReplyCounts) -> str:
    """The same in one sentence."""
    mend, resend, forget, drop = in_vain_fix(one)
    return f"{mend} {resend}; {forget} {drop}"


def drop_replies(
    path: LedgerPlace, by: Operator, chosen: Sequence[ReplyRow]
) -> set[tuple[str, str]]:
    """Forget them; a line of the operators' journal.

    They are not delivered any more, but for those that a running agent has read already.

    Returns:
        Key and target of those forgotten; one that was sent meanwhile stays.
    """
    with closing(open_ledger(path, create=False, host=host_name())) as ledger:
        return ledger.drop_replies(_named(chosen), _entry(Act.DROP, by, chosen))


def resend_replies(
    path: LedgerPlace, by: Operator, chosen: Sequence[ReplyRow]
) -> set[tuple[str, str]]:
    """Have them delivered again, with the keys that they have; a line of the operators' journal.

    The agent that runs, or the next one that starts, sends them.

    Returns:
        Key and target of those that are; one that was dropped meanwhile is not.
    """
    with closing(open_ledger(path, create=False, host=host_name())) as ledger:
        return ledger.resend_replies(_named(chosen), _entry(Act.RESEND, by, chosen))


def _named(chosen: Sequence[ReplyRow]) -> list[tuple[str, str]]:
    return [(one.key, one.target) for one in chosen]


def _entry(act: Act, by: Operator, chosen: Sequence[ReplyRow]) -> OperatorEntry:
    keys = [one.key for one in chosen]
    more = f" and {len(keys) - NAMED_MOST} more" if len(keys) > NAMED_MOST else ""
    return OperatorEntry(
        at=datetime.now(UTC),
        by=by,
        act=act,
        subject=" ".join(keys[:NAMED_MOST]) + more,
        transfers=len({one.transfer_id for one in chosen}),
    )

"""`backhaul receipt`: signs what a done transfer brought, and keeps the keys for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from backhaul import __version__
from backhaul.adapters.ledger import LedgerReader, open_reader
from backhaul.adapters.ledger.attempts import NO_QUEUES
from backhaul.adapters.system.clock import SystemClock
from backhaul.adapters.system.receipt_keys import ReceiptKey, ReceiptKeys
from backhaul.app.ids import by_place
from backhaul.core.errors import PermanentError
from backhaul.core.ports import Clock
from backhaul.core.receipts.issuing import Receivable, check_done, make_statement, receipt_lines
from backhaul.core.transfer.evidence import object_line
from backhaul.settings.model import Settings

LINES_AT_ONCE = 500  # written in one piece: some 400 kB


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """What `backhaul receipt key rotate` did."""

    old: str
    new: ReceiptKey


def issue_receipt(
    settings: Settings,
    id_prefix: str,
    *,
    keys: Path | None = None,
    clock: Clock | None = None,
    key_made: Callable[[ReceiptKey], None] = lambda _: None,
) -> Iterator[bytes]:
    """The receipt in pieces; its last line comes only when all before it was right.

    Args:
        keys: The directory of the keys, instead of the configured one.
        key_made: Receives the first key, which is made when the first receipt is.

    Raises:
        ConfigurationError: E_RECEIPT_NO_KEY, E_RECEIPT_KEY, E_CFG_PERMISSIONS.
        PermanentError: E_NO_SUCH_TRANSFER, E_RECEIPT_NOT_DONE, E_RECEIPT_EVIDENCE, E_RECEIPT_TIME.
    """
    chosen = keys_of(settings, keys)
    now = (clock or SystemClock()).now()
    name = by_place(settings.ledger_place, id_prefix)
    with closing(open_reader(settings.ledger_place)) as reader:
        wanted = _wanted(reader, name)
        check_done(wanted)
        if (first := chosen.create_first()) is not None:
            key_made(first)
        key = chosen.signing_key()
        sealed = reader.sealed(wanted.transfer)
        statement = make_statement(
            wanted,
            sealed,
            ledger=reader.ledger_id(),
            issued_at=now,
            issued_by=f"backhaul {__version__}",
            key=key.public.id,
        )
        objects = (
            object_line(wanted.transfer, one.planned, one.staged, one.target)
            for one in reader.objects(wanted.transfer)
        )
        sealing_line = sealed.line if sealed is not None else ""
        yield from _pieces(receipt_lines(statement, objects, sealing_line, key.sign))


def keys_of(settings: Settings, keys: Path | None) -> ReceiptKeys:
    """Those in `keys`, else in the configured directory, else beside the ledger."""
    return ReceiptKeys(keys or settings.receipt_keys)


def find_key(keys: ReceiptKeys, key_id: str | None) -> ReceiptKey:
    """The key whose id begins like this; None: the current one.

    Raises:
        ConfigurationError: E_RECEIPT_NO_KEY.
        PermanentError: E_RECEIPT_KEY_UNKNOWN: no key, or several.
    """
    if key_id is None:
        keys.signing_key()
        return next(one for one in keys.all() if one.is_current)
    found = [one for one in keys.all() if one.public.id.startswith(key_id)]
    if len(found) == 1:
        return found[0]
    what = "more than one receipt key" if found else "no receipt key"
    raise PermanentError(
        "E_RECEIPT_KEY_UNKNOWN",
        f"{what} in {keys.directory} has an id that begins with {key_id!r}",
        hint="`backhaul receipt key list` has the ids",
    )


def rotate_key(keys: ReceiptKeys) -> Rotation:
    """Replace the key that signs.

    Raises:
        ConfigurationError: E_RECEIPT_NO_KEY.
    """
    old, new = keys.rotate()
    return Rotation(old=old, new=new)


def _wanted(reader: LedgerReader, id_prefix: str) -> Receivable:
    row = reader.transfer(id_prefix)
    if row.pruned_at is not None:
        raise PermanentError(
            "E_RECEIPT_PRUNED",
            f"the object lines of transfer {row.id} were dropped at"
            f" {row.pruned_at:%Y-%m-%d %H:%M:%S} UTC, by {row.pruned_by}",
            hint="a receipt that was issued before can still be checked: backhaul receipt verify",
        )
    is_copy = row.queue in NO_QUEUES
    return Receivable(
        transfer=row.id,
        state=row.state,
        code=row.code,
        route=row.route,
        queue=None if is_copy else row.queue,
        message=None if is_copy else row.message_id,
        sender=row.sender,
        sent_at=row.sent_at,
        started_at=row.started_at,
    )


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    rest = iter(lines)
    while batch := b"".join(islice(rest, LINES_AT_ONCE)):
        yield batch

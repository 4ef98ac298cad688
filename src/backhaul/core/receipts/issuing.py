"""Writing a receipt, in constant memory: from the ledger's lines, to signed ones.

Pure. The signature comes last, and only when the object lines were those that were sealed: a
receipt whose end is missing was never valid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from backhaul.core.errors import PermanentError
from backhaul.core.model import TransferState
from backhaul.core.receipts.statement import (
    CLOCKS_DIFFER,
    Statement,
    signature_line,
    signed_bytes,
    statement_line,
)
from backhaul.core.transfer.evidence import Sealed, seal, text

_HINT = "`backhaul verify ID` shows what is wrong with the evidence"


@dataclass(frozen=True, kw_only=True)
class Receivable:
    """A transfer of which a receipt is wanted, as its row in the ledger has it.

    Attributes:
        message: None for a transfer without a message; likewise `queue`.
    """

    transfer: str
    state: TransferState
    code: str | None
    route: str | None
    queue: str | None
    message: str | None
    sender: str | None
    sent_at: datetime | None
    started_at: datetime | None


def make_statement(
    wanted: Receivable,
    sealed: Sealed | None,
    *,
    ledger: str,
    issued_at: datetime,
    issued_by: str,
    key: str,
) -> Statement:
    """What there is to sign.

    Args:
        sealed: Its sealing line; None: the ledger has none.
        ledger: Its id.
        key: Id of the key that will sign.

    Raises:
        PermanentError: E_RECEIPT_NOT_DONE, E_RECEIPT_EVIDENCE, E_RECEIPT_TIME.
    """
    check_done(wanted)
    content = _checked(wanted.transfer, sealed)
    finished_at = datetime.fromisoformat(content["finished_at"])
    if finished_at > issued_at + CLOCKS_DIFFER:
        raise PermanentError(
            "E_RECEIPT_TIME",
            f"transfer {wanted.transfer} ended at {finished_at:%Y-%m-%d %H:%M:%S} UTC, and this"
            f" machine's clock shows {issued_at:%Y-%m-%d %H:%M:%S}",
            hint="a clock was or is wrong: fix NTP, then try again",
        )
    return Statement(
        transfer=wanted.transfer,
        route=wanted.route,
        queue=wanted.queue,
        message=wanted.message,
        sender=wanted.sender,
        source=content["source"],
        destination=content["destination"],
        publish=content["publish"],
        objects=content["objects"],
        size_bytes=content["size"],
        manifest=content["manifest"],
        seal=seal(sealed.line) if sealed is not None else "",
        previous=content["previous"],
        ledger=ledger,
        sent_at=wanted.sent_at,
        started_at=wanted.started_at,
        finished_at=finished_at,
        issued_at=issued_at,
        issued_by=issued_by,
        key=key,
    )


def receipt_lines(
    statement: Statement,
    object_lines: Iterable[dict[str, Any]],
    sealing_line: str,
    sign: Callable[[bytes], bytes],
) -> Iterator[bytes]:
    """The receipt, each line with its end.

    Args:
        object_lines: Of all objects, in the order of the plan.
        sign: Makes an Ed25519 signature of these bytes.

    Raises:
        PermanentError: E_RECEIPT_EVIDENCE: these are not the lines that were sealed. What was
            returned before has no signature, and is no receipt.
    """
    first = statement_line(statement)
    yield first + b"\n"
    manifest, count = hashlib.sha256(), 0
    for each in object_lines:
        line = text(each).encode("utf-8") + b"\n"
        manifest.update(line)
        count += 1
        yield line
    if manifest.hexdigest() != statement.manifest:
        number = f"{count:,} of {statement.objects:,} object lines"
        reason = f"the ledger has {number}" if count != statement.objects else "one was changed"
        _refuse(statement.transfer, f"its object lines are not those that were sealed: {reason}")
    yield sealing_line.encode("utf-8") + b"\n"
    yield signature_line(statement.key, sign(signed_bytes(first))) + b"\n"


def check_done(wanted: Receivable) -> None:
    """Only what was published has a receipt."""
    match wanted.state:
        case TransferState.DONE:
            return
        case TransferState.SUPERSEDED:
            reason = "is superseded: something newer was there, and it published nothing"
            hint = "take the receipt of the newer one: `backhaul history`"
        case TransferState.DEAD:
            reason = f"is dead ({wanted.code or 'without a code'}): it published nothing"
            hint = "`backhaul show ID` has the reason; `backhaul retry ID` sends it to work again"
        case _:
            reason = f"has not ended: it is {wanted.state}"
            hint = "take the receipt once it is done: `backhaul show ID`"
    message = f"transfer {wanted.transfer} {reason}"
    raise PermanentError("E_RECEIPT_NOT_DONE", message, hint=hint)


def _checked(transfer: str, sealed: Sealed | None) -> dict[str, Any]:
    """What the sealing line has, if it is as it was written."""
    if sealed is None:
        raise PermanentError(
            "E_RECEIPT_EVIDENCE",
            f"transfer {transfer} has no sealing line: it ended under a Backhaul that made none, or"
            " its evidence was removed",
            hint="there is nothing to sign; copy it again for a receipt",
        )
    if seal(sealed.line) != sealed.seal:
        _refuse(transfer, "its sealing line was changed")
    try:
        content: dict[str, Any] = json.loads(sealed.line)
        is_of_it = content["transfer"] == transfer
    except (ValueError, KeyError, TypeError):
        _refuse(transfer, "its sealing line is malformed")
    if not is_of_it:
        _refuse(transfer, f"its sealing line belongs to {content['transfer']}")
    differs = sealed.ended.differs_in(content) if sealed.ended is not None else ["row"]
    if differs:
        _refuse(transfer, f"it was sealed with another {', '.join(differs)} than its row has")
    return content


def _refuse(transfer: str, reason: str) -> NoReturn:
    raise PermanentError("E_RECEIPT_EVIDENCE", f"transfer {transfer}: {reason}", hint=_HINT)

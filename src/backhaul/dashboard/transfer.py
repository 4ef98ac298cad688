"""The page of one transfer: what was requested, what happened, what proves it, what can be done."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backhaul.adapters.ledger.attempts import NO_QUEUES
from backhaul.app.cost import costs_of
from backhaul.app.one_transfer import OBJECTS_MOST, OneTransfer, read_one
from backhaul.core.cost.prices import usd_text
from backhaul.core.model import TransferState

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from backhaul.adapters.ledger import EvidenceRow, TransferRow
    from backhaul.app.overview import RunningView
    from backhaul.dashboard.website import Site

_ARN_PARTS = 6
MD5_AS_BASE64 = 24


@dataclass(frozen=True, kw_only=True)
class ShellCommand:
    """A command line to copy, and what it does."""

    id: str
    text: str
    does: str


@dataclass(frozen=True, kw_only=True)
class ObjectView:
    """One object with both checksums.

    Attributes:
        source: S3's own checksum with its algorithm, in hex as the target's.
        original: The same as S3 gives it.
        received: What arrived.
        target: What the target holds, and where that was read.
    """

    key: str
    version: str
    size_bytes: int
    proof: str
    source: str
    original: str
    received: str
    target: str
    note: str


def transfer_page(site: Site, request: Request) -> Response:
    """`/transfer/ID`; a prefix of an id leads to the whole one."""
    id_prefix = request.path_params["id"]
    found = site.readers.call(lambda reader: read_one(reader, id_prefix))
    row = found.row
    running = _running(site, row.id)
    price = site.settings.cost.price
    cost = site.readers.call(lambda reader: costs_of(reader, price).of_transfer(row))
    return site.answer(
        request,
        "transfer",
        title=f"Transfer {row.id}",
        is_live=not row.state.is_final,
        now=site.clock(),
        one=found,
        row=row,
        running=running,
        cost=usd_text(cost),
        price=price.source,
        objects=[object_view(one) for one in found.objects],
        objects_most=OBJECTS_MOST,
        commands=commands(found),
        is_copy=row.queue in NO_QUEUES or row.message_id is None,
        journal=found.journal[::-1],
    )


def _running(site: Site, transfer_id: str) -> RunningView | None:
    """As its agent sees it; None: no agent works on it."""
    every = site.overview.get().running
    return next((one for one in every if one.transfer.transfer_id == transfer_id), None)


def object_view(one: EvidenceRow) -> ObjectView:
    """Both values as the evidence has them."""
    proof = one.staged
    pin = one.planned.pin
    source = original = received = target = note = ""
    if proof is not None:
        source, original = "no S3 checksum", proof.checksum or ""
        if proof.algorithm:
            source = f"{proof.algorithm} {in_hex(original)}"
        if proof.checksum_type:
            source += f" ({proof.checksum_type.lower().replace('_', ' ')})"
        received = f"{proof.content.algorithm} {proof.content.hex}"
        target = "length only"
        if proof.target_checksum is not None:
            target = f"{proof.target_checksum.algorithm} {proof.target_checksum.hex}"
        if proof.checksum_source:
            target += f", from {proof.checksum_source}"
        note = proof.note
    return ObjectView(
        key=f"s3://{pin.bucket}/{pin.key}",
        version=pin.version_id or "",
        size_bytes=pin.size_bytes,
        proof=proof.proof.value if proof is not None else "not yet",
        source=source,
        original=original,
        received=received,
        target=target,
        note=note,
    )


def in_hex(checksum: str) -> str:
    """From base64, as S3 gives its checksums, with the number of parts behind them; else as is."""
    digits, dash, parts = checksum.partition("-")
    try:
        found = base64.b64decode(digits, validate=True)
    except ValueError:
        return checksum
    # 32 hex digits of an ETag are valid base64, too; of S3's checksums none has 24 bytes.
    return checksum if len(found) == MD5_AS_BASE64 else f"{found.hex()}{dash}{parts}"


def commands(found: OneTransfer) -> list[ShellCommand]:
    """What can be done with it on the command line."""
    row = found.row
    every = [
        ShellCommand(id="command-show", text=f"backhaul show {row.id}", does="shows it"),
        ShellCommand(
            id="command-evidence",
            text=f"backhaul show {row.id} --evidence",
            does="prints the manifest: every object with its proof",
        ),
    ]
    match row.state:
        case TransferState.DONE | TransferState.SUPERSEDED:
            every.append(
                ShellCommand(
                    id="command-verify",
                    text=f"backhaul verify {row.id}",
                    does="proves its files again, without reading S3",
                )
            )
            if row.state is TransferState.DONE:
                every.append(
                    ShellCommand(
                        id="command-receipt",
                        text=f"backhaul receipt {row.id}",
                        does="prints a signed receipt, which S3 alone confirms",
                    )
                )
        case TransferState.DEAD:
            every.append(
                ShellCommand(
                    id="command-retry",
                    text=f"backhaul retry {row.id}",
                    does="sends its dead letter to work again",
                )
            )
            if queue := queue_words(row):
                every.append(
                    ShellCommand(
                        id="command-letters",
                        text=f"backhaul dlq list {queue}",
                        does="lists the dead letters of its queue",
                    )
                )
        case _:
            every.append(
                ShellCommand(
                    id="command-cancel",
                    text=f"backhaul cancel {row.id}",
                    does="ends it for good; its message is deleted or dead-lettered",
                )
            )
    return every


def queue_words(row: TransferRow) -> str:
    """QUEUE and REGION for a command line; empty for a transfer of no queue."""
    if row.queue in NO_QUEUES:
        return ""
    parts = (row.queue or "").split(":")
    if len(parts) == _ARN_PARTS:
        return f"{row.queue} {parts[3]}"
    return f"{row.queue} REGION" if row.queue else ""

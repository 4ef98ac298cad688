"""`backhaul where`: which message brought this file, and where did this object go?"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import click

from backhaul.cli.options import Files, OnceOnly, counted, files_options, json_option
from backhaul.core.errors import PermanentError
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.text import shown, visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from backhaul.app.whereabouts import FileNow, Passage, Whereabouts
    from backhaul.core.objects import Pin

LONGEST = 4096  # characters of a path or key
_MANIFEST = re.compile(r".*/\.backhaul-([0-9A-Za-z-]+?)(?:-[0-9]+)?\.jsonl")


@click.command("where", cls=OnceOnly)
@click.argument("place", metavar="PATH_OR_URI")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="Show at most this many transfers: the newest ones.",
)
@json_option
@files_options
def command(*, place: str, limit: int, as_json: bool, files: Files) -> int:
    r"""Find which message brought a file or directory, or where an S3 object or prefix went.

    \b
    Example:
      backhaul where /landing/click/day=01/part-00000.parquet
      backhaul where s3://acme-raw/click/day=01/

    A path on the target (/…, hdfs://…, viewfs://…, file:///…) leads to its source, message,
    checksums, proof and transfer, and to everything that was there before, newest first. An
    s3://… URI leads to everywhere it went or is on its way. It reads the ledger alone, also while
    the agent runs; what others put on the target, it cannot know. Ends with 65 where the ledger
    knows nothing of it.
    """
    path = files.settings().ledger_place
    found = look_up(path, place, most=limit)
    if as_json:
        from backhaul.app.where_document import where_as_text

        click.echo(where_as_text(found))
    elif found.is_known:
        for line in _lines(found):
            click.echo(line)
    if not found.is_known:
        raise nothing(found, path)
    if found.has_more and not as_json:
        click.echo(f"the newest {limit:,} are shown; --limit shows more", err=True)
    if found.searched_to is not None:
        click.echo(
            f"the search ended at transfers of {_time(found.searched_to)}: its time was used up",
            err=True,
        )
    return 0


def look_up(ledger: LedgerPlace, place: str, *, most: int) -> Whereabouts:
    """What the ledger knows of a place as it was typed, through viewfs, too."""
    from backhaul.app.places import parse_place
    from backhaul.app.viewfs_names import behind_viewfs
    from backhaul.app.where import read_where

    behind = behind_viewfs(place)
    found = read_where(ledger, parse_place(behind), most=most)
    if not found.is_known and behind != place and place.startswith("/"):
        # Recorded when viewfs was not the default file system, or through a Router.
        as_written = read_where(ledger, parse_place(place), most=most)
        found = as_written if as_written.is_known else found
    return found


def nothing(found: Whereabouts, ledger: LedgerPlace) -> PermanentError:
    """The error of a place that the ledger does not know."""
    from backhaul.app.places import SourcePlace

    place = found.place
    what = "taken anything from" if isinstance(place, SourcePlace) else "brought anything to"
    return PermanentError(
        "E_WHERE_NOTHING",
        f"no transfer in {ledger} has {what} {visible(place.text, LONGEST)}, or is to",
        hint=_hint(found),
    )


def _hint(found: Whereabouts) -> str:
    manifest = _MANIFEST.fullmatch(found.place.text)
    if manifest is not None:
        return f"it is the manifest of a transfer: backhaul show {manifest[1]} --evidence"
    if found.elsewhere:
        names = ", ".join(visible(one) for one in found.elsewhere)
        return f"the ledger has the same path on {names}: name that file system"
    if found.nearest is not None:
        return f"the nearest place that it knows: backhaul where {_quoted(found.nearest)}"
    return "names are compared byte for byte; `backhaul history` shows what there is"


def _quoted(text: str) -> str:
    """For a shell."""
    return shlex.quote(visible(text, LONGEST))


# ---------------------------------------------------------------- for people


def _lines(found: Whereabouts) -> Iterator[str]:
    yield visible(found.place.text, LONGEST)
    for one in found.now:
        yield from _now(one)
    for marker in found.markers:
        yield ""
        yield f"now at {visible(marker.uri, LONGEST)}"
        yield _fact("marker", "an empty file, published after all others: the transfer is complete")
        yield _fact("transfer", f"{marker.transfer_id}, {_time(marker.published_at)}")
    shown_above = {one.published.transfer_id for one in found.now}
    rest = [one for one in found.passages if one.transfer.id not in shown_above]
    if not rest:
        return
    yield ""
    yield "other transfers, newest first" if found.now else "transfers, newest first"
    for passage in rest:
        yield from _passage(passage)


def _now(one: FileNow) -> Iterator[str]:
    published, passage = one.published, one.passage
    yield ""
    yield f"now at {visible(published.location.uri, LONGEST)}"
    yield from _object(published.pin)
    yield _fact(published.content.algorithm, published.content.hex)
    if passage is None:
        yield _fact("transfer", f"{published.transfer_id}; the ledger has no more of it")
        return
    if (proof := _proof(passage)) is not None:
        yield _fact("proof", proof)
    if (read := _read(passage)) is not None:
        yield _fact("read", read)
    yield _fact("transfer", f"{passage.transfer.id}, {_when(passage)}{_route(passage)}")
    for name, text in _message(passage):
        yield _fact(name, text)


def _passage(one: Passage) -> Iterator[str]:
    row = one.transfer
    yield f"  {row.id}  {_when(one)}: {_became(one)}"
    yield f"    {shown(row.source, LONGEST)} \u2192 {_target(one)}"
    if one.evidence is not None:
        pin = one.evidence.planned.pin
        version = f"version {pin.version_id}" if pin.version_id else f"ETag {pin.etag}"
        yield f"    {pin.size_bytes:,} B, {visible(version)}, modified {_time(pin.last_modified)}"
        if (proof := _proof(one)) is not None:
            yield f"    {proof}"
        if (read := _read(one)) is not None:
            yield f"    read {read}"
    for name, text in _message(one):
        yield f"    {name} {text}"


def _target(one: Passage) -> str:
    return visible(one.target, LONGEST) if one.target else shown(one.transfer.destination, LONGEST)


def _object(pin: Pin) -> Iterator[str]:
    yield _fact("source", visible(f"s3://{pin.bucket}/{pin.key}", LONGEST))
    yield _fact("version", visible(pin.version_id or "none was listed"))
    yield _fact("ETag", visible(pin.etag))
    yield _fact("size", f"{pin.size_bytes:,} B, modified {_time(pin.last_modified)}")


def _became(one: Passage) -> str:
    """What became of it there, in words."""
    from backhaul.app.whereabouts import Presence, Relation

    row = one.transfer
    match one.presence:
        case Presence.DEAD:
            return f"brought nothing: dead, {row.code}: {shown(row.reason or '', 300)}"
        case Presence.PENDING:
            listed = ", not listed to its end" if one.relation is Relation.UNLISTED else ""
            why = f", {row.code}: {shown(row.reason or '', 300)}" if row.code else ""
            held = f" by {row.held_by}" if row.state == "held" and row.held_by else ""
            return f"on its way: {row.state}{held}{listed}{_amount(one)}{why}"
        case Presence.NEWER_THERE:
            return "superseded: something newer was there"
        case Presence.UNKNOWN:
            return f"brought; what is there now is not known{_amount(one)}"
        case Presence.REPLACED:
            return f"replaced since{_amount(one)}"
        case _:
            return f"{_there(one)}{_amount(one)}"


def _there(one: Passage) -> str:
    from backhaul.app.whereabouts import Presence

    files = one.files
    if one.evidence is not None or files is None:
        return "there now"
    is_all = one.span is not None and files.checked == one.span.objects
    of = "" if is_all else "the first "
    if one.presence is Presence.PARTLY:
        return f"partly replaced: {files.there:,} of {of}{counted(files.checked, 'file')} there now"
    return "there now" if is_all else f"there now, judging by {of}{counted(files.checked, 'file')}"


def _amount(one: Passage) -> str:
    from backhaul.core.units import human_bytes

    if one.span is None or one.evidence is not None:
        return ""
    size = "" if one.span.size_bytes is None else f", {human_bytes(one.span.size_bytes)}"
    return f", {counted(one.span.objects, 'object')}{size}"


def _proof(one: Passage) -> str | None:
    """In words; None while there is none."""
    evidence = one.evidence
    if evidence is None or evidence.staged is None:
        return None
    proof = evidence.staged
    s3 = f"S3's {proof.algorithm} {proof.checksum}" if proof.algorithm else "no checksum of S3"
    held = proof.target_checksum
    target = f"; the target's {held.algorithm} {held.hex}" if held is not None else ""
    origin = f" from {proof.checksum_source}" if proof.checksum_source else ""
    when = f", {_time(proof.proven_at)}" if proof.proven_at is not None else ""
    note = f" ({visible(proof.note, 300)})" if proof.note else ""
    return f"{proof.proof}: {visible(s3)}{visible(target)}{origin}{when}{note}"


def _read(one: Passage) -> str | None:
    """What leaving AWS is paid by."""
    evidence = one.evidence
    if evidence is None or evidence.staged is None:
        return None
    return f"{evidence.staged.bytes_read:,} B from S3"


def _when(one: Passage) -> str:
    row = one.transfer
    if row.finished_at is None:
        return f"{row.state} since {_time(row.updated_at)}"
    how = f" ({row.publish_mode})" if row.publish_mode else ""
    return f"{row.state}{how} {_time(row.finished_at)}"


def _route(one: Passage) -> str:
    return f", route {visible(one.transfer.route)}" if one.transfer.route else ""


def _message(one: Passage) -> Iterator[tuple[str, str]]:
    row = one.transfer
    if row.message_id:
        yield "message", f"{visible(row.message_id)} on {visible(row.queue or '', 300)}"
    if row.sender or row.sent_at:
        when = f", {_time(row.sent_at)}" if row.sent_at else ""
        yield "sent", f"by {shown(row.sender or 'unknown')}{when}"


def _fact(name: str, text: str) -> str:
    return f"  {name:<10} {text}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"

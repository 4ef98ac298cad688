"""`backhaul receipt`: what a transfer brought, signed; and checked with S3 alone."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from backhaul.cli.completion import complete_done_ids
from backhaul.cli.options import (
    Files,
    WholeSentences,
    counted,
    files_options,
    json_option,
    print_json,
    region_option,
    warn,
)
from backhaul.core.errors import BackhaulError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from backhaul.adapters.system.receipt_keys import ReceiptKey, ReceiptKeys
    from backhaul.app.receipt_verify import ReceiptTotals, TrustedKeys
    from backhaul.core.receipts.comparing import ComparedObject
    from backhaul.core.receipts.statement import Statement

T = TypeVar("T")
ISSUE = "issue"
_HELP = {"help_option_names": ["-h", "--help"]}
_keys_option = click.option(
    "--keys",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The directory of the keys, instead of the configured one.",
)


class _Receipt(WholeSentences):
    """`backhaul receipt ID` is `backhaul receipt issue ID`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Whatever is no name of a command begins the arguments of `issue`."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [ISSUE, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands, and what `issue` takes."""
        named = super().shell_complete(ctx, incomplete)
        return [*named, *complete_done_ids(ctx, self.commands[ISSUE].params[0], incomplete)]


@click.group("receipt", cls=_Receipt, context_settings=_HELP)
def command() -> None:
    r"""Prove to others what a transfer brought: a signed receipt, checked with S3 alone.

    \b
    Example:
      backhaul receipt 0mh3k2v1x > receipt.jsonl
      backhaul receipt verify receipt.jsonl --public-key key.pem
    """


@command.command(ISSUE)
@click.argument("transfer_id", metavar="ID", shell_complete=complete_done_ids)
@_keys_option
@files_options
def issue(*, transfer_id: str, keys: Path | None, files: Files) -> int:
    r"""Write the receipt of the transfer ID, which is done, to standard output.

    \b
    Example:
      backhaul receipt issue 0mh3k2v1x > receipt.jsonl

    The word `issue` may be left out. The start of an id is enough. The first receipt makes the key
    that signs. A receipt without its last line, as after an error, is none.
    """
    from backhaul.app.receipt import issue_receipt

    settings = files.settings(needs=("receipt",), refuses_writable_config=True)

    def made(one: ReceiptKey) -> None:
        _noted(files, "create", lambda: one, _id)
        _print_made(one)

    for piece in issue_receipt(settings, transfer_id, keys=keys, key_made=made):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return ExitCode.OK


@command.command("verify")
@click.argument(
    "file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
)
@click.option(
    "--public-key",
    "public_keys",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="A public key that may have signed, in PEM. Repeatable.",
)
@click.option(
    "--keys",
    "directories",
    type=click.Path(file_okay=False, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="A directory with such keys, *.pem. Repeatable. Default: this installation's own.",
)
@click.option("--offline", is_flag=True, help="Check signature and digests, and do not query S3.")
@region_option
@click.option("--json", "as_json", is_flag=True, help="For programs: JSON lines, the sum last.")
@files_options
def verify(
    *,
    file: Path,
    public_keys: tuple[Path, ...],
    directories: tuple[Path, ...],
    offline: bool,
    region: str,
    as_json: bool,
    files: Files,
) -> int:
    r"""Check the receipt in FILE, and each of its objects in S3; a dash is standard input.

    \b
    Example:
      backhaul receipt verify receipt.jsonl --public-key key.pem

    Needs neither ledger nor cluster nor configuration. Exits with 0 when all is as it was signed,
    with 65 when it is not, with 69 when S3 could not be queried.
    """
    from backhaul.app.receipt_verify import TrustedKeys, open_s3, verify_receipt

    trusted = TrustedKeys(files=public_keys, directories=directories)
    if not (public_keys or directories):
        trusted = _own_keys(files)
    with ExitStack() as opened:
        totals = verify_receipt(
            None if str(file) == "-" else file,
            trusted,
            stdin=sys.stdin.buffer,
            reader=None if offline else opened.enter_context(open_s3(region)),
            signed=(lambda _: None) if as_json else _print_statement,
            found=_print_finding_json if as_json else _print_finding,
        )
    if as_json:
        click.echo(json.dumps(_sum_fields(totals, is_offline=offline), ensure_ascii=False))
    else:
        _print_totals(totals, is_offline=offline)
    if totals.findings:
        return ExitCode.BAD_INPUT
    return ExitCode.UNAVAILABLE if totals.unknown else ExitCode.OK


@command.group("key", cls=WholeSentences, context_settings=_HELP)
def key() -> None:
    r"""Make, show, list, replace and retire the key that signs receipts.

    \b
    Example:
      backhaul receipt key create
      backhaul receipt key show > key.pem
    """


@key.command("create")
@_keys_option
@files_options
def create(*, keys: Path | None, files: Files) -> int:
    r"""Make the key that signs; run it as the user who issues receipts.

    \b
    Example:
      backhaul receipt key create
    """
    made = _noted(files, "create", _keys(keys, files).create, _id)
    click.echo(f"receipt key {made.public.id}")
    click.echo(f"give auditors its public key, {made.path}", err=True)
    return ExitCode.OK


@key.command("show")
@click.argument("key_id", metavar="[KEYID]", required=False)
@_keys_option
@files_options
def show(*, key_id: str | None, keys: Path | None, files: Files) -> int:
    r"""Print a public key in PEM: the one that signs, or KEYID, which may be retired.

    \b
    Example:
      backhaul receipt key show > key.pem
    """
    from backhaul.app.receipt import find_key

    found = find_key(_keys(keys, files), key_id)
    click.echo(found.public.pem.decode("ascii"), nl=False)
    click.echo(f"receipt key {found.public.id}", err=True)
    return ExitCode.OK


@key.command("list")
@_keys_option
@json_option
@files_options
def list_keys(*, keys: Path | None, as_json: bool, files: Files) -> int:
    r"""List the keys: the one that signs, and those whose receipts are still verified.

    \b
    Example:
      backhaul receipt key list
    """
    chosen = _keys(keys, files)
    found = chosen.all()
    if as_json:
        click.echo(json.dumps({"v": 1, "keys": [_key_fields(one) for one in found]}))
        return ExitCode.OK
    if not found:
        click.echo(f"no receipt key in {chosen.directory}: backhaul receipt key create", err=True)
    for one in found:
        click.echo(f"{one.public.id}  {'current' if one.is_current else 'retired'}  {one.path}")
    return ExitCode.OK


@key.command("rotate")
@_keys_option
@files_options
def rotate(*, keys: Path | None, files: Files) -> int:
    r"""Replace the key that signs by a new one, and remove the old private key.

    \b
    Example:
      backhaul receipt key rotate

    What the old one signed is verified by its public key, which stays.
    """
    from backhaul.app.receipt import rotate_key

    chosen = _keys(keys, files)
    done = _noted(
        files, "rotate", lambda: rotate_key(chosen), lambda one: f"{one.old}: {one.new.public.id}"
    )
    click.echo(f"receipt key {done.new.public.id} replaces {done.old}")
    click.echo(f"give auditors its public key, {done.new.path}", err=True)
    return ExitCode.OK


@key.command("retire")
@_keys_option
@files_options
def retire(*, keys: Path | None, files: Files) -> int:
    r"""Remove the private key: nothing is signed until another one is made.

    \b
    Example:
      backhaul receipt key retire

    What it signed is verified by its public key, which stays.
    """
    retired = _noted(files, "retire", _keys(keys, files).retire, _id)
    click.echo(f"receipt key {retired.public.id} is retired: its private key is removed")
    return ExitCode.OK


def _id(one: ReceiptKey) -> str:
    return one.public.id


def _noted(files: Files, what: str, do: Callable[[], T], named: Callable[[T], str]) -> T:
    """With a line of the operators' journal, where this machine has one."""
    from backhaul.app.actions import noted_result, person
    from backhaul.core.ports import Act

    path = None
    try:
        path = files.settings(needs=("receipt",), refuses_writable_config=True).ledger_place
    except BackhaulError as error:  # with --keys nothing else needs a configuration
        warn(type(error)(error.code, f"no line in the operators' journal: {error.message}"))
    return noted_result(path, person(), Act.KEY, what, do, named, warn)


def _print_made(made: ReceiptKey) -> None:
    click.echo(f"made the receipt key {made.public.id}: give auditors {made.path}", err=True)


def _keys(keys: Path | None, files: Files) -> ReceiptKeys:
    from backhaul.adapters.system.receipt_keys import ReceiptKeys
    from backhaul.app.receipt import keys_of

    if keys is not None:
        return ReceiptKeys(keys)
    return keys_of(files.settings(needs=("receipt",), refuses_writable_config=True), None)


def _own_keys(files: Files) -> TrustedKeys:
    """Those of this installation, where none are named."""
    from backhaul.app.receipt_verify import TrustedKeys

    settings = files.settings(needs=("receipt",), refuses_writable_config=True)
    return TrustedKeys(directories=(settings.receipt_keys,))


def _print_statement(statement: Statement) -> None:
    from backhaul.core.text import printable

    what = f"transfer {printable(statement.transfer)}"
    click.echo(f"{what}  {printable(statement.source)} → {printable(statement.destination)}")
    click.echo(f"done      {statement.finished_at:%Y-%m-%d %H:%M:%S} UTC")
    issued_by = printable(statement.issued_by)
    click.echo(
        f"issued    {statement.issued_at:%Y-%m-%d %H:%M:%S} UTC by {issued_by}, key {statement.key}"
    )
    click.echo("signature, object lines and seal are as they were signed")


def _print_finding(one: ComparedObject) -> None:
    click.echo(f"{one.verdict:11} {_name(one)}: {one.reason}")


def _name(one: ComparedObject) -> str:
    from backhaul.core.text import printable

    pin = one.signed.pin
    version = f" version {printable(pin.version_id)}" if pin.version_id is not None else ""
    return f"{printable(f's3://{pin.bucket}/{pin.key}', 1200)}{version}"


def _print_finding_json(one: ComparedObject) -> None:
    pin = one.signed.pin
    line = {
        "kind": "object",
        "verdict": one.verdict,
        "bucket": pin.bucket,
        "key": pin.key,
        "version_id": pin.version_id,
        "reason": one.reason,
    }
    print_json(line)


def _print_totals(totals: ReceiptTotals, *, is_offline: bool) -> None:
    from backhaul.core.units import human_bytes

    size = human_bytes(totals.statement.size_bytes)
    proofs = ", ".join(f"{level} {count:,}" for level, count in totals.proofs.most_common())
    objects = f"{counted(totals.objects, 'object')} ({size}); proof {proofs or 'none'}"
    if is_offline:
        click.echo(f"{objects}; S3 was not queried")
        return
    click.echo(
        f"{objects}; in S3 {totals.same:,} as signed, {totals.by_version:,} of them pinned by"
        f" version, {totals.by_checksum:,} with the same checksum"
    )
    if totals.findings:
        click.echo(f"not true any more: {counted(totals.findings, 'finding')}")
    if totals.unknown:
        click.echo(f"not checked, because S3 did not show them: {totals.unknown:,}")


def _sum_fields(totals: ReceiptTotals, *, is_offline: bool) -> dict[str, Any]:
    statement = totals.statement
    return {
        "v": 1,
        "kind": "sum",
        "transfer": statement.transfer,
        "source": statement.source,
        "destination": statement.destination,
        "finished_at": statement.finished_at.isoformat(),
        "issued_at": statement.issued_at.isoformat(),
        "key": statement.key,
        "objects": totals.objects,
        "size": statement.size_bytes,
        "proofs": dict(totals.proofs),
        "is_offline": is_offline,
        "verdicts": {str(verdict): count for verdict, count in totals.verdicts.items()},
        "by_version": totals.by_version,
        "by_checksum": totals.by_checksum,
        "findings": totals.findings,
        "unknown": totals.unknown,
    }


def _key_fields(one: ReceiptKey) -> dict[str, Any]:
    return {"key": one.public.id, "is_current": one.is_current, "public": str(one.path)}

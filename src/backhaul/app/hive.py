"""The reply target `hive` put together: the warehouse's shell, the routes' tables, the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from backhaul.adapters.hive.shell import WarehouseShell
from backhaul.adapters.hive.target import Directories, HiveTarget
from backhaul.app.programs import check_program, program_user
from backhaul.core.errors import PermanentError
from backhaul.core.replies.partitions import HiveTable
from backhaul.core.replies.reply import Reply
from backhaul.settings.hive import HiveSection
from backhaul.settings.model import Settings

if TYPE_CHECKING:
    from backhaul.adapters.ledger.reading.reader import LedgerReader

_WHAT, _CODE = "[hive]", "E_HIVE_SETTING"


def _no_directories(reply: Reply) -> tuple[str, ...]:
    del reply
    return ()


def hive_target(
    settings: Settings, directories: Directories = _no_directories
) -> HiveTarget | None:
    """The target, for what the routes register; None where `[hive]` has no command.

    Contacts nothing. A program that is not there is an error of each delivery: the data arrives
    without it.

    Args:
        directories: Where the files of a transfer are; for who delivers.

    Raises:
        ConfigurationError: E_HIVE_SETTING: of `user`; E_CFG_PERMISSIONS: others could change the
            program.
    """
    if settings.hive.command is None:
        return None
    check_program(settings.hive.command[0], _WHAT, code=_CODE, may_be_missing=True)
    return HiveTarget(warehouse_shell(settings.hive), hive_tables(settings), directories)


def hive_tables(settings: Settings) -> Mapping[str, HiveTable]:
    """Where each route registers, by its name; routes that register nothing are not there."""
    return {one.name: one.hive.wanted for one in settings.route if one.hive is not None}


def warehouse_shell(section: HiveSection) -> WarehouseShell:
    """The shell of a `[hive]` that has a command.

    Raises:
        ConfigurationError: As `hive_target`.
    """
    command = tuple(section.command or ())
    return WarehouseShell(
        command=command,
        dialect=section.spoken,
        limit_s=section.run_s,
        user=program_user(section.user, command[0], _WHAT, code=_CODE),
    )


def check_shell(section: HiveSection) -> None:
    """Refuse a `[hive]` whose program is not there, or that others could change.

    Raises:
        ConfigurationError: E_HIVE_SETTING, E_CFG_PERMISSIONS.
    """
    if section.command is not None:
        check_program(section.command[0], _WHAT, code=_CODE)


def directories_by(open_reader: Callable[[], LedgerReader]) -> Directories:
    """Where the files of a transfer are, by the plan in the ledger.

    Args:
        open_reader: Makes one that is closed after each reply.
    """

    def directories(reply: Reply) -> Iterator[str]:
        with closing(open_reader()) as reader:
            before = None
            for row in reader.objects(reply.transfer_id):
                if row.target is None:
                    continue
                directory = row.target.parent.uri
                if directory != before:
                    yield directory
                before = directory
            if before is None and reply.objects:
                raise PermanentError(
                    "E_HIVE_PRUNED",
                    f"the ledger no longer has the objects of {reply.transfer_id}, so its"
                    " partitions are not known",
                    hint="add them by hand: MSCK REPAIR TABLE, or ALTER TABLE ... ADD PARTITION",
                )

    return directories

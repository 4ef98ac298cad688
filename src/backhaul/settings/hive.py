"""`[hive]`, and `hive` of a route: the table in which what has arrived is registered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from backhaul.core.errors import ConfigurationError
from backhaul.core.replies.hiveql import HiveDialect
from backhaul.core.replies.partitions import HiveTable
from backhaul.core.replies.reply import HIVE, ReplyEvent, ReplyWish
from backhaul.core.text import printable
from backhaul.settings.base import StrictModel, command_fault
from backhaul.settings.sizes import parse_span

HIVE_WISH = ReplyWish(target=HIVE, events=frozenset({ReplyEvent.DONE}))
_Span = BeforeValidator(parse_span)
_NAME = r"^[A-Za-z0-9_]+$"
_IMPALA = "impala-shell"
# Backhaul gives these itself: the script, and the form of the rows that it reads.
_TAKEN = ("-e", "-f", "-q", "--query", "--query_file", "-o", "--output_file", "-B", "--delimited")
_TAKEN_FORMS = ("--outputformat", "--silent", "--showHeader", "--output_delimiter")


class HiveRouteSettings(StrictModel):
    """The table in which a route's partitions are registered."""

    database: str = Field(
        min_length=1, max_length=128, pattern=_NAME, description="letters, digits and _"
    )
    table: str = Field(
        min_length=1, max_length=128, pattern=_NAME, description="one with partitions"
    )
    partition: Literal["from_path"] | None = Field(
        None, description="from directories such as dt=2026-12-01/hour=07 below the table's"
    )

    @property
    def wanted(self) -> HiveTable:
        """As the core has it."""
        return self.into(HiveTable)


class HiveSection(StrictModel):
    """How Hive or Impala is reached: its own shell."""

    command: list[str] | None = Field(
        None,
        min_length=1,
        description='beeline or impala-shell with what connects: ["beeline", "-u", "jdbc:hive2:…"]',
    )
    dialect: HiveDialect | None = Field(None, description="known by the program's name if unset")
    run_s: Annotated[float, _Span] = Field(
        120, alias="timeout", ge=5, le=3600, description="of one run of the program, such as 90s"
    )
    user: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9._-]{0,63}$",
        description="who runs the program; only an agent of root may choose another",
    )

    @property
    def spoken(self) -> HiveDialect:
        """The setting, else by the program: the first name in the command that is one of them."""
        if self.dialect is not None:
            return self.dialect
        names = [PurePosixPath(text).name for text in self.command or ()]
        return HiveDialect.IMPALA if _IMPALA in names else HiveDialect.HIVE


def check_hive(
    section: HiveSection, routes: Sequence[tuple[str, HiveRouteSettings | None]], path: Path | None
) -> None:
    """Refuse a command that cannot be used, and routes without one.

    Raises:
        ConfigurationError: E_HIVE_SETTING.
    """
    with_table = [name for name, wanted in routes if wanted is not None]
    if section.command is None:
        if with_table:
            raise refused_hive(
                path,
                f"route {with_table[0]} has hive, and there is no [hive] command",
                'write [hive] command = ["beeline", "-u", "jdbc:hive2://HOST:10000/"]',
            )
        return
    if fault := command_fault(section.command):
        raise refused_hive(path, f"[hive] {fault[0]}", fault[1])
    for number, text in enumerate(section.command[1:], 1):
        if text in _TAKEN or text.startswith(_TAKEN_FORMS):
            raise refused_hive(
                path,
                f"[hive] command has {printable(text, 80)}, which Backhaul sets itself",
                "leave in it what connects and logs in, and nothing else",
            )
        if not text.isprintable():
            raise refused_hive(
                path,
                f"[hive] command: its argument {number} is not printable (not shown)",
                "write it anew by hand",
            )


def refused_hive(path: Path | None, message: str, hint: str) -> ConfigurationError:
    """A setting of `hive` that cannot be used."""
    where = f"{path}: " if path else ""
    return ConfigurationError("E_HIVE_SETTING", f"{where}{message}", hint=hint)

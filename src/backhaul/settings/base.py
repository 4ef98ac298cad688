"""What every table of the configuration is made of: strict, frozen, into values of the core."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from backhaul.core.ports.ledger_place import LedgerPlace, PostgresUrl
from backhaul.core.text import shown

_Core = TypeVar("_Core")


def _named(value: object) -> object:
    """A path that the system can take; an empty one would be the working directory."""
    if value == "":
        raise ValueError("write a path, or leave the setting out")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("a path has no NUL character")
    return value


class _PathOrUrl:
    """The URL of a database; all else is a path to pydantic, and so are its errors.

    A union of the two would name both in an error, as pydantic calls them.
    """

    def __get_pydantic_core_schema__(self, _source: object, handler: GetCoreSchemaHandler) -> Any:
        return handler(Annotated[NamedPath, WrapValidator(_ledger)])


def _ledger(value: object, path: ValidatorFunctionWrapHandler) -> LedgerPlace:
    url = PostgresUrl.parse(value) if isinstance(value, str) else None
    found: LedgerPlace = path(value) if url is None else url
    return found


def state_file(ledger: PostgresUrl | None) -> Path:
    """The ledger, or what the node has of this one, in systemd's state directory, else the user's.

    Returns:
        A path that may begin with `~`.
    """
    name = "ledger.db" if ledger is None else f"ledger-{ledger.digest}"
    if state := os.environ.get("STATE_DIRECTORY"):
        return Path(state.split(":", 1)[0]) / name
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state") / "backhaul" / name


NamedPath = Annotated[Path, BeforeValidator(_named)]
LedgerSetting = Annotated[LedgerPlace, _PathOrUrl()]


class StrictModel(BaseModel):
    """A table: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def into(self, kind: type[_Core], **others: object) -> _Core:
        """A dataclass of the core, filled with the settings that have the names of its fields.

        Args:
            others: Fields that no setting has under the same name and in the same form.
        """
        names = {each.name for each in fields(kind)} & type(self).model_fields.keys()  # type: ignore[arg-type]
        return kind(**{name: getattr(self, name) for name in names} | others)


def command_fault(command: Sequence[str]) -> tuple[str, str] | None:
    """Why a program and its arguments cannot be used, and the fix; None: they may be."""
    program = command[0]
    if not program or any("\0" in text for text in command):
        return "command has an empty program or a NUL character", "write a program"
    if "/" in program and not program.startswith("/"):
        return (
            f"command {shown(program)} is a relative path",
            "write the whole path, from /, or a name that is on the PATH",
        )
    return None

"""`backhaul ledger backup`: a copy of the ledger, with a line in the operators' journal."""

from __future__ import annotations

from pathlib import Path

from backhaul.adapters.ledger.upkeep.copying import LedgerCopy, copy_ledger
from backhaul.app.actions import Warn, noted_act
from backhaul.core.ports import Act, Operator


def back_up(path: Path, by: Operator, file: Path, *, replaces: bool, warn: Warn) -> LedgerCopy:
    """Copy the ledger to `file`; see `copy_ledger`."""
    file = file.absolute()
    with noted_act(path, by, Act.BACKUP, str(file), warn) as note:
        copy = copy_ledger(path, file, replaces=replaces)
        note(copy.transfers, copy.size_bytes)
    return copy

"""Loads the few settings of the commands that read the ledger: its path and little else.

These commands work while everything around the ledger is broken: they check no route, read no
Hadoop configuration and create no AWS client. Other faults of the configuration are warnings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from backhaul.adapters.system.trusted_files import check_trusted
from backhaul.core.errors import ConfigurationError
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.settings.load import find_config, load_part
from backhaul.settings.model import Settings


def load_for_reading(
    *,
    config: Path | None,
    ledger: LedgerPlace | None,
    needs: Sequence[str] = (),
    report: Callable[[ConfigurationError], None],
) -> Settings:
    """Settings of which only `ledger` and those in `needs` are valid.

    Args:
        ledger: Given on the command line; then even an unreadable file is only a warning.
        report: Called with faults of the configuration that do not matter here.

    Raises:
        ConfigurationError: E_CFG_FILE, E_CFG_TOML, E_CFG_VALUE: the ledger's path is unknown.
    """
    names = tuple(needs) if ledger is not None else ("ledger", *needs)
    path: Path | None = None
    try:
        path = find_config(config)
        if path is not None:
            check_trusted(path, "the configuration")
    except ConfigurationError as fault:
        # A file that other users may write decides here only which ledger is read.
        if path is None and names:
            raise
        report(fault)
    try:
        settings, fault_of_rest = load_part(path, names)
    except ConfigurationError as fault:
        if ledger is not None or needs:
            raise
        hint = f"{fault.hint}; with --ledger FILE this command needs no configuration"
        raise ConfigurationError(fault.code, fault.message, hint=hint) from fault
    if fault_of_rest is not None:
        report(fault_of_rest)
    return settings if ledger is None else settings.model_copy(update={"ledger": ledger})

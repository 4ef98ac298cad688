"""`[receipt]`: where the keys are that sign receipts."""

from __future__ import annotations

from pydantic import Field

from backhaul.settings.base import NamedPath, StrictModel


class ReceiptSection(StrictModel):
    """Receipts of transfers, for those who have to prove what arrived."""

    keys: NamedPath | None = Field(
        None, description="directory of the keys; unset: receipt-keys beside the ledger"
    )

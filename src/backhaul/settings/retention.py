"""`[retention]`: how long the ledger keeps what no promise needs."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

from backhaul.settings.base import StrictModel
from backhaul.settings.sizes import parse_span

_Span = BeforeValidator(parse_span)
DAY_S = 86_400


class RetentionSection(StrictModel):
    """What the agent drops from its ledger by itself, in small steps."""

    objects: Annotated[float | None, _Span] = Field(
        None,
        ge=DAY_S,
        description="how long the lines of single objects are kept after a transfer has ended, "
        "such as 90d; what was published a day ago is packed then; unset: for ever",
    )

    @property
    def objects_kept(self) -> timedelta | None:
        """None: for ever."""
        return None if self.objects is None else timedelta(seconds=self.objects)

"""`[lineage]`: where OpenLineage events go."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from backhaul.core.replies.reply import LINEAGE, ReplyEvent, ReplyWish
from backhaul.settings.base import NamedPath, StrictModel
from backhaul.settings.reply import ReplySettings
from backhaul.settings.sizes import parse_span

_Span = BeforeValidator(parse_span)


class LineageSection(StrictModel):
    """A run event of OpenLineage for the start and the end of each transfer."""

    url: str | None = Field(
        None,
        min_length=1,
        description="of the server that takes them; unset: none are sent",
    )
    namespace: str = Field(
        "backhaul", min_length=1, max_length=256, description="of the jobs: each route is one"
    )
    timeout: Annotated[float, _Span] = Field(
        ReplySettings.model_fields["timeout"].default,
        ge=1,
        le=60,
        description="of one try, such as 10s",
    )
    api_key_file: NamedPath | None = Field(
        None, description="the server's key, on its first line; no one else may read the file"
    )
    ca_file: NamedPath | None = Field(
        None, description="certificates for the server's, instead of the system's"
    )

    @property
    def wishes(self) -> tuple[ReplyWish, ...]:
        """Start and end of every transfer, or nothing."""
        if self.url is None:
            return ()
        events = frozenset({ReplyEvent.STARTED, ReplyEvent.DONE, ReplyEvent.DEAD})
        return (ReplyWish(target=LINEAGE, events=events),)

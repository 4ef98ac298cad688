"""Facts about the delivery of replies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReplySent:
    """The target has it.

    Attributes:
        about: `ReplyEvent`.
        seconds: Since it was written.
    """

    target: str
    key: str
    about: str
    transfer_id: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ReplyNotTaken:
    """It was not taken, and is tried again; others for this target wait as long."""

    target: str
    key: str
    transfer_id: str
    code: str
    reason: str
    hint: str
    retry_in_s: float


@dataclass(frozen=True, kw_only=True)
class ReplyDead:
    """It was given up: refused for good, or tried for too long."""

    target: str
    key: str
    transfer_id: str
    code: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class RepliesUnknown:
    """The ledger does not show or take what is to be sent; it is tried again."""

    code: str
    reason: str

"""What a process may do beside the others on its ledger."""

from __future__ import annotations

from typing import Protocol

ELSEWHERE_S = 30.0  # for a transfer that another process on the ledger works on


class Standing(Protocol):
    """This process among those on its ledger; safe to use from every thread."""

    @property
    def is_shared(self) -> bool:
        """Whether agents of other nodes may work on the same ledger."""

    @property
    def is_leader(self) -> bool:
        """Whether this is the one that does what is to be done once for all of them."""

    @property
    def is_fenced(self) -> bool:
        """Others took it for gone and work on what it had: it changes nothing any more."""

    def require(self) -> None:
        """Before what others could see: a receive, a rename, a removal, a deletion.

        Raises:
            OutageError: `ledger`: it has not been seen there for so long that others may be about
                to take it for gone.
            FencedOff: They have.
        """

    @property
    def watch_left_s(self) -> float:
        """Until this process, which is new, has noticed whoever of the others is gone."""

    def elsewhere_s(self, owner: str | None) -> float:
        """How long to leave a transfer alone that this owner works on, should it be gone."""


class Alone:
    """The one agent of a ledger in a file."""

    is_shared = False
    is_leader = True
    is_fenced = False
    watch_left_s = 0.0

    def require(self) -> None:
        """Always."""

    def elsewhere_s(self, owner: str | None) -> float:  # noqa: ARG002
        """By the kernel's word it is there, so it settles the transfer soon."""
        return ELSEWHERE_S

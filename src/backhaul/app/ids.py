"""A transfer named by a place: the URI of an object or of a file, a directory, a path."""

from __future__ import annotations

from backhaul.app.places import parse_place
from backhaul.app.where import read_where
from backhaul.core.errors import PermanentError
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.text import visible

NAMED_MOST = 5


def by_place(ledger: LedgerPlace, text: str) -> str:
    """The id of the only transfer that has to do with a place; a text without a slash as it is.

    Raises:
        PermanentError: E_NO_SUCH_TRANSFER: there is none, or more than one.
        BadArgument: E_WHERE_PLACE: it is no place.
    """
    if "/" not in text:
        return text
    found = read_where(ledger, parse_place(text), most=NAMED_MOST)
    if len(found.passages) == 1 and not found.has_more:
        return found.passages[0].transfer.id
    place = visible(text, 1200)
    if not found.passages:
        raise PermanentError(
            "E_NO_SUCH_TRANSFER",
            f"no transfer in {ledger} has to do with {place}",
            hint=f"`backhaul where {place}` searches further",
        )
    names = ", ".join(f"{one.transfer.id} ({one.transfer.state})" for one in found.passages)
    more = " and others" if found.has_more else ""
    raise PermanentError(
        "E_NO_SUCH_TRANSFER",
        f"more than one transfer has to do with {place}: {names}{more}, newest first",
        hint="give the id of one",
    )

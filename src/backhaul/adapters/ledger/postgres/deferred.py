"""Changes that wait for the next statement, and go to the server with it: fewer round trips.

What a transaction waits for the line, its slot waits, and all agents wait where it has a turn. Of
most changes nothing is read: such a statement is kept here as text, and goes before the next one
whose result is wanted, or before COMMIT. The server carries out one text statement by statement, in
order, and stops at the first error; so nothing is seen or kept that would not be otherwise. Only an
error comes later: with the statement that took it along, in the same block (`SharedCommits` sends
what is left before another block begins).

Texts have their values in them, quoted by libpq, as the protocol takes no parameters for several
statements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import psycopg
from sqlalchemy import Engine, event

from backhaul.adapters.ledger.dialects.statements import is_at_once
from backhaul.adapters.ledger.postgres.waits import BoundedConnection, LastResult

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import ExecutionContext

_APART = ";\n"


class DeferringConnection(BoundedConnection):
    """Of a writer; with `JoinedCursor`.

    Attributes:
        is_deferring: Set for a transaction whose blocks send what is left; ends with it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_deferring = False
        self._later: list[str] = []

    def defer(self, text: str, values: Mapping[str, Any] | Sequence[Any]) -> None:
        """Send this statement with the next one.

        Raises:
            psycopg.DataError: A value that no text of PostgreSQL can have.
        """
        self._later.append(self.filled(text, values))

    def filled(self, text: str, values: Mapping[str, Any] | Sequence[Any] | None) -> str:
        """The statement with its values in it."""
        return text if values is None else psycopg.ClientCursor(self).mogrify(text, values)

    def take_deferred(self) -> list[str]:
        """What has to go before the statement that the caller sends now."""
        later, self._later = self._later, []
        return later

    def send_deferred(self) -> None:
        """Now, by itself, where there is any."""
        if self._later:
            self.cursor().execute(_APART.join(self.take_deferred()))

    def commit(self) -> None:
        """As psycopg's, with what waits."""
        self.is_deferring = False
        if self._later:
            self._later.append("COMMIT")
            self.send_deferred()
        else:
            super().commit()

    def rollback(self) -> None:
        """As psycopg's, without what waits."""
        self.is_deferring = False
        self._later.clear()
        super().rollback()


class JoinedCursor(LastResult):
    """Sends what waits with its own statement; its result is the own one's."""

    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> JoinedCursor:
        """As psycopg's."""
        if later := self.deferring.take_deferred():
            query = _APART.join([*later, self.deferring.filled(query, params)])
            params = None
        super().execute(query, params, **kwargs)
        return self

    def executemany(self, *args: Any, **kwargs: Any) -> None:
        """As psycopg's."""
        self.deferring.send_deferred()
        super().executemany(*args, **kwargs)

    @property
    def deferring(self) -> DeferringConnection:
        return cast("DeferringConnection", self.connection)


def defer_changes(engine: Engine) -> None:
    """Let changes of this engine wait, in transactions that have `is_deferring` set."""

    def do_execute(
        cursor: JoinedCursor, statement: str, parameters: Any, context: ExecutionContext
    ) -> bool:
        connection = cursor.deferring
        found: Any = context
        is_change = found.isinsert or found.isupdate or found.isdelete
        if (
            not connection.is_deferring
            or not is_change
            or found.compiled.effective_returning
            or is_at_once(found.execution_options)
        ):
            return False
        connection.defer(statement, parameters)
        return True

    event.listen(engine, "do_execute", do_execute)

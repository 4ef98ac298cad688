"""Changes that wait for the next statement, and go to the server with it: fewer round trips.

What a transaction waits for the line, its slot waits, and all agents wait where it has a turn. Of
most changes nothing is read: such a statement is kept here as text, and goes before the next one
whose result is wanted, or before COMMIT. The server carries out one text statement by statement, in
order, and stops at the first error; so nothing is seen or kept that would not be otherwise. Only an
error comes later: with the statement that took it along, in the same block (`SharedCommits` sends
what is left before another block begins).

And what a block reads in any case is sent with its beginning (`prefetch`): each of these statements
finds its answer here when it is executed, unless something was changed before it.

Texts have their values in them, quoted by libpq, as the protocol takes no parameters for several
statements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import psycopg
from sqlalchemy import Connection, Engine, event

from backhaul.adapters.ledger.postgres.waits import BoundedConnection, LastResult, StatementAnswer
from backhaul.adapters.ledger.statements import Query, is_at_once

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import ExecutionContext

FEW = 100  # rows of one statement that wait; more are sent by themselves
_APART = ";\n"
_Values = Mapping[str, Any] | Sequence[Any] | None


class DeferringConnection(BoundedConnection):
    """Of a writer; with `JoinedCursor`.

    Attributes:
        is_deferring: Set for a transaction whose blocks send what is left; ends with it.
        notes: Statements are put here as texts, and not sent; None: they are.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_deferring = False
        self.notes: list[str] | None = None
        self._later: list[str] = []
        self._prefetched: dict[str, StatementAnswer] = {}

    def defer(self, text: str, values: _Values) -> None:
        """Send this statement with the next one.

        Raises:
            psycopg.DataError: A value that no text of PostgreSQL can have.
        """
        self.prefetch({})
        self._later.append(self.filled(text, values))

    def prefetch(self, answers: Mapping[str, StatementAnswer]) -> None:
        """From now on these, by text, and no others."""
        if any(one.description is None for one in self._prefetched.values()):
            raise AssertionError("a change was made ahead, and its block did something else first")
        self._prefetched = dict(answers)

    def forget(self) -> None:
        """What was prefetched is being undone."""
        self._prefetched = {}

    def prefetched(self, text: str, values: _Values) -> StatementAnswer | None:
        """The answer to this statement, once."""
        return self._prefetched.pop(self.filled(text, values), None) if self._prefetched else None

    def answers(self, texts: Sequence[str]) -> list[StatementAnswer]:
        """Of these statements, carried out now, after what waits and in the same round trip."""
        cursor = JoinedCursor(self)
        cursor.execute(_APART.join([*self.take_deferred(), *texts]))
        return cursor.answers()

    def filled(self, text: str, values: _Values) -> str:
        """The statement with its values in it."""
        return text if values is None else psycopg.ClientCursor(self).mogrify(text, values)

    @property
    def has_deferred(self) -> bool:
        return bool(self._later)

    def take_deferred(self) -> list[str]:
        """What has to go before the statement that the caller sends now."""
        later, self._later = self._later, []
        return later

    def send_deferred(self) -> None:
        """Now, by itself, where there is any."""
        if self.has_deferred:
            self.cursor().execute(_APART.join(self.take_deferred()))

    def commit(self) -> None:
        """As psycopg's, with what waits."""
        self.is_deferring = False
        self.prefetch({})
        if self.has_deferred:
            self._later.append("COMMIT")
            self.send_deferred()
        else:
            super().commit()

    def rollback(self) -> None:
        """As psycopg's, without what waits."""
        self.is_deferring = False
        self.forget()
        self._later.clear()
        super().rollback()


class JoinedCursor(LastResult):
    """Sends what waits with its own statement; its result is the own one's."""

    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> JoinedCursor:
        """As psycopg's."""
        self.deferring.prefetch({})
        if self.deferring.has_deferred:
            # Filled first: where a value is refused, what waits still waits.
            own = self.deferring.filled(query, params)
            query, params = _APART.join([*self.deferring.take_deferred(), own]), None
        super().execute(query, params, **kwargs)
        return self

    def executemany(self, *args: Any, **kwargs: Any) -> None:
        """As psycopg's."""
        self.deferring.prefetch({})
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
        if connection.notes is not None:
            connection.notes.append(connection.filled(statement, parameters))
        elif _may_wait(connection, context):
            connection.defer(statement, parameters)
        elif (answer := connection.prefetched(statement, parameters)) is not None:
            context.cursor = cast("Any", answer)
        else:
            return False
        return True

    def do_executemany(
        cursor: JoinedCursor, statement: str, parameters: Any, context: ExecutionContext
    ) -> bool:
        connection = cursor.deferring
        if not _may_wait(connection, context) or len(parameters) > FEW:
            return False
        for one in parameters:
            connection.defer(statement, one)
        return True

    event.listen(engine, "do_execute", do_execute)
    event.listen(engine, "do_executemany", do_executemany)


def _may_wait(connection: DeferringConnection, context: ExecutionContext) -> bool:
    """Whether it is a change of which nothing is read."""
    found: Any = context
    is_change = found.isinsert or found.isupdate or found.isdelete
    return (
        connection.is_deferring
        and is_change
        and not found.compiled.effective_returning
        and not is_at_once(found.execution_options)
    )


def noted(connection: Connection, queries: Sequence[Query]) -> list[str]:
    """The texts of these statements, none of which is sent."""
    driver = driver_of(connection)
    texts: list[str] = []
    driver.notes = texts
    try:
        for query in queries:
            connection.execute(*query)
    finally:
        driver.notes = None
    return texts


def prefetch(
    connection: Connection, texts: Sequence[str], answers: Sequence[StatementAnswer]
) -> None:
    """These statements find these answers when they are executed, until something is changed.

    Args:
        answers: The last ones are theirs.
    """
    of_texts = answers[len(answers) - len(texts) :]
    driver_of(connection).prefetch(dict(zip(texts, of_texts, strict=True)))


def driver_of(connection: Connection) -> DeferringConnection:
    """Of a connection of `engine.writing_engine`."""
    return cast("DeferringConnection", connection.connection.driver_connection)

"""A connection that waits for no answer without end.

`statement_timeout` does not bound COMMIT: with its synchronous standby gone, PostgreSQL waits for
that for ever. And no setting of the socket notices a server that was suspended: its kernel goes on
acknowledging. So the wait itself has an end; after it the connection is closed, and what became of
a COMMIT is asked on a new one.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import psycopg

_Result = TypeVar("_Result")


class NoAnswer(psycopg.OperationalError):
    """The server said nothing for `answer_s`; the connection is closed."""


class StatementAnswer:
    """Of one statement, in memory; a cursor of it for SQLAlchemy (PEP 249).

    Args:
        description: Of its columns; None: it returns no rows.
        rowcount: How many rows it has found or changed.
    """

    arraysize = 1

    def __init__(
        self, description: Sequence[Any] | None, rowcount: int, rows: list[tuple[Any, ...]]
    ) -> None:
        self.description = description
        self.rowcount = rowcount
        self.rows = rows
        self._next = 0

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row."""
        return next(iter(self.fetchmany(1)), None)

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """The next rows."""
        found = self.rows[self._next : self._next + size]
        self._next += len(found)
        return found

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All that are left."""
        return self.fetchmany(len(self.rows))

    def close(self) -> None:
        """Nothing is open."""


class LastResult(psycopg.Cursor[Any]):
    """Of several statements in one text, the result of the last."""

    _results_found = 1

    def execute(self, *args: Any, **kwargs: Any) -> LastResult:
        """As psycopg's."""
        super().execute(*args, **kwargs)
        self._results_found = 1
        while self.nextset():
            self._results_found += 1
        return self

    def answers(self) -> list[StatementAnswer]:
        """One for each statement; nothing is left to read after that."""
        found = []
        for number in range(self._results_found):
            self.set_result(number)
            rows = [] if self.description is None else self.fetchall()
            found.append(StatementAnswer(self.description, self.rowcount, rows))
        return found


class BoundedConnection(psycopg.Connection[Any]):
    """psycopg's, whose waits end.

    Attributes:
        answer_s: How long one statement or COMMIT may go without an answer. Above the server's own
            bound of a statement: what ends there says more than what ends here.
    """

    answer_s: float = 20.0

    def wait(self, gen: Generator[Any, Any, _Result], *args: Any, **kwargs: Any) -> _Result:
        """As psycopg's.

        Raises:
            NoAnswer
        """
        try:
            return super().wait(_bounded(gen, self.answer_s), *args, **kwargs)
        except NoAnswer:
            self.pgconn.finish()
            raise


class BeatConnection(BoundedConnection):
    """Of a member's beats: one that is lost must leave time for the next before trust ends.

    The beat's own `statement_timeout` is 5 s.
    """

    answer_s: float = 6.0


def _bounded(waiting: Generator[Any, Any, _Result], most_s: float) -> Generator[Any, Any, _Result]:
    """The same steps; psycopg resumes it at its interval, some ten times a second, too."""
    until_s = time.monotonic() + most_s
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > until_s:
                raise NoAnswer(f"no answer for {most_s:g} s")
            wanted = waiting.send(ready)
    except StopIteration as end:
        result: _Result = end.value
        return result

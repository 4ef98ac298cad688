"""Each database of the ledger does what `Database` names, under these names."""

import pytest

from backhaul.adapters.ledger.dialects.database import Database
from backhaul.adapters.ledger.postgres.faults import PostgresDatabase
from backhaul.adapters.ledger.sqlite.faults import SqliteDatabase


@pytest.mark.parametrize("kind", [SqliteDatabase, PostgresDatabase])
def test_no_method_misses_the_one_that_it_is_to_replace(kind: type[Database]) -> None:
    """Most of `Database` do nothing, so one under another name would go unnoticed."""
    own = {name for name, value in vars(kind).items() if callable(value) and name[0] != "_"}
    assert own <= set(vars(Database))

"""Run by Alembic, on the connection that `adapters.ledger.sqlite.migrate` opened and began."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,  # our connections begin for themselves, so SQLite's DDL rolls back
)
with context.begin_transaction():
    context.run_migrations()

"""PostgreSQL, and PgBouncer before it: databases for the tests of a ledger, and the testbed."""

from __future__ import annotations

from testbed.postgres.pgbouncer import PgBouncer
from testbed.postgres.server import PostgreSQL
from testbed.postgres.standby import PostgresStandby

__all__ = ["PgBouncer", "PostgreSQL", "PostgresStandby"]

"""What tests put before and beside PostgreSQL: PgBouncer, and a standby."""

from __future__ import annotations

from testbed.postgres.pgbouncer import PgBouncer
from testbed.postgres.standby import PostgresStandby

__all__ = ["PgBouncer", "PostgresStandby"]

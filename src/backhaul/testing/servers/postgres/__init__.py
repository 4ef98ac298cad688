"""PostgreSQL on this machine: what makes, starts and ends it."""

from __future__ import annotations

from backhaul.testing.servers.postgres.server import PostgreSQL

__all__ = ["PostgreSQL"]

"""What the statements about members say alike: who is in force, and the server's time."""

from __future__ import annotations

IN_FORCE = "ended_at IS NULL AND judged_at IS NULL"
ME = f"EXISTS (SELECT FROM members WHERE id = %(me)s AND {IN_FORCE})"
NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

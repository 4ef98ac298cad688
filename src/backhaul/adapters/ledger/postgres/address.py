"""The address of a database as libpq reads it."""

from __future__ import annotations

from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from backhaul.core.ports.ledger_place import PostgresUrl, bad_address


def connection_values(url: PostgresUrl) -> dict[str, Any]:
    """Keywords of libpq.

    Raises:
        ConfigurationError: E_LEDGER_ADDRESS, E_LEDGER_PASSWORD.
    """
    PostgresUrl.parse(url.text)
    try:
        return dict(conninfo_to_dict(url.text))
    except ProgrammingError:  # its text quotes the address
        raise bad_address() from None

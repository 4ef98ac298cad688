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


def single_hosts(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The same keywords for each of its hosts, in their order; a service file's are not seen."""
    names = _listed(values, "host")
    addresses = _listed(values, "hostaddr")
    ports = _listed(values, "port")
    count = max(len(names), len(addresses))
    if count < 2:  # noqa: PLR2004 - one host, or libpq's default
        return [values]
    found = []
    for number in range(count):
        one = dict(values)
        for name, all_of_it in (("host", names), ("hostaddr", addresses), ("port", ports)):
            if all_of_it:
                one[name] = all_of_it[number if len(all_of_it) > 1 else 0]
        found.append(one)
    return found


def _listed(values: dict[str, Any], name: str) -> list[str]:
    text = str(values.get(name) or "")
    return text.split(",") if text else []

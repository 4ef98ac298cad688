"""Probes of Hive or Impala: the program, the connection, and the tables of the routes."""

from __future__ import annotations

from collections.abc import Iterator

from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State, from_error
from backhaul.app.hive import check_shell, hive_target
from backhaul.core.errors import BackhaulError
from backhaul.core.replies.partitions import HiveTable


def tables(context: DoctorContext) -> Iterator[Finding]:
    """Whether each table is there and has partitions, by the program; changes nothing."""
    routes = [(one.name, one.hive) for one in context.routes if one.hive is not None]
    if not routes:
        return
    try:
        check_shell(context.settings.hive)
        target = hive_target(context.settings)
    except BackhaulError as error:
        yield from_error("hive.program", "", error)
        return
    if target is None:
        return
    seen: set[HiveTable] = set()
    for route, wanted in routes:
        if wanted in seen:
            continue
        seen.add(wanted)
        try:
            table = target.describe(wanted)
        except BackhaulError as error:
            yield from_error("hive.table", wanted.full_name, error, route=route)
            if error.code in _OF_ALL:
                return
            continue
        columns = ", ".join(f"{one.name} {one.type}" for one in table.columns)
        text = f"partitions by {columns} in {table.location}"
        yield Finding("hive.table", wanted.full_name, State.OK, text, route=route)


# No other table is looked at after these: each try takes the program's whole time again.
_OF_ALL = frozenset(
    {"E_HIVE_PROGRAM", "E_HIVE_TIMEOUT", "E_HIVE_CONNECT", "E_HIVE_LOGIN", "E_HIVE_ANSWER"}
)

PROBES = (tables,)

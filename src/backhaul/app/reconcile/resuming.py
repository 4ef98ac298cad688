"""The places of a comparison as its plan keeps them.

The ledger has other places as soon as another transfer has arrived, and then parts that were
compared before would not belong to the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from backhaul.app.reconcile.parts import PartFiles, PartsPlan, PlannedPlace
from backhaul.app.reconcile.unfinished import moment
from backhaul.core.errors import BadArgument
from backhaul.core.file_systems import DefaultFs
from backhaul.core.model import Location, Route, Source
from backhaul.core.reconciliation.places import Area, Brought, areas_of

KEPT_MOST = timedelta(days=7)  # what was found before that is no answer any more


def planned_places(areas: Sequence[Area]) -> tuple[PlannedPlace, ...]:
    """For the plan, in the order of the areas."""
    return tuple(
        PlannedPlace(bucket=one.bucket, prefix=one.prefix, directory=one.root.uri)
        for area in areas
        for one in area.places
    )


def _brought(plan: PartsPlan) -> list[Brought]:
    """What leads to the same places again, for `areas_of`."""
    return [
        Brought(
            source=Source(bucket=one.bucket, key=one.prefix),
            directory=Location.from_uri(one.directory),
        )
        for one in plan.places
    ]


def begun(
    files: PartFiles,
    about: Mapping[str, str],
    route: Route,
    default_fs: DefaultFs,
    now: datetime,
) -> tuple[PartsPlan, tuple[Area, ...]] | None:
    """The plan of a comparison that was ended, and its areas; None: one begins anew."""
    plan = files.begun(about)
    if plan is None:
        return None
    if now - moment(plan.started_us) > KEPT_MOST:
        files.useless(f"it was begun more than {KEPT_MOST.days} days ago")
        return None
    with suppress(BadArgument):  # a comparison that begins anew raises it where it is true still
        areas = areas_of(route, _brought(plan), default_fs=default_fs)
        if planned_places(areas) == plan.places:
            return plan, areas
    files.useless("where its objects belong cannot be found again")
    return None


def configuration_of(route: Route) -> str:
    """What decides where objects belong and what is copied: parts of another one do not fit."""
    to = None if route.destinations is None else [one.uri for one in route.destinations]
    return repr((route.sources, to, route.event_destination, route.marker, route.name_map.value))

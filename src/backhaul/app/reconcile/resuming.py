"""The places of a comparison as its plan keeps them.

The ledger has other places as soon as another transfer has arrived, and then parts that were
compared before would not belong to the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from backhaul.app.reconcile.parts import PartFiles, PartsPlan, PlannedPlace
from backhaul.app.reconcile.unfinished import location_of
from backhaul.core.file_systems import DefaultFs
from backhaul.core.model import Route, Source
from backhaul.core.reconciliation.places import Area, Brought, areas_of


def planned_places(areas: Sequence[Area]) -> tuple[PlannedPlace, ...]:
    """For the plan, in the order of the areas."""
    return tuple(
        PlannedPlace(bucket=one.bucket, prefix=one.prefix, directory=one.root.uri)
        for area in areas
        for one in area.places
    )


def _brought(plan: PartsPlan) -> Iterator[Brought]:
    """What leads to the same places again, for `areas_of`."""
    for one in plan.places:
        source = Source(bucket=one.bucket, key=one.prefix)
        yield Brought(source=source, directory=location_of(one.directory))


def begun(
    files: PartFiles, about: Mapping[str, str], route: Route, default_fs: DefaultFs
) -> tuple[PartsPlan, tuple[Area, ...]] | None:
    """The plan of a comparison that was ended, and its areas; None: one begins anew."""
    plan = files.begun(about)
    if plan is None:
        return None
    areas = areas_of(route, _brought(plan), default_fs=default_fs)
    if planned_places(areas) == plan.places:
        return plan, areas
    files.useless("where its objects belong cannot be found again")
    return None


def configuration_of(route: Route) -> str:
    """What decides where objects belong and what is copied: parts of another one do not fit."""
    to = None if route.destinations is None else [one.uri for one in route.destinations]
    return repr((route.sources, to, route.event_destination, route.marker, route.name_map.value))

"""From the file's `[[route]]` tables to the core's policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

from backhaul.core.errors import BackhaulError, BadArgument, ConfigurationError
from backhaul.core.file_systems import DefaultFs
from backhaul.core.model import EngineName, Limits, Route, StepRule
from backhaul.core.requests.event_routes import check_template
from backhaul.core.requests.overlap import refuse_overlaps
from backhaul.core.requests.paths import parse_destination, parse_source
from backhaul.core.requests.policy import covering_prefix
from backhaul.core.requests.queue_names import parse_queue
from backhaul.core.requests.reply_addresses import reply_pattern_fault
from backhaul.core.text import printable, shown
from backhaul.settings.hive import HIVE_WISH, check_hive
from backhaul.settings.model import EmrSettings, RouteSettings, Settings
from backhaul.settings.queue import check_bindings, check_queues
from backhaul.settings.reply import check_replies, check_reply_names, completion_marker
from backhaul.settings.signing_keys import signature_rule


def make_routes(settings: Settings, path: Path | None, default_fs: DefaultFs) -> tuple[Route, ...]:
    """The file's routes as policy.

    Raises:
        ConfigurationError: E_CFG_ROUTE: a prefix without its slash, an invalid destination, a
            duplicate name, an engine that the destination does not support, a rule for events
            that leads out of the route, more `min_slots` than slots. E_CFG_OVERLAP: one request
            matches two routes. E_CFG_KEY: no usable key for signatures. E_REPLY_SETTING: a
            `[[reply]]` that cannot be used. E_HIVE_SETTING: likewise `[hive]`. E_CFG_QUEUE:
            `[[queue]]` that contradict one another, or a route that is bound to none of them.
    """
    check_queues(settings.queue, settings.agent.slots, path)
    bound = [(one.name, one.queues) for one in settings.route if one.queues is not None]
    check_replies(settings.reply, path)
    wishes = {one.name: one.wish for one in settings.reply if one.marker is None}
    check_hive(settings.hive, [(one.name, one.hive) for one in settings.route], path)
    routes: dict[str, Route] = {}
    for one in settings.route:
        check_reply_names(one.replies, settings.reply, one.name, path)
        try:
            route = replace(
                _make_route(one, default_fs),
                completion_marker=completion_marker(one.replies, settings.reply, one.name, path),
                reply_wishes=(
                    *(wishes[name] for name in dict.fromkeys(one.replies) if name in wishes),
                    *([HIVE_WISH] if one.hive is not None else []),
                    *settings.lineage.wishes,
                ),
            )
        except BackhaulError as error:
            if isinstance(error, ConfigurationError) and error.code != "E_CFG_ROUTE":
                raise
            hint = error.hint or "see the settings reference"
            raise _refused(f"{path}: route {one.name}: {error.message}", hint) from error
        if one.name in routes:
            raise _refused(
                f"{path}: two routes are named {one.name}",
                "give each route a name of its own: the ledger records it",
            )
        routes[one.name] = route
    check_bindings(bound, settings.queue, path)
    made = tuple(routes.values())
    refuse_overlaps(made)
    _refuse_two_users(made, path)
    _check_kept_slots(made, settings.agent.slots, path)
    return made


def _refused(message: str, hint: str) -> ConfigurationError:
    return ConfigurationError("E_CFG_ROUTE", message, hint=hint)


def _check_kept_slots(routes: Sequence[Route], slots: int, path: Path | None) -> None:
    """One slot is left to messages of all other routes, and to those that no route covers."""
    for one in routes:
        most = one.limits.in_flight
        if one.min_slots is not None and most is not None and most < one.min_slots:
            raise _refused(
                f"{path}: route {one.name}: min_slots is {one.min_slots}, and limits.in_flight is"
                f" {most}",
                "lower min_slots: slots that no transfer of the route may use would stay empty",
            )
    kept = sum(one.min_slots or 0 for one in routes)
    if kept >= slots:
        raise _refused(
            f"{path}: min_slots of all routes are {kept} together, and agent.slots is {slots}",
            "lower min_slots, or raise agent.slots: one slot has to be left to all others",
        )


def _refuse_two_users(routes: Sequence[Route], path: Path | None) -> None:
    """A directory belongs to one user: another could neither fence nor replace what is there."""
    for one, other in combinations(routes, 2):
        if one.run_as == other.run_as:
            continue
        for here, there in product(other.destinations or (), one.destinations or ()):
            if here.is_within(there) or there.is_within(here):
                raise _refused(
                    f"{path}: routes {one.name} ({one.run_as or 'the agent'}) and "
                    f"{other.name} ({other.run_as or 'the agent'}) act for two users in "
                    f"{printable(here.uri)} and {printable(there.uri)}",
                    "give each user directories that do not overlap",
                )


def _check_texts(one: RouteSettings) -> None:
    for text in (*one.source, *one.destination):
        if not text.endswith("/"):
            raise _refused(
                f"{printable(text)} does not end in '/'",
                f"write {printable(text)}/ : a prefix is compared as bytes, so without its "
                "slash it would also match its siblings",
            )
    for name, texts in (("senders", one.senders), ("queues", one.queues)):
        if any(text.strip() == "" or "*" in text for text in texts or ()):
            raise _refused(
                f"{name} has an empty text or a '*', which is no name",
                f"list them one by one, or leave {name} out to accept all",
            )
    for text in one.reply_to:
        if fault := reply_pattern_fault(text):
            raise _refused(f"reply_to has {shown(text, 120)}, {fault[0]}", fault[1])
    for queue in one.queues or ():
        try:
            parse_queue(queue)
        except BadArgument as exc:
            raise _refused(f"queues: {exc.message}", exc.hint or "") from exc


def _make_route(one: RouteSettings, default_fs: DefaultFs) -> Route:
    _check_texts(one)
    sources = [parse_source(text) for text in one.source]
    destinations = tuple(parse_destination(text, default_fs=default_fs) for text in one.destination)
    is_hdfs_alone = all(place.scheme == "hdfs" for place in destinations)
    if one.engine is EngineName.DISTCP and not is_hdfs_alone:
        raise _refused(
            "engine = distcp is for HDFS: the cluster's nodes do not have this node's mounts",
            "use engine = auto or native, or give the mounted directory a route of its own",
        )
    if one.run_as is not None and not is_hdfs_alone:
        raise _refused(
            "run_as is for HDFS: a mounted file system has no proxy users",
            "remove run_as, or give the mounted directory a route of its own",
        )
    route = one.into(
        Route,
        sources=tuple((source.bucket, source.key) for source in sources),
        destinations=destinations,
        senders=frozenset(one.senders) if one.senders is not None else None,
        queues=frozenset(one.queues) if one.queues is not None else None,
        limits=one.limits.into(Limits, size_bytes=one.limits.bytes),
        reply_to=tuple(one.reply_to),
        hive=one.hive.wanted if one.hive is not None else None,
        steps=tuple(_step_rule(step, default_fs) for step in one.emr),
        signature=signature_rule(one.signature) if one.signature is not None else None,
    )
    _check_events(route, default_fs)
    return route


def _step_rule(step: EmrSettings, default_fs: DefaultFs) -> StepRule:
    return step.into(
        StepRule,
        source=parse_source(step.source),
        destination=parse_destination(step.destination, default_fs=default_fs),
    )


def _check_events(route: Route, default_fs: DefaultFs) -> None:
    """Whatever an event contains, its source and destination stay inside the route."""
    places = route.destinations or ()
    if route.event_destination is not None:
        check_template(route.event_destination, places, default_fs=default_fs)
    elif route.marker is not None:
        raise _refused(
            "marker is set and event_destination is not",
            'set event_destination, such as "/landing/{rel_dir}/"',
        )
    if route.marker is not None and "/" in route.marker:
        raise _refused("marker has a '/'", 'write the name alone, such as "_SUCCESS"')
    for rule in route.steps:
        is_inside = any(rule.destination.is_within(place) for place in places)
        if covering_prefix(route, rule.source) is None or not is_inside:
            raise _refused(
                f"emr step {printable(rule.step, 80)}: {printable(rule.source.uri)} to"
                f" {printable(rule.destination.uri)} leads out of the route",
                "name a source and a destination inside the route's own",
            )

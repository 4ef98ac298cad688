"""From the file's `[[route]]` tables to the core's policy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from backhaul.core.errors import BackhaulError, BadArgument, ConfigurationError
from backhaul.core.file_systems import DefaultFs
from backhaul.core.model import EngineName, Limits, Route, StepRule
from backhaul.core.requests.event_routes import check_template
from backhaul.core.requests.overlap import refuse_overlaps
from backhaul.core.requests.paths import parse_destination, parse_source
from backhaul.core.requests.policy import covering_prefix
from backhaul.core.requests.queue_names import parse_queue
from backhaul.core.text import printable
from backhaul.settings.model import EmrSettings, RouteSettings, Settings
from backhaul.settings.signing_keys import signature_rule


def make_routes(settings: Settings, path: Path | None, default_fs: DefaultFs) -> tuple[Route, ...]:
    """The file's routes as policy.

    Raises:
        ConfigurationError: E_CFG_ROUTE: a prefix without its slash, a destination that cannot be
            one, a duplicate name, an engine that this version does not have, a rule for events
            that leads out of the route. E_CFG_OVERLAP: two routes for one request. E_CFG_KEY: no
            usable key for signatures.
    """
    routes = []
    names: set[str] = set()
    for one in settings.route:
        try:
            routes.append(_make_route(one, default_fs))
        except ConfigurationError as error:
            if error.code == "E_CFG_ROUTE":
                raise _in_file(error, path, one.name) from error
            raise
        except BackhaulError as error:
            raise ConfigurationError(
                "E_CFG_ROUTE",
                f"{path}: route {one.name}: {error.message}",
                hint=error.hint or "see the settings reference",
            ) from error
        if one.name in names:
            raise ConfigurationError(
                "E_CFG_ROUTE",
                f"{path}: two routes are named {one.name}",
                hint="the ledger names routes, so each needs a name of its own",
            )
        names.add(one.name)
    refuse_overlaps(routes)
    _refuse_two_users(routes, path)
    return tuple(routes)


def _in_file(error: ConfigurationError, path: Path | None, name: str) -> ConfigurationError:
    return ConfigurationError(error.code, f"{path}: route {name}: {error.message}", hint=error.hint)


def _refuse_two_users(routes: Sequence[Route], path: Path | None) -> None:
    """A directory belongs to one user: another one could neither fence nor replace what is there.

    Raises:
        ConfigurationError: E_CFG_ROUTE.
    """
    for number, one in enumerate(routes):
        for other in routes[:number]:
            if one.run_as == other.run_as:
                continue
            for here in one.destinations or ():
                for there in other.destinations or ():
                    if here.is_within(there) or there.is_within(here):
                        raise ConfigurationError(
                            "E_CFG_ROUTE",
                            f"{path}: routes {other.name} ({other.run_as or 'the agent'}) and "
                            f"{one.name} ({one.run_as or 'the agent'}) act for two users in "
                            f"{printable(here.uri)} and {printable(there.uri)}",
                            hint="give each user directories that do not overlap",
                        )


def _check_queues(queues: Iterable[str]) -> None:
    for text in queues:
        try:
            parse_queue(text)
        except BadArgument as exc:
            raise ConfigurationError(
                "E_CFG_ROUTE", f"queues: {exc.message}", hint=exc.hint
            ) from exc


def _make_route(one: RouteSettings, default_fs: DefaultFs) -> Route:
    for text in (*one.source, *one.destination):
        if not text.endswith("/"):
            raise ConfigurationError(
                "E_CFG_ROUTE",
                f"{printable(text)} does not end in '/'",
                hint=f"write {printable(text)}/ : a prefix is compared as bytes, so without its "
                "slash it would also match its siblings",
            )
    for name, texts in (("senders", one.senders), ("queues", one.queues)):
        if any(text.strip() == "" or "*" in text for text in texts or ()):
            raise ConfigurationError(
                "E_CFG_ROUTE",
                f"{name} has an empty text or a '*', which is no name",
                hint=f"list them one by one, or leave {name} out to accept all",
            )
    _check_queues(one.queues or ())
    sources = [parse_source(text) for text in one.source]
    destinations = tuple(parse_destination(text, default_fs=default_fs) for text in one.destination)
    if one.engine is EngineName.DISTCP and any(place.scheme != "hdfs" for place in destinations):
        raise ConfigurationError(
            "E_CFG_ROUTE",
            "engine = distcp is for HDFS: the cluster's nodes do not have this node's mounts",
            hint="use engine = auto or native, or give the mounted directory a route of its own",
        )
    if one.run_as is not None and any(place.scheme != "hdfs" for place in destinations):
        raise ConfigurationError(
            "E_CFG_ROUTE",
            "run_as is for HDFS: a mounted file system knows no proxy user",
            hint="remove run_as, or give the mounted directory a route of its own",
        )
    route = one.into(
        Route,
        sources=tuple((source.bucket, source.key) for source in sources),
        destinations=destinations,
        senders=frozenset(one.senders) if one.senders is not None else None,
        queues=frozenset(one.queues) if one.queues is not None else None,
        limits=one.limits.into(Limits, size_bytes=one.limits.bytes),
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
    """What events may bring stays inside the route, whatever they say."""
    places = route.destinations or ()
    if route.event_destination is not None:
        check_template(route.event_destination, places, default_fs=default_fs)
    elif route.marker is not None:
        raise ConfigurationError(
            "E_CFG_ROUTE",
            "marker is set and event_destination is not",
            hint='set event_destination, such as "/landing/{rel_dir}/"',
        )
    if route.marker is not None and "/" in route.marker:
        raise ConfigurationError(
            "E_CFG_ROUTE", "marker has a '/'", hint='write the name alone, such as "_SUCCESS"'
        )
    for rule in route.steps:
        is_inside = any(rule.destination.is_within(place) for place in places)
        if covering_prefix(route, rule.source) is None or not is_inside:
            raise ConfigurationError(
                "E_CFG_ROUTE",
                f"emr step {printable(rule.step, 80)}: {printable(rule.source.uri)} to"
                f" {printable(rule.destination.uri)} leads out of the route",
                hint="name a source and a destination inside the route's own",
            )

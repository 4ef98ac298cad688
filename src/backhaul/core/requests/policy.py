"""Which request may be carried out, and how: default deny, first covering route wins.

Order of the checks, first one wins: E_POLICY_SOURCE (no route of the queue has the source),
E_POLICY_DEST (none of those that have it has the destination), then for the first route that has
both: E_SENDER, E_POLICY_OPTION, E_POLICY_REPLY_TO. A later route is not tried for another sender,
option or address, so an order in the configuration is the order of precedence. A route of other
queues is skipped.

The policy decides three times: `decide` before any work; `check_resolved` once S3 has shown whether
the source is an object or a prefix; and `check_resolved` and `check_target` of the policy then in
force right before publishing (S5 in docs/reliability.md).

Text becomes sources and locations in `paths`, events become requests in `event_routes`,
configuration files become routes in `settings`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from backhaul.core.errors import BackhaulError, ConfigurationError, NotAllowed
from backhaul.core.facts import RouteWarned
from backhaul.core.file_systems import DefaultFs
from backhaul.core.model import (
    Assignment,
    EngineName,
    Location,
    OnExists,
    PublishMode,
    Request,
    Route,
    SignatureRule,
    Source,
    TransferRules,
    VerifyLevel,
)
from backhaul.core.replies.reply import ReplyWish
from backhaul.core.requests.paths import parse_destination, parse_source
from backhaul.core.requests.queue_names import are_same
from backhaul.core.requests.reply_addresses import is_reply_address, is_reply_allowed
from backhaul.core.text import printable, shown

ALLOW_ANY = "allow-any"
_ALLOW_FORM = "write --allow 's3://bucket/prefix/ -> /dir'"

# From the strictest on: a message may choose the route's own value or one before it.
_ON_EXISTS = (OnExists.FAIL, OnExists.SAME_OK, OnExists.REPLACE)
_VERIFY = (VerifyLevel.REREAD, VerifyLevel.STORED, VerifyLevel.STREAM, VerifyLevel.SIZE)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What is allowed; everything else is refused.

    Attributes:
        routes: In order of precedence. Names are unique; `settings` sees to that.
    """

    routes: tuple[Route, ...]

    @cached_property
    def digest(self) -> str:
        """16 hex digits that change with any rule of any route; the keys of signatures apart."""
        text = json.dumps([_plain(route) for route in self.routes], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def decide(
        self, request: Request, *, sender_id: str | None, queue: str | None = None
    ) -> Assignment:
        """The job that the first covering route makes of the request.

        A source without trailing slash may turn out to be a prefix, so `bucket/raw` is accepted
        by a route of `raw/`; `check_resolved` decides once S3 has shown which.

        Args:
            sender_id: SQS's SenderId; None for a request of this machine's own (`copy`, `explain`):
                `senders` is about messages only.
            queue: ARN of the queue that brought it; None likewise.

        Raises:
            NotAllowed: E_POLICY_SOURCE, E_POLICY_DEST, E_SENDER, E_POLICY_OPTION,
                E_POLICY_REPLY_TO.
        """
        route, anchor = self._covering(request, queue)
        job = _job(request, route, anchor, sender_id)
        return dataclasses.replace(job, policy_digest=self.digest)

    def route_for(self, request: Request, *, queue: str | None = None) -> str | None:
        """The route that `decide` looks at, whatever else it refuses; None where there is none."""
        try:
            return self._covering(request, queue)[0].name
        except NotAllowed:
            return None

    @cached_property
    def keeping_slots(self) -> Mapping[str, int]:
        """How many slots are kept for each route that has any, by its name."""
        return {one.name: one.min_slots for one in self.routes if one.min_slots}

    @cached_property
    def sends_replies(self) -> bool:
        """True when any route does; for the others `replies_for` is not worth its time."""
        return any(route.reply_wishes or route.reply_to for route in self.routes)

    def replies_for(
        self, request: Request, *, sender_id: str, queue: str | None = None
    ) -> tuple[ReplyWish, ...]:
        """Who is sent what becomes of it, whether or not `decide` refuses it.

        The message's own `reply_to` only where the route allows it and lists the sender.
        """
        try:
            route = self._covering(request, queue)[0]
        except NotAllowed:
            return ()
        address = request.reply_to
        if address is None or not (
            _lists(route, sender_id) and is_reply_allowed(address, route.reply_to)
        ):
            return route.reply_wishes
        return (*route.reply_wishes, ReplyWish(target=address))

    def _covering(self, request: Request, queue: str | None) -> tuple[Route, Location]:
        """The first route that covers the request, and its part of the destination."""
        having_source = [
            route
            for route in self.routes
            if serves_queue(route, queue) and _may_cover(route, request.source)
        ]
        if not having_source:
            raise NotAllowed(
                "E_POLICY_SOURCE",
                f"no route has the source {printable(request.source.uri)}",
                hint=_route_hint(request),
            )
        for route in having_source:
            anchor = _anchor(route, request.destination)
            if anchor is not None:
                return route, anchor
        names = ", ".join(printable(route.name, 40) for route in having_source[:5])
        raise NotAllowed(
            "E_POLICY_DEST",
            f"no route from {printable(request.source.uri)} has the destination"
            f" {printable(request.destination.uri)}; looked at: {names}",
            hint=_route_hint(request),
        )

    def find(self, route_name: str) -> Route:
        """The route of that name.

        Raises:
            NotAllowed: E_POLICY_REVOKED: it has been removed since the job was decided.
        """
        for route in self.routes:
            if route.name == route_name:
                return route
        raise NotAllowed(
            "E_POLICY_REVOKED",
            f"route {printable(route_name, 80)} is no longer in the configuration",
            hint="restore the route and send the message again",
        )

    def user_of(self, route_name: str | None) -> str | None:
        """The user that a route acts for; None: the agent itself, or a route that is gone."""
        return next((route.run_as for route in self.routes if route.name == route_name), None)

    def covers_source(self, route_name: str, source: Source) -> bool:
        """True when the route has exactly this key or prefix.

        Raises:
            NotAllowed: E_POLICY_REVOKED.
        """
        return _covers(self.find(route_name), source)

    def check_resolved(self, job: Assignment, source: Source) -> None:
        """Check the source once S3 has shown what it is; strict where `decide` could not be.

        Args:
            source: The object, or the prefix with its trailing slash.

        Raises:
            NotAllowed: E_POLICY_SOURCE, E_POLICY_REVOKED.
        """
        if not self.covers_source(job.route, source):
            raise NotAllowed(
                "E_POLICY_SOURCE",
                f"route {printable(job.route, 80)} does not have the source"
                f" {printable(source.uri)}",
                hint=_route_hint(job.request),
            )

    def check_target(self, job: Assignment, location: Location) -> None:
        """Check a path that is about to be published.

        Raises:
            NotAllowed: E_POLICY_DEST, E_POLICY_REVOKED.
        """
        if _anchor(self.find(job.route), location) is None:
            raise NotAllowed(
                "E_POLICY_DEST",
                f"route {printable(job.route, 80)} does not have the destination"
                f" {printable(location.uri)}",
                hint=_route_hint(job.request),
            )


def parse_allow(text: str, *, default_fs: DefaultFs) -> Route:
    """The route of `--allow 'SOURCE -> DEST'`, with a name that depends on its meaning alone.

    SOURCE is `s3://bucket/prefix/`, `bucket/prefix/` or `s3://bucket`. A missing trailing slash
    means that directory, never a string prefix: `s3://b/raw` allows `raw/x` and not `raw-evil/x`.

    Raises:
        ConfigurationError: E_CFG_ALLOW.
    """
    parts = [part.strip(" \t") for part in text.split("->")]
    if len(parts) != 2:  # noqa: PLR2004 - a source and a destination
        raise ConfigurationError(
            "E_CFG_ALLOW",
            f"--allow has {len(parts) - 1} arrows '->' instead of one",
            hint=_ALLOW_FORM,
        )
    source_text, destination_text = parts
    try:
        source = parse_source(source_text if source_text.endswith("/") else f"{source_text}/")
        destination = parse_destination(destination_text, default_fs=default_fs)
    except BackhaulError as exc:
        raise ConfigurationError(
            "E_CFG_ALLOW", f"--allow: {exc.message} ({exc.code})", hint=exc.hint or _ALLOW_FORM
        ) from exc
    meaning = f"{source.uri} -> {destination.uri}"
    return Route(
        name=f"allow-{hashlib.sha256(meaning.encode()).hexdigest()[:8]}",
        sources=((source.bucket, source.key),),
        destinations=(destination,),
    )


def allow_any_route() -> Route:
    """As the original program: any sender, any source, any destination."""
    return Route(name=ALLOW_ANY, sources=None, destinations=None)


# ---------------------------------------------------------------- coverage


def serves_queue(route: Route, queue: str | None) -> bool:
    """True for a route that is not bound to other queues."""
    if route.queues is None or queue is None:
        return True
    return any(are_same(one, queue) for one in route.queues)


def covering_prefix(route: Route, source: Source) -> str | None:
    """The longest of the route's prefixes that covers the source; None where none does.

    Compared as characters of valid Unicode, which is the same as UTF-8 bytes.
    """
    if route.sources is None:
        return ""
    covering = (
        prefix
        for bucket, prefix in route.sources
        if source.bucket == bucket and source.key.startswith(prefix)
    )
    return max(covering, key=len, default=None)


def _covers(route: Route, source: Source) -> bool:
    return covering_prefix(route, source) is not None


def _may_cover(route: Route, source: Source) -> bool:
    """As `_covers`, or the key may yet turn out to be the very prefix, which ends in a slash."""
    as_prefix = Source(bucket=source.bucket, key=f"{source.key}/")
    return _covers(route, source) or (
        route.sources is not None and (as_prefix.bucket, as_prefix.key) in route.sources
    )


def _anchor(route: Route, location: Location) -> Location | None:
    """The deepest of the route's directories that covers the location: staging lives there."""
    if route.destinations is None:
        return location
    covering = (place for place in route.destinations if location.is_within(place))
    return max(covering, key=lambda place: len(place.path), default=None)


def _job(request: Request, route: Route, anchor: Location, sender_id: str | None) -> Assignment:
    if not _lists(route, sender_id):
        raise NotAllowed(
            "E_SENDER",
            f"route {printable(route.name, 80)} does not list the sender"
            f" {printable(sender_id or '(none)', 80)}",
            hint="add the SQS SenderId to the route's senders, or send as one that is listed",
        )
    names = [each.name for each in dataclasses.fields(TransferRules)]
    rules: dict[str, Any] = {name: getattr(route, name) for name in names}
    for option in dataclasses.fields(request.options):
        wanted = getattr(request.options, option.name)
        if wanted is not None:
            _check_option(route, option.name, wanted, _accepted(rules[option.name]))
            rules[option.name] = wanted
    _check_reply_to(route, request.reply_to)
    return Assignment(
        request=request,
        route=route.name,
        anchor=anchor,
        completion_marker=request.completion_marker or route.completion_marker,
        **rules,
    )


def _lists(route: Route, sender_id: str | None) -> bool:
    return sender_id is None or route.senders is None or sender_id in route.senders


def _check_reply_to(route: Route, address: str | None) -> None:
    if address is None:
        return
    if not is_reply_address(address):
        raise NotAllowed(
            "E_POLICY_REPLY_TO",
            f"reply_to {shown(address, 200)} is no URL of an SQS queue and no ARN of an SNS topic",
            hint="leave reply_to out, or write a queue or topic with its account, such as"
            " https://sqs.us-west-2.amazonaws.com/123456789012/replies; a webhook is named in the"
            " configuration alone",
        )
    if not is_reply_allowed(address, route.reply_to):
        raise NotAllowed(
            "E_POLICY_REPLY_TO",
            f"route {printable(route.name, 80)} does not allow reply_to {shown(address, 200)}",
            hint="leave reply_to out, or add the URL of the queue or the ARN of the topic to the"
            " route's reply_to",
        )


def _accepted(own: StrEnum) -> tuple[StrEnum, ...]:
    """What a message may choose where the route has this value."""
    match own:
        case OnExists():
            return _ON_EXISTS[: _ON_EXISTS.index(own) + 1]
        case VerifyLevel():
            return _VERIFY[: _VERIFY.index(own) + 1]
        case PublishMode.AUTO | EngineName.AUTO:
            return tuple(type(own))
        case _:
            return (own,)


def _check_option(route: Route, name: str, wanted: StrEnum, accepted: tuple[StrEnum, ...]) -> None:
    if wanted not in accepted:
        raise NotAllowed(
            "E_POLICY_OPTION",
            f"route {printable(route.name, 80)} does not allow {name} = {wanted};"
            f" allowed: {', '.join(accepted)}",
            hint=f'leave the option out, or set {name} = "{wanted}" on the route',
        )


def warnings(policy: Policy) -> list[RouteWarned]:
    """Its routes that publish files without a checksum."""
    return [
        RouteWarned(
            route=route.name,
            code="W_SIZE_ONLY",
            reason="where S3 has no checksum, this route publishes files of which only the length "
            "was compared",
            hint="leave `verify` out: it costs next to nothing on HDFS",
        )
        for route in policy.routes
        if route.verify is VerifyLevel.SIZE
    ]


def _plain(value: object) -> Any:
    """For the digest: the same for equal rules, whatever the order of a set."""
    match value:
        case SignatureRule():
            return {"signed": True, "max_age_s": value.max_age_s}
        case frozenset():
            return sorted(value)
        case tuple():
            return [_plain(one) for one in value]
        case _ if dataclasses.is_dataclass(value):
            return {
                field.name: _plain(getattr(value, field.name))
                for field in dataclasses.fields(value)
            }
        case _:
            return value


def _route_hint(request: Request) -> str:
    """A route that would allow this request, to be copied and adapted."""
    source = request.source
    directory = f"s3://{source.bucket}/{source.key[: source.key.rfind('/') + 1]}"
    return (
        f'to allow it: [[route]] with name = "NAME", source = [{_toml(directory)}]'
        f" and destination = [{_toml(request.destination.uri + '/')}]"
    )


def _toml(text: str) -> str:
    escaped = printable(text, 400).replace('"', '\\"')
    return f'"{escaped}"'

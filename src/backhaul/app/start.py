"""What is looked at once, before the first message is received: the targets of the routes."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from backhaul.access import mount_point
from backhaul.core.errors import BackhaulError, ConfigurationError, OutageError
from backhaul.core.facts import InstallationWarned, RouteTargetWarned
from backhaul.core.file_systems import FileSystems
from backhaul.core.model import Location
from backhaul.core.requests.policy import Policy
from backhaul.core.text import printable, redacted
from backhaul.core.transfer.runner import Ports
from backhaul.core.transfer.write_access import cannot_write

if TYPE_CHECKING:
    from backhaul.adapters.aws.clients import AwsSession

# What no waiting fixes. At the start a person is there to fix it; later they are holds.
_REFUSED = frozenset({"E_HDFS_AUTH", "E_HDFS_PROXY", "E_DST_MOUNT"})


CLOCK_SKEW_MAX_S = 60


def clock_warnings(skew_s: float) -> list[InstallationWarned]:
    """One when this machine's clock is off; S3 refuses everything from 15 minutes on."""
    if abs(skew_s) <= CLOCK_SKEW_MAX_S:
        return []
    way = "ahead of" if skew_s > 0 else "behind"
    return [
        InstallationWarned(
            code="W_CLOCK",
            reason=f"this machine's clock is {abs(skew_s):.0f} s {way} AWS's",
            hint="fix NTP: from 15 minutes on AWS refuses every request",
        )
    ]


def default_fs_warnings(systems: FileSystems) -> list[InstallationWarned]:
    """One when destinations without a file system cannot be used, and nothing else refuses that."""
    default = systems.default
    if default is None or default.startswith(("hdfs://", "file:/")):
        return []
    return [
        InstallationWarned(
            code="W_DEFAULT_FS",
            reason=f"the default file system {redacted(default)} is not hdfs:// or file://: "
            "messages with a destination such as /dir are dead",
            hint="let messages write hdfs://nameservice/dir or hdfs://host:port/dir in full",
        )
    ]


def check_sources(policy: Policy, aws: AwsSession) -> None:
    """Refuse settings of S3A for the buckets of routes that cannot be used.

    Raises:
        ConfigurationError: As `AwsSession.check_bucket`, with the route's name.
    """
    for route in policy.routes:
        for bucket, _prefix in route.sources or ():
            try:
                aws.check_bucket(bucket)
            except ConfigurationError as error:
                raise ConfigurationError(
                    error.code, f"route {route.name}: {error.message}", hint=error.hint
                ) from error


def check_targets(policy: Policy, ports: Ports) -> None:
    """Ask each file system once for each user, and each route's directory where it leads.

    One that does not answer now is reported and not refused: transfers to it will be held. So is
    one in which the route's user may not write: the other routes go on.

    Raises:
        ConfigurationError: Kerberos here and not there, a proxy user who is not granted, a
            destination that is a link to elsewhere.
    """
    silent: set[tuple[str, str | None]] = set()
    for route in policy.routes:
        for place in route.destinations or ():
            who = (place.filesystem, route.run_as)
            if who in silent:
                continue
            try:
                with ports.pool.session(*who) as session:
                    existing, refused = session.write_access(place)
                denied = cannot_write(place, existing, refused)
                if denied is None and existing != place and place.scheme == "file":
                    ports.emit(_not_there(route.name, place, existing))
                if denied is not None:
                    ports.emit(
                        InstallationWarned(
                            code="W_DST_DENIED",
                            reason=f"route {route.name}: every transfer will die: {denied}",
                            hint=denied.hint,
                        )
                    )
            except BackhaulError as error:
                if error.code in _REFUSED:
                    raise ConfigurationError(
                        error.code, f"route {route.name}: {error.message}", hint=error.hint
                    ) from error
                ports.emit(
                    RouteTargetWarned(
                        route=route.name, code=error.code, reason=error.message, hint=error.hint
                    )
                )
                if isinstance(error, OutageError):
                    silent.add(who)


def _not_there(route: str, place: Location, existing: Location) -> InstallationWarned:
    """A mount that is missing looks like this: its data would go to the disk below it, unseen."""
    path = quote(printable(place.path, 4096))
    return InstallationWarned(
        code="W_DST_AWAY",
        reason=f"route {route}: {printable(place.uri)} does not exist; it would be made in "
        f"{printable(existing.uri)}, on what is mounted at {printable(mount_point(existing.path))}",
        hint="if it belongs on a mount that is missing, stop the agent, mount it, and write "
        f"RequiresMountsFor={path} into the unit; else make it once: mkdir -p {path}",
    )

"""Checks before the first message: the clock, the default file system, sources and targets."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from backhaul.access import mount_point
from backhaul.core.errors import BackhaulError, ConfigurationError, OutageError
from backhaul.core.facts import InstallationWarned, RouteTargetWarned
from backhaul.core.file_systems import FileSystems
from backhaul.core.model import Location
from backhaul.core.ports import Ports
from backhaul.core.requests.policy import Policy
from backhaul.core.text import printable, redacted
from backhaul.core.transfer.write_access import cannot_write

if TYPE_CHECKING:
    from backhaul.adapters.aws.clients import AwsSession

# Waiting does not fix these. At the start a person can; later they hold the transfer.
_REFUSED = frozenset({"E_HDFS_AUTH", "E_HDFS_PROXY", "E_DST_MOUNT"})


CLOCK_SKEW_MAX_S = 60


def clock_warnings(skew_s: float) -> list[InstallationWarned]:
    """A warning when this machine's clock is wrong."""
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
    """A warning when a destination without a file system, such as /dir, cannot be used."""
    default = systems.default
    is_target = default is None or default.startswith(("hdfs://", "file:/"))
    if is_target or systems.default_table is not None:
        return []
    return [
        InstallationWarned(
            code="W_DEFAULT_FS",
            reason=f"the default file system {redacted(default or '')} is not hdfs:// or file://"
            f"{_no_table(default or '')}: messages with a destination such as /dir are dead",
            hint="let messages write hdfs://nameservice/dir or hdfs://host:port/dir in full",
        )
    ]


def _no_table(default: str) -> str:
    return ", and has no mount table here" if default.startswith("viewfs://") else ""


def check_sources(policy: Policy, aws: AwsSession) -> None:
    """Refuse invalid S3A settings for the buckets of routes.

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
    """Check write access to each destination of each route, as the route's user.

    A target that does not answer, or refuses the write, is a warning: other routes go on. One that
    does not answer is not called again for the same user.

    Raises:
        ConfigurationError: Kerberos on one side alone, a proxy user without permission, a
            destination that is a link.
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
                    ports.emit(not_there(route.name, place, existing))
                if denied is not None:
                    ports.emit(
                        InstallationWarned(
                            code="W_DST_DENIED",
                            reason=f"route {route.name}: every transfer will fail: {denied}",
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


def not_there(route: str, place: Location, existing: Location) -> InstallationWarned:
    """A missing mount looks like this; its data would go to the disk below the mount point."""
    path = quote(printable(place.path, 4096))
    return InstallationWarned(
        code="W_DST_AWAY",
        reason=f"route {route}: {printable(place.uri)} does not exist; it would be created in "
        f"{printable(existing.uri)}, on what is mounted at {printable(mount_point(existing.path))}",
        hint="if it belongs on a mount that is missing, stop the agent, mount it, and write "
        f"RequiresMountsFor={path} into the unit; else create it once: mkdir -p {path}",
    )

"""What is looked at once, before the first message is received: the targets of the routes."""

from __future__ import annotations

from backhaul.core.errors import BackhaulError, ConfigurationError, OutageError
from backhaul.core.policy import Policy
from backhaul.core.runner import Ports

# What no waiting mends. At the start a person is there to mend it; later they are holds.
_REFUSED = frozenset({"E_HDFS_AUTH", "E_HDFS_PROXY", "E_DST_MOUNT"})


def check_targets(policy: Policy, ports: Ports) -> None:
    """Ask each file system once for each user, and each route's directory where it leads.

    One that does not answer now is told and not refused: transfers to it will be held.

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
                    session.existing_ancestor(place)
            except BackhaulError as error:
                if error.code in _REFUSED:
                    raise ConfigurationError(
                        error.code, f"route {route.name}: {error.message}", hint=error.hint
                    ) from error
                ports.emit(error)
                if isinstance(error, OutageError):
                    silent.add(who)

"""What the probes of `backhaul doctor` start from; as much of it as could be read."""

from __future__ import annotations

import os
import shlex
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from backhaul.adapters.ledger import find_reader
from backhaul.app.context import Context, load_context
from backhaul.app.queues import ChosenQueue, queues_to_work
from backhaul.app.unknown_route import unknown_route
from backhaul.core.errors import BackhaulError, ConfigurationError
from backhaul.core.model import Route
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.text import redacted
from backhaul.settings.load import find_config, load_part
from backhaul.settings.model import Settings

if TYPE_CHECKING:
    from backhaul.adapters.aws.clients import AwsSession


@dataclass(frozen=True, kw_only=True)
class DoctorContext:
    """Given on the command line, and read from the configuration.

    Attributes:
        loaded: Settings, routes and Hadoop's configuration; None where any of them has a fault.
        fault: That fault; a probe reports it.
        settings: All of them, or with a fault what is valid, the rest by default.
        queue: Its name, URL or ARN; where none was named, that of an agent that runs on the ledger;
            None: no probe of SQS.
        region: Likewise.
        chosen: The queues to be probed, of the configuration; empty: `queue` alone.
        role_arn: A role that is assumed for `queue`; `external_id`: likewise.
        route: Only this route is probed; None: all.
        is_offline: Nothing may be sent to the network.
        proxy: HTTPS_PROXY without its password; None: it is not set.
        arguments: What was typed behind `backhaul doctor`; empty: nothing.
    """

    loaded: Context | None
    fault: BackhaulError | None
    settings: Settings
    config_path: Path | None
    queue: str | None = None
    region: str | None = None
    chosen: tuple[ChosenQueue, ...] = ()
    role_arn: str | None = None
    external_id: str | None = None
    route: str | None = None
    is_offline: bool = False
    proxy: str | None = None
    arguments: tuple[str, ...] = ()

    def as_user(self, name: str) -> str:
        """The same command by another user, for a shell."""
        return shlex.join(["sudo", "-u", name, "backhaul", "doctor", *self.arguments])

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """Those to be probed; none where the configuration has a fault."""
        if self.loaded is None:
            return ()
        found = self.loaded.policy.routes
        return tuple(one for one in found if self.route in {None, one.name})

    @cached_property
    def aws(self) -> AwsSession:
        """Made at its first use; sends nothing by itself."""
        from backhaul.adapters.aws.clients import AwsSession
        from backhaul.adapters.hadoop.configuration.s3a import S3aConfiguration

        directory = self.loaded.conf_dir if self.loaded is not None else None
        return AwsSession(
            self.region or "us-east-1",
            S3aConfiguration.loader(directory),
            role=self.role_arn,
            external_id=self.external_id,
        )

    @property
    def of_each_queue(self) -> tuple[DoctorContext, ...]:
        """For the probes of queues: one for each, with its region and the session of its role."""
        if not self.chosen:
            return (self,)
        return tuple(
            replace(
                self,
                queue=one.text,
                region=one.region,
                role_arn=one.role_arn,
                external_id=one.external_id,
                chosen=(),
            )
            for one in self.chosen
        )


def read_context(
    *,
    config: Path | None,
    ledger: LedgerPlace | None = None,
    allow: tuple[str, ...] = (),
    allow_any: bool = False,
    queue: str | None = None,
    region: str | None = None,
    route: str | None = None,
    is_offline: bool = False,
) -> DoctorContext:
    """Read what can be read; a fault of the configuration is kept for its probe.

    Raises:
        BackhaulError: E_ROUTE_UNKNOWN: the configuration is fine and has no such route.
    """
    loaded: Context | None = None
    fault: BackhaulError | None = None
    path: Path | None = None
    try:
        loaded = load_context(config=config, ledger=ledger, allow=allow, allow_any=allow_any)
        settings, path = loaded.settings, loaded.config_path
    except BackhaulError as error:
        fault = error
        settings, path = _what_is_valid(config, ledger)
    chosen: tuple[ChosenQueue, ...] = ()
    if settings.queue and loaded is not None:
        chosen = queues_to_work(settings.queue, queue, region)
        queue, region = chosen[0].text, chosen[0].region
    elif queue is None:
        queue, region = _worked_by_an_agent(settings)
    if loaded is not None and route is not None:
        known = [one.name for one in loaded.policy.routes]
        if route not in known:
            raise unknown_route(route, known, where="in the configuration")
    return DoctorContext(
        loaded=loaded,
        fault=fault,
        settings=settings,
        config_path=path,
        queue=queue,
        region=region,
        chosen=chosen,
        route=route,
        is_offline=is_offline,
        proxy=_proxy(),
    )


def _worked_by_an_agent(settings: Settings) -> tuple[str | None, str | None]:
    """Queue and region of an agent that runs on this ledger; what fails here, a probe reports."""
    with suppress(BackhaulError, OSError):
        reader = find_reader(settings.ledger_place, busy_timeout_s=5.0)
        if reader is not None:
            with closing(reader):
                now = datetime.now(UTC)
                alive = [
                    each.identity
                    for one in reader.agents()
                    if one.is_alive(now)
                    for each in one.record.by_queue
                ]
            if alive:
                return alive[0].queue, alive[0].region
    return None, None


def _proxy() -> str | None:
    found = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    return redacted(found) if found else None


def _what_is_valid(config: Path | None, ledger: LedgerPlace | None) -> tuple[Settings, Path | None]:
    path: Path | None = None
    try:
        path = find_config(config)
        settings, _ = load_part(path, ("ledger", "log"))
    except ConfigurationError:
        settings = Settings.model_construct()
    if ledger is not None:
        settings = settings.model_copy(update={"ledger": ledger})
    return settings, path

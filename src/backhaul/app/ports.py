"""Builds the ports of the core from concrete classes: S3, ledger, workers and YARN."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from backhaul import GC_EVERY
from backhaul.adapters.hadoop.command import Command
from backhaul.adapters.hadoop.configuration.filesystems import demands_kerberos
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.configuration.s3a import S3aConfiguration
from backhaul.adapters.hadoop.hdfs.creation import creation_rules
from backhaul.adapters.hadoop.kerberos import Login, ticket
from backhaul.adapters.hadoop.yarn import (
    YarnClient,
    history_address,
    manager_addresses,
    may_hide,
)
from backhaul.adapters.system.clock import SystemClock, host_name
from backhaul.adapters.system.governor import GovernorSpec
from backhaul.adapters.system.rate_seat import NodeRateSeat
from backhaul.adapters.system.trusted_files import check_ledger_directory
from backhaul.core import facts as events
from backhaul.core.agent.pausing.budgets import BudgetGate
from backhaul.core.errors import TransientError
from backhaul.core.ports import Emit, Ports
from backhaul.core.ports.ledger_place import PostgresUrl
from backhaul.engines.distcp import DistCp
from backhaul.engines.pool import PoolSettings, WorkerPool
from backhaul.engines.tuning import Tuning
from backhaul.settings.model import Settings, in_home
from backhaul.worker import WorkerConfiguration

if TYPE_CHECKING:
    from backhaul.adapters.aws.clients import AwsSession
    from backhaul.adapters.ledger.postgres.members.member import Member
    from backhaul.adapters.ledger.store import SqlLedger

from backhaul.app.context import Context

# As the HDFS client reads them.
USER, PROXY_USER = "HADOOP_USER_NAME", "HADOOP_PROXY_USER"
# Without -P the working directory is searched first, and may hold a file named as a library.
WORKER = (sys.executable, "-P", "-m", "backhaul.worker")
NO_USER = "backhaul-without-kerberos"
_SECRET = re.compile("KEY|SECRET|TOKEN|PASSWORD")


@dataclass(frozen=True, kw_only=True)
class Opened:
    """`ports` for the core; the rest for the command that starts and ends it."""

    ports: Ports
    budgets: BudgetGate
    pool: WorkerPool
    ledger: SqlLedger
    aws: AwsSession


@contextmanager
def open_ports(
    context: Context,
    region: str,
    emit: Emit,
    workers: int,
    *,
    is_warm: bool = False,
    member: Member | None = None,
    seat: NodeRateSeat | None = None,
) -> Iterator[Opened]:
    """Workers, ledger and clients; closed in reverse order.

    Args:
        is_warm: Start one worker at once: it loads its libraries while this process loads its own,
            opens the ledger, creates its clients and lists the source.
        member: The agent, as `agent_lock` yields it.
        seat: The agent's.

    Raises:
        ConfigurationError: E_LEDGER_PLACE, or another fault of the ledger.
    """
    place = context.settings.ledger_place
    volatile = None if isinstance(place, PostgresUrl) else check_ledger_directory(place)
    if volatile:
        emit(
            events.InstallationWarned(
                code="W_LEDGER_VOLATILE",
                reason=f"the ledger {place} is on {volatile}: its "
                "records are lost with this machine or container",
                hint="put it on a persistent disk; see the setting `ledger`",
            )
        )
    taking = rate_seat(context.settings) if member is None else nullcontext(seat)
    # The pool closes first: no worker writes while the ledger closes, or reads when its share of
    # the byte rate is given back.
    with (
        taking as mine,
        ExitStack() as opened,
        closing(make_pool(context, emit, workers, seat=mine)) as pool,
    ):
        if is_warm:
            pool.warm_up()
        # These imports are half of a start's CPU; the worker starts meanwhile on another core.
        from backhaul.adapters.aws.clients import AwsSession
        from backhaul.adapters.aws.s3 import S3Store
        from backhaul.adapters.ledger import open_ledger, standbys_of

        aws = AwsSession(region, S3aConfiguration.loader(context.conf_dir))
        ledger = opened.enter_context(
            closing(open_ledger(place, create=True, host=host_name(), member=member, seat=mine))
        )
        standbys = standbys_of(place) if member is not None else None
        if standbys is not None and standbys.is_async:
            emit(
                events.InstallationWarned(
                    code=standbys.code,
                    reason=f"{place}: {standbys.sentence}",
                    hint="; ".join(standbys.fix),
                )
            )
        clock = SystemClock()
        budgets = BudgetGate(ledger, clock, emit, context.settings.cost.price)
        budgets.follow(context.settings.budgets)
        ports = Ports(
            store=S3Store(aws),
            ledger=ledger,
            pool=pool,
            clock=clock,
            emit=emit,
            budgets=budgets,
            cluster=make_cluster(context, pool.wait_for_abort, ledger.standing.require, seat=mine),
            standing=ledger.standing,
        )
        pool.require = ledger.standing.require
        gc.freeze()  # the garbage collector skips what was imported
        gc.set_threshold(GC_EVERY)
        yield Opened(ports=ports, budgets=budgets, pool=pool, ledger=ledger, aws=aws)


def make_cluster(
    context: Context,
    wait_for_abort: Callable[[float], bool] = lambda _seconds: False,
    require: Callable[[], None] = lambda: None,
    *,
    seat: NodeRateSeat | None = None,
) -> DistCp | None:
    """DistCp on YARN; None where no ResourceManager is configured.

    Args:
        wait_for_abort: Waits that many seconds; True once all transfers have to stop.
        require: See `DistCp`.
        seat: An application's rate is of its share.
    """
    configuration = HadoopConfiguration.load_for_jobs(context.conf_dir)
    addresses = manager_addresses(configuration)
    if not addresses:
        return None

    def pause(seconds: float) -> None:
        if wait_for_abort(seconds):
            raise TransientError("E_STOPPED", "the agent is stopping; the application goes on")

    return DistCp(
        rules=context.settings.distcp.rules,
        hadoop=hadoop_command(context, configuration),
        yarn=YarnClient(
            addresses,
            hadoop_command(context, configuration, name="yarn"),
            history=history_address(configuration),
            may_hide=may_hide(configuration),
        ),
        pause=pause,
        reservations=governor_spec(context.settings, seat).open(),
        secrets=configuration.secret_names(),
        require=require,
    )


def hadoop_command(
    context: Context, configuration: HadoopConfiguration, *, name: str = "hadoop"
) -> Command:
    """`hadoop`, or `yarn` beside it, as the settings name it.

    Args:
        configuration: Of `load_for_jobs`.
    """
    chosen = context.settings.distcp.hadoop
    return Command(
        name,
        None if chosen is None else chosen.with_name(name) if name != "hadoop" else chosen,
        context.conf_dir,
        partial(ticket, login_of(context.settings)),
        variables=configuration.environment_names,
    )


def make_pool(
    context: Context,
    emit: Emit,
    workers: int,
    *,
    stall_timeout_s: float | None = None,
    seat: NodeRateSeat | None = None,
) -> WorkerPool:
    """The worker processes; none is started before it is needed.

    Args:
        stall_timeout_s: Instead of the setting.
        seat: Its share is the byte-rate limit of the workers; None: they have that of this node.

    Raises:
        ConfigurationError: E_CFG_HADOOP_VALUE: no worker could create files with these values.
    """
    creation_rules(context.hadoop)
    signatures = (route.signature for route in context.settings.route)
    hidden = frozenset(one.key_env for one in signatures if one is not None and one.key_env)
    return WorkerPool(
        PoolSettings(
            workers=workers,
            stall_timeout_s=stall_timeout_s or context.settings.agent.stall_timeout_s,
            idle_s=context.settings.agent.worker_idle_s,
            command=WORKER,
            configuration=WorkerConfiguration(
                hadoop=context.hadoop.without_secrets(),
                tuning=Tuning(),
                login=login_of(context.settings),
                governor=governor_spec(context.settings, seat),
            ),
            environment=lambda user: worker_environment(context.hadoop, user, hidden),
        ),
        emit,
    )


def governor_spec(settings: Settings, seat: NodeRateSeat | None = None) -> GovernorSpec:
    """The byte-rate limit of everything that shares this ledger's files.

    Args:
        seat: Of the process whose share is the limit.
    """
    return GovernorSpec(
        ledger=str(settings.ledger_path.absolute()),
        schedule=settings.bandwidth.schedule,
        seat=None if seat is None else seat.number,
    )


@contextmanager
def rate_seat(settings: Settings) -> Iterator[NodeRateSeat | None]:
    """Where this process reads under its share of a limit of several hosts; None: with a file.

    Raises:
        OutageError: `ledger` E_RATE_FILE.
    """
    if not isinstance(settings.ledger_place, PostgresUrl):
        yield None
        return
    with closing(NodeRateSeat(settings.ledger_path, settings.bandwidth.schedule)) as seat:
        yield seat


def login_of(settings: Settings) -> Login:
    """Who the agent is on a cluster with Kerberos."""
    kerberos = settings.kerberos
    return Login(
        principal=kerberos.principal,
        keytab=str(in_home(kerberos.keytab)) if kerberos.keytab else None,
        cache=kerberos.cache,
    )


def _is_own_secret(name: str) -> bool:
    own = name.removeprefix("BACKHAUL_")
    return own != name and _SECRET.search(own) is not None


def worker_environment(
    hadoop: HadoopConfiguration, user: str | None, hidden: frozenset[str] = frozenset()
) -> dict[str, str]:
    """The agent's own environment, without the secrets that a worker does not need.

    A worker reads S3 and writes HDFS, so it keeps the variables of AWS and Kerberos, and those that
    Hadoop's files refer to. Backhaul's own settings reach it through its pipe.

    Args:
        user: `run_as` of a route.
        hidden: Variables with signing keys, which the agent alone needs.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != PROXY_USER
        and name not in hidden
        and (name in hadoop.environment_names or not _is_own_secret(name))
    }
    if demands_kerberos(hadoop):
        # The HDFS client uses this name only without Kerberos, which every attempt refuses first.
        # Should Kerberos end during one, the name is no user's.
        kept[USER] = NO_USER
        if user is not None:
            kept[PROXY_USER] = user
    elif user is not None:
        kept[USER] = user  # without Kerberos the NameNode trusts any name
    return kept

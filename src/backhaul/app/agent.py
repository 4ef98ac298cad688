"""`backhaul run`: builds the agent from queue, ledger and workers, and handles signals."""

from __future__ import annotations

import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from backhaul import __version__
from backhaul.adapters.ledger import agent_lock
from backhaul.adapters.system.clock import SystemClock, SystemRandomness, host_name
from backhaul.adapters.system.systemd import Systemd
from backhaul.app.context import Context, require_routes
from backhaul.app.deadman import Deadman
from backhaul.app.facts import fan_out
from backhaul.app.hangup import Hangup
from backhaul.app.metrics import MetricsExport
from backhaul.app.notify import make_notifier
from backhaul.app.ports import Opened, governor_spec, open_ports, rate_seat
from backhaul.app.queues import AgentQueues, ChosenQueue
from backhaul.app.reload import ConfigurationReload
from backhaul.app.replying import Replying
from backhaul.app.schema_hold import wait_for_schema
from backhaul.app.self_pause import SelfPause
from backhaul.app.start import check_sources, check_targets, clock_warnings, default_fs_warnings
from backhaul.app.sweep import sweep
from backhaul.app.upkeep import Upkeep
from backhaul.core.agent.agent import Agent
from backhaul.core.agent.observer import Observer
from backhaul.core.agent.reporting import Reporter
from backhaul.core.agent.settings import AgentSettings, WorkedQueue
from backhaul.core.agent.stopping import Stop
from backhaul.core.agent_report import AgentIdentity
from backhaul.core.errors import BackhaulError, ExitCode
from backhaul.core.facts import AgentStarted
from backhaul.core.ports import Emit
from backhaul.core.requests.policy import warnings as route_warnings
from backhaul.core.requests.queue_names import parse_queue
from backhaul.engines.pool import WorkerPool

if TYPE_CHECKING:
    from backhaul.adapters.aws.clients import AwsSession
    from backhaul.adapters.ledger.postgres.members.member import Member
    from backhaul.settings.model import AgentSection

FLEET_VISIBILITY_S = 45  # a dead agent's messages are worked elsewhere after at most so long
END_S = 30.0  # longest orderly end without a heartbeat of the main thread


def run_agent(
    context: Context,
    *,
    queues: Sequence[ChosenQueue],
    drain: bool,
    emit: Emit,
    read_again: Callable[[], Context],
    reopen_log: Callable[[], Path | None] = lambda: None,
) -> ExitCode:
    """Process the queues until a signal or, in a drain, until they are empty.

    Args:
        queues: At least one; the region of the first is that of S3 and of replies where AWS's own
            settings name none.
        read_again: Called after a SIGHUP; returns the context of the file as it is then.
        reopen_log: Called after a SIGHUP; returns the log file, where there is one.
    """
    for one in queues:
        parse_queue(one.text).check_region(one.region)
    region = queues[0].region
    require_routes(context)
    slots = context.settings.agent.slots
    systemd = Systemd()
    place = context.settings.ledger_place
    if not drain and not wait_for_schema(place, emit, systemd):
        return ExitCode.OK
    regions = {one.label: one.region for one in queues}
    observer = Observer(SystemClock(), slots=slots, queues=regions)
    reading = threading.Lock()  # readers of one process take turns
    export = MetricsExport(context, observer, SystemClock(), reading)
    notifier = make_notifier(context.settings, context.config_path, observer, emit)
    # The observer forgets what has ended.
    self_pause = SelfPause(observer.route_of, SystemClock(), emit)
    replying = Replying()
    emit = fan_out(emit, *export.receivers, notifier, self_pause, observer)
    hangup = Hangup(reopen_log, emit)
    with (
        hangup.noted(),
        rate_seat(context.settings) as seat,
        agent_lock(place, host_name(), seat) as member,
        export.opened(emit),
        open_ports(context, region, emit, slots, member=member, seat=seat) as opened,
    ):
        export.limited_by(governor_spec(context.settings, seat))
        pool = opened.pool
        deadman = Deadman(SystemClock(), context.settings.agent.watchdog_s + END_S, pool.abort)
        opening = AgentQueues(queues, partial(_session, context, opened), emit)
        opening.open()
        identity = _identity(member, opened, queues, slots)
        upkeep = Upkeep(context, opened.ledger, reading, emit)
        routes = ConfigurationReload(
            context,
            read=read_again,
            check_sources=lambda policy: check_sources(policy, opened.aws),
            adopt=(
                upkeep.adopt,
                export.add_routes,
                replying.adopt,
                lambda found: opened.budgets.follow(found.settings.budgets),
            ),
            ports=opened.ports,
            emit=emit,
        )

        def beat() -> None:
            deadman.beat()
            systemd.alive()
            export.beat()
            hangup.act()

        reporter = Reporter(
            identity=identity,
            observer=observer,
            queues={one.label: queue for one, queue in zip(queues, opening.queues, strict=True)},
            ledger=opened.ledger,
            clock=SystemClock(),
            look_ahead=upkeep.turn,
            published=lambda health: systemd.status(health.sentence),
        )
        agent = _make_agent(
            context, opened, opening, routes, drain=drain, beat=beat, reporter=reporter
        )
        for poller in agent.pollers:
            observer.watch_rest(poller.context.name, poller.is_resting)
        if member is not None:
            member.when_fenced(lambda: agent.request_stop(Stop.NOW))
        hangup.stop = lambda: agent.request_stop(Stop.DRAIN)
        with stopping_on_signals(agent):
            _prepare(context, opened)
            replying.start(context, opened.ledger, region, emit)
            export.follow(identity, opened.ledger)
            # Last: where the ledger fails before this, the process ends as one that never started.
            _announce(context, opened, opening, emit)
            systemd.ready()
            deadman.start()
            notifier.start(identity)
            hangup.reload = routes.request
            self_pause.follow(opened.ledger, lambda: routes.pause_after)
            try:
                agent.run()
            finally:
                deadman.disarm()
                systemd.stopping()
                replying.close()
                notifier.close()
                if agent.is_stuck:
                    _leave_hard(pool)
        if member is not None and member.is_fenced:
            raise member.fenced_off()
    if agent.was_cut_short:
        return ExitCode.INTERRUPTED
    return ExitCode.UNAVAILABLE if agent.totals.gave_up else ExitCode.OK


def _make_agent(
    context: Context,
    opened: Opened,
    opening: AgentQueues,
    routes: ConfigurationReload,
    *,
    drain: bool,
    beat: Callable[[], None],
    reporter: Reporter,
) -> Agent:
    settings = context.settings.agent
    return Agent(
        queues=[
            WorkedQueue(queue=queue, name=one.label, min_slots=one.min_slots)
            for one, queue in zip(opening.chosen, opening.queues, strict=True)
        ],
        ports=opened.ports,
        policy=lambda: routes.policy,
        settings=settings.into(
            AgentSettings,
            host=host_name(),
            drain=drain,
            default_fs=context.default_fs,
            retry=settings.retry,
            visibility_timeout_s=_visibility_s(opened, settings),
        ),
        randomness=SystemRandomness(),
        abort_transfers=opened.pool.abort,
        beat=beat,
        reporter=reporter,
    )


def _session(context: Context, opened: Opened, queue: ChosenQueue) -> AwsSession:
    """That of S3 serves a queue of its region that needs no role."""
    if queue.role_arn is None and queue.region == opened.aws.region:
        return opened.aws
    return queue.session(context.conf_dir)


def _visibility_s(opened: Opened, settings: AgentSection) -> int:
    """As it is set; unset it is short where other agents wait for what this one leaves behind."""
    is_set = "visibility_timeout_s" in settings.model_fields_set
    is_shared = opened.ledger.standing.is_shared and not is_set
    return FLEET_VISIBILITY_S if is_shared else settings.visibility_timeout_s


def _identity(
    member: Member | None, opened: Opened, queues: Sequence[ChosenQueue], slots: int
) -> AgentIdentity:
    """Of this start of this process."""
    return AgentIdentity(
        id=uuid.uuid4().hex if member is None else member.id,
        host=host_name(),
        owner=opened.ledger.owner.text if member is None else member.process.text,
        version=__version__,
        queue=", ".join(one.label for one in queues),
        region=", ".join(dict.fromkeys(one.region for one in queues)),
        slots=slots,
        started_at=SystemClock().now(),
    )


def _prepare(context: Context, opened: Opened) -> None:
    """What has to be right before the first message; and what copies left behind is removed.

    Raises:
        ConfigurationError: As `check_sources` and `check_targets`.
        OutageError: `ledger`.
    """
    opened.pool.warm_up()
    check_sources(context.policy, opened.aws)
    check_targets(context.policy, opened.ports)
    sweep(opened.ports, opened.ledger, context.policy)


def _announce(context: Context, opened: Opened, opening: AgentQueues, emit: Emit) -> None:
    """That it has started, and what is risky."""
    dead = [one.facts.dead_letter_name for one in opening.queues]
    emit(
        AgentStarted(
            queue=", ".join(one.label for one in opening.chosen),
            slots=context.settings.agent.slots,
            dead_letter_queue=", ".join(one for one in dead if one) or None,
            ledger=str(context.settings.ledger_place),
        )
    )
    opening.announce()
    for warning in (
        *clock_warnings(opened.aws.clock_skew_s),
        *default_fs_warnings(context.default_fs),
        *route_warnings(context.policy),
    ):
        emit(warning)


def _leave_hard(pool: WorkerPool) -> None:
    """End now: a thread hangs in a call without a limit, and a normal exit would wait for it."""
    error = sys.exc_info()[1]
    if error is not None:  # no handler above will run
        print(f"backhaul: {error}", file=sys.stderr)  # noqa: T201 - the process ends here
    pool.abort()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(error.exit_code if isinstance(error, BackhaulError) else ExitCode.INTERRUPTED)


@contextmanager
def stopping_on_signals(agent: Agent) -> Iterator[None]:
    """The first SIGTERM or SIGINT drains; the second stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only; the embedder stops the agent itself
        return
    count = 0

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        agent.request_stop(Stop.DRAIN if count == 1 else Stop.NOW)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

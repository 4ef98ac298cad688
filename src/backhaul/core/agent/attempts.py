"""One record of a message: attempts, one after the other, until it has an outcome.

An attempt is understood, counted in the ledger, checked against the policy, and carried out by
`core.transfer.attempt`; its verdict is what becomes of the message. While a dependency is down, or
another transfer owns the destination, the message stays here, hidden, and the next attempt follows.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from backhaul.core import facts
from backhaul.core.agent.context import AgentContext
from backhaul.core.agent.dead_lettering import dead_letter
from backhaul.core.agent.failures import fail, is_taken_over, refund
from backhaul.core.agent.pausing.full import RoutePlace
from backhaul.core.agent.returning import hand_back, return_later
from backhaul.core.agent.stopping import Stop
from backhaul.core.agent.verdicts import BUSY, budget_of, elsewhere_s, in_time, known_end
from backhaul.core.backoff import hold_delay_s
from backhaul.core.errors import (
    BackhaulError,
    BudgetUsedUp,
    OutageError,
    PermanentError,
    RouteFull,
    RoutePaused,
)
from backhaul.core.model import Hold, Request, TransferState
from backhaul.core.ports import AttemptStart, Message, MessageOrigin
from backhaul.core.requests.admission import check_signature
from backhaul.core.requests.content import Ignored, ObjectEvent, RecordBody
from backhaul.core.requests.event_routes import request_of
from backhaul.core.requests.records import Dead, MessageRecord, RecordOutcome, RouteWait
from backhaul.core.text import excerpt
from backhaul.core.transfer.attempt import Attempt
from backhaul.core.transfer.listing import current_object
from backhaul.core.transfer.outages import WAIT_MOST_S
from backhaul.core.transfer.outcome import Budget, Disposition, Verdict, after_failure

BUSY_WAIT_S = 1.0


class RecordAttempts:
    """The attempts of one record of one delivery, in the thread of its slot."""

    def __init__(self, context: AgentContext, message: Message, record: MessageRecord) -> None:
        self._context = context
        self._message = message
        self._record = record
        # Of the attempt under way; None until the ledger has counted it.
        self._start: AttemptStart | None = None
        self._place = RoutePlace(context, message, record.number)

    def run(self) -> RecordOutcome | None:
        """Attempt until it has ended or failed; None when the message was returned to SQS."""
        tries = 0
        held_since_s: float | None = None
        held_by = ""
        while True:
            verdict = self._attempt()
            is_paused = isinstance(verdict.error, RoutePaused)  # whatever became of what held it
            is_held = verdict.disposition is Disposition.HOLD
            if held_since_s is not None and not is_held and not is_paused:
                held_s = self._context.clock.monotonic() - held_since_s
                self._context.emit(
                    facts.TransferResumed(
                        transfer_id=self._transfer_id,
                        message_id=self._message.message_id,
                        dependency=held_by,
                        held_s=held_s,
                    )
                )
                held_since_s, tries = None, 0
            verdict = self._last_chance(verdict)
            match verdict.disposition:
                case Disposition.HOLD if isinstance(verdict.error, OutageError):
                    held_since_s = held_since_s or self._context.clock.monotonic()
                    held_by = verdict.error.dependency
                    tries += 1
                    is_stopped = self._hold(verdict.error, tries, held_since_s)
                case Disposition.WAIT if isinstance(verdict.error, RoutePaused):
                    return self._leave_paused(verdict.error)
                case Disposition.WAIT if isinstance(verdict.error, RouteFull):
                    outcome = self._leave_full(verdict.error)
                    if outcome is not None:
                        return outcome
                    is_stopped = self._pause(BUSY_WAIT_S)
                case Disposition.WAIT:
                    is_stopped = self._wait_for_others()
                case _:
                    return self._outcome(verdict)
            if is_stopped:
                return None

    @property
    def _transfer_id(self) -> str:
        return self._start.transfer_id if self._start else ""

    @property
    def _budget(self) -> Budget:
        settings, queue = self._context.settings, self._context.queue
        return budget_of(self._start, self._message, settings.retry, queue.facts)

    # ------------------------------------------------------------ one attempt

    def _attempt(self) -> Verdict:
        """Count the attempt, then work; whatever happens becomes a verdict."""
        self._start = None
        result = self._context.result_or_error(self._work)
        return result if isinstance(result, Verdict) else after_failure(result, self._budget)

    def _work(self) -> Verdict:
        request = self._understand(self._record.body)
        if isinstance(request, Ignored):
            request = self._confirm_placeholder(request)
        if isinstance(request, Ignored):
            self._context.emit(
                facts.MessageIgnored(
                    message_id=self._message.message_id, reason=request.reason, what=request.what
                )
            )
            return Verdict(disposition=Disposition.DELETE)
        if isinstance(request, Request):
            route = self._context.policy().route_for(request, queue=self._message.queue)
            full = self._place.still_full(route)
            if full is not None:
                return Verdict(disposition=Disposition.WAIT, error=full)
        self._start = start = self._begin(request)
        verdict = known_end(start, self._context.settings.retry)
        if verdict is not None:
            return verdict
        if isinstance(request, BackhaulError):
            return after_failure(request, self._budget)
        if request.event is not None and start.directory is not None:
            # The first claim settled an event's destination, whatever the route means now.
            request = replace(request, destination=start.directory)
        return self._transfer(start, request)

    def _understand(self, body: RecordBody) -> Request | Ignored | BackhaulError:
        """The request, or why there is none; the ledger remembers both."""
        context = self._context
        try:
            return request_of(
                context.policy(),
                body,
                queue=self._message.queue,
                default_fs=context.settings.default_fs,
            )
        except BackhaulError as error:
            return error

    def _confirm_placeholder(self, ignored: Ignored) -> Request | Ignored | BackhaulError:
        """Check in S3 an object that its event claims to be an empty directory placeholder.

        Raises:
            OutageError, TransientError: S3 does not answer; nothing is decided.
        """
        source, event = ignored.placeholder, self._record.body
        if source is None or not isinstance(event, ObjectEvent):
            return ignored
        store = self._context.ports.store
        try:
            pin = current_object(store, source.bucket, source.key, owner=ignored.owner)
        except PermanentError as error:
            return error
        if pin is None or pin.size_bytes == 0:
            return ignored
        return self._understand(replace(event, size_bytes=pin.size_bytes))

    def _begin(self, request: Request | BackhaulError) -> AttemptStart:
        """Count the attempt in the ledger, before any work."""
        route, replies = None, None
        if isinstance(request, Request):
            source, destination = request.source.uri, request.destination.uri
            policy, queue = self._context.policy(), self._message.queue
            route = policy.route_for(request, queue=queue)
            if policy.sends_replies:
                sender = self._message.sender_id
                replies = policy.replies_for(request, sender_id=sender, queue=queue)
        elif isinstance(self._record.body, ObjectEvent):
            source, destination = self._record.body.source.uri, ""
        else:
            source, _, destination = excerpt(self._message.body).partition(",")
        return self._context.ports.ledger.begin(
            self._record.key(self._message),
            self._context.randomness.transfer_id(),
            source.strip(),  # for people; what is copied is in the plan
            destination.strip(),
            self._context.clock.now(),
            origin=_origin(self._message),
            route=route,
            replies=replies,
        )

    def _transfer(self, start: AttemptStart, request: Request) -> Verdict:
        context, message = self._context, self._message
        policy, settings = context.policy(), context.settings
        job = policy.decide(request, sender_id=message.sender_id, queue=message.queue)
        # What may be visible in part is finished first.
        wait = None if start.was_publishing else context.pauses.why_not(job.route)
        if wait is not None:
            return Verdict(disposition=Disposition.WAIT, error=wait)
        check_signature(
            policy.find(job.route).signature,
            message,
            self._record.key(message),
            context.ports.ledger,
            context.clock,
        )
        place = self._place
        if not place.enter(job, start.transfer_id):
            return Verdict(disposition=Disposition.WAIT, error=place.refusal(job.route))
        has_run = False
        try:
            if place.is_full(start.transfer_id, job):
                return Verdict(disposition=Disposition.WAIT, error=place.refusal(job.route))
            has_run = True
            return Attempt(
                ports=context.ports,
                policy=context.policy,
                begun=start,
                job=job,
                budget=self._budget,
                message_id=message.message_id,
                wait_most_s=settings.drain_patience_s if settings.drain else WAIT_MOST_S,
            ).run()
        finally:
            place.give_up(job, has_run=has_run)

    def _last_chance(self, verdict: Verdict) -> Verdict:
        """The verdict, or death while SQS still has the message; the ledger knows every death.

        An attempt may end before the ledger counted it. Where it was the last one, the ledger
        counts it now: only what the ledger knows gets a dead letter.
        """
        error = verdict.error
        if self._start is None and isinstance(error, OutageError) and error.dependency == "ledger":
            return verdict  # nothing can be recorded; once it can be, the message is tried
        if self._start is None or not self._start.is_live:
            context = self._context
            verdict = in_time(verdict, self._message, context.queue.facts, context.clock.now())
        reason = verdict.error
        if self._start is not None or verdict.disposition is not Disposition.DEAD or reason is None:
            return verdict
        start = self._context.result_or_error(lambda: self._begin(reason))
        if isinstance(start, BackhaulError):
            is_outage = isinstance(start, OutageError)
            return Verdict(
                disposition=Disposition.HOLD if is_outage else Disposition.RETRY, error=start
            )
        self._start = start
        # It may have ended before, or run elsewhere.
        return known_end(start, self._context.settings.retry) or verdict

    # ------------------------------------------------------------ waiting with the message in hand

    def _hold(self, error: OutageError, tries: int, since_s: float) -> bool:
        """Wait for a dependency that is down; True when the agent stops meanwhile."""
        context = self._context
        delay_s = hold_delay_s(tries, context.chance())
        now = context.clock.now()
        hold = Hold(
            dependency=error.dependency, since=now, retry_at=now + timedelta(seconds=delay_s)
        )
        refund(context, self._start, TransferState.HELD, error, hold)
        context.emit(
            facts.TransferHeld(
                transfer_id=self._transfer_id,
                message_id=self._message.message_id,
                dependency=error.dependency,
                code=error.code,
                reason=error.message,
                hint=error.hint,
                retry_in_s=delay_s,
            )
        )
        held_s = context.clock.monotonic() - since_s
        if context.settings.drain and held_s + delay_s > context.settings.drain_patience_s:
            context.totals.gave_up += 1
            context.stopper.request(Stop.DRAIN)
        return self._pause(delay_s)

    def _wait_for_others(self) -> bool:
        """Wait for a busy destination or route; True when the message was returned to SQS."""
        if self._start is not None and self._start.is_live:
            # Another process on this ledger has this very message; it will settle it.
            return_later(self._context, self._message, self._elsewhere_s(self._start.owner))
            return True
        refund(self._context, self._start, TransferState.WAITING, BUSY)
        self._context.emit(
            facts.TransferWaiting(
                transfer_id=self._transfer_id,
                destination=excerpt(self._message.body),
                retry_in_s=BUSY_WAIT_S,
            )
        )
        return self._pause(BUSY_WAIT_S)

    def _elsewhere_s(self, owner: str | None) -> int:
        """How long to leave it to this owner: each receive is one of those that SQS allows."""
        context, message = self._context, self._message
        return elsewhere_s(
            message,
            context.queue.facts,
            watch_s=context.ports.standing.elsewhere_s(owner),
            times=context.times_elsewhere(message.message_id, owner),
            timeout_s=context.settings.visibility_timeout_s,
        )

    def _leave_full(self, error: RouteFull) -> RecordOutcome | None:
        """Leave the slot to other routes, unspent; None where too many did, or in a drain."""
        context, message = self._context, self._message
        if self._start is not None:
            refund(context, self._start, TransferState.WAITING, error)
            context.emit(
                facts.TransferWaiting(
                    transfer_id=self._transfer_id,
                    destination=excerpt(message.body),
                    retry_in_s=max(BUSY_WAIT_S, self._place.left_s(error.route)),
                )
            )
        wait = self._place.leave(error.route)
        return None if wait is None else RecordOutcome(wait=wait)

    def _leave_paused(self, error: RoutePaused) -> RecordOutcome:
        """Leave the slot until the route is resumed; nothing is spent."""
        refund(self._context, self._start, TransferState.WAITING, error)
        self._context.emit(
            facts.TransferPaused(
                transfer_id=self._transfer_id,
                message_id=self._message.message_id,
                route=error.route,
                reason=error.message,
            )
        )
        needed_bytes = error.needed_bytes if isinstance(error, BudgetUsedUp) else 0
        return RecordOutcome(wait=RouteWait(route=error.route, needed_bytes=needed_bytes))

    def _pause(self, seconds: float) -> bool:
        """Sleep; True when a stop ended it and the message was handed back."""
        if not self._context.stopper.pause(seconds):
            return False
        hand_back(self._context, self._message, self._transfer_id)
        return True

    # ------------------------------------------------------------ the outcome

    def _outcome(self, verdict: Verdict) -> RecordOutcome | None:
        """Record how the last attempt ended; None when the message was returned to SQS instead."""
        context, message, start = self._context, self._message, self._start
        if verdict.disposition is Disposition.DELETE:
            if start is not None and start.state.is_final:
                context.emit(
                    facts.MessageRecognised(
                        message_id=message.message_id,
                        transfer_id=start.transfer_id,
                        state=start.state,
                        is_running=False,
                    )
                )
            return RecordOutcome(is_ignored=start is None)
        error = verdict.error
        if error is None:
            raise AssertionError("only what is deleted ends without an error")
        if context.stopper.level is Stop.NOW and not isinstance(error, PermanentError):
            # This stop cut the attempt short: unspent, and visible at once.
            refund(context, start, TransferState.WAITING, error)
            hand_back(context, message, self._transfer_id)
            return None
        if start is None:
            # The ledger did not even count the attempt: nothing to record, only to come back.
            receives = max(1, message.receive_count)
            return RecordOutcome(
                retry_in_s=context.settings.retry.delay_s(receives, context.chance())
            )
        dead = Dead(start=start, record=self._record, error=error)
        if start.state is TransferState.DEAD:
            return RecordOutcome(dead=dead, is_copied=start.has_dead_letter)
        if is_taken_over(context, start, message, error):
            return_later(context, message, self._elsewhere_s(None))
            return None
        if verdict.disposition is Disposition.DEAD:
            return dead_letter(context, message, dead)
        return RecordOutcome(retry_in_s=fail(context, start, message, error))


def _origin(message: Message) -> MessageOrigin:
    return MessageOrigin(
        sender=message.sender_id,
        sent_at=message.sent_at,
        traceparent=message.attributes.get("traceparent"),
        aws_trace_header=message.aws_trace_header,
        openlineage_parent=message.attributes.get("openlineage_parent"),
    )

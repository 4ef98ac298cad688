"""`backhaul explain`, put together: what a message would do. Lists and looks; changes nothing."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import chain
from typing import Any

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3 import S3Store
from backhaul.app.context import Context, make_cluster, make_pool, quiet_telemetry
from backhaul.core.errors import BackhaulError, CannotWrite
from backhaul.core.model import Assignment, Location, PlannedObject, PublishMode, Request, Totals
from backhaul.core.ports import ListPage
from backhaul.core.requests.body import read_message
from backhaul.core.requests.content import CallEvent, Ignored, ObjectEvent, RecordBody, StepEvent
from backhaul.core.requests.event_routes import request_of
from backhaul.core.requests.queue_names import parse_queue
from backhaul.core.transfer.cluster_attempt import engine_for
from backhaul.core.transfer.engine_choice import Load, cannot_carry
from backhaul.core.transfer.planning import Planner, resolve
from backhaul.core.transfer.write_access import cannot_write

NAMES_SHOWN = 10
LOOKED_AT = 1000  # target names that are looked up on the target
# Amazon EC2 on-demand pricing, "Data transfer out to internet", first 10 TB a month, us-east-1.
EGRESS_USD_PER_GB = 0.09
GB = 1000**3


@dataclass(kw_only=True)
class Explanation:
    """What is known about one record; later fields stay empty once something refuses it.

    Attributes:
        engine: Which, and why; what is published already is not taken off here.
        form: What the body was taken for; empty when it could not be read.
        about: What an event says, in words.
        ignored: Why the agent would delete it without doing anything.
        is_signed: The route wants a signature, which a body alone does not carry.
        collisions: How many of the first `looked_at` target names exist already.
        made_in: The directory in which the destination would be made; None where it exists, or was
            not looked at.
        is_tree: The target directory is absent, so publishing is one rename.
        refusal: Why it would not be carried out.
        unreachable: Why S3 or the target could not be looked at; no fault of the message.
    """

    form: str = ""
    about: str = ""
    ignored: Ignored | None = None
    is_signed: bool = False
    request: Request | None = None
    job: Assignment | None = None
    kind: str = ""
    totals: Totals | None = None
    engine: str | None = None
    names: tuple[Location, ...] = ()
    looked_at: int = 0
    collisions: int = 0
    made_in: Location | None = None
    is_tree: bool | None = None
    refusal: BackhaulError | None = None
    unreachable: BackhaulError | None = None

    @property
    def egress_usd(self) -> float | None:
        """What leaving AWS costs at most, at the list price."""
        return None if self.totals is None else self.totals.size_bytes / GB * EGRESS_USD_PER_GB

    @property
    def exit_code(self) -> int:
        error = self.refusal or self.unreachable
        return 0 if error is None else error.exit_code

    @property
    def decision(self) -> str:
        """`accepted`, `refused` or `ignored`."""
        if self.refusal is not None:
            return "refused"
        return "ignored" if self.ignored is not None else "accepted"


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Who is supposed to have sent the body; None is not asked for.

    Attributes:
        queue: Name, URL or ARN.
        sender_id: SQS's SenderId.
    """

    queue: str | None = None
    sender_id: str | None = None


def explain(
    context: Context, body: str, *, region: str, is_listed: bool, sender: Sender | None = None
) -> list[Explanation]:
    """Parse, decide, list and look; one explanation for each record, at least one.

    Args:
        is_listed: False stops before anything is asked of S3 or the target.

    Raises:
        BadArgument: E_QUEUE_NAME: the sender's queue is none.
    """
    sender = sender or Sender()
    if sender.queue is not None:
        parse_queue(sender.queue)
    try:
        content = read_message(body, default_fs=context.default_fs)
    except BackhaulError as error:
        return [Explanation(refusal=error)]
    return [
        _explain_one(context, content.form, ask, sender, region if is_listed else None)
        for ask in content.asks
    ]


def _explain_one(
    context: Context, form: str, ask: RecordBody, sender: Sender, region: str | None
) -> Explanation:
    told = Explanation(form=form, about=_about(ask))
    try:
        asked = request_of(context.policy, ask, queue=sender.queue, default_fs=context.default_fs)
        if isinstance(asked, Ignored):
            told.ignored = asked
            return told
        told.request = asked
        told.job = context.policy.decide(asked, sender_id=sender.sender_id, queue=sender.queue)
        told.is_signed = context.policy.find(told.job.route).signature is not None
    except BackhaulError as error:
        told.refusal = error
        return told
    if region is not None:
        first = _plan(context, told, told.job, region)
        if first and told.refusal is None and told.unreachable is None:
            _look(context, told, told.job, first)
    return told


def _about(ask: RecordBody) -> str:
    match ask:
        case ObjectEvent():
            more = [f"version {ask.version_id}"] if ask.version_id else []
            more += [f"sequencer {ask.sequencer.rstrip('0') or '0'}"] if ask.sequencer else []
            return f"{ask.name} {ask.source.uri}{''.join(f', {one}' for one in more)}"
        case StepEvent():
            return f"EMR step {ask.name} of cluster {ask.cluster}: {ask.state}"
        case CallEvent():
            return f"{ask.name}, an API call that CloudTrail reports"
        case Ignored():
            return ask.what
        case _:
            return ""


def _plan(context: Context, told: Explanation, job: Assignment, region: str) -> list[PlannedObject]:
    """List the whole source with bounded memory; the first page comes back."""
    first: list[PlannedObject] = []
    directory = job.request.destination
    try:
        found = resolve(
            S3Store(AwsSession(region, context.conf_dir)),
            job.request.source,
            owner=job.source_owner,
            event=job.request.event,
        )
        context.policy.check_resolved(job, found.source)
        told.kind = "object" if found.is_object else f"prefix {found.source.uri}"
        planner = Planner(
            source=found.source,
            is_object=found.is_object,
            directory=directory,
            name_map=job.name_map,
            limits=job.limits,
        )
        load, obstacle = Load(), None
        for page in chain(found.pages, [ListPage(pins=())]):
            planned = planner.add(page.pins)
            first = first or planned
            for one in planned:
                load = load.plus(one)
                obstacle = obstacle or cannot_carry(one, found.source, is_object=found.is_object)
        told.totals = planner.finish()
        choice = engine_for(job, make_cluster(context), load, obstacle)
        told.engine = f"{choice.engine} ({choice.reason})"
    except BackhaulError as error:
        _note(told, error)
    told.names = tuple(directory.join(one.relative) for one in first[:NAMES_SHOWN])
    return first


def _look(context: Context, told: Explanation, job: Assignment, first: list[PlannedObject]) -> None:
    """Which of the names are taken, and whether one rename can publish."""
    directory = job.request.destination
    finals = [directory.join(one.relative) for one in first[:LOOKED_AT]]
    pool = make_pool(context, quiet_telemetry(), workers=1)
    try:
        with pool.session(directory.filesystem, job.run_as) as session:
            existing, refused = session.write_access(directory)
            found = session.status([directory, *finals])
    except BackhaulError as error:
        _note(told, error)
        return
    finally:
        pool.close()
    told.made_in = existing if existing != directory else None
    told.refusal = cannot_write(directory, existing, refused)
    told.looked_at = len(finals)
    told.collisions = sum(status is not None for status in found[1:])
    may_be_tree = job.publish is not PublishMode.PER_FILE and told.kind != "object"
    told.is_tree = found[0] is None and may_be_tree


def _note(told: Explanation, error: BackhaulError) -> None:
    if isinstance(error, CannotWrite) or error.exit_code in {65, 77}:
        told.refusal = error
    else:
        told.unreachable = error


def read_body(file: str, limit_bytes: int) -> str:
    """The message body from a file or `-`; never more than one byte beyond the limit.

    A newline at the end is the editor's, not the message's.
    """
    if file == "-":
        data = sys.stdin.buffer.read(limit_bytes + 2)
    else:
        with open(file, "rb") as stream:  # noqa: PTH123 - a name from the command line
            data = stream.read(limit_bytes + 2)
    return data.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")


def explanations_as_json(records: list[Explanation]) -> dict[str, Any]:
    """One record as itself; several as `form` and `records`."""
    if len(records) == 1:
        return explanation_as_json(records[0])
    return {"form": records[0].form, "records": [explanation_as_json(one) for one in records]}


def exit_code_of(records: list[Explanation]) -> int:
    """The first record that is not fine decides."""
    return next((one.exit_code for one in records if one.exit_code), 0)


def explanation_as_json(told: Explanation) -> dict[str, Any]:
    """For programs; absent knowledge is null."""
    request, job, totals = told.request, told.job, told.totals
    error = told.refusal or told.unreachable
    return {
        "form": told.form or None,
        "event": told.about or None,
        "source": request.source.uri if request else None,
        "destination": request.destination.uri if request else None,
        "route": job.route if job else None,
        "policy": job.policy_digest if job else None,
        "decision": told.decision,
        "ignored": told.ignored.reason if told.ignored else None,
        "signature": "wanted" if told.is_signed else None,
        "code": error.code if error else None,
        "reason": error.message if error else None,
        "hint": error.hint if error else None,
        "on_exists": job.on_exists.value if job else None,
        "publish": job.publish.value if job else None,
        "verify": job.verify.value if job else None,
        "engine": told.engine,
        "objects": totals.objects if totals else None,
        "bytes": totals.size_bytes if totals else None,
        "markers": totals.markers if totals else None,
        "targets": [name.uri for name in told.names],
        "collisions": told.collisions if told.looked_at else None,
        "made_in": told.made_in.uri if told.made_in else None,
        "egress_usd": round(told.egress_usd, 4) if told.egress_usd is not None else None,
    }

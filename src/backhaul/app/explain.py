"""`backhaul explain`: what a message would do. It reads S3 and the target and changes nothing."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3 import S3Store
from backhaul.adapters.hadoop.configuration.s3a import S3aConfiguration
from backhaul.app.budget_states import verdict_on
from backhaul.app.context import Context, quiet_telemetry
from backhaul.app.cost import read_estimate
from backhaul.app.ports import make_cluster, make_pool
from backhaul.core.cost.prices import Estimate, usd
from backhaul.core.errors import BackhaulError, CannotWrite, ExitCode
from backhaul.core.model import Assignment, Location, PublishMode, Request
from backhaul.core.objects import PlannedObject, Totals
from backhaul.core.ports import ListPage
from backhaul.core.replies.partitions import HiveTable, named_partition, shown_partition
from backhaul.core.requests.body import read_message
from backhaul.core.requests.content import CallEvent, Ignored, ObjectEvent, RecordBody, StepEvent
from backhaul.core.requests.event_routes import request_of
from backhaul.core.requests.queue_names import parse_queue
from backhaul.core.transfer.cluster.engine_choice import Load, cannot_carry, engine_for
from backhaul.core.transfer.planning import Planner, resolve
from backhaul.core.transfer.write_access import cannot_write

NAMES_SHOWN = 10
NAMES_CHECKED = 1000  # target names that are looked up on the target


@dataclass(kw_only=True)
class Explanation:
    """One record of a message; once something refuses it, the later fields stay empty.

    Attributes:
        form: How the body was parsed; empty when it could not be.
        event: The event in words; empty for a request.
        ignored: Why the agent would delete it and do nothing.
        is_signed: The route needs a signature, which a body alone does not carry.
        tables: Which kinds of tables the names are of: `delta`, `iceberg`.
        engine: The engine and the reason; what is already published is not deducted.
        names: The first target names.
        hive_table: Where their partitions would be registered; None: nowhere.
        names_checked: How many target names were looked up.
        collisions: How many of those already exist.
        made_in: The directory in which the destination would be created; None where it exists, or
            was not looked up.
        budget: Whether it fits, and what is left; empty without a budget, and where the ledger
            cannot be read.
        is_tree: The target directory is absent, so publishing is one rename.
        estimate: What leaving AWS costs; None where nothing was listed.
        refusal: Why it would not be carried out.
        unreachable: Why S3 or the target could not be read; not the message's fault.
    """

    form: str = ""
    event: str = ""
    ignored: Ignored | None = None
    is_signed: bool = False
    request: Request | None = None
    job: Assignment | None = None
    kind: str = ""
    totals: Totals | None = None
    tables: tuple[str, ...] = ()
    engine: str | None = None
    names: tuple[Location, ...] = ()
    hive_table: HiveTable | None = None
    names_checked: int = 0
    collisions: int = 0
    made_in: Location | None = None
    budget: str = ""
    is_tree: bool | None = None
    estimate: Estimate | None = None
    refusal: BackhaulError | None = None
    unreachable: BackhaulError | None = None

    @property
    def error(self) -> BackhaulError | None:
        return self.refusal or self.unreachable

    @property
    def egress_usd(self) -> float | None:
        """The most that leaving AWS costs, when every byte is read once."""
        if self.totals is None or self.estimate is None:
            return None
        return usd(self.estimate.usd(self.totals.size_bytes))

    @property
    def partitions(self) -> tuple[str, ...]:
        """Of the first target names, such as `dt=2026-12-01/hour=07`; only paths are looked at."""
        if self.hive_table is None:
            return ()
        found = (named_partition(name.parent.path) for name in self.names)
        return tuple(dict.fromkeys(shown_partition(one) for one in found if one))

    @property
    def decision(self) -> str:
        """`accepted`, `refused` or `ignored`."""
        if self.refusal is not None:
            return "refused"
        return "ignored" if self.ignored is not None else "accepted"

    def note(self, error: BackhaulError) -> None:
        """Record the error as a refusal, or as a fault of S3 or the target."""
        refused = {ExitCode.BAD_INPUT, ExitCode.NOT_ALLOWED}
        if isinstance(error, CannotWrite) or error.exit_code in refused:
            self.refusal = error
        else:
            self.unreachable = error

    @property
    def as_json(self) -> dict[str, Any]:
        """For programs; what is unknown is null."""
        request, job, totals, error = self.request, self.job, self.totals, self.error
        return {
            "form": self.form or None,
            "event": self.event or None,
            "source": request.source.uri if request else None,
            "destination": request.destination.uri if request else None,
            "route": job.route if job else None,
            "policy": job.policy_digest if job else None,
            "decision": self.decision,
            "ignored": self.ignored.reason if self.ignored else None,
            "signature": "wanted" if self.is_signed else None,
            "code": error.code if error else None,
            "reason": error.message if error else None,
            "hint": error.hint if error else None,
            "on_exists": job.on_exists.value if job else None,
            "publish": job.publish.value if job else None,
            "verify": job.verify.value if job else None,
            "completion_marker": job.completion_marker if job else None,
            "tables": list(self.tables),
            "engine": self.engine,
            "objects": totals.objects if totals else None,
            "bytes": totals.size_bytes if totals else None,
            "markers": totals.markers if totals else None,
            "targets": [name.uri for name in self.names],
            "hive_table": self.hive_table.full_name if self.hive_table else None,
            "partitions": list(self.partitions),
            "collisions": self.collisions if self.names_checked else None,
            "budget": self.budget or None,
            "made_in": self.made_in.uri if self.made_in else None,
            "egress_usd": self.egress_usd,
            "egress_price": self.estimate.price.source if self.estimate else None,
        }


@dataclass(frozen=True, kw_only=True)
class Sender:
    """The assumed sender of the body; None: the route's restriction is not checked.

    Attributes:
        queue: Name, URL or ARN.
        sender_id: SQS's SenderId.
    """

    queue: str | None = None
    sender_id: str | None = None


def explain(
    context: Context, body: str, *, region: str, is_listed: bool, sender: Sender | None = None
) -> list[Explanation]:
    """Parse, decide, list the source and check the target.

    Args:
        is_listed: False stops before any call to S3 or the target.

    Returns:
        One explanation for each record, at least one.

    Raises:
        BadArgument: E_QUEUE_NAME: the sender's queue is not a queue name.
    """
    sender = sender or Sender()
    if sender.queue is not None:
        parse_queue(sender.queue)
    try:
        content = read_message(body, default_fs=context.default_fs)
    except BackhaulError as error:
        return [Explanation(refusal=error)]
    explanations = []
    for record in content.records:
        found = Explanation(form=content.form, event=_in_words(record))
        explanations.append(found)
        try:
            _decide(context, found, record, sender)
        except BackhaulError as error:
            found.refusal = error
            continue
        if is_listed and found.job is not None:
            first = _list(context, found, found.job, region)
            if first and found.error is None:
                _check_target(context, found, found.job, first)
    return explanations


def _decide(context: Context, found: Explanation, record: RecordBody, sender: Sender) -> None:
    policy = context.policy
    request = request_of(policy, record, queue=sender.queue, default_fs=context.default_fs)
    if isinstance(request, Ignored):
        found.ignored = request
        return
    found.request = request
    found.job = policy.decide(request, sender_id=sender.sender_id, queue=sender.queue)
    route = policy.find(found.job.route)
    found.is_signed, found.hive_table = route.signature is not None, route.hive


def _in_words(record: RecordBody) -> str:
    match record:
        case ObjectEvent():
            version = f", version {record.version_id}" if record.version_id else ""
            digits = (record.sequencer or "").rstrip("0") or "0"
            sequencer = f", sequencer {digits}" if record.sequencer else ""
            return f"{record.name} {record.source.uri}{version}{sequencer}"
        case StepEvent():
            return f"EMR step {record.name} of cluster {record.cluster}: {record.state}"
        case CallEvent():
            return f"{record.name}, an API call that CloudTrail reports"
        case Ignored():
            return record.what
        case _:
            return ""


def _list(
    context: Context, found: Explanation, job: Assignment, region: str
) -> list[PlannedObject]:
    """List the whole source with bounded memory; returns the first page."""
    first: list[PlannedObject] = []
    directory = job.request.destination
    try:
        source = resolve(
            S3Store(AwsSession(region, S3aConfiguration.loader(context.conf_dir))),
            job.request.source,
            owner=job.source_owner,
            event=job.request.event,
        )
        context.policy.check_resolved(job, source.source)
        found.kind = "object" if source.is_object else f"prefix {source.source.uri}"
        planner = Planner(
            source=source.source,
            is_object=source.is_object,
            directory=directory,
            name_map=job.name_map,
            limits=job.limits,
        )
        load, obstacle = Load(), None
        for page in chain(source.pages, [ListPage(pins=())]):
            planned = planner.add(page.pins)
            first = first or planned
            for one in planned:
                load = load.plus(one)
                obstacle = obstacle or cannot_carry(one, source.source, is_object=source.is_object)
        found.totals = planner.finish()
        found.tables = tuple(sorted(planner.tables))
        settings = context.settings
        found.estimate = read_estimate(settings.ledger_place, settings.cost.price)
        choice = engine_for(job, make_cluster(context), load, obstacle)
        found.engine = f"{choice.engine} ({choice.reason})"
        with suppress(BackhaulError):  # the ledger of a running agent says more: budget show
            found.budget = verdict_on(
                context.settings, job.route, found.totals.size_bytes, datetime.now(UTC)
            )
    except BackhaulError as error:
        found.note(error)
    found.names = tuple(directory.join(one.relative) for one in first[:NAMES_SHOWN])
    return first


def _check_target(
    context: Context, found: Explanation, job: Assignment, first: list[PlannedObject]
) -> None:
    """Which of the names exist, and whether one rename can publish."""
    directory = job.request.destination
    finals = [directory.join(one.relative) for one in first[:NAMES_CHECKED]]
    pool = make_pool(context, quiet_telemetry(), workers=1)
    try:
        with pool.session(directory.filesystem, job.run_as) as session:
            existing, refused = session.write_access(directory)
            status = session.status([directory, *finals])
    except BackhaulError as error:
        found.note(error)
        return
    finally:
        pool.close()
    found.made_in = existing if existing != directory else None
    found.refusal = cannot_write(directory, existing, refused)
    found.names_checked = len(finals)
    found.collisions = sum(one is not None for one in status[1:])
    may_be_tree = job.publish is not PublishMode.PER_FILE and found.kind != "object"
    found.is_tree = status[0] is None and may_be_tree


def read_body(file: str, limit_bytes: int) -> str:
    """The message body from a file or `-`; at most one byte more than the limit.

    A newline at the end is the editor's, not the message's.
    """
    if file == "-":
        data = sys.stdin.buffer.read(limit_bytes + 2)
    else:
        with open(file, "rb") as stream:  # noqa: PTH123 - a name from the command line
            data = stream.read(limit_bytes + 2)
    return data.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")


def all_as_json(records: list[Explanation]) -> dict[str, Any]:
    """One record as itself; several as `form` and `records`."""
    if len(records) == 1:
        return records[0].as_json
    return {"form": records[0].form, "records": [one.as_json for one in records]}


def exit_code_of(records: list[Explanation]) -> int:
    """The exit code of the first record with an error; 0 where there is none."""
    return next((one.error.exit_code for one in records if one.error is not None), 0)

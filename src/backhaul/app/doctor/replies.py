"""Probes of `[[reply]]` and `[lineage]`: where replies go exists and takes them. None is sent."""

from __future__ import annotations

from collections.abc import Iterator

from backhaul.adapters.aws.probing.sns import topic_refusal
from backhaul.adapters.aws.probing.sqs import QueueAction, QueueProbes
from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.adapters.reply.webhook import WebhookTarget
from backhaul.adapters.system.clock import SystemClock
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State, from_error
from backhaul.app.doctor.fixes import allow, for_network
from backhaul.app.lineage import lineage_target, lineage_url
from backhaul.app.replies import in_vain, in_vain_fix, waiting_in_vain
from backhaul.app.reply_targets import AwsSessions, reply_targets
from backhaul.core.access_policy import partition_of
from backhaul.core.errors import BackhaulError
from backhaul.core.requests.queue_names import parse_queue
from backhaul.core.text import printable
from backhaul.settings.reply import ReplySettings, queue_region, topic_region

ACCOUNT = "ACCOUNT-ID"  # in place of one that is not known
_NO_PATH = frozenset({404, 410})


def replies(context: DoctorContext) -> Iterator[Finding]:
    """Each one that a route names; the others are not in use."""
    if context.loaded is None:
        return
    used = replies_of_routes(context)
    sessions = AwsSessions(context.loaded.conf_dir, context.region)
    for one in context.settings.reply:
        if one.name not in used:
            if context.route is None:
                text = "no route names it, so nothing is sent there"
                yield Finding("replies.unused", one.name, State.WARNING, text)
            continue
        if one.marker is not None:
            continue  # published by the transfer: there is nothing to probe
        try:
            target = reply_targets([one], context.config_path, sessions).get(one.name)
        except BackhaulError as error:
            yield from_error(_CHECKS[one.kind], one.name, error)
            continue
        if one.command is not None:
            text = f"{one.command[0]} is there, and only trusted users may change it"
            yield Finding("replies.command", one.name, State.OK, text)
        elif isinstance(target, WebhookTarget):
            yield from _webhook(context, one, target)
        elif context.is_offline:
            text = "not probed: --offline"
            yield Finding(_CHECKS[one.kind], one.name, State.SKIPPED, text)
        elif one.sqs is not None:
            yield _queue(context, one, one.sqs, sessions)
        elif one.sns is not None:
            yield _topic(context, one, one.sns, sessions)


def lineage(context: DoctorContext) -> Iterator[Finding]:
    """Whether the server of `[lineage]` is there, trusted, and does not refuse the key."""
    url = context.settings.lineage.url
    if url is None:
        return
    try:
        target = lineage_target(context.settings)
        subject = lineage_url(url).origin
        if target is None or context.is_offline:
            yield Finding("replies.lineage", subject, State.SKIPPED, "not probed: --offline")
            return
        status = target.probe_key()
    except BackhaulError as error:
        yield _lineage_fault(error, has_key=context.settings.lineage.api_key_file is not None)
        return
    yield _lineage_reached(
        subject, status, has_key=context.settings.lineage.api_key_file is not None
    )


def _lineage_fault(error: BackhaulError, *, has_key: bool) -> Finding:
    fix: tuple[str, ...] = ()
    if error.code == "E_REPLY_REFUSED" and not has_key:
        fix = ("name the file of a key that the server knows: [lineage] api_key_file",)
    return from_error("replies.lineage", "", error, fix=fix)


def _lineage_reached(subject: str, status: int, *, has_key: bool) -> Finding:
    """What a GET has shown; it cannot show that events are taken."""
    if status in _NO_PATH:
        text = f"it is reached, but GET answered {status}: is the path right? No event was sent"
        fix = ("check [lineage] url, then send it one event:", "backhaul replies test lineage")
        return Finding("replies.lineage", subject, State.WARNING, text, fix=fix)
    answered = f"(GET answered {status})"
    text = f"it is reached and does not refuse the key {answered}"
    if not has_key:
        text = f"it is reached {answered}, and no key is configured"
    return Finding("replies.lineage", subject, State.OK, f"{text}; no event was sent")


def waiting(context: DoctorContext) -> Iterator[Finding]:
    """Whether the ledger has replies for a target that is not configured any more."""
    try:
        found = waiting_in_vain(context.settings, context.settings.ledger_place)
    except BackhaulError:
        return  # the ledger's own probes say so
    for one in found:
        yield Finding(
            "replies.waiting",
            printable(one.target, 80),
            State.WARNING,
            in_vain(one),
            code="W_REPLY_TARGET",
            fix=in_vain_fix(one),
        )


def replies_of_routes(context: DoctorContext) -> set[str]:
    """The names that the routes to be probed reply to."""
    routes = {one.name for one in context.routes}
    return {name for one in context.settings.route if one.name in routes for name in one.replies}


_CHECKS = {
    "sqs": "replies.sqs",
    "sns": "replies.sns",
    "webhook": "replies.webhook",
    "command": "replies.command",
}


def _webhook(
    context: DoctorContext, one: ReplySettings, target: WebhookTarget
) -> Iterator[Finding]:
    if one.secret_file is None:
        yield Finding(
            "replies.secret",
            one.name,
            State.WARNING,
            "it is not signed: the receiver cannot know who sends",
            fix=(
                f"(umask 077; openssl rand -hex 32 > /etc/backhaul/{one.name}.secret)",
                f'secret_file = "/etc/backhaul/{one.name}.secret"',
            ),
        )
    if context.is_offline:
        yield Finding("replies.webhook", one.name, State.SKIPPED, "not probed: --offline")
        return
    try:
        target.probe()
    except BackhaulError as error:
        yield from_error("replies.webhook", one.name, error)
        return
    yield Finding("replies.webhook", one.name, State.OK, "it is reached; nothing was sent")


def _queue(
    context: DoctorContext, one: ReplySettings, queue: str, sessions: AwsSessions
) -> Finding:
    region = queue_region(queue) or one.region or sessions.region
    aws = sessions.of(region, one.role_arn)
    subject = f"queue {queue}"
    try:
        opened = SqsQueue.for_sending(queue, region, aws, SystemClock())
        probes = QueueProbes(aws, opened.endpoint)
        error = _attributes_fault(probes, opened.facts.url, subject) or probes.refusal(
            QueueAction.SEND, opened.facts.url, f"{subject}: SendMessage"
        )
    except BackhaulError as exc:
        error = exc
    if error is None:
        return Finding("replies.sqs", one.name, State.OK, f"{QueueAction.SEND} is not refused")
    actions = ["sqs:SendMessage", *(["sqs:GetQueueUrl"] if queue.startswith("arn:") else [])]
    fix = _fix(context, one, error, actions, queue_arn(queue, region))
    return from_error("replies.sqs", one.name, error, fix=fix)


def _attributes_fault(probes: QueueProbes, url: str, subject: str) -> BackhaulError | None:
    """Whether the queue is there; its attributes may be closed to the agent."""
    try:
        probes.attributes(url, subject)
    except BackhaulError as error:
        return None if error.code == "E_AWS_DENIED" else error
    return None


def _topic(
    context: DoctorContext, one: ReplySettings, topic: str, sessions: AwsSessions
) -> Finding:
    aws = sessions.of(topic_region(topic) or sessions.region, one.role_arn)
    try:
        error = topic_refusal(aws, topic, f"topic {topic}")
    except BackhaulError as exc:
        error = exc
    if error is None:
        return Finding("replies.sns", one.name, State.OK, "sns:Publish is not refused")
    fix = _fix(context, one, error, ["sns:Publish"], topic)
    return from_error("replies.sns", one.name, error, fix=fix)


def _fix(
    context: DoctorContext,
    one: ReplySettings,
    error: BackhaulError,
    actions: list[str],
    arn: str,
) -> tuple[str, ...]:
    match error.code:
        case "E_AWS_DENIED" if "InvalidClientTokenId" not in error.message:
            if one.role_arn is None:
                return allow(actions, [arn])
            of_role = allow(actions, [arn])[1]
            return (
                *allow(["sts:AssumeRole"], [one.role_arn]),
                "let the role's trust policy name the agent, and add this to its own policy:",
                of_role,
            )
        case "E_SQS_UNREACHABLE" | "E_SNS_UNREACHABLE":
            return for_network(error, context.proxy)
        case _:
            return ()


def queue_arn(queue: str, region: str) -> str:
    """The ARN of a queue that its URL or ARN names; its account may have to be completed."""
    named = parse_queue(queue)
    if named.url is None:
        return queue
    account = named.account or ACCOUNT
    return f"arn:{partition_of(region)}:sqs:{region}:{account}:{named.name}"


PROBES = (replies, lineage, waiting)

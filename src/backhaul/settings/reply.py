"""`[[reply]]`: who is sent a message when data has arrived, is dead, or waits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from backhaul.core.endpoints import is_region
from backhaul.core.errors import BackhaulError, ConfigurationError
from backhaul.core.replies.reply import HIVE, LINEAGE, ReplyEvent, ReplyWish
from backhaul.core.replies.webhook import parse_webhook
from backhaul.core.requests.marker_names import MARKER_HINT, is_marker_name
from backhaul.core.requests.queue_names import parse_queue
from backhaul.core.text import printable, shown
from backhaul.settings.base import NamedPath, StrictModel, command_fault
from backhaul.settings.sizes import parse_span

_Span = BeforeValidator(parse_span)
_TOPIC = re.compile(
    r"arn:aws[a-z-]*:sns:(?P<region>[a-z0-9-]+):[0-9]{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?"
)
ROLE_ARN = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[!-~]{1,512}$"
_KINDS = ("sqs", "sns", "webhook", "command", "marker")
RESERVED = frozenset({HIVE, LINEAGE})  # reply targets that are no [[reply]]
# Settings that go with some kinds alone.
_OF_KIND = {
    "secret_file": ("webhook",),
    "ca_file": ("webhook",),
    "user": ("command",),
    "timeout": ("webhook", "command"),
    "region": ("sqs",),
    "role_arn": ("sqs", "sns"),
    "on": ("sqs", "sns", "webhook", "command"),
    "held_after": ("sqs", "sns", "webhook", "command"),
}


class ReplyOn(StrEnum):
    """What a reply may be about."""

    DONE = "done"
    DEAD = "dead"
    HELD = "held"
    RESUMED = "resumed"


class ReplySettings(StrictModel):
    """One name that routes send replies to, by exactly one of five ways."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    on: list[ReplyOn] = Field([ReplyOn.DONE, ReplyOn.DEAD], min_length=1, description="about what")
    held_after: Annotated[float, _Span] = Field(
        3600,
        ge=1,
        le=604_800,
        description="held and resumed are sent of holds that last longer, such as 1h",
    )
    sqs: str | None = Field(None, min_length=1, description="URL or ARN of an SQS queue")
    region: str | None = Field(
        None, min_length=1, description="of the queue, where its URL does not have it"
    )
    sns: str | None = Field(None, min_length=1, description="ARN of an SNS topic")
    role_arn: str | None = Field(
        None,
        pattern=ROLE_ARN,
        description="a role that the agent assumes to send there",
    )
    webhook: str | None = Field(None, min_length=1, description="URL, https://")
    secret_file: NamedPath | None = Field(
        None, description="the key that signs, on its first line; no one else may read the file"
    )
    ca_file: NamedPath | None = Field(
        None, description="certificates for the server's, instead of the system's"
    )
    command: list[str] | None = Field(
        None, min_length=1, description="program and arguments; no shell"
    )
    user: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9._-]{0,63}$",
        description="who runs the command; only an agent of root may choose another",
    )
    timeout: Annotated[float, _Span] = Field(
        30, ge=1, le=60, description="of one try of a webhook or command, such as 10s"
    )
    marker: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="name of an empty file that is published after all others",
    )

    @property
    def kind(self) -> str:
        """Which of the five it is; `check_replies` has accepted these settings."""
        return next(name for name in _KINDS if getattr(self, name) is not None)

    @property
    def wish(self) -> ReplyWish:
        """What it wants of each transfer; not of a marker, which is no reply."""
        events = frozenset(ReplyEvent(one.value) for one in self.on)
        about_holds = {ReplyEvent.HELD, ReplyEvent.RESUMED} & events
        held_after_s = self.held_after if about_holds else None
        return ReplyWish(target=self.name, events=events, held_after_s=held_after_s)


def check_replies(settings: Sequence[ReplySettings], path: Path | None) -> None:
    """Refuse names that are there twice, and settings that do not make one way to reply.

    Files are not looked at: `app.reply_targets` does that.

    Raises:
        ConfigurationError: E_REPLY_SETTING.
    """
    names: set[str] = set()
    for one in settings:
        if one.name in RESERVED:
            message = f"[[reply]] {one.name} has a name that Backhaul uses itself"
            raise refused_reply(path, message, "give it another name")
        if one.name in names:
            message = f"two [[reply]] are named {one.name}"
            raise refused_reply(path, message, "give each a name of its own")
        names.add(one.name)
        fault = _kind_fault(one) or _value_fault(one)
        if fault is not None:
            raise refused_reply(path, f"reply {one.name}: {fault[0]}", fault[1])


def completion_marker(
    wanted: Iterable[str], settings: Sequence[ReplySettings], route: str, path: Path | None
) -> str | None:
    """The completion marker among a route's `replies`; None: it has none.

    Raises:
        ConfigurationError: E_REPLY_SETTING: it has several.
    """
    markers = {one.marker for one in settings if one.name in wanted and one.marker is not None}
    if len(markers) > 1:
        raise refused_reply(
            path,
            f"route {route}: replies has the completion markers {' and '.join(sorted(markers))}",
            "leave one of them: the last file of a transfer is one file",
        )
    return next(iter(markers), None)


def check_reply_names(
    wanted: Iterable[str], settings: Sequence[ReplySettings], route: str, path: Path | None
) -> None:
    """Refuse names in a route's `replies` that no `[[reply]]` has.

    Raises:
        ConfigurationError: E_REPLY_SETTING.
    """
    known = [one.name for one in settings]
    for name in wanted:
        if name in RESERVED:
            raise refused_reply(
                path,
                f"route {route}: replies has {name}, which is no [[reply]]",
                "leave it out: [lineage], and hive = { ... } of a route, are enough",
            )
        if name not in known:
            raise refused_reply(
                path,
                f"route {route}: replies has {shown(name, 80)}, and no [[reply]] is named so",
                f"one of {', '.join(known)}" if known else f'write [[reply]] name = "{name}"',
            )


def refused_reply(path: Path | None, message: str, hint: str) -> ConfigurationError:
    """A `[[reply]]` that cannot be used."""
    where = f"{path}: " if path else ""
    return ConfigurationError("E_REPLY_SETTING", f"{where}{message}", hint=hint)


def queue_region(url: str) -> str | None:
    """The region that the URL or ARN of a queue names; None: neither does."""
    return parse_queue(url).region


def topic_region(arn: str) -> str | None:
    """The region of a topic's ARN; None: it is no ARN of a topic."""
    match = _TOPIC.fullmatch(arn)
    return match["region"] if match else None


_Fault = tuple[str, str] | None


def _kind_fault(one: ReplySettings) -> _Fault:
    found = [name for name in _KINDS if getattr(one, name) is not None]
    if len(found) != 1:
        what = f"it has {' and '.join(found)}" if found else "it has nowhere to go"
        ways = "sqs = URL, sns = ARN, webhook = URL, command = [...] or marker = NAME"
        return what, f"write exactly one of {ways}"
    for name, kinds in _OF_KIND.items():
        if name in one.model_fields_set and found[0] not in kinds:
            return f"{name} has no meaning with {found[0]}", f"leave {name} out"
    return None


def _value_fault(one: ReplySettings) -> _Fault:
    if one.sqs is not None:
        return _queue_fault(one.sqs, one.region)
    if one.sns is not None and topic_region(one.sns) is None:
        return (
            f"sns {shown(one.sns, 120)} is no ARN of an SNS topic",
            "write one such as arn:aws:sns:us-west-2:123456789012:arrivals",
        )
    if one.webhook is not None:
        try:
            parse_webhook(one.webhook)
        except ValueError as exc:
            return f"its webhook {exc}", "write one such as https://hooks.example.com/arrived"
    if one.command is not None and (fault := command_fault(one.command)):
        return fault
    if one.marker is not None and not is_marker_name(one.marker):
        return f"marker {printable(one.marker, 80)} is no name of a completion marker", MARKER_HINT
    return None


def _queue_fault(text: str, region: str | None) -> _Fault:
    try:
        queue = parse_queue(text)
    except BackhaulError as error:
        return f"sqs: {error.message}", error.hint
    if queue.url is None and queue.account is None:
        return (
            f"sqs {shown(text, 120)} is a name alone",
            "write its URL or its ARN: they have region and account, too",
        )
    if queue.host_url is not None:
        try:  # of the host alone; plain http is refused with the queue
            parse_webhook(f"https://{queue.host_url.partition('://')[2]}")
        except ValueError as exc:
            return f"sqs {exc}", "write the host's name, or its address in full, and https://"
    if region is not None and not is_region(region):
        return f"region {shown(region, 60)} is no name of a region", "write one such as us-west-2"
    if region is not None and queue.region not in {None, region}:
        return f"region is {region}, and its queue is in {queue.region}", "leave region out"
    return None

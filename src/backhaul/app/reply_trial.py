"""`backhaul replies test`: one reply to one name, at once, without an agent."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from backhaul.adapters.hadoop.configuration.directory import hadoop_conf_dir
from backhaul.adapters.reply.webhook import WebhookTarget
from backhaul.adapters.system.clock import SystemClock
from backhaul.app.hive import check_shell, hive_target
from backhaul.app.lineage import lineage_target
from backhaul.app.reply_targets import AwsSessions, reply_targets
from backhaul.core.errors import BackhaulError, BadArgument, ConfigurationError
from backhaul.core.ports.replies import ReplyTarget
from backhaul.core.replies.reply import HIVE, LINEAGE, Reply
from backhaul.core.replies.trial import trial_reply
from backhaul.core.text import shown
from backhaul.settings.hive import check_hive
from backhaul.settings.model import Settings
from backhaul.settings.reply import check_replies


@dataclass(frozen=True, kw_only=True)
class ReplyTrial:
    """What became of a test.

    Attributes:
        kind: `sqs`, `sns`, `webhook`, `command`, `hive` or `lineage`.
        headers: Of a webhook or `lineage` that was not called (`--dry-run`), without its key.
        event: What `lineage` is sent in place of the reply.
        tables: Of `hive`, which is sent nothing: those in which partitions can be registered.
        seconds: None: it was not sent.
        error: None: it was delivered, or not sent.
    """

    name: str
    kind: str
    reply: Reply
    headers: Mapping[str, str] | None = None
    event: str | None = None
    tables: tuple[str, ...] = ()
    seconds: float | None = None
    error: BackhaulError | None = None


def try_reply(
    settings: Settings, config_path: Path | None, name: str, *, is_dry: bool
) -> ReplyTrial:
    """Send one reply that is marked as a test; where `is_dry`, only make it.

    Raises:
        ConfigurationError: As `reply_targets`, for this name.
        BadArgument: E_REPLY_NAME: it is not there, or it is a marker.
    """
    check_replies(settings.reply, config_path)
    if name == HIVE and settings.hive.command is not None:
        return _look_at_tables(settings, config_path, is_dry=is_dry)
    if name == LINEAGE and (lineage := lineage_target(settings)) is not None:
        return _tried(lineage, name, LINEAGE, is_dry=is_dry)
    if not settings.reply:
        raise ConfigurationError(
            "E_REPLY_SETTING",
            f"there is no [[reply]] in {config_path or 'the configuration: there is none'}",
            hint='write one:\n      [[reply]]\n      name = "arrived"\n'
            '      sqs = "https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE"',
        )
    chosen = [one for one in settings.reply if one.name == name and one.marker is None]
    if not chosen:
        names = [one.name for one in settings.reply if one.marker is None]
        raise BadArgument(
            "E_REPLY_NAME",
            f"no [[reply]] that can be sent is named {shown(name, 80)}",
            hint=f"one of {', '.join(names)}" if names else "a marker is published, not sent",
        )
    target = reply_targets(chosen, config_path, AwsSessions(hadoop_conf_dir()))[name]
    return _tried(target, name, chosen[0].kind, is_dry=is_dry)


def _tried(target: ReplyTarget, name: str, kind: str, *, is_dry: bool) -> ReplyTrial:
    reply = trial_reply(name, SystemClock().now(), uuid.uuid4().hex[:12])
    trial = ReplyTrial(name=name, kind=kind, reply=reply)
    if isinstance(target, WebhookTarget):
        body = target.body(reply)
        if kind == LINEAGE:
            trial = replace(trial, event=body.decode())
        if is_dry:
            headers = target.headers(reply.key, body)
            if "Authorization" in headers:
                headers["Authorization"] = "Bearer ***"
            return replace(trial, headers=headers)
    if is_dry:
        return trial
    began_s, error = time.monotonic(), None
    try:
        target.deliver(reply)
    except BackhaulError as exc:
        error = exc
    return replace(trial, seconds=time.monotonic() - began_s, error=error)


def _look_at_tables(settings: Settings, config_path: Path | None, *, is_dry: bool) -> ReplyTrial:
    """Whether the tables are there and have partitions; nothing is registered."""
    check_hive(settings.hive, [(one.name, one.hive) for one in settings.route], config_path)
    check_shell(settings.hive)
    target = hive_target(settings)
    reply = trial_reply(HIVE, SystemClock().now(), uuid.uuid4().hex[:12])
    if is_dry or target is None:
        return ReplyTrial(name=HIVE, kind=HIVE, reply=reply)
    began_s, error, tables = time.monotonic(), None, set[str]()
    try:
        tables = {one.full_name for one in target.check().values()}
    except BackhaulError as exc:
        error = exc
    seconds = time.monotonic() - began_s
    return ReplyTrial(
        name=HIVE,
        kind=HIVE,
        reply=reply,
        tables=tuple(sorted(tables)),
        seconds=seconds,
        error=error,
    )

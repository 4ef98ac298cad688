"""Notifications put together: who is notified by what, in the agent and by `backhaul notify`."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Event

from backhaul import __version__
from backhaul.access import refusal
from backhaul.adapters.notify.command import CommandSender
from backhaul.adapters.notify.mail import MailSender
from backhaul.adapters.system.clock import SystemClock, host_name
from backhaul.adapters.system.notification_file import NotificationFile
from backhaul.adapters.system.trusted_files import check_trusted
from backhaul.core.agent.notifying.notifier import Notifier, NotifyTarget
from backhaul.core.agent.notifying.plan import sample
from backhaul.core.agent.observer import Observer
from backhaul.core.agent_report import AgentIdentity, AgentRecord
from backhaul.core.errors import BackhaulError, BadArgument, ConfigurationError
from backhaul.core.health import Health, agent_health
from backhaul.core.notification import NotifyRules, Remembered
from backhaul.core.ports import Emit
from backhaul.core.text import shown
from backhaul.settings.model import Settings, in_home
from backhaul.settings.notify import NotifySettings, check_notify, mail_route

_PASSWORD_MOST = 1000  # characters


def make_notifier(
    settings: Settings, config_path: Path | None, observer: Observer, emit: Emit
) -> Notifier:
    """For the agent; it has to get its facts before the observer forgets what they are about.

    Raises:
        ConfigurationError: As `notify_targets`.
    """
    clock = SystemClock()

    def health(identity: AgentIdentity) -> Health:
        record = AgentRecord(identity=identity, report=observer.report(), beats=0)
        return agent_health(record, clock.now())

    return Notifier(
        targets=notify_targets(settings.notify, config_path),
        health=health,
        transfer=observer.transfer,
        memory=NotificationFile(settings.ledger_path),
        clock=clock,
        emit=emit,
    )


def notify_targets(
    settings: Sequence[NotifySettings], config_path: Path | None
) -> tuple[NotifyTarget, ...]:
    """Everyone who is notified, checked as far as that is possible without notifying.

    Raises:
        ConfigurationError: E_NOTIFY_SETTING; E_NOTIFY_FILE: a file cannot be read;
            E_CFG_PERMISSIONS: others could change the command, or read the password.
    """
    check_notify(settings, config_path)
    return tuple(_target(one) for one in settings)


def _target(one: NotifySettings) -> NotifyTarget:
    where = f"notify {one.name}"
    if one.email is None:
        command = one.command or []
        _check_program(command[0], where)
        return NotifyTarget(rules=one.rules, sender=CommandSender(command))
    email = one.email
    password = ca_file = None
    if email.password_file is not None:
        password = _password(in_home(email.password_file), where)
    if email.ca_file is not None:
        ca_file = in_home(email.ca_file)
        _text_of(ca_file, f"{where}: email.ca_file")
    return NotifyTarget(rules=one.rules, sender=MailSender(mail_route(email, password, ca_file)))


def _check_program(program: str, where: str) -> None:
    found = shutil.which(program)
    if found is None:
        path = Path(program)
        reason = f"there is no program {shown(program)}"
        hint = "check its path"
        if path.is_file():
            reason, hint = f"{shown(program)} cannot be executed", f"chmod +x {shown(program)}"
        raise ConfigurationError("E_NOTIFY_SETTING", f"{where}: {reason}", hint=hint)
    check_trusted(Path(found), f"the command of {where}")


def _password(path: Path, where: str) -> str:
    what = f"{where}: email.password_file"
    check_trusted(path, what, is_secret=True)
    password = _text_of(path, what).split("\n", 1)[0].rstrip("\r")
    if not password or len(password) > _PASSWORD_MOST or not password.isascii():
        reason = "has more than 1,000 characters" if len(password) > _PASSWORD_MOST else ""
        reason = reason or ("has other characters than ASCII" if password else "is empty")
        raise ConfigurationError(
            "E_NOTIFY_FILE",
            f"{what} {path}: its first line {reason}",
            hint="write the password, in ASCII, as the first line",
        )
    return password


def _text_of(path: Path, what: str) -> str:
    try:
        return path.read_text("utf-8")
    except PermissionError as exc:
        message, hint = refusal(path)
        raise ConfigurationError("E_NOTIFY_FILE", f"{what}: {message}", hint=hint) from exc
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            "E_NOTIFY_FILE", f"{what} {path}: {reason}", hint="check the path and the file"
        ) from exc


# ---------------------------------------------------------------- backhaul notify


@dataclass(frozen=True, kw_only=True)
class NotifyTrial:
    """What became of one test message.

    Attributes:
        error: None: it was delivered.
        left_out: Who of several did not get it.
    """

    name: str
    seconds: float
    error: BackhaulError | None = None
    left_out: str = ""


@dataclass(frozen=True, kw_only=True)
class NotifyView:
    """One name, as `backhaul notify list` shows it.

    Attributes:
        sent_at: Of the last message; None: none yet.
        waiting_dead: Dead messages that the next message has.
        is_troubled: Trouble was reported, and no recovery yet.
    """

    rules: NotifyRules
    how: str
    sent_at: datetime | None
    waiting_dead: int
    is_troubled: bool


def try_notify(
    settings: Settings, config_path: Path | None, name: str | None
) -> Iterator[NotifyTrial]:
    """Send a test message to this name, or to each, at once and once.

    Raises:
        ConfigurationError: As `notify_targets`; E_NOTIFY_SETTING: there is no name at all.
        BadArgument: E_NOTIFY_NAME: this one is not there.
    """
    chosen = _chosen(settings.notify, config_path, name)
    clock = SystemClock()
    identity = AgentIdentity(
        id=uuid.uuid4().hex,
        host=host_name(),
        owner="",
        version=__version__,
        queue="(no queue: a test)",
        region="-",
        slots=0,
        started_at=clock.now(),
    )
    for target in notify_targets(chosen, config_path):
        rules, began_s = target.rules, time.monotonic()
        error, left_out = None, ""
        try:
            notification = sample(rules.name, identity, rules.every_s, clock.now())
            left_out = target.sender.send(notification, Event())
        except BackhaulError as exc:
            error = exc
        seconds = time.monotonic() - began_s
        yield NotifyTrial(name=rules.name, seconds=seconds, error=error, left_out=left_out)


def _chosen(
    settings: Sequence[NotifySettings], config_path: Path | None, name: str | None
) -> list[NotifySettings]:
    if not settings:
        raise ConfigurationError(
            "E_NOTIFY_SETTING",
            f"there is no [[notify]] in {config_path or 'the configuration: there is none'}",
            hint='write one:\n      [[notify]]\n      name = "oncall"\n'
            '      command = ["/usr/local/bin/page-oncall"]',
        )
    chosen = [one for one in settings if name in {None, one.name}]
    if not chosen:
        names = ", ".join(one.name for one in settings)
        raise BadArgument(
            "E_NOTIFY_NAME",
            f"no [[notify]] is named {shown(str(name), 80)}",
            hint=f"one of {names}",
        )
    return chosen


def list_notify(
    settings: Settings, config_path: Path | None
) -> tuple[list[NotifyView], BackhaulError | None]:
    """Every name; with the fault of its memory, where that cannot be read.

    Raises:
        ConfigurationError: E_NOTIFY_SETTING.
    """
    check_notify(settings.notify, config_path)
    remembered: Mapping[str, Remembered] = {}
    fault = None
    try:
        remembered = NotificationFile(settings.ledger_path).load()
    except BackhaulError as exc:
        fault = exc
    return [_view(one, remembered.get(one.name, Remembered())) for one in settings.notify], fault


def _view(one: NotifySettings, remembered: Remembered) -> NotifyView:
    if one.email is not None:
        to = ", ".join(one.email.to)
        how = f"e-mail to {to} by {shown(one.email.smtp)} ({one.email.tls.value})"
    else:
        how = f"command {shown(' '.join(one.command or ()))}"
    return NotifyView(
        rules=one.rules,
        how=how,
        sent_at=remembered.sent_at,
        waiting_dead=remembered.deaths.count if remembered.deaths else 0,
        is_troubled=bool(remembered.troubles),
    )

"""Reply targets put together: from `[[reply]]`, and from addresses in a message's `reply_to`."""

from __future__ import annotations

import os
import ssl
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backhaul.access import refusal
from backhaul.adapters.system.trusted_files import check_private
from backhaul.app.programs import check_program, program_user
from backhaul.core.errors import BackhaulError, ConfigurationError, PermanentError
from backhaul.core.ports.replies import ReplyTarget
from backhaul.core.replies.reply import Reply
from backhaul.core.replies.webhook import parse_webhook
from backhaul.settings.model import in_home
from backhaul.settings.reply import ReplySettings, check_replies, queue_region, topic_region

if TYPE_CHECKING:
    from backhaul.adapters.aws.clients import AwsSession

_SECRET_MOST = 1000  # characters
_ADDRESSES_MOST = 64  # of `reply_to`; each keeps a client with its connections
_STAND_IN_REGION = "us-east-1"  # for a queue whose URL is not AWS's, where none is configured


class ReplyTargets(Mapping[str, ReplyTarget]):
    """By name, and by the URL or ARN of a queue or the ARN of a topic; safe for several threads.

    Iterating gives the names alone. The least recently used addresses are forgotten, and made
    again when they are needed.

    Args:
        configured: By the names of `[[reply]]`.
    """

    def __init__(self, configured: Mapping[str, ReplyTarget], sessions: AwsSessions) -> None:
        self._configured = dict(configured)
        self._sessions = sessions
        self._by_address: OrderedDict[str, ReplyTarget] = OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, target: str) -> ReplyTarget:
        if target in self._configured:
            return self._configured[target]
        with self._lock:
            found = self._by_address.pop(target, None) or self._for_address(target)
            self._by_address[target] = found
            if len(self._by_address) > _ADDRESSES_MOST:
                self._by_address.popitem(last=False)
            return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._configured)

    def __len__(self) -> int:
        return len(self._configured)

    def _for_address(self, address: str) -> ReplyTarget:
        if topic_region(address) is not None:
            return _topic(address, address, self._sessions)
        if not address.startswith(("arn:", "https://", "http://")):
            raise KeyError(address)
        try:
            return _queue(address, address, self._sessions)
        except ConfigurationError as error:  # the configuration of an earlier release took it
            return _RefusedAddress(error)
        except BackhaulError as error:
            raise KeyError(address) from error


class _RefusedAddress:
    """An address that the ledger has, and that no configuration may allow any more."""

    def __init__(self, error: ConfigurationError) -> None:
        self._error = error

    def deliver(self, reply: Reply) -> None:
        """Give it up, with the reason.

        Raises:
            PermanentError: Of the address.
        """
        del reply
        raise PermanentError(
            self._error.code, self._error.message, hint=self._error.hint
        ) from self._error


class AwsSessions:
    """One session for each region and role; they are made when they are needed.

    Args:
        conf_dir: Hadoop's configuration, whose keys count where AWS's chain has none.
        region: Of a queue whose URL names none; None: AWS_REGION, else AWS_DEFAULT_REGION.
    """

    def __init__(self, conf_dir: Path | None, region: str | None = None) -> None:
        self._conf_dir = conf_dir
        self.region = (
            region
            or os.environ.get("AWS_REGION")
            or os.environ.get("AWS_DEFAULT_REGION")
            or _STAND_IN_REGION
        )
        self._made: dict[tuple[str, str | None], AwsSession] = {}
        self._lock = threading.Lock()

    def of(self, region: str, role: str | None = None) -> AwsSession:
        """Sends nothing.

        Args:
            role: ARN of a role to be assumed first.
        """
        from backhaul.adapters.aws.clients import AwsSession
        from backhaul.adapters.hadoop.configuration.s3a import S3aConfiguration

        with self._lock:
            if (region, role) not in self._made:
                load = S3aConfiguration.loader(self._conf_dir)
                self._made[region, role] = AwsSession(region, load, role=role)
            return self._made[region, role]


def reply_targets(
    settings: Sequence[ReplySettings], config_path: Path | None, sessions: AwsSessions
) -> ReplyTargets:
    """All that can be replied to; a marker is none: the transfer publishes it.

    Contacts nothing; everything that can be checked without that is.

    Raises:
        ConfigurationError: E_REPLY_SETTING; E_REPLY_FILE: a file cannot be read;
            E_CFG_PERMISSIONS: others could change the command, or read the secret; E_CFG_TLS: a
            plain `http://` queue that is not on this machine.
    """
    check_replies(settings, config_path)
    made = {one.name: _target(one, sessions) for one in settings if one.marker is None}
    return ReplyTargets(made, sessions)


def _target(one: ReplySettings, sessions: AwsSessions) -> ReplyTarget:
    if one.sqs is not None:
        return _queue(one.name, one.sqs, sessions, one.region, one.role_arn)
    if one.sns is not None:
        return _topic(one.name, one.sns, sessions, one.role_arn)
    if one.webhook is not None:
        return _webhook(one, one.webhook)
    return _command(one, one.command or [])


def _queue(
    name: str,
    queue: str,
    sessions: AwsSessions,
    region: str | None = None,
    role: str | None = None,
) -> ReplyTarget:
    from backhaul.adapters.aws.replying.sqs import SqsReplyTarget
    from backhaul.adapters.aws.tls import refuse_plain_http
    from backhaul.adapters.system.clock import SystemClock

    if "://" in queue:
        refuse_plain_http(queue, f"the queue of reply {name}")
    of = queue_region(queue) or region or sessions.region
    return SqsReplyTarget(name, queue, of, sessions.of(of, role), SystemClock())


def _topic(name: str, topic: str, sessions: AwsSessions, role: str | None = None) -> ReplyTarget:
    from backhaul.adapters.aws.replying.sns import SnsReplyTarget

    region = topic_region(topic) or sessions.region
    return SnsReplyTarget(name, topic, sessions.of(region, role))


def _webhook(one: ReplySettings, url: str) -> ReplyTarget:
    from backhaul.adapters.reply.webhook import WebhookTarget

    secret = None
    if one.secret_file is not None:
        secret = read_secret(in_home(one.secret_file), f"reply {one.name}: secret_file")
    ca_file = None if one.ca_file is None else in_home(one.ca_file)
    try:
        return WebhookTarget(
            one.name, parse_webhook(url), secret=secret, ca_file=ca_file, limit_s=one.timeout
        )
    except ssl.SSLError as exc:
        raise ConfigurationError(
            "E_REPLY_FILE",
            f"reply {one.name}: ca_file {ca_file} holds no certificate in PEM",
            hint="name a file that begins with -----BEGIN CERTIFICATE-----",
        ) from exc
    except OSError as exc:
        raise _unreadable(f"reply {one.name}: ca_file", ca_file or Path(), exc) from exc


def read_secret(path: Path, what: str) -> bytes:
    """The first line of a file that no one else may read.

    Raises:
        ConfigurationError: E_CFG_PERMISSIONS, E_REPLY_FILE.
    """
    check_private(path, what)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise _unreadable(what, path, exc) from exc
    secret = text.split("\n", 1)[0].strip()
    if not 1 <= len(secret) <= _SECRET_MOST or not secret.isprintable():
        raise ConfigurationError(
            "E_REPLY_FILE",
            f"{what} {path}: its first line is empty, has more than {_SECRET_MOST:,} characters,"
            " or some that are not printable",
            hint=f"make one: (umask 077; openssl rand -hex 32 > {path})",
        )
    return secret.encode()


def _command(one: ReplySettings, command: Sequence[str]) -> ReplyTarget:
    from backhaul.adapters.reply.command import CommandTarget

    what, code = f"reply {one.name}", "E_REPLY_SETTING"
    check_program(command[0], what, code=code)
    user = program_user(one.user, command[0], what, code=code)
    return CommandTarget(one.name, command, one.timeout, user)


def _unreadable(what: str, path: Path, exc: OSError | UnicodeDecodeError) -> ConfigurationError:
    if isinstance(exc, PermissionError):
        message, hint = refusal(path)
        return ConfigurationError("E_REPLY_FILE", f"{what}: {message}", hint=hint)
    reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
    hint = "check the path and the file"
    return ConfigurationError("E_REPLY_FILE", f"{what} {path}: {reason}", hint=hint)

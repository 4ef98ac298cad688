"""What `backhaul init` needs to know, read from flags or from a terminal; nothing is contacted.

Each reader returns the value in full or refuses it with a sentence that names the flag, so that a
terminal can put the question again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backhaul.core.errors import BackhaulError, BadArgument
from backhaul.core.file_systems import FileSystems
from backhaul.core.model import Source
from backhaul.core.requests.paths import parse_destination, parse_source
from backhaul.core.requests.queue_names import parse_queue
from backhaul.core.text import printable, redacted

# Stands for the cluster's file system on a machine that has no Hadoop configuration.
UNKNOWN_FS = FileSystems(default="hdfs://cluster:8020", has_any_table=True)

_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}")
_ROUTE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_ACCOUNT = re.compile(r"[0-9]{12}")
_PRINCIPAL = re.compile(
    r"arn:aws[a-z-]*:(?:iam::[0-9]{12}:(?:root|(?:user|role)/[\w+=,.@/-]{1,512})"
    r"|sts::[0-9]{12}:assumed-role/[\w+=,.@/-]{1,512})",
    re.ASCII,
)
_SENDER_ID = re.compile(r"A[A-Z0-9]{15,127}(?::[\w+=,.@-]{2,64})?", re.ASCII)
_KMS_KEY = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,128}")
_TRUSTED = re.compile(
    r"arn:aws[a-z-]*:rolesanywhere:[a-z0-9-]+:[0-9]{12}:trust-anchor/[A-Za-z0-9-]{1,64}"
)
_SQS_NAME_MAX = 80
FIFO = ".fifo"


@dataclass(frozen=True, kw_only=True)
class InitAnswers:
    """One queue and one route.

    Attributes:
        queue: Its name.
        sources: Prefixes, whose keys are empty or end in `/`.
        destination: As it was typed, ending in `/`.
        takes_events: The bucket itself sends, an event for each new object.
        sender_ids: SQS SenderIds, for the route.
        principals: ARNs of those who may send, for the queue's policy.
        kms_keys: ARNs of the keys that encrypt the objects.
        source_owner: Account that owns the buckets; None: that of the queue.
        trusted_by: Who may assume the agent's role, an ARN; None: the agent is an IAM user.
        ledger: The ledger file; None: its default.
    """

    queue: str
    region: str
    name: str
    sources: tuple[Source, ...]
    destination: str
    takes_events: bool = False
    sender_ids: tuple[str, ...] = ()
    principals: tuple[str, ...] = ()
    kms_keys: tuple[str, ...] = ()
    source_owner: str | None = None
    trusted_by: str | None = None
    ledger: str | None = None

    @property
    def is_fifo(self) -> bool:
        return self.queue.endswith(FIFO)

    @property
    def dead_letter_queue(self) -> str:
        """Its name; of a FIFO queue it is a FIFO queue, too."""
        stem = self.queue.removesuffix(FIFO)
        return f"{stem}-dead{FIFO if self.is_fifo else ''}"

    def check_together(self) -> None:
        """Refuse answers that do not fit each other.

        Raises:
            BadArgument: E_INIT_ANSWER.
        """
        if self.takes_events and self.is_fifo:
            raise refused(
                f"--bucket-events: S3 sends no events to a FIFO queue, and {self.queue} is one",
                "name a queue without .fifo",
            )
        if self.takes_events and self.sender_ids:
            raise refused(
                "--sender with a SenderId and --bucket-events: the route would refuse S3's events,"
                " whose SenderId is not known before the first one",
                "name the sender by its ARN, which goes into the queue's policy; or leave out one"
                " of the two",
            )
        if len(self.dead_letter_queue) > _SQS_NAME_MAX:
            raise refused(
                f"--queue: {self.dead_letter_queue}, the dead-letter queue, has more than"
                f" {_SQS_NAME_MAX} characters",
                "choose a shorter name for the queue",
            )


def refused(message: str, hint: str) -> BadArgument:
    """An answer that `backhaul init` cannot use."""
    return BadArgument("E_INIT_ANSWER", message, hint=hint)


def read_region(text: str) -> str:
    """Such as `us-west-2`."""
    if _REGION.fullmatch(text.strip()) is None:
        raise refused(f"--region: {_shown(text)} is no AWS region", "write one such as us-west-2")
    return text.strip()


def read_queue(text: str, region: str | None = None) -> str:
    """The name in a name, URL or ARN; of another region it is refused."""
    try:
        found = parse_queue(text.strip())
        if region is not None:
            found.check_region(region)
    except BadArgument as error:
        raise refused(f"--queue: {error.message}", error.hint) from error
    return found.name


def read_source(text: str) -> Source:
    """A prefix; one without its slash gets it. A bucket alone is refused: all of it is `b/`."""
    try:
        source = parse_source(text.strip())
        if not source.is_prefix:
            source = parse_source(f"s3://{source.bucket}/{source.key}/")
    except BackhaulError as error:
        raise refused(f"--source: {error.message}", error.hint) from error
    return source


def read_destination(text: str, default_fs: FileSystems) -> str:
    """A directory, as typed, with a slash at its end."""
    typed = text.strip()
    try:
        parse_destination(typed, default_fs=default_fs)
    except BackhaulError as error:
        raise refused(f"--destination: {error.message}", error.hint) from error
    return f"{typed.removesuffix('/')}/"


def read_name(text: str) -> str:
    """A route's name."""
    if _ROUTE.fullmatch(text.strip()) is None:
        raise refused(
            f"--name: {_shown(text)} is no name of a route",
            "write 1 to 64 letters, digits, '.', '_' or '-'",
        )
    return text.strip()


def suggested_name(source: Source) -> str:
    """For a route: the last directory of its source, or the bucket."""
    for part in reversed((source.bucket, *source.key.split("/"))):
        name = _NOT_IN_NAME.sub("-", part).strip("-.")[:64]
        if name:
            return name
    return "landing"


def read_sender(text: str) -> tuple[str | None, str | None]:
    """The ARN of a principal and None, or None and a SenderId of SQS."""
    typed = text.strip()
    if _ACCOUNT.fullmatch(typed):
        return f"arn:aws:iam::{typed}:root", None
    if _PRINCIPAL.fullmatch(typed):
        return typed, None
    if _SENDER_ID.fullmatch(typed):
        return None, typed
    raise refused(
        f"--sender: {_shown(text)} is neither the ARN of a user or role, nor an account, nor a"
        " SenderId of SQS",
        "write arn:aws:iam::123456789012:role/NAME, 123456789012, or an id such as AIDA... or"
        " AROA...:SESSION",
    )


def read_kms_key(text: str) -> str:
    """The ARN of a key: a policy cannot name an alias."""
    if _KMS_KEY.fullmatch(text.strip()) is None:
        raise refused(
            f"--kms-key: {_shown(text)} is no ARN of a KMS key",
            "find it with: aws kms describe-key --key-id ALIAS --query KeyMetadata.Arn",
        )
    return text.strip()


def read_account(text: str) -> str:
    """Twelve digits."""
    if _ACCOUNT.fullmatch(text.strip()) is None:
        raise refused(f"--source-owner: {_shown(text)} is no AWS account", "write its 12 digits")
    return text.strip()


def read_trusted(text: str) -> str:
    """Who assumes the agent's role: a trust anchor of IAM Roles Anywhere, or a principal."""
    typed = text.strip()
    if _TRUSTED.fullmatch(typed) or _PRINCIPAL.fullmatch(typed):
        return typed
    raise refused(
        f"--role-for: {_shown(text)} is neither the ARN of a trust anchor nor of a user or role",
        "write arn:aws:rolesanywhere:REGION:ACCOUNT:trust-anchor/ID, or"
        " arn:aws:iam::123456789012:role/NAME",
    )


def _shown(text: str) -> str:
    return printable(redacted(text), 120) or "(empty)"

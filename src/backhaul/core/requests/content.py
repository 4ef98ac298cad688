"""What a message body can hold besides a request: events, which a route turns into requests.

Frozen data only. `body` and `aws_events` make it from text, `event_routes` turns it into requests.
"""

from __future__ import annotations

from dataclasses import dataclass

from backhaul.core.errors import PermanentError
from backhaul.core.model import Request, Source

SEQUENCER_DIGITS = 64


@dataclass(frozen=True, kw_only=True)
class ObjectEvent:
    """An event of S3 about one object.

    Attributes:
        name: S3's own: `ObjectCreated:Put`, or `Object Created` from EventBridge.
        is_created: The object is there now, with new content.
        source: The object, its key decoded.
        size_bytes: None where the event has none.
        version_id: None without versioning.
        sequencer: Lower case and padded on the right, so that text compares as S3 means it.
        account: Of the bucket's owner; only EventBridge names it.
    """

    name: str
    is_created: bool
    source: Source
    size_bytes: int | None = None
    version_id: str | None = None
    sequencer: str | None = None
    account: str | None = None


@dataclass(frozen=True, kw_only=True)
class StepEvent:
    """An event of EMR: a step changed its state.

    Attributes:
        cluster: Its id, `j-…`.
        state: `COMPLETED`, `FAILED` and so on.
    """

    name: str
    cluster: str
    step: str
    state: str


@dataclass(frozen=True, kw_only=True)
class CallEvent:
    """A call of S3's API, as CloudTrail reports it through EventBridge: never a reason to copy.

    Attributes:
        name: Of the call, such as `PutObject`.
        source: The object, its key as in the call; None where the call is about no object.
    """

    name: str
    source: Source | None = None


@dataclass(frozen=True, kw_only=True)
class Ignored:
    """A well-formed event that needs no copy: deleted, counted and logged.

    Attributes:
        reason: From a closed set: S3_TEST_EVENT, EVENT_TYPE, EVENT_DIRECTORY, EVENT_NOT_MARKER.
        what: For people.
        placeholder: An object that is ignored only if S3 confirms that it is empty: the size in an
            event is its sender's claim.
        owner: Account that must own the placeholder's bucket; None: any.
    """

    reason: str
    what: str
    placeholder: Source | None = None
    owner: str | None = None


# An error takes the place of an unreadable record; the other records are still carried out.
RecordBody = Request | ObjectEvent | StepEvent | CallEvent | Ignored | PermanentError


@dataclass(frozen=True, kw_only=True)
class Content:
    """A message body, understood.

    Attributes:
        form: `line`, `json`, `s3`, `eventbridge`; with ` in sns` behind it where SNS sent it.
        records: In the order of the body; each that is carried out is a transfer.
        single_bodies: Of several records, a body for each alone; empty: there is none.
    """

    form: str
    records: tuple[RecordBody, ...]
    single_bodies: tuple[str, ...] = ()


def padded_sequencer(text: str) -> str:
    """S3's rule: compared as hexadecimal text, the shorter one padded on the right with zeros."""
    return text.lower().ljust(SEQUENCER_DIGITS, "0")

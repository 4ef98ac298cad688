"""Whether an event is overtaken: something as new, or newer, of its object is published already.

Anyone who may send can claim any sequencer. It only decides whether S3 is queried: a transfer is
skipped if S3 itself, or what S3 reported of the published file, shows that there is nothing newer
(S9 in docs/reliability.md). A forged event costs later ones a request, never their data.
"""

from __future__ import annotations

from backhaul.core.model import Assignment, Location
from backhaul.core.objects import Pin
from backhaul.core.ports import Ledger, ObjectStore, Published
from backhaul.core.requests.paths import target_relative
from backhaul.core.transfer.listing import current_object


def target_of_event(job: Assignment) -> Location | None:
    """What an event's transfer will own, known without a request to S3; None without an event."""
    request = job.request
    if request.event is None:
        return None
    if request.source.is_prefix:
        return request.destination
    name = request.source.key.rsplit("/", 1)[-1]
    return request.destination.join(target_relative(request.destination, name, job.name_map))


def claims_to_be_old(ledger: Ledger, job: Assignment, target: Location) -> bool:
    """By its own sequencer the event is not newer than what was published at the target."""
    event, bucket = job.request.event, job.request.source.bucket
    if event is None or event.sequencer is None:
        return False
    known = ledger.published_sequencer(target, bucket, event.key)
    return known is not None and event.sequencer <= known


def is_overtaken(
    ledger: Ledger, store: ObjectStore, job: Assignment, target: Location, now: Pin | None
) -> bool:
    """What is published at the target is at least as new as what the event would bring.

    Args:
        target: What the event's transfer owns: a file, or the directory of a marker.
        now: `state_of_event`: the event's object as S3 has it; None: it is gone.

    Raises:
        BackhaulError: As `listing.current_object`.
    """
    before = _published(ledger, job, target)
    if before is None:
        return False
    if now is None or is_same_state(before.pin, now):
        return True
    if now.is_later_than(before.pin):
        return False
    if before.pin.is_later_than(now):
        return True
    # Within one second there may be no order: only the current version is certainly not older.
    current = _current(store, job)
    return current is None or not is_same_state(current, now)


def state_of_event(store: ObjectStore, job: Assignment) -> Pin | None:
    """The object that the event is about, in the event's version where it names one; None: gone.

    Raises:
        BackhaulError: As `store.find_version` and `listing.current_object`.
    """
    event, source = job.request.event, job.request.source
    if event is not None and event.version_id is not None:
        return store.find_version(
            source.bucket, event.key, event.version_id, owner=job.source_owner
        )
    return _current(store, job)


def is_same_state(one: Pin, other: Pin) -> bool:
    """Equal as far as both give it: a listing has no version, HEAD no fraction of a second."""
    versions = {one.version_id, other.version_id} - {None}
    return len(versions) <= 1 and (
        (one.bucket, one.key, one.etag, one.size_bytes)
        == (other.bucket, other.key, other.etag, other.size_bytes)
        and not one.is_later_than(other)
        and not other.is_later_than(one)
    )


def _current(store: ObjectStore, job: Assignment) -> Pin | None:
    event, source = job.request.event, job.request.source
    key = source.key if event is None else event.key
    return current_object(store, source.bucket, key, owner=job.source_owner)


def _published(ledger: Ledger, job: Assignment, target: Location) -> Published | None:
    """What this ledger published of the event's object, at the object's own place."""
    event, source = job.request.event, job.request.source
    if event is None:
        return None
    final = target
    if source.is_prefix:
        name = event.key.removeprefix(source.key)
        final = target.join(target_relative(target, name, job.name_map))
    before = ledger.published([final]).get(final)
    is_its = before is not None and (before.pin.bucket, before.pin.key) == (
        source.bucket,
        event.key,
    )
    return before if is_its else None

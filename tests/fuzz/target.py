"""What may never happen, whatever the body: asked of the message parser, the policy and the paths.

`judge` takes one body through all three and returns what became of it. It raises AssertionError
for a broken promise; any other exception that escapes is one, too. The promises are written out
here a second time, in other words than the product's: bytes and prefixes, nothing of `core.policy`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from backhaul.core.errors import BackhaulError, NotAllowed, PermanentError
from backhaul.core.model import (
    EventOther,
    Limits,
    Location,
    NameMap,
    OnExists,
    Request,
    Route,
    Source,
)
from backhaul.core.ports import Message
from backhaul.core.requests.body import format_json, parse_message, read_message
from backhaul.core.requests.content import Ignored, RecordBody
from backhaul.core.requests.event_routes import request_of
from backhaul.core.requests.paths import check_key, target_relative, unmap_name
from backhaul.core.requests.policy import Policy
from backhaul.core.requests.records import records_of
from backhaul.core.text import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_FS = "hdfs://nameservice"
ALLOWED_SOURCES = ((b"bucket", b"raw/"), (b"acme-raw", b"click/day=1/"), (b"whole-bucket", b""))
ALLOWED_PLACES = (
    ("hdfs", "nameservice", b"/landing"),
    ("hdfs", "other:9000", b"/data/in"),
    ("file", "", b"/mnt/landing"),
)
QUEUE = "arn:aws:sqs:us-east-1:000000000000:work"
EVENT_DESTINATIONS = ("/landing/{rel_dir}/", "/landing/{bucket}/{key_dir}/", "/landing/x/{key_dir}")
_FORBIDDEN = {b"", b".", b"..", b".snapshot", b".backhaul", b".Trash", b"_temporary"}
_UNSEEN = set("\u200b\u200d\u202e\u2066\ufeff\u00ad")
_MOST_PARTS = 100
_CODE = re.compile(r"E_[A-Z0-9_]+")
_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\d+|s3://\S*|hdfs://\S*|file:\S*")
_WORD = re.compile(r"(?<!\S)[a-z]{2,12}(?!\S)")
_LINE_MAX = 1200


def _policy() -> Policy:
    places = tuple(
        Location(scheme=scheme, authority=authority, path=path.decode())
        for scheme, authority, path in ALLOWED_PLACES
    )
    return Policy(
        routes=tuple(
            Route(
                name=f"r{number}",
                sources=((bucket.decode(), prefix.decode()),),
                destinations=places,
                on_exists=OnExists.SAME_OK,
                event_destination=EVENT_DESTINATIONS[number],
                event_other=EventOther.IGNORE if number else EventOther.DEAD,
                marker="_SUCCESS" if number == len(ALLOWED_SOURCES) - 1 else None,
                name_map=NameMap.PERCENT if number == 1 else NameMap.STRICT,
                limits=Limits(),
            )
            for number, (bucket, prefix) in enumerate(ALLOWED_SOURCES)
        )
    )


POLICY = _policy()


def judge(body: str) -> str:
    """What became of the body: a code with the shape of its sentence, or the form accepted."""
    _check_parts(body)
    assert excerpt(body).isprintable()
    try:
        content = read_message(body, default_fs=DEFAULT_FS)
    except BackhaulError as error:
        return _refused(error)
    assert content.records
    outcomes = [_judge_ask(ask) for ask in content.records]
    return outcomes[0] if len(outcomes) == 1 else " ".join(["several", *sorted(set(outcomes))])


def _check_parts(body: str) -> None:
    """One body is a bounded number of transfers, and of dead letters for what cannot be read."""
    parts = records_of(_message(body), default_fs=DEFAULT_FS)
    assert 1 <= len(parts) <= _MOST_PARTS
    assert sum(isinstance(part.body, PermanentError) for part in parts) <= 1
    assert len({part.key(_message(body)).text for part in parts}) == len(parts)


def _message(body: str) -> Message:
    return Message(
        queue=QUEUE,
        message_id="m",
        receipt_handle="h",
        body=body,
        sender_id="AROA:session",
        receive_count=1,
        sent_at=None,
        received_monotonic_s=0.0,
    )


def _judge_ask(ask: RecordBody) -> str:
    """One record: what a route makes of it, if it is an event, and what the policy says."""
    try:
        asked = request_of(POLICY, ask, queue=QUEUE, default_fs=DEFAULT_FS)
    except BackhaulError as error:
        return _refused(error)
    if isinstance(asked, Ignored):
        assert asked.what.isprintable(), f"unprintable: {asked.what!a}"
        return asked.reason
    if asked.event is not None:
        _check_event(asked)
    return _judge_request(asked)


def _check_event(request: Request) -> None:
    """An event brings its own object or, by a marker, the directory of it; and to a route's."""
    assert request.event is not None
    assert request.event.key.startswith(request.source.key)
    assert request.source.key in {request.event.key, request.event.key.rpartition("/")[0] + "/"}
    _check_place(request.destination)


def _judge_request(request: Request) -> str:
    _check_request(request)
    try:
        job = POLICY.decide(request, sender_id="AROA:session", queue=QUEUE)
    except NotAllowed as error:
        return f"{request.form} {_refused(error)}"
    assert job.request is request
    assert job.on_exists is not OnExists.REPLACE, "looser than the route"
    resolved = []
    for source in _resolutions(request.source):
        try:
            POLICY.check_resolved(job, source)
        except NotAllowed as error:
            resolved.append(_refused(error))
            continue
        resolved.append("fine")
        _check_source(source)
        _check_names(request, source)
    _check_place(request.destination)
    POLICY.check_target(job, request.destination)
    return f"{request.form} accepted {resolved} {request.destination.scheme}"


def _refused(error: BackhaulError) -> str:
    assert isinstance(error, PermanentError), f"{type(error).__name__} for a body"
    assert _CODE.fullmatch(error.code)
    for line in (error.message, error.hint):
        assert line.isprintable(), f"unprintable: {line!a}"
        assert len(line) < _LINE_MAX, f"{len(line)} characters"
        line.encode("utf-8")
    assert error.message
    return " ".join([error.code, *_WORD.findall(_VARYING.sub("", error.message))[:3]])


def _resolutions(source: Source) -> Iterator[Source]:
    """What S3 may say that it is."""
    yield source
    if not source.is_prefix:
        yield Source(bucket=source.bucket, key=f"{source.key}/")


def _check_request(request: Request) -> None:
    source, place = request.source, request.destination
    source.key.encode("utf-8")
    # A directory's canonical form has its slash: a name may end in a blank, a JSON field may not.
    again = parse_message(
        format_json(source.uri, f"{place.uri}/", request.options), default_fs=DEFAULT_FS
    )
    assert (again.source, again.destination) == (source, place), "no fixed point"


def _check_source(source: Source) -> None:
    bucket, key = source.bucket.encode(), source.key.encode()
    assert any(
        bucket == allowed and key[: len(prefix)] == prefix for allowed, prefix in ALLOWED_SOURCES
    ), f"policy bypassed by the source {source.uri!a}"


def _check_place(place: Location, below: bytes = b"") -> None:
    path = place.path.encode()
    assert any(
        (place.scheme, place.authority) == (scheme, authority)
        and (path == allowed or path.startswith(allowed + b"/"))
        for scheme, authority, allowed in ALLOWED_PLACES
    ), f"policy bypassed by the destination {place.uri!a}"
    parts = path.split(b"/")[1:]
    assert not _FORBIDDEN & set(parts), f"{place.uri!a}"
    assert parts[0] != b".reserved"
    assert not any(part.startswith(b".backhaul-") for part in parts), f"{place.uri!a}"
    assert not _UNSEEN & set(place.path), f"{place.uri!a}"
    assert all(len(part) <= 255 for part in parts)
    assert len(place.path) <= 8000 + len(below)
    assert not re.search(rb"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]", path), f"{place.uri!a}"


def _check_names(request: Request, source: Source) -> None:
    """The object's own name, and as if the source's text were a key below a prefix."""
    keys = [source.key.rsplit("/", 1)[-1], source.key, f"a:b%{source.key}"]
    for key in keys:
        try:
            check_key(key)
        except PermanentError as error:
            _refused(error)
            continue
        if not key or key.endswith("/"):
            continue
        for name_map in NameMap:
            try:
                relative = target_relative(request.destination, key, name_map)
            except PermanentError as error:
                _refused(error)
                continue
            _check_place(request.destination.join(relative), below=relative.encode())
            assert b":" not in relative.encode()
            if name_map is NameMap.PERCENT:
                assert unmap_name(relative, name_map) == key, f"{key!a} → {relative!a}"
            else:
                assert relative == key

"""What may never happen, whatever S3, SQS or STS answer: asked of the real adapters, in process.

Answers are put in where botocore and urllib3 would send, so everything above runs as it is:
retries, parsers, the adapters. `Judge.one` runs one call of an adapter against a server that
answers with mutated genuine answers, and returns what came of it. It raises AssertionError for a
broken promise; any exception that is no `BackhaulError` with a documented code is one, too.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import botocore.exceptions
import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.loaders import JSONFileLoader
from botocore.regions import EndpointRulesetResolver
from botocore.signers import RequestSigner
from urllib3.connectionpool import HTTPConnectionPool

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.credentials import AwsCredentials
from backhaul.adapters.aws.errors import common_error, queue_error
from backhaul.adapters.aws.s3 import S3Store
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.adapters.digests import new_digest
from backhaul.adapters.system.clock import SystemClock
from backhaul.core.checksums import matches
from backhaul.core.errors import (
    BackhaulError,
    ConfigurationError,
    OutageError,
    VisibilityLost,
)
from backhaul.core.model import Source
from backhaul.core.objects import Pin
from backhaul.core.ports import DeadLetterReason, Endpoint, Message
from backhaul.core.transfer.listing import SIZE_MAX_BYTES, list_pages
from backhaul.core.transfer.planning import resolve
from tests.fuzz import server_answers as genuine
from tests.fuzz.server_answers import Answer, Mutator

ROOT = Path(__file__).parents[2]
REQUESTS_MAX = 40  # of one call; then the connection breaks
_LINE_MAX = 2000
_ENDPOINT = Endpoint(base_url="https://src.s3.us-east-1.amazonaws.com/", region="us-east-1")
_PIN = Pin(
    bucket=genuine.BUCKET,
    key=genuine.KEY,
    size_bytes=len(genuine.DATA),
    etag=genuine.ETAG,
    last_modified=datetime(2026, 1, 1, tzinfo=UTC),
)
_MESSAGE = Message(
    queue="q", message_id="m", receipt_handle="h", body=genuine.BODY, sender_id="s",
    receive_count=1, sent_at=None, received_monotonic_s=0.0,
)  # fmt: skip
_REASON = DeadLetterReason(
    code="E_X", sentence="x", hint="", attempts=1, transfer_id="t", host="h",
    first_seen_at=datetime(2026, 1, 1, tzinfo=UTC),
)  # fmt: skip


@cache
def documented_codes() -> frozenset[str]:
    """Those with a row in the manual."""
    text = (ROOT / "docs" / "reference" / "errors.md").read_text("utf-8")
    return frozenset(re.findall(r"^\| `(E_[A-Z0-9_]+)`", text, re.MULTILINE))


@dataclass(kw_only=True)
class Wire:
    """Stands where connections would be.

    Attributes:
        answers: How many were given.
        last: Of the last call.
    """

    mutator: Mutator
    answers: int = 0
    requests: int = 0
    last: Answer = field(default_factory=Answer)
    bodies: list[bytes] = field(default_factory=list)

    def begin(self) -> None:
        """A new call."""
        self.requests = 0
        self.bodies = []

    def answer(self, honest: Answer) -> Answer:
        self.requests += 1
        self.answers += 1
        given = honest
        if self.requests > REQUESTS_MAX:
            given = Answer(failure="connect")
        elif self.mutator.chance.random() < 0.8:
            given = self.mutator.mutate(honest)
        self.last = given
        self.bodies.append(given.body)
        return given

    # -------------------------------------------------------- botocore

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        given = self.answer(_honest(request))
        if given.failure:
            raise _botocore_failure(given.failure, request)
        headers: Any = dict(given.headers)
        return AWSResponse(request.url, given.status, headers, _Raw(given.body))

    # -------------------------------------------------------- urllib3

    def urlopen(self, method: str, target: str, headers: dict[str, str]) -> urllib3.HTTPResponse:
        for value in headers.values():
            assert "\n" not in value
            assert "\r" not in value
        if "attributes" in target:
            honest = genuine.PARTS
        elif found := re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("Range", "")):
            honest = genuine.ranged(int(found[1]), int(found[2]) + 1)
        else:
            honest = genuine.HEAD if method == "HEAD" else genuine.GET
        given = self.answer(honest)
        if given.failure:
            raise _urllib3_failure(given.failure)
        return urllib3.HTTPResponse(
            body=io.BytesIO(b"" if method == "HEAD" else given.body),
            headers=urllib3.HTTPHeaderDict(given.headers),
            status=given.status,
            preload_content=False,
            request_method=method,
            enforce_content_length=True,
        )


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = io.BytesIO(body)

    def read1(self, amt: int) -> bytes:
        return self._body.read(amt)

    def close(self) -> None:
        pass


def _honest(request: AWSPreparedRequest) -> Answer:
    url = urlsplit(request.url)
    target: Any = request.headers.get("X-Amz-Target")
    if target:
        text = target.decode() if isinstance(target, bytes) else target
        return genuine.SQS[text.rpartition(".")[2]]
    if url.netloc.startswith("sts."):
        body: Any = request.body
        sent = parse_qs(body.decode() if isinstance(body, bytes) else str(body))
        return genuine.sts(sent.get("Action", ["AssumeRoleWithWebIdentity"])[0])
    query = parse_qs(url.query, keep_blank_values=True)
    if "list-type" in query:
        token = query.get("continuation-token", [""])[0]
        return genuine.listing(query.get("prefix", [""])[0], token)
    return genuine.HEAD


def _botocore_failure(how: str, request: AWSPreparedRequest) -> Exception:
    errors = botocore.exceptions
    cls: Any = {
        "connect": errors.EndpointConnectionError,
        "timeout": errors.ConnectTimeoutError,
        "read": errors.ReadTimeoutError,
        "tls": errors.SSLError,
        "closed": errors.ConnectionClosedError,
        "proxy": errors.ProxyConnectionError,
    }[how]
    failure: Exception = cls(
        endpoint_url=request.url, proxy_url="http://proxy", error=how, request=None, response=None
    )
    return failure


def _urllib3_failure(how: str) -> Exception:
    pool: Any = None
    errors = urllib3.exceptions
    made: dict[str, Exception] = {
        "connect": errors.NewConnectionError(pool, how),
        "timeout": errors.ConnectTimeoutError(pool, how),
        "read": errors.ReadTimeoutError(pool, "/", how),
        "tls": errors.SSLError(how),
        "closed": errors.ProtocolError(how),
        "proxy": errors.ProxyError(how, OSError(how)),
    }
    return made[how]


class Judge:
    """Runs calls; one per process. Use `installed` around it."""

    def __init__(self, seed: int, home: Path) -> None:
        self.mutator = Mutator(seed)
        self.wire = Wire(mutator=self.mutator)
        self._home = home
        aws = AwsSession("us-east-1")
        self._store = S3Store(aws)
        self._reader = ObjectReader(aws.credentials, 4)
        self._aws = aws
        self._queue = self._opened()
        self._calls: list[tuple[int, Callable[[], str]]] = [
            (6, self._list),
            (2, self._resolve),
            (2, self._version),
            (1, self._endpoint),
            (1, self._algorithms),
            (3, self._get),
            (1, self._range),
            (1, self._head),
            (2, self._parts),
            (5, self._receive),
            (3, self._dead_letter),
            (1, self._send),
            (1, self._delete),
            (1, self._extend),
            (1, self._delete_batch),
            (1, self._extend_batch),
            (2, self._facts),
        ]
        self._weights = [weight for weight, _ in self._calls]
        self._credentials_due = 0
        self.call = ""

    def one(self) -> str:
        """One call; what came of it."""
        self.wire.begin()
        self._aws._looked_at_clock_s = float("-inf")  # every answer's date, not one a second
        self._credentials_due += 1
        # Each makes a session and a client: many times as dear as the others.
        if self._credentials_due % 250 == 0:
            call = self._credentials
        else:
            call = self.mutator.chance.choices(self._calls, self._weights)[0][1]
        name = self.call = call.__name__.strip("_")
        try:
            return f"{name} {call()}"
        except BackhaulError as error:
            return f"{name} {self._refused(name, error)}"

    def _refused(self, name: str, error: BackhaulError) -> str:
        assert error.code in documented_codes(), f"{error.code} has no row"
        assert error.code != "E_BUG"
        whole = f"{error}{error.hint}"
        assert "VERYSECRET" not in whole, "a secret"
        assert "TOKEN" not in whole
        assert error.message.isprintable(), f"more than one line: {error.message!r}"
        assert len(error.message) < _LINE_MAX
        if name != "facts":
            assert not isinstance(error, ConfigurationError), f"would end the agent: {error}"
        if name in {"receive", "dead_letter", "delete", "extend", "credentials"} or "batch" in name:
            may_lose = "extend" in name or name == "batch"
            kinds = (OutageError, VisibilityLost) if may_lose else OutageError
            assert isinstance(error, kinds), f"{type(error).__name__} {error}"
        return error.code

    # -------------------------------------------------------- S3, through botocore

    def _check(self, pin: Pin) -> None:
        assert pin.bucket == genuine.BUCKET
        assert 0 <= pin.size_bytes <= SIZE_MAX_BYTES
        assert pin.last_modified.tzinfo is not None
        assert re.fullmatch(r"[\x21\x23-\x7e]+", pin.etag) or pin.key.endswith("/"), pin

    def _list(self) -> str:
        keys = []
        for page in list_pages(self._store, genuine.BUCKET, genuine.PREFIX):
            for pin in page.pins:
                assert pin.key.startswith(genuine.PREFIX), pin
                self._check(pin)
                keys.append(pin.key)
        assert len(keys) == len(set(keys)), keys
        return f"{min(len(keys), 9)} keys"

    def _resolve(self) -> str:
        key = self.mutator.chance.choice(("p", "p/a", "p/", "none"))
        found = resolve(self._store, Source(bucket=genuine.BUCKET, key=key))
        for page in found.pages:
            for pin in page.pins:
                assert pin.key == key if found.is_object else pin.key.startswith(found.source.key)
                self._check(pin)
        return f"{key} {found.is_object}"

    def _version(self) -> str:
        pin = self._store.find_version(genuine.BUCKET, genuine.KEY, "v1")
        if pin is not None:
            self._check(pin)
            assert (pin.key, pin.version_id) == (genuine.KEY, "v1")
        return str(pin is not None)

    def _endpoint(self) -> str:
        # What it remembers is of no use here: it would never ask again.
        self._store._endpoints.clear()
        endpoint = self._store.endpoint(genuine.BUCKET)
        host = urlsplit(endpoint.base_url).netloc
        assert re.fullmatch(
            r"src\.s3\.[a-z0-9.-]+\.amazonaws\.com(\.cn)?|src\.s3\.[a-z0-9.-]+", host
        ), host
        return "found"

    def _algorithms(self) -> str:
        found = self._store.algorithms(_PIN)
        assert all(isinstance(name, str) for name in found)
        return "found"

    # -------------------------------------------------------- S3, through urllib3

    def _get(self) -> str:
        with self._reader.get(_ENDPOINT, _PIN) as body:
            data = body.readall()
            best = body.facts.best(_PIN.size_bytes)
        assert len(data) == _PIN.size_bytes
        if best is not None:
            digest = new_digest(best.algorithm)
            digest.update(data)
            if matches(best, digest.digest()):
                assert data == genuine.DATA
                return "proven"
            return "refuted"
        return "without a checksum"

    def _range(self) -> str:
        with self._reader.get(_ENDPOINT, _PIN, byte_range=(3, 9)) as body:
            assert len(body.readall()) == 6
            assert body.facts.checksums == ()
        return "read"

    def _head(self) -> str:
        facts = self._reader.head(_ENDPOINT, _PIN)
        assert (facts.etag, facts.content_length) == (_PIN.etag, _PIN.size_bytes)
        return "read"

    def _parts(self) -> str:
        found = self._reader.parts(_ENDPOINT, _PIN)
        assert found is None or 1 <= len(found) <= 10_000
        return str(found is not None)

    # -------------------------------------------------------- SQS

    def _opened(self) -> SqsQueue:
        chance = self.mutator.chance
        with mock.patch.object(self.wire, "answer", lambda honest: honest):
            name = "https://sqs.us-east-1.amazonaws.com/000000000000/work"
            opened = SqsQueue.open(name, "us-east-1", self._aws, SystemClock())
        self.mutator.chance = chance
        return opened

    def _receive(self) -> str:
        messages = self._queue.receive(max_messages=10, wait_s=0, visibility_timeout_s=30)
        for one in messages:
            texts = (one.message_id, one.receipt_handle, one.body, one.sender_id)
            assert all(isinstance(text, str) for text in (*texts, *one.attributes.values()))
            for name in (one.message_id, one.receipt_handle):
                assert re.fullmatch("[!-~]+", name), name
            assert one.receive_count >= 1
            assert one.sent_at is None or one.sent_at.year >= 2006  # SQS's first
        document = json.loads(self.wire.last.body)
        given = document.get("Messages") or []
        assert len(messages) <= len(given)
        for one in messages:
            whole = [raw for raw in given if isinstance(raw, dict)]
            digests = [raw.get("MD5OfBody") for raw in whole if raw.get("Body") == one.body]
            assert any(each is None or each == _md5(one.body) for each in digests)
        return f"{len(messages)} messages"

    def _dead_letter(self) -> str:
        assert self._queue.send_dead_letter(_MESSAGE, _REASON)
        self._assert_taken()
        return "sent"

    def _send(self) -> str:
        self._queue.send(genuine.BODY)
        self._assert_taken()
        return "sent"

    def _assert_taken(self) -> None:
        """S1: the message is deleted after this, so the last answer must have been SQS's yes."""
        assert 200 <= self.wire.last.status < 300
        document = json.loads(self.wire.last.body)
        assert isinstance(document["MessageId"], str)
        assert document["MessageId"]

    def _delete(self) -> str:
        self._queue.delete(_MESSAGE)
        return "deleted"

    def _extend(self) -> str:
        self._queue.extend(_MESSAGE, 30)
        return "extended"

    def _delete_batch(self) -> str:
        errors = self._queue.delete_batch([_MESSAGE, replace(_MESSAGE, message_id="2")])
        assert all(one is None or isinstance(one, OutageError) for one in errors)
        return self._judged(errors)

    def _extend_batch(self) -> str:
        changes = [(_MESSAGE, 30), (replace(_MESSAGE, message_id="2"), 60)]
        errors = self._queue.extend_batch(changes)
        assert all(one is None or isinstance(one, (OutageError, VisibilityLost)) for one in errors)
        return self._judged(errors)

    def _judged(self, errors: Sequence[BackhaulError | None]) -> str:
        """Done only what the answer mentions; a refusal in it is held to the same rules."""
        assert len(errors) == 2
        body = self.wire.last.body.replace(b"\\u003", b"")  # the same digits, escaped
        for name, error in zip((b'0"', b'1"'), errors, strict=True):
            assert error is not None or name in body, "it is not in the answer"
        return " ".join("done" if one is None else self._refused("batch", one) for one in errors)

    def _facts(self) -> str:
        before = self._queue.facts
        try:
            self._queue.read_facts("queue work")
            facts = self._queue.facts
        finally:
            self._queue.facts = before
        assert facts.arn
        assert facts.name
        for text in (facts.url, facts.dead_letter_url, facts.dead_letter_name):
            assert text is None or isinstance(text, str)
        for seconds in (facts.retention_s, facts.dead_letter_retention_s):
            assert seconds is None or 60 <= seconds <= 1_209_600, seconds
        assert facts.max_receive_count is None or 1 <= facts.max_receive_count <= 1000
        return f"dead letters {facts.dead_letter_url is not None}"

    # -------------------------------------------------------- STS

    def _credentials(self) -> str:
        credentials = AwsCredentials()
        session = AwsSession("us-east-1")
        with session.errors(_of_credentials):
            frozen = credentials.get_frozen_credentials()
        assert isinstance(frozen.access_key, str)
        assert isinstance(frozen.secret_key, str)
        for sent in (frozen.access_key, frozen.token or "-"):
            assert re.fullmatch("[!-~]+", sent), sent
        return "found"


def _of_credentials(exc: Exception) -> BackhaulError:
    other = common_error(exc, "S3")
    assert isinstance(other, OutageError), other
    return queue_error(exc, "queue q")


def _md5(text: str) -> str:
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@contextmanager
def installed(seed: int) -> Iterator[Judge]:
    """A judge whose wire is in place of every connection, and whose waits take no time."""
    with tempfile.TemporaryDirectory() as text:
        home = Path(text)
        (home / "token").write_text("a token", "utf-8")
        (home / "config").write_text("", "utf-8")
        keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
        alone = {
            "HOME": text,
            "PATH": os.environ.get("PATH", ""),
            "AWS_CONFIG_FILE": str(home / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "config"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        role = {
            "AWS_ROLE_ARN": "arn:aws:iam::000000000000:role/r",
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "token"),
        }
        judge: Judge | None = None

        def send(_: object, request: AWSPreparedRequest) -> AWSResponse:
            if judge is None:
                return _from(_honest(request), request)
            return judge.wire.send(request)

        def urlopen(_: object, method: str, url: str, **named: Any) -> urllib3.HTTPResponse:
            assert judge is not None
            return judge.wire.urlopen(method, url, named["headers"])

        with (
            mock.patch("botocore.httpsession.URLLib3Session.send", send),
            mock.patch.object(HTTPConnectionPool, "urlopen", urlopen),
            mock.patch.object(time, "sleep", _nothing),
            # What only makes requests, and half of the time.
            mock.patch.object(RequestSigner, "sign", _nothing),
            mock.patch.object(S3SigV4Auth, "add_auth", _nothing),
            mock.patch.object(EndpointRulesetResolver, "construct_endpoint", _endpoint_of),
            mock.patch.object(JSONFileLoader, "load_file", lambda _, path: _service_model(path)),
        ):
            with mock.patch.dict(os.environ, {**alone, **keys}, clear=True):
                made = Judge(seed, home)
                made._aws.credentials.get_frozen_credentials()
                made._aws.credentials.forget = lambda: None  # type: ignore[method-assign]
            with mock.patch.dict(os.environ, {**alone, **role}, clear=True):
                judge = made
                yield made


def _nothing(*_: object, **__: object) -> None:
    """In place of what takes time; a Mock would remember every call."""


_construct_endpoint = EndpointRulesetResolver.construct_endpoint
_endpoints: dict[tuple[int, str, str], Any] = {}


def _endpoint_of(resolver: Any, operation_model: Any, call_args: Any, request_context: Any) -> Any:
    """Always the same for one client, operation and bucket."""
    name = (id(resolver), operation_model.name, str((call_args or {}).get("Bucket")))
    if name not in _endpoints:
        if len(_endpoints) > 50:
            _endpoints.clear()
        found = _construct_endpoint(resolver, operation_model, call_args, request_context)
        _endpoints[name] = (resolver, found)  # the resolver lives, so its id stays its own
    return _endpoints[name][1]


_load_file = JSONFileLoader().load_file


@cache
def _service_model(path: str) -> Any:
    """Botocore reads it anew for each session."""
    return _load_file(path)


def _from(answer: Answer, request: AWSPreparedRequest) -> AWSResponse:
    headers: Any = dict(answer.headers)
    return AWSResponse(request.url, answer.status, headers, _Raw(answer.body))


@dataclass(kw_only=True)
class ServerReport:
    """What a run found.

    Attributes:
        broken: What was answered last, and which promise it breaks.
        grown_bytes: Of memory, from a tenth of the run to its end.
    """

    answers: int = 0
    calls: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[str, str]] = field(default_factory=list)
    grown_bytes: int = 0
    seconds: float = 0.0

    def add(self, other: ServerReport) -> None:
        """Of another process."""
        self.answers += other.answers
        self.calls += other.calls
        self.outcomes += other.outcomes
        self.broken += other.broken
        self.grown_bytes = max(self.grown_bytes, other.grown_bytes)
        self.seconds = max(self.seconds, other.seconds)


def fuzz_servers(
    seed: int, *, count: int | None = None, seconds: float | None = None
) -> ServerReport:
    """Until `count` answers were given or `seconds` are over."""
    report = ServerReport()
    started_s = time.monotonic()
    settled_bytes = 0
    with installed(seed) as judge:
        while not _is_over(report, started_s, count, seconds):
            try:
                outcome = judge.one()
            except Exception as error:  # noqa: BLE001 - whatever escapes is the finding
                where = traceback.extract_tb(error.__traceback__)[-1]
                why = f"{judge.call}, {where.name}:{where.lineno}: {type(error).__name__}: {error}"
                report.broken.append((repr(judge.wire.last), why))
                outcome = "broken"
            report.calls += 1
            report.answers = judge.wire.answers
            report.outcomes[outcome] += 1
            if report.outcomes[outcome] == 1:
                judge.mutator.keep(judge.wire.last.body)
            if report.calls == 2000:
                settled_bytes = _resident_bytes()
    report.seconds = time.monotonic() - started_s
    report.grown_bytes = _resident_bytes() - settled_bytes if settled_bytes else 0
    return report


def _is_over(
    report: ServerReport, started_s: float, count: int | None, seconds: float | None
) -> bool:
    if count is not None and report.answers >= count:
        return True
    return seconds is not None and time.monotonic() - started_s > seconds


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

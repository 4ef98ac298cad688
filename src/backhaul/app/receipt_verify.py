"""`backhaul receipt verify`: checks a receipt against S3, and needs nothing else."""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Protocol

from backhaul.adapters.system.clock import SystemClock
from backhaul.adapters.system.ed25519 import VerifyingKey
from backhaul.adapters.system.receipt_keys import public_key, public_keys
from backhaul.core.errors import BackhaulError, OutageError, PermanentError
from backhaul.core.objects import Pin
from backhaul.core.ports import Clock, Endpoint
from backhaul.core.receipts.comparing import (
    ComparedObject,
    ObjectState,
    ReceiptVerdict,
    compare,
    unknown,
)
from backhaul.core.receipts.reading import (
    LineSource,
    ReceiptContent,
    SignedObject,
    check_receipt,
    read_objects,
    read_receipt,
)
from backhaul.core.receipts.statement import Statement

THREADS = 32
WINDOW = 4 * THREADS  # objects under way
TRIES = 5
BACKOFF_S = 0.2  # doubles; each time times 0.5 to 1.5
# Of one request: the next may be answered.
_PASSING = frozenset({"E_S3_SERVER", "E_S3_THROTTLED", "E_S3_UNREACHABLE"})


class StateReader(Protocol):
    """S3, as far as a receipt needs it.

    Raises (both methods):
        OutageError: S3 is unavailable.
    """

    def open(self, bucket: str) -> None:
        """To be called once before objects of this bucket are looked at; safe to repeat."""

    def state(self, pin: Pin) -> ObjectState | None:
        """What is at the pin's key, or the pin's version; None: nothing.

        Safe to call from several threads.

        Raises:
            BackhaulError: It cannot be known.
        """


@dataclass(frozen=True, kw_only=True)
class TrustedKeys:
    """Where the public keys are that may have signed.

    Attributes:
        files: Each with one key.
        directories: Each with any number of files `*.pem`.
    """

    files: tuple[Path, ...] = ()
    directories: tuple[Path, ...] = ()


@dataclass(kw_only=True)
class ReceiptTotals:
    """What was checked.

    Attributes:
        verdicts: Of the objects; empty where S3 was not queried.
        by_version: Objects that are as signed in the very version that was pinned.
        by_checksum: Objects of which S3 shows a checksum that is the signed one.
        proofs: Proof levels, as signed.
    """

    statement: Statement
    objects: int = 0
    verdicts: Counter[ReceiptVerdict] = field(default_factory=Counter)
    by_version: int = 0
    by_checksum: int = 0
    proofs: Counter[str] = field(default_factory=Counter)

    @property
    def findings(self) -> int:
        """Objects of which the receipt is not true any more."""
        return sum(count for verdict, count in self.verdicts.items() if verdict.is_finding)

    @property
    def same(self) -> int:
        """Objects of which it is true."""
        return self.verdicts[ReceiptVerdict.SAME] + self.verdicts[ReceiptVerdict.REWRITTEN]

    @property
    def unknown(self) -> int:
        """Objects that S3 did not show."""
        return self.verdicts[ReceiptVerdict.UNKNOWN]


def verify_receipt(
    path: Path | None,
    trusted: TrustedKeys,
    *,
    stdin: BinaryIO,
    reader: StateReader | None,
    signed: Callable[[Statement], None],
    found: Callable[[ComparedObject], None],
    clock: Clock | None = None,
) -> ReceiptTotals:
    """Check the receipt, then each of its objects; each that is not as signed is reported.

    Args:
        path: None: standard input.
        reader: None: S3 is not queried.
        signed: Called once signature and digests are right.

    Raises:
        PermanentError: E_RECEIPT_*: the receipt itself is not right; E_SRC_NO_BUCKET and the like.
        ConfigurationError: A public key cannot be used.
        OutageError: S3 is unavailable.
    """
    with _opened(path, stdin) as file:
        receipt = read_receipt(file)
        key = _key(trusted, receipt.key)
        check_receipt(receipt, key.verify, now=(clock or SystemClock()).now())
        signed(receipt.statement)
        file.seek(0)
        return _check_objects(file, receipt, reader, found)


def _check_objects(
    file: LineSource,
    receipt: ReceiptContent,
    reader: StateReader | None,
    found: Callable[[ComparedObject], None],
) -> ReceiptTotals:
    totals = ReceiptTotals(statement=receipt.statement)
    objects = _counted(read_objects(file, receipt), totals)
    if reader is None:
        deque(objects, maxlen=0)
        return totals
    for one in _compared(objects, reader):
        totals.verdicts[one.verdict] += 1
        totals.by_version += _is_same_version(one)
        totals.by_checksum += one.has_checksum
        if one.verdict is not ReceiptVerdict.SAME:
            found(one)
    return totals


def _counted(objects: Iterator[SignedObject], totals: ReceiptTotals) -> Iterator[SignedObject]:
    for one in objects:
        totals.objects += 1
        totals.proofs[one.proof or "none"] += 1
        yield one


def _is_same_version(one: ComparedObject) -> bool:
    """Version `null` can be overwritten, so it pins nothing."""
    is_same = one.verdict is ReceiptVerdict.SAME
    return is_same and one.signed.pin.version_id not in {None, "null"}


def _compared(objects: Iterator[SignedObject], reader: StateReader) -> Iterator[ComparedObject]:
    """In the receipt's order, many at a time."""
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="verify")
    try:
        under_way: deque[Future[ComparedObject]] = deque()
        for one in objects:
            reader.open(one.pin.bucket)
            under_way.append(pool.submit(look, one, reader))
            if len(under_way) == WINDOW:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def look(signed: SignedObject, reader: StateReader) -> ComparedObject:
    """Compare one object with what S3 has.

    Where no version was pinned, and versioning was switched on since, S3 still has what was there
    before as version `null`.

    Raises:
        PermanentError: E_SRC_NO_BUCKET.
        OutageError: S3 is unavailable.
    """
    pin = signed.pin
    try:
        found = reader.state(pin)
        one = compare(signed, found)
        may_have_versions = found is None or found.version_id is not None
        if one.verdict.is_finding and pin.version_id is None and may_have_versions:
            before = compare(signed, reader.state(replace(pin, version_id="null")))
            if not before.verdict.is_finding:
                return before
    except BackhaulError as error:
        # A KMS key that is disabled is of some objects.
        is_of_all = isinstance(error, OutageError) and error.code != "E_SRC_KMS"
        if is_of_all or error.code == "E_SRC_NO_BUCKET":
            raise
        return unknown(signed, f"{error.code}: {error.message}")
    return one


def tried(
    call: Callable[[], ObjectState | None], sleep: Callable[[float], None] = time.sleep
) -> ObjectState | None:
    """What `call` returns, within a few tries where the error may pass."""
    for attempt in range(TRIES - 1):
        try:
            return call()
        except BackhaulError as error:
            if error.code not in _PASSING:
                raise
        sleep(BACKOFF_S * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
    return call()


# ---------------------------------------------------------------- keys and file


def _key(trusted: TrustedKeys, key_id: str) -> VerifyingKey:
    """The trusted key with this id.

    Raises:
        PermanentError: E_RECEIPT_KEY_UNKNOWN.
        ConfigurationError: E_RECEIPT_KEY, E_CFG_PERMISSIONS.
    """
    known: Sequence[VerifyingKey] = [
        *(public_key(path) for path in trusted.files),
        *(key for one in trusted.directories for _, key in public_keys(one)),
    ]
    for key in known:
        if key.id == key_id:
            return key
    places = [str(path) for path in (*trusted.files, *trusted.directories)]
    raise PermanentError(
        "E_RECEIPT_KEY_UNKNOWN",
        f"the receipt is signed by key {key_id}, which is none of the {len(known):,} trusted ones"
        f" in {', '.join(places)}",
        hint=f"get it from those who signed, by a way that you trust: `backhaul receipt key show"
        f" {key_id}` there, then --public-key FILE here; or the key that signed is not theirs",
    )


class _ReadTwice(Protocol):
    """A file, or what comes through a pipe."""

    def readline(self, limit: int, /) -> bytes:
        """As `LineSource`."""

    def seek(self, offset: int, /) -> int:
        """To the beginning, for the second reading."""


class _CopiedPipe:
    """What is read is copied to a temporary file; so a pipe without end is not copied for ever."""

    def __init__(self, pipe: BinaryIO, copy: BinaryIO) -> None:
        self._pipe: BinaryIO | None = pipe
        self._copy = copy

    def readline(self, limit: int, /) -> bytes:
        if self._pipe is None:
            return self._copy.readline(limit)
        line = self._pipe.readline(limit)
        self._copy.write(line)
        return line

    def seek(self, offset: int, /) -> int:
        self._pipe = None
        return self._copy.seek(offset)


@contextmanager
def _opened(path: Path | None, stdin: BinaryIO) -> Iterator[_ReadTwice]:
    """For reading twice."""
    if path is None:
        with TemporaryFile("w+b") as copy:
            yield _CopiedPipe(stdin, copy)
        return
    with path.open("rb") as file:
        if file.seekable():
            yield file
            return
        with TemporaryFile("w+b") as copy:
            yield _CopiedPipe(file, copy)


class S3States:
    """Implements `StateReader` by HEAD requests; safe to use from several threads."""

    def __init__(self, region: str) -> None:
        from backhaul.adapters.aws.clients import AwsSession
        from backhaul.adapters.aws.s3 import S3Store
        from backhaul.adapters.aws.s3_get import ObjectReader
        from backhaul.adapters.hadoop.configuration.directory import hadoop_conf_dir
        from backhaul.adapters.hadoop.configuration.s3a import S3aConfiguration

        aws = AwsSession(region, S3aConfiguration.loader(hadoop_conf_dir()))
        self._store = S3Store(aws)
        self._reader = ObjectReader(aws.credentials, THREADS)
        self._buckets: dict[str, Endpoint | BackhaulError] = {}
        self.close = self._reader.close

    def open(self, bucket: str) -> None:
        """See `StateReader`; what is wrong with this bucket alone is raised for its objects."""
        if bucket in self._buckets:
            return
        try:
            self._buckets[bucket] = self._store.endpoint(bucket)
        except OutageError:
            raise
        except BackhaulError as error:
            self._buckets[bucket] = error

    def state(self, pin: Pin) -> ObjectState | None:
        """See `StateReader`."""
        endpoint = self._buckets[pin.bucket]
        if isinstance(endpoint, BackhaulError):
            raise endpoint
        return tried(lambda: self._reader.state(endpoint, pin))


@contextmanager
def open_s3(region: str) -> Iterator[S3States]:
    """S3 with the credentials of AWS's own settings.

    Raises:
        ConfigurationError: They cannot be used.
    """
    with closing(S3States(region)) as states:
        yield states

"""Probes of S3, for each source of each route: list it, read a byte, read a checksum."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from shlex import quote
from urllib.parse import urlsplit

from backhaul.adapters.aws.probing.s3 import ObjectProbes
from backhaul.adapters.aws.s3 import S3Store
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State, from_error
from backhaul.app.doctor.fixes import (
    CLOCK,
    PATH_STYLE,
    allow,
    allow_decrypting,
    for_network,
    key_in,
)
from backhaul.core.access_policy import literal, partition_of
from backhaul.core.errors import BackhaulError, OutageError
from backhaul.core.model import Route
from backhaul.core.objects import Pin
from backhaul.core.ports import Endpoint
from backhaul.core.transfer.listing import list_pages

SOURCES_MOST = 50  # of all routes; a few requests for each
_LISTED = 50  # objects of which one is read
_KMS = re.compile("kms", re.IGNORECASE)
_OWNER_PAYS = "--request-payment-configuration Payer=BucketOwner"
_ELSEWHERE = "and, if the bucket is of another account, the same in its bucket policy"


def sources(context: DoctorContext) -> Iterator[Finding]:
    """Each source of each route, until S3 itself does not answer."""
    places = [
        (route, bucket, prefix)
        for route in context.routes
        for bucket, prefix in route.sources or ()
    ]
    if not places:
        text = "no route names a source" if context.loaded else "the routes could not be read"
        yield Finding("s3.list", "", State.SKIPPED, text)
        return
    store = S3Store(context.aws)
    with closing(ObjectProbes(context.aws)) as objects:
        for number, (route, bucket, prefix) in enumerate(places):
            if number == SOURCES_MOST:
                left = len(places) - number
                text = f"{left} more sources: name one of their routes with --route"
                yield Finding("s3.list", "", State.SKIPPED, text)
                return
            is_down = False
            for finding, error in _SourceProbe(
                context, store, objects, route, bucket, prefix
            ).probe():
                yield finding
                is_down = is_down or isinstance(error, OutageError)
            if is_down and (left := len(places) - number - 1):
                text = f"{left} more sources were not probed: S3 would refuse them, too"
                yield Finding("s3.list", "", State.SKIPPED, text)
                return


class _SourceProbe:
    """The probes of one prefix, each with the error that it met."""

    def __init__(
        self,
        context: DoctorContext,
        store: S3Store,
        objects: ObjectProbes,
        route: Route,
        bucket: str,
        prefix: str,
    ) -> None:
        self._context = context
        self._store = store
        self._objects = objects
        self._route = route
        self._bucket = bucket
        self._prefix = prefix
        self._subject = f"s3://{bucket}/{prefix}"

    def probe(self) -> Iterator[tuple[Finding, BackhaulError | None]]:
        """List, then read one of the objects listed, then its checksum."""
        owner = self._route.source_owner
        try:
            self._context.aws.check_bucket(self._bucket)
            pages = list_pages(
                self._store, self._bucket, self._prefix, page_size=_LISTED, owner=owner
            )
            page = next(pages)
        except BackhaulError as error:
            yield self._failed("s3.list", error), error
            return
        count = len(page.pins)
        more = " or more" if not page.is_last else ""
        noun = "object" if count == 1 else "objects"
        seen = f"{count}{more} {noun}" if count else "nothing is below it yet"
        yield self._finding("s3.list", State.OK, seen), None
        try:
            endpoint = self._store.endpoint(self._bucket, owner=owner)
        except BackhaulError as error:
            yield self._failed("s3.read", error), error
            return
        if not page.pins:
            yield self._nothing_to_read(endpoint)
            return
        pin = max(page.pins, key=lambda one: (one.size_bytes > 0, one.last_modified))
        try:
            self._objects.read_a_byte(endpoint, pin)
        except BackhaulError as error:
            yield self._failed("s3.read", error, pin), error
            return
        yield self._finding("s3.read", State.OK, f"a byte of {pin.key} was read"), None
        yield from self._checksum(endpoint, pin)

    def _nothing_to_read(self, endpoint: Endpoint) -> tuple[Finding, BackhaulError | None]:
        error = self._objects.refusal_below(endpoint, self._bucket, self._prefix)
        if error is not None:
            return self._failed("s3.read", error), error
        return self._finding("s3.read", State.OK, "reading is not refused"), None

    def _checksum(
        self, endpoint: Endpoint, pin: Pin
    ) -> Iterator[tuple[Finding, BackhaulError | None]]:
        try:
            found = self._objects.checksums(endpoint, pin)
            best = found.best(pin.size_bytes)
            is_composite = any(not one.is_full_object for one in found.checksums)
            shows = not is_composite or self._objects.shows_parts(endpoint, pin)
        except BackhaulError as error:
            yield self._failed("s3.checksum", error, pin), error
            return
        if not shows:
            yield (
                self._finding(
                    "s3.checksum",
                    State.WARNING,
                    f"{pin.key} has a checksum of its parts, and S3 does not list them: such "
                    "objects are proved without S3's checksum",
                    fix=self._allowing("s3:GetObjectAttributes"),
                ),
                None,
            )
            return
        text = (
            f"S3 shows {best.algorithm} of {pin.key}"
            if best is not None
            else f"S3 has no checksum of {pin.key}; its copy is compared with what was received"
        )
        yield self._finding("s3.checksum", State.OK, text), None

    def _finding(self, check: str, state: State, text: str, fix: tuple[str, ...] = ()) -> Finding:
        return Finding(check, self._subject, state, text, fix=fix, route=self._route.name)

    def _failed(self, check: str, error: BackhaulError, pin: Pin | None = None) -> Finding:
        found = from_error(
            check, self._subject, error, fix=self._fix(check, error, pin), route=self._route.name
        )
        # The newest of some; others may be readable.
        return replace(found, state=State.WARNING) if error.code == "E_SRC_ARCHIVED" else found

    def _fix(self, check: str, error: BackhaulError, pin: Pin | None) -> tuple[str, ...]:
        match error.code:
            case "E_SRC_KMS":
                return (
                    f"aws kms enable-key --key-id {key_in(error.message, default='KEY-ID')}",
                    *allow_decrypting(error.message),
                )
            case "E_SRC_DENIED":
                return self._fix_of_denial(check, error)
            case "E_SRC_ARCHIVED" if pin is not None:
                of = f"--bucket {self._bucket} --key {quote(pin.key)}"
                return (f"aws s3api restore-object {of} --restore-request Days=7",)
            case "E_SRC_NO_BUCKET" | "E_SRC_BUCKET":
                return (f"correct the source of route {self._route.name}:", "aws s3 ls")
            case "E_AWS_CLOCK":
                return CLOCK
            case "E_S3_UNREACHABLE":
                if self._is_virtual_host_of_a_server(error):
                    return PATH_STYLE
                return for_network(error, self._context.proxy)
            case _:
                return ()

    def _fix_of_denial(self, check: str, error: BackhaulError) -> tuple[str, ...]:
        if _KMS.search(error.message):
            return allow_decrypting(error.message)
        if "InvalidPayer" in error.message:
            return (
                "Backhaul does not pay for requests of Requester Pays buckets; its owner can:",
                f"aws s3api put-bucket-request-payment --bucket {self._bucket} {_OWNER_PAYS}",
            )
        return self._allowing("s3:ListBucket" if check == "s3.list" else "s3:GetObject")

    def _allowing(self, action: str) -> tuple[str, ...]:
        arn = f"arn:{partition_of(self._context.region or '')}:s3:::{self._bucket}"
        prefix = literal(self._prefix)
        if action == "s3:ListBucket":
            condition = {"StringLike": {"s3:prefix": [f"{prefix}*"]}} if prefix else None
            return (*allow([action], [arn], condition), _ELSEWHERE)
        return (*allow([action], [f"{arn}/{prefix}*"]), _ELSEWHERE)

    def _is_virtual_host_of_a_server(self, error: BackhaulError) -> bool:
        """The bucket is part of a host's name, on a server that is not AWS's."""
        words = error.message.replace('"', " ").split()
        hosts = [urlsplit(word).hostname or "" for word in words if "://" in word]
        return any(
            host.startswith(f"{self._bucket}.") and not host.endswith((".amazonaws.com", ".cn"))
            for host in hosts
        )


PROBES = (sources,)

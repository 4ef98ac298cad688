"""Reading objects in a worker process: a signed GET through urllib3's connection pool.

No boto3 client here: its full call costs several times the CPU of a small GET and tens of MB in
every worker. botocore still finds the credentials and signs. Listing and the endpoint are in `s3`;
which checksum counts is decided in `core.checksums`.

Who tries again: `engines.read_retries`, and nothing below it. A GET or HEAD of an object is sent
once here, without retries of urllib3 or botocore; a fault that may pass is a TransientError. Only
GetObjectAttributes, which the engine does not repeat, has three tries here.

Every request carries the pin (`versionId`, else `If-Match`), and the answer is compared with it: a
server that ignores the condition is caught by ETag and length.

Source: Amazon S3 API reference, GetObject, HeadObject, GetObjectAttributes, "Error responses".
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn
from urllib.parse import quote, urlsplit
from xml.etree.ElementTree import Element

import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError, ReadTimeoutError

from backhaul import __version__
from backhaul.adapters.aws.causes import (
    CREDENTIAL_CAUSES,
    cause_of,
    is_fault,
    is_foreign_page,
    one_line,
)
from backhaul.adapters.aws.credentials import AwsCredentials
from backhaul.adapters.aws.errors import (
    common_error,
    object_error,
    s3_unreachable,
    unanswered,
    unsendable,
)
from backhaul.adapters.aws.s3_answer import (
    PartsPage,
    checksums_in,
    error_of,
    listing_in,
    moment_in,
    parts_in,
    pin_in,
)
from backhaul.adapters.aws.s3_body import ObjectBody
from backhaul.adapters.aws.s3_connections import Connections
from backhaul.adapters.aws.tls import naming_bundle
from backhaul.core.checksums import Part, S3Checksums
from backhaul.core.errors import BackhaulError, OutageError, SourceChanged, TransientError
from backhaul.core.objects import Pin
from backhaul.core.ports import Endpoint
from backhaul.core.receipts.comparing import ObjectState

_PARTS_TRIES = 3
_PARTS_BACKOFF_S = 0.1  # twice that before the third try; each times 0.5 to 1.5
_PASSING = frozenset({"E_S3_SERVER", "E_S3_THROTTLED", "E_S3_UNREACHABLE", "E_SRC_KMS"})
_REFUSED_CHECKSUMS = frozenset({"E_SRC_DENIED", "E_SRC_KMS"})
_PARTS_MAX = 10_000  # of a multipart upload
_OK, _PARTIAL = 200, 206
_PROXY_LOGIN = 407
_PROBE_TIMEOUT = urllib3.Timeout(connect=3, read=5)
_USER_AGENT = f"backhaul/{__version__}"


class ObjectReader:
    """GET and HEAD of pinned objects; one per worker process, shared by its threads.

    Args:
        max_connections: Per host; a thread that needs one more waits until a body is closed.
        idle_timeout_s: Without a byte for this long the body is broken; no limit on the whole.
        connect_timeout_s: For TCP and TLS.
    """

    def __init__(
        self,
        credentials: AwsCredentials,
        max_connections: int,
        idle_timeout_s: float = 60,
        connect_timeout_s: float = 5,
    ) -> None:
        self._credentials = credentials
        self._connections = Connections(max_connections)
        self._timeout = urllib3.Timeout(connect=connect_timeout_s, read=idle_timeout_s)
        self.close = self._connections.close

    def get(
        self, endpoint: Endpoint, pin: Pin, *, byte_range: tuple[int, int] | None = None
    ) -> ObjectBody:
        """Request the object, or bytes `start` to `stop` (exclusive) of it.

        Checksums come with the whole object only: S3 shows none for a range.

        Raises:
            SourceChanged: E_SRC_CHANGED, E_SRC_GONE: not the pinned object any more.
            PermanentError: E_SRC_DENIED, E_SRC_ARCHIVED, E_SRC_SSEC, E_SRC_REGION, E_SRC_NO_BUCKET.
            OutageError: `s3` E_S3_UNREACHABLE; `credentials` E_AWS_*.
            TransientError: E_S3_THROTTLED, E_S3_SERVER, E_AWS_UNEXPECTED.
        """
        headers = {}
        if byte_range is None:
            headers["x-amz-checksum-mode"] = "ENABLED"
        else:
            headers["Range"] = f"bytes={byte_range[0]}-{byte_range[1] - 1}"
        response = self._request("GET", endpoint, pin, headers)
        try:
            facts = _checked(response, pin, byte_range)
        except BackhaulError:
            _drop(response)
            raise
        return ObjectBody(response, facts, _name(pin))

    def head(self, endpoint: Endpoint, pin: Pin) -> S3Checksums:
        """The object's checksums without its body, for objects read by ranges; raises as `get`."""
        response = self._request("HEAD", endpoint, pin, {"x-amz-checksum-mode": "ENABLED"})
        response.release_conn()
        return _checked(response, pin, None)

    def state(self, endpoint: Endpoint, pin: Pin) -> ObjectState | None:
        """What S3 has at the pin's key now, or of the pin's version; None: nothing.

        It may be another state than the pin's: the ETag is no condition here. Where the object's
        KMS key is refused, S3 shows all but the checksums.

        Raises:
            PermanentError, OutageError, TransientError: As `get`.
        """
        bare = replace(pin, etag="")
        try:
            try:
                response = self._request("HEAD", endpoint, bare, {"x-amz-checksum-mode": "ENABLED"})
            except BackhaulError as error:
                if error.code not in _REFUSED_CHECKSUMS:
                    raise
                response = self._request("HEAD", endpoint, bare, {})
        except SourceChanged as error:
            if error.code != "E_SRC_GONE":
                raise
            return None
        response.drain_conn()  # a HEAD has no body; it closes what the server will not keep open
        response.release_conn()
        if is_foreign_page(response.headers, response.headers.get("ETag", "")):
            raise s3_unreachable(f"{_name(pin)}: answered without an ETag or request id of S3")
        facts = checksums_in(response, whole=True)
        return ObjectState(
            etag=facts.etag,
            size_bytes=facts.content_length,
            last_modified=moment_in(response.headers.get("Last-Modified", "")),
            version_id=facts.version_id,
            checksums=facts.checksums,
        )

    def parts(self, endpoint: Endpoint, pin: Pin) -> tuple[Part, ...] | None:
        """The parts of a multipart upload with their checksums (`s3:GetObjectAttributes`).

        Raises:
            SourceChanged, OutageError: As `get`. Any other refusal is None.
        """
        found: list[Part] = []
        marker = 0
        while True:
            page = self._parts_page(endpoint, pin, marker)
            if page is None or page.etag != pin.etag or page.object_size != pin.size_bytes:
                return None
            found += page.parts
            if len(found) > _PARTS_MAX:
                return None  # S3 has no such object
            if page.next_marker is None or page.next_marker <= marker:
                return tuple(found)
            marker = page.next_marker

    def _parts_page(self, endpoint: Endpoint, pin: Pin, marker: int) -> PartsPage | None:
        headers = {
            "x-amz-object-attributes": "ETag,ObjectParts,ObjectSize",
            "x-amz-part-number-marker": str(marker),
        }
        for attempt in range(1, _PARTS_TRIES + 1):
            try:
                return parts_in(self._request("GET", endpoint, pin, headers, "attributes"))
            except BackhaulError as error:
                may_pass = error.code in _PASSING and not isinstance(
                    error.__cause__, ReadTimeoutError
                )
                if not may_pass or attempt == _PARTS_TRIES:
                    if isinstance(error, (SourceChanged, OutageError)):
                        raise
                    break
            time.sleep(_PARTS_BACKOFF_S * attempt * random.uniform(0.5, 1.5))  # noqa: S311
        return None

    def check_reachable(self, endpoint: Endpoint) -> None:
        """Return when S3 answers an unsigned HEAD with anything; one try, within seconds.

        Raises:
            OutageError: `s3` E_S3_UNREACHABLE: no answer, or a fault of the server, which may be a
                proxy's on the way there.
        """
        parts = urlsplit(endpoint.base_url)
        origin = f"{parts.scheme}://{parts.netloc}"
        try:
            response = self._connections.pool(origin, endpoint.ca_bundle).urlopen(
                "HEAD",
                parts.path or "/",
                headers={"User-Agent": _USER_AGENT},
                retries=False,
                redirect=False,
                timeout=_PROBE_TIMEOUT,
                preload_content=False,
            )
        except HTTPError as exc:
            error = s3_unreachable(f"{parts.netloc}: {type(exc).__name__}: {one_line(str(exc))}")
            raise naming_bundle(error, endpoint.ca_bundle) from exc
        _drop(response)
        if is_fault(response.status) or response.status == _PROXY_LOGIN:
            raise s3_unreachable(f"{parts.netloc}: HEAD answered {response.status}")

    # ------------------------------------------------------------ what botocore can do as well

    def current(
        self, endpoint: Endpoint, bucket: str, key: str, version_id: str | None = None
    ) -> Pin | None:
        """The object as it is now, or this version of it, by one HEAD; raises nothing of S3.

        Returns:
            None where the answer does not show it completely, for whatever reason.
        """
        target = _path(endpoint, key)
        if version_id is not None:
            target += f"?versionId={quote(version_id, safe='-_.~')}"
        response = self._success("HEAD", endpoint, bucket, target)
        if response is None:
            return None
        response.drain_conn()
        response.release_conn()
        return pin_in(response.headers, bucket, key, version_id)

    def first_page(
        self, endpoint: Endpoint, bucket: str, parameters: Mapping[str, str]
    ) -> Element | None:
        """The root element of a listing, by one ListObjectsV2; raises nothing of S3.

        Returns:
            None where the answer is no listing, for whatever reason.
        """
        query = "&".join(f"{name}={quote(text, safe='-_.~')}" for name, text in parameters.items())
        path = urlsplit(endpoint.base_url).path.rstrip("/") or "/"
        response = self._success("GET", endpoint, bucket, f"{path}?list-type=2&{query}")
        return None if response is None else listing_in(response)

    def _success(
        self, method: str, endpoint: Endpoint, bucket: str, target: str
    ) -> urllib3.BaseHTTPResponse | None:
        """The answer where it has status 200."""
        try:
            response = self._send(method, endpoint, bucket, target, {}, one_line(f"s3://{bucket}"))
        except BackhaulError:
            return None
        if response.status == _OK:
            return response
        _drop(response)
        return None

    # ------------------------------------------------------------ one request

    def _request(
        self, method: str, endpoint: Endpoint, pin: Pin, headers: dict[str, str], query: str = ""
    ) -> urllib3.BaseHTTPResponse:
        """Send it once; an answer other than success raises what `object_error` returns.

        Args:
            query: A sub-resource such as `attributes`, which takes no `If-Match`.
        """
        queries = [query] if query else []
        if pin.version_id is not None:
            queries.append(f"versionId={quote(pin.version_id, safe='-_.~')}")
        elif pin.etag and not query:
            headers = {**headers, "If-Match": f'"{pin.etag}"'}
        target = _path(endpoint, pin.key) + (f"?{'&'.join(queries)}" if queries else "")
        response = self._send(method, endpoint, pin.bucket, target, headers, _name(pin))
        if response.status in {_OK, _PARTIAL}:
            return response
        error = self._refusal(response, pin)
        if method == "HEAD" and not is_fault(response.status):
            self._explain(endpoint, pin, response.status)
        raise error

    def _send(
        self,
        method: str,
        endpoint: Endpoint,
        bucket: str,
        target: str,
        headers: Mapping[str, str],
        name: str,
    ) -> urllib3.BaseHTTPResponse:
        """Sign and send it; any answer is returned.

        Args:
            target: Path and query, percent-encoded.
            name: For errors.
        """
        base = urlsplit(endpoint.base_url)
        origin = f"{base.scheme}://{base.netloc}"
        named = {"User-Agent": _USER_AGENT, **headers}
        if endpoint.owner is not None:
            named["x-amz-expected-bucket-owner"] = endpoint.owner
        signed = self._signed(method, origin + target, named, endpoint.region, bucket)
        try:
            return self._connections.pool(origin, endpoint.ca_bundle).urlopen(
                method,
                target,
                headers=signed,
                retries=False,
                redirect=False,
                timeout=self._timeout,
                preload_content=False,
                decode_content=False,
            )
        except HTTPError as exc:
            raise unanswered(exc, name, endpoint) from exc
        except ValueError as exc:
            raise unsendable(name, exc) from None

    def _signed(
        self, method: str, url: str, headers: dict[str, str], region: str, bucket: str
    ) -> dict[str, str]:
        """Signature Version 4 by botocore; about a fifth of a small GET's CPU."""
        request = AWSRequest(method=method, url=url, headers=headers)
        try:
            credentials = self._credentials.for_bucket(bucket)
            frozen = credentials.get_frozen_credentials()
            S3SigV4Auth(frozen, "s3", region).add_auth(request)
        except BotoCoreError as exc:
            if cause_of(exc) in CREDENTIAL_CAUSES:
                self._credentials.forget_for(bucket)
            raise common_error(exc, "S3 credentials") from exc
        return dict(request.headers.items())

    def _explain(self, endpoint: Endpoint, pin: Pin, status: int) -> NoReturn:
        """GET one byte, to raise with S3's code.

        A refused HEAD has none: refused credentials would look like a denied object, which is
        permanent, and a gateway's refusal like S3's.
        """
        _drop(self._request("GET", endpoint, pin, {"Range": "bytes=0-0"}))
        raise s3_unreachable(
            f"{_name(pin)}: HEAD answered {status}, and GET finds it",
            "something between this machine and S3 refuses HEAD: check HTTPS_PROXY",
        )

    def _refusal(self, response: urllib3.BaseHTTPResponse, pin: Pin) -> BackhaulError:
        answer = error_of(response)
        if answer.cause in CREDENTIAL_CAUSES:
            self._credentials.forget_for(pin.bucket)
        return object_error(answer, pin, _name(pin))


def _checked(
    response: urllib3.BaseHTTPResponse, pin: Pin, byte_range: tuple[int, int] | None
) -> S3Checksums:
    """Compare the answer's headers with the pin."""
    name = _name(pin)
    if pin.etag and is_foreign_page(response.headers, response.headers.get("ETag", "")):
        raise s3_unreachable(f"{name}: answered without an ETag or request id of S3")
    facts = checksums_in(response, whole=byte_range is None)
    if byte_range is not None and response.status != _PARTIAL:
        raise TransientError("E_S3_SERVER", f"{name}: range requested, answered {response.status}")
    if pin.etag and not facts.etag:
        # Not a change of the object: a server, or a page in its place, that names no state at all.
        raise TransientError("E_S3_SERVER", f"{name}: answered without a usable ETag")
    if pin.etag and facts.etag != pin.etag:
        raise SourceChanged(
            "E_SRC_CHANGED",
            f"{name}: planned ETag {pin.etag}, found {one_line(facts.etag, 100)}",
        )
    if byte_range is None:
        if facts.content_length != pin.size_bytes:
            # The pinned object, as its ETag shows, with another length: a faulty answer.
            raise TransientError(
                "E_S3_SERVER",
                f"{name}: planned {pin.size_bytes} B, answered {facts.content_length} B",
            )
        return facts
    start, stop = byte_range
    wanted = f"bytes {start}-{stop - 1}/{pin.size_bytes}"
    given = response.headers.get("Content-Range", "")
    if given != wanted or facts.content_length != stop - start:
        raise SourceChanged(
            "E_SRC_CHANGED", f"{name}: wanted {wanted}, got {one_line(given, 100) or 'none'}"
        )
    return facts


def _drop(response: urllib3.BaseHTTPResponse) -> None:
    """Close the connection: the rest of the body is never read."""
    response.close()
    response.release_conn()


def _path(endpoint: Endpoint, key: str) -> str:
    return urlsplit(endpoint.base_url).path + quote(key, safe="/-_.~")


def _name(pin: Pin) -> str:
    return one_line(f"s3://{pin.bucket}/{pin.key}")

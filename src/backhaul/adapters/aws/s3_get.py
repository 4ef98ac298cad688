"""Reading objects in a worker process: a signed GET through urllib3's connection pool.

No boto3 client here: its full call costs several times the CPU of a small GET and tens of MB in
every worker. botocore still finds the credentials and signs. Listing and the endpoint are `s3`;
which checksum counts is `core.verification`; what to do with the bytes is the engine's.

Every request carries the pin (`versionId`, else `If-Match`), and the answer is held against it:
a server that ignores the condition is caught by ETag and length.

Source: Amazon S3 API reference, GetObject, HeadObject, "Error responses".
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import ProxyConfiguration, get_cert_path
from botocore.utils import get_environ_proxies
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from backhaul import __version__
from backhaul.adapters.aws.clients import (
    AwsCredentials,
    is_loopback,
    naming_bundle,
    refuse_plain_http,
)
from backhaul.adapters.aws.errors import (
    CREDENTIAL_CAUSES,
    cause_of,
    common_error,
    is_fault,
    is_foreign_page,
    one_line,
)
from backhaul.adapters.aws.s3_answer import checksums_in, error_of, parts_in, refusal
from backhaul.adapters.aws.s3_body import ObjectBody
from backhaul.core.checksums import Part, S3Checksums
from backhaul.core.errors import (
    BackhaulError,
    OutageError,
    SourceChanged,
    TransientError,
)
from backhaul.core.model import Pin
from backhaul.core.ports import Endpoint

_TRIES = 3
_BACKOFF_S = (0.05, 0.2)  # before the second and third try; each times 0.5 to 1.5
_OK, _PARTIAL = 200, 206
_PROXY_LOGIN = 407
_PROBE_TIMEOUT = urllib3.Timeout(connect=3, read=5)
_PARTS_MAX = 10_000  # of a multipart upload
_USER_AGENT = f"backhaul/{__version__}"


class ObjectReader:
    """GET and HEAD of pinned objects; one per worker process, shared by its threads.

    Args:
        credentials: From `AwsCredentials.of`.
        max_connections: Per host; a thread that wants one more waits until a body is closed.
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
        self._max_connections = max_connections
        self._timeout = urllib3.Timeout(connect=connect_timeout_s, read=idle_timeout_s)
        self._pools: dict[tuple[str, str | None], urllib3.HTTPConnectionPool] = {}
        self._lock = threading.Lock()

    def get(
        self, endpoint: Endpoint, pin: Pin, *, byte_range: tuple[int, int] | None = None
    ) -> ObjectBody:
        """Ask for the object, or for bytes `start` to `stop` (exclusive) of it.

        Checksums are asked for with the whole object only: S3 shows none for a range.

        Raises:
            SourceChanged: E_SRC_CHANGED, E_SRC_GONE: not the pinned object any more.
            PermanentError: E_SRC_DENIED, E_SRC_ARCHIVED, E_SRC_SSEC, E_SRC_REGION, E_SRC_NO_BUCKET.
            OutageError: `s3` E_S3_UNREACHABLE; `credentials` E_AWS_*.
            TransientError: E_S3_THROTTLED, E_S3_SERVER, E_AWS_UNEXPECTED.
        """
        headers = {"User-Agent": _USER_AGENT}
        if byte_range is None:
            headers["x-amz-checksum-mode"] = "ENABLED"
        else:
            headers["Range"] = f"bytes={byte_range[0]}-{byte_range[1] - 1}"
        response = self._request("GET", endpoint, pin, headers)
        try:
            facts = self._checked(response, pin, byte_range)
        except BackhaulError:
            response.close()
            response.release_conn()
            raise
        return ObjectBody(response, facts, _name(pin))

    def head(self, endpoint: Endpoint, pin: Pin) -> S3Checksums:
        """The object's checksums without its body, for objects read by ranges; raises as `get`."""
        headers = {"User-Agent": _USER_AGENT, "x-amz-checksum-mode": "ENABLED"}
        response = self._request("HEAD", endpoint, pin, headers)
        response.release_conn()
        return self._checked(response, pin, None)

    def check_reachable(self, endpoint: Endpoint) -> None:
        """Return when S3 answers, whatever it says of an unsigned HEAD; one try, within seconds.

        Raises:
            OutageError: `s3` E_S3_UNREACHABLE: no answer, or one that says that it is broken,
                which may be a proxy's on the way there.
        """
        parts = urlsplit(endpoint.base_url)
        origin = f"{parts.scheme}://{parts.netloc}"
        try:
            response = self._pool(origin, endpoint.ca_bundle).urlopen(
                "HEAD",
                parts.path or "/",
                headers={"User-Agent": _USER_AGENT},
                retries=False,
                redirect=False,
                timeout=_PROBE_TIMEOUT,
                preload_content=False,
            )
        except HTTPError as exc:
            error = _unreachable(f"{parts.netloc}: {type(exc).__name__}: {one_line(str(exc))}")
            raise naming_bundle(error, endpoint.ca_bundle) from exc
        status = response.status
        response.close()
        response.release_conn()
        if is_fault(status) or status == _PROXY_LOGIN:
            raise _unreachable(f"{parts.netloc}: HEAD answered {status}")

    def parts(self, endpoint: Endpoint, pin: Pin) -> tuple[Part, ...] | None:
        """The parts of a multipart upload with their checksums (`s3:GetObjectAttributes`).

        Raises:
            SourceChanged, OutageError: As `get`. Any other refusal is None: not told.
        """
        headers = {
            "User-Agent": _USER_AGENT,
            "x-amz-object-attributes": "ETag,ObjectParts,ObjectSize",
        }
        found: list[Part] = []
        marker = 0
        while True:
            headers["x-amz-part-number-marker"] = str(marker)
            try:
                response = self._request("GET", endpoint, pin, dict(headers), "attributes")
            except (SourceChanged, OutageError):
                raise
            except BackhaulError:
                return None
            page = parts_in(response)
            if page is None or page.etag != pin.etag or page.object_size != pin.size_bytes:
                return None
            found += page.parts
            if len(found) > _PARTS_MAX:
                return None  # S3 has no such object
            if page.next_marker is None or page.next_marker <= marker:
                return tuple(found)
            marker = page.next_marker

    def close(self) -> None:
        """Close the idle connections; bodies still open stay readable."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.close()

    # ------------------------------------------------------------ one request

    def _request(
        self,
        method: str,
        endpoint: Endpoint,
        pin: Pin,
        headers: dict[str, str],
        question: str = "",
    ) -> urllib3.BaseHTTPResponse:
        """Up to three tries until an answer starts; only what may pass by itself is tried again."""
        base = urlsplit(endpoint.base_url)
        origin = f"{base.scheme}://{base.netloc}"
        target = base.path + quote(pin.key, safe="/-_.~")
        queries = [question] if question else []
        if pin.version_id is not None:
            queries.append(f"versionId={quote(pin.version_id, safe='-_.~')}")
        target += f"?{'&'.join(queries)}" if queries else ""
        if pin.version_id is None and pin.etag and not question:
            headers["If-Match"] = f'"{pin.etag}"'
        if endpoint.owner is not None:
            headers["x-amz-expected-bucket-owner"] = endpoint.owner
        pool = self._pool(origin, endpoint.ca_bundle)
        for attempt in range(_TRIES):
            signed = self._sign(method, origin + target, headers, endpoint.region, pin.bucket)
            try:
                response = pool.urlopen(
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
                # A stale kept-alive connection ends here too, and the next try gets a new one.
                if attempt + 1 == _TRIES or isinstance(exc, ReadTimeoutError):
                    raise _unanswered(exc, _name(pin), endpoint) from exc
            except ValueError as exc:
                # `http.client` refuses a header and quotes it: it may be the session token.
                raise OutageError.of(
                    "credentials",
                    "E_AWS_CREDENTIALS",
                    f"{_name(pin)}: the request cannot be sent: {type(exc).__name__}",
                    hint="look for a line break or a special character in the credentials",
                ) from None
            else:
                status = response.status
                if status in {_OK, _PARTIAL}:
                    return response
                passing = is_fault(status)
                error = self._refusal(response, pin)
                if method == "HEAD" and not passing:
                    self._explain(endpoint, pin, status)
                # Told to slow down: the engine asks for less at once, which no try here could.
                slower = error.code == "E_S3_THROTTLED" and not question
                if attempt + 1 == _TRIES or not passing or slower:
                    raise error
            time.sleep(_BACKOFF_S[attempt] * random.uniform(0.5, 1.5))  # noqa: S311
        raise AssertionError  # the last try returns or raises

    def _sign(
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
        """Ask for one byte, to raise with S3's code.

        HEAD has none: refused credentials would pass for a denied object, which is for good, and a
        gateway's refusal for S3's.
        """
        headers = {"User-Agent": _USER_AGENT, "Range": "bytes=0-0"}
        response = self._request("GET", endpoint, pin, headers)
        response.close()
        response.release_conn()
        raise OutageError.of(
            "s3",
            "E_S3_UNREACHABLE",
            f"{_name(pin)}: HEAD answered {status}, and GET finds it",
            hint="something between this machine and S3 refuses HEAD: check HTTPS_PROXY",
        )

    def _refusal(self, response: urllib3.BaseHTTPResponse, pin: Pin) -> BackhaulError:
        error = error_of(response)
        if error.cause in CREDENTIAL_CAUSES:
            self._credentials.forget_for(pin.bucket)
        return refusal(error, pin, _name(pin))

    def _checked(
        self,
        response: urllib3.BaseHTTPResponse,
        pin: Pin,
        byte_range: tuple[int, int] | None,
    ) -> S3Checksums:
        """Hold the answer's headers against the pin."""
        if pin.etag and is_foreign_page(response.headers, response.headers.get("ETag", "")):
            raise _unreachable(f"{_name(pin)}: answered without an ETag or request id of S3")
        facts = checksums_in(response, whole=byte_range is None)
        if byte_range is not None and response.status != _PARTIAL:
            raise TransientError(
                "E_S3_SERVER", f"{_name(pin)}: asked for a range, answered {response.status}"
            )
        if pin.etag and not facts.etag:
            # No change of the object: a server, or a page in its place, that names no state at all.
            raise TransientError("E_S3_SERVER", f"{_name(pin)}: answered without a usable ETag")
        if pin.etag and facts.etag != pin.etag:
            raise SourceChanged(
                "E_SRC_CHANGED",
                f"{_name(pin)}: planned ETag {pin.etag}, found {one_line(facts.etag, 100)}",
            )
        if byte_range is None:
            if facts.content_length != pin.size_bytes:
                # The pinned object, as its ETag says, with another length: a faulty answer.
                raise TransientError(
                    "E_S3_SERVER",
                    f"{_name(pin)}: planned {pin.size_bytes} B, answered {facts.content_length} B",
                )
            return facts
        start, stop = byte_range
        wanted = f"bytes {start}-{stop - 1}/{pin.size_bytes}"
        given = response.headers.get("Content-Range", "")
        if given != wanted or facts.content_length != stop - start:
            raise SourceChanged(
                "E_SRC_CHANGED",
                f"{_name(pin)}: wanted {wanted}, got {one_line(given, 100) or 'none'}",
            )
        return facts

    # ------------------------------------------------------------ connections

    def _pool(self, origin: str, ca_bundle: str | None) -> urllib3.HTTPConnectionPool:
        pool = self._pools.get((origin, ca_bundle))
        if pool is None:
            with self._lock:
                pool = self._pools.get((origin, ca_bundle)) or self._new_pool(origin, ca_bundle)
                self._pools[origin, ca_bundle] = pool
        return pool

    def _new_pool(self, origin: str, ca_bundle: str | None) -> urllib3.HTTPConnectionPool:
        """HTTPS_PROXY and NO_PROXY count, as they do for botocore; never for this machine."""
        refuse_plain_http(origin, "the S3 endpoint")
        host = urlsplit(origin).hostname or ""
        proxies = {} if is_loopback(host) else get_environ_proxies(origin)
        proxy = ProxyConfiguration(proxies)
        proxy_url = proxy.proxy_url_for(origin)
        options: dict[str, Any] = {
            "maxsize": self._max_connections,
            "block": True,
            "cert_reqs": "CERT_REQUIRED",
            # As the agent resolved it for its own clients, so that all trust the same.
            "ca_certs": ca_bundle or get_cert_path(verify=True),
        }
        if not proxy_url:
            return urllib3.PoolManager(**options).connection_from_url(origin)
        try:
            return urllib3.ProxyManager(
                proxy_url, proxy_headers=proxy.proxy_headers_for(proxy_url), **options
            ).connection_from_url(origin)
        except (ValueError, HTTPError) as exc:
            # As botocore's clients have it; SQS may be reached without that proxy. The URL is not
            # repeated: it may hold a password.
            raise _unreachable(f"{host}: HTTPS_PROXY is no URL of a proxy") from exc


def _unanswered(exc: HTTPError, name: str, endpoint: Endpoint) -> BackhaulError:
    """No answer started. Not connected: S3 is down. Connected: this one request went wrong."""
    origin = urlsplit(endpoint.base_url).netloc
    said = f"{name}: {origin}: {type(exc).__name__}: {one_line(str(exc))}"
    if isinstance(exc, (NewConnectionError, ConnectTimeoutError, ProxyError, SSLError)):
        return naming_bundle(_unreachable(said), endpoint.ca_bundle)
    return TransientError("E_S3_SERVER", said)


def _unreachable(said: str) -> OutageError:
    hint = "check the network, HTTPS_PROXY and AWS_CA_BUNDLE"
    return OutageError.of("s3", "E_S3_UNREACHABLE", said, hint=hint)


def _name(pin: Pin) -> str:
    return one_line(f"s3://{pin.bucket}/{pin.key}")

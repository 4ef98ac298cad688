"""S3 for planning: listing and where to read from. Implements `core.ports.ObjectStore`.

Bodies are read in the worker processes by `s3_get`, which needs no client. botocore tries each call
of this module up to five times; nothing above it tries again before the message's next attempt.

Source: Amazon S3 API reference, ListObjectsV2, HeadBucket, HeadObject; user guide, "Virtual
hosting".
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from backhaul.adapters.aws.causes import (
    FOREIGN,
    error_code,
    has_request_id,
    headers_of,
    is_fault,
    is_foreign_page,
    is_from_elsewhere,
    message_of,
    one_line,
    status_of,
    usable_region,
)
from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.errors import listing_error, s3_unreachable
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.adapters.aws.s3_listing import PAGE, NotS3Error, page_of, take_page
from backhaul.core.errors import (
    BackhaulError,
    ConfigurationError,
    NotAllowed,
    OutageError,
    PermanentError,
    TransientError,
)
from backhaul.core.objects import Pin
from backhaul.core.ports import Endpoint, ListedPage
from backhaul.core.transfer.listing import SIZE_MAX_BYTES, etag_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=60,
    retries={"total_max_attempts": 5, "mode": "standard"},
    tcp_keepalive=True,
)
_CONNECTIONS, _READ_TIMEOUT_S = 32, 10  # of requests that botocore repeats with more patience
_DUMMY_KEY = "k"
_URL_HEADER = "x-backhaul-url"
_BUCKETS_KEPT = 1000
_CLIENTS_KEPT = 40
_OF_ONE_BUCKET = frozenset({"E_CFG_HADOOP_VALUE", "E_CFG_HADOOP_VARIABLE", "E_CFG_TLS"})
_NOT_THERE = frozenset({404, 405})  # 405: the version is a delete marker
# Refusals of a GET alone: an empty object has no first byte, an archived one cannot be read.
_THERE = frozenset({"InvalidRange", "InvalidObjectState"})
_HINT_VERSION = "allow s3:GetObjectVersion on this bucket's objects for this agent"


class S3Store:
    """Lists buckets and resolves where their objects are read; safe to use from several threads.

    A bucket of another region than the configured one is followed there (botocore does, see
    `_only_to_a_region`), so `E_SRC_REGION` is left for what cannot be followed.

    The common case goes without botocore's client, whose call costs three times the CPU: one
    signed request as the workers send it (`ObjectReader`), to an endpoint that is known already.
    Whatever it brings but what was requested is left to botocore, with its retries, redirects and
    errors.

    A refused HEAD decides nothing: it has no code, and a gateway's looks like S3's. Whatever
    depends on it is decided by a GET.
    """

    def __init__(self, aws: AwsSession) -> None:
        self._aws = aws
        self._lock = threading.Lock()
        self._clients: dict[tuple[AwsSession, str], S3Client] = {}
        self._client_in(aws, aws.s3_region)
        self._reader = ObjectReader(aws.credentials, _CONNECTIONS, _READ_TIMEOUT_S)
        self._endpoints: dict[str, Endpoint] = {}

    def list_page(
        self,
        bucket: str,
        prefix: str,
        *,
        token: str | None = None,
        page_size: int = 1000,
        owner: str | None = None,
        start_after: str = "",
    ) -> ListedPage:
        """See `core.ports.ObjectStore.list_page`.

        Any key comes through unchanged, control characters too: S3 is requested to percent-encode
        them, and they are decoded again.
        """
        if token is None and (
            page := self._plain_page(bucket, prefix, page_size, owner, start_after)
        ):
            return page
        where = one_line(f"s3://{bucket}/{prefix}")
        chosen: Any = {"ContinuationToken": token} if token is not None else {}
        if start_after:
            chosen["StartAfter"] = start_after  # with every page: some servers forget it
        aws, client = self._for(bucket)
        with aws.errors(lambda exc: self._refusal(exc, bucket, where, owner)):
            try:
                answer: Any = client.list_objects_v2(
                    Bucket=bucket,
                    Prefix=prefix,
                    MaxKeys=page_size,
                    EncodingType="url",
                    **chosen,
                    **_expecting(owner),
                )
            except ClientError as exc:
                flaw: Any = exc.response.get(PAGE)
                if flaw is None:
                    raise
                return _unreadable(flaw, where, _server(client), exc)
        return page_of(answer[PAGE], _server(client), prefix, token, start_after)

    def current(self, bucket: str, key: str, *, owner: str | None = None) -> Pin | None:
        """See `core.ports.ObjectStore.current`; one HEAD once the bucket's endpoint is known."""
        return self._plain_pin(bucket, key, None, owner)

    def _plain_pin(
        self, bucket: str, key: str, version_id: str | None, owner: str | None
    ) -> Pin | None:
        known = self._endpoints.get(bucket)
        if known is None:
            return None
        return self._reader.current(replace(known, owner=owner), bucket, key, version_id)

    def _plain_page(
        self, bucket: str, prefix: str, page_size: int, owner: str | None, start_after: str
    ) -> ListedPage | None:
        """The first page without botocore's client; None where that gives no listing."""
        known = self._endpoints.get(bucket)
        if known is None:
            return None
        wanted = {"encoding-type": "url", "max-keys": str(page_size), "prefix": prefix}
        if start_after:
            wanted["start-after"] = start_after
        root = self._reader.first_page(replace(known, owner=owner), bucket, wanted)
        if root is None:
            return None
        server = urlsplit(known.base_url).netloc
        return page_of(root, server, prefix, None, start_after)

    def find_version(
        self, bucket: str, key: str, version_id: str, *, owner: str | None = None
    ) -> Pin | None:
        """See `core.ports.ObjectStore.find_version`; one HEAD, and a GET where it is refused.

        None also for a delete marker, and for a version of another bucket.
        """
        if (pin := self._plain_pin(bucket, key, version_id, owner)) is not None:
            return pin
        where = one_line(f"s3://{bucket}/{key} version {version_id}")
        named: Any = {"Bucket": bucket, "Key": key, "VersionId": version_id, **_expecting(owner)}
        aws, client = self._for(bucket)
        with aws.errors(lambda exc: self._refusal(exc, bucket, where, owner, _HINT_VERSION)):
            try:
                answer = client.head_object(**named)
            except ClientError as exc:
                if is_fault(status_of(exc)):
                    raise
                refused = status_of(exc)
                if not _is_there(client, named):
                    return None
                raise s3_unreachable(
                    f"{where}: HEAD answered {refused}, and GET finds it",
                    "something between this machine and S3 refuses HEAD: check HTTPS_PROXY",
                ) from exc
        return _version_pin(
            answer,
            where,
            Pin(
                bucket=bucket,
                key=key,
                size_bytes=0,
                etag="",
                last_modified=datetime.fromtimestamp(0, UTC),
                version_id=version_id,
            ),
        )

    def algorithms(self, pin: Pin, *, owner: str | None = None) -> frozenset[str]:
        """See `core.ports.ObjectStore.algorithms`; one HEAD."""
        where = one_line(f"s3://{pin.bucket}/{pin.key}")
        chosen: Any = {"VersionId": pin.version_id} if pin.version_id else {}
        aws, client = self._for(pin.bucket)
        with aws.errors(lambda exc: listing_error(exc, pin.bucket, where)):
            try:
                answer = client.head_object(
                    Bucket=pin.bucket,
                    Key=pin.key,
                    ChecksumMode="ENABLED",
                    **chosen,
                    **_expecting(owner),
                )
            except ClientError:
                return frozenset()
        return frozenset(
            name.removeprefix("Checksum")
            for name in answer
            if name.startswith("Checksum") and name != "ChecksumType"
        )

    def endpoint(self, bucket: str, *, owner: str | None = None) -> Endpoint:
        """See `core.ports.ObjectStore.endpoint`; one HEAD per bucket, then from memory."""
        known = self._endpoints.get(bucket)
        if known is not None:
            return replace(known, owner=owner)
        aws, client = self._for(bucket)
        where = f"s3://{bucket}"
        with _settings_of(bucket), aws.errors(lambda exc: listing_error(exc, bucket, where)):
            region = _region_of(client, bucket)
            client = self._client_in(aws, region or client.meta.region_name)
            answer = client.get_object(Bucket=bucket, Key=_DUMMY_KEY)
        url = answer["ResponseMetadata"]["HTTPHeaders"][_URL_HEADER]
        resolved = Endpoint(
            base_url=url.partition("?")[0].removesuffix(_DUMMY_KEY),
            region=client.meta.region_name,
            ca_bundle=aws.ca_bundle,
        )
        if region is not None:
            with self._lock:
                if len(self._endpoints) >= _BUCKETS_KEPT:
                    self._endpoints.clear()
                self._endpoints[bucket] = resolved
        return replace(resolved, owner=owner)

    def _refusal(
        self, exc: Exception, bucket: str, where: str, owner: str | None, hint: str = ""
    ) -> BackhaulError:
        """S3 answers a wrong owner with AccessDenied only: try again without naming one."""
        error = listing_error(exc, bucket, where, hint)
        if owner is None or error.code != "E_SRC_DENIED":
            return error
        try:
            self._for(bucket)[1].head_bucket(Bucket=bucket)
        except FOREIGN:
            return error
        return NotAllowed(
            "E_SRC_OWNER",
            f"{where}: bucket {bucket} does not belong to account {owner}, which its route names",
            hint="correct source_owner on the route, or find out whose bucket this is",
        )

    def _for(self, bucket: str) -> tuple[AwsSession, S3Client]:
        """The session and the client for a bucket, most of which share one.

        Raises as `_settings_of`.
        """
        with _settings_of(bucket):
            aws = self._aws.for_bucket(bucket)
            return aws, self._client_in(aws, aws.s3_region)

    def _client_in(self, aws: AwsSession, region: str) -> S3Client:
        with self._lock:
            client = self._clients.get((aws, region))
            if client is None:
                if len(self._clients) >= _CLIENTS_KEPT:
                    self._clients.clear()  # there are not so many: a server that names any region
                client = aws.client("s3", _CONFIG, region=region)
                client.meta.events.register("before-send.s3.GetObject", _answer_with_url)
                client.meta.events.register_first("needs-retry.s3", _only_to_a_region)
                # Under `*` it comes before botocore's own look at the body (`before-parse.s3.*`).
                client.meta.events.register_first("before-parse.*.ListObjectsV2", take_page)
                self._clients[aws, region] = client
            return client


@contextmanager
def _settings_of(bucket: str) -> Iterator[None]:
    """No configuration ends a running agent: this bucket's messages die or wait.

    Raises:
        PermanentError: E_SRC_SETTINGS: S3A's settings of this bucket cannot be used. Those of the
            routes' buckets were checked when the agent started.
        OutageError: `credentials`, with the code that the start has: a file that all buckets need
            cannot be read any more.
    """
    try:
        yield
    except ConfigurationError as exc:
        if exc.code not in _OF_ONE_BUCKET:
            message = f"s3://{bucket}: {exc.message}"
            raise OutageError.of("credentials", exc.code, message, hint=exc.hint) from exc
        raise PermanentError(
            "E_SRC_SETTINGS", f"s3://{bucket}: {exc.message}", hint=exc.hint
        ) from exc


def _server(client: S3Client) -> str:
    return urlsplit(client.meta.endpoint_url).netloc


def _unreadable(flaw: ValueError, where: str, server: str, exc: Exception) -> ListedPage:
    if not isinstance(flaw, NotS3Error):
        return ListedPage(server=server, flaw=one_line(str(flaw)))
    raise s3_unreachable(
        f"{where}: {server} answered 200, and {flaw}",
        "check HTTPS_PROXY and AWS_ENDPOINT_URL_S3: a proxy answers in place of S3",
    ) from exc


def _region_of(client: S3Client, bucket: str) -> str | None:
    """S3 names the bucket's region even in a refusal; stand-ins may not: then the client's own.

    None where no answer of S3 could be distinguished from a gateway's: a policy may allow listing
    below a prefix only. The GETs will show, and the next transfer tries HEAD again.
    """
    try:
        answer: Any = client.head_bucket(Bucket=bucket)
    except ClientError as exc:
        if is_fault(status_of(exc)):
            raise
        return _region_in(headers_of(exc.response)) or None
    headers = headers_of(answer)
    return _region_in(headers) or (client.meta.region_name if has_request_id(headers) else None)


def _region_in(headers: Mapping[str, str]) -> str:
    """The region that an answer names; empty if it names none, or an impossible one."""
    return usable_region(str(headers.get("x-amz-bucket-region", "")))


def _is_there(client: S3Client, named: Any) -> bool:
    """Whether S3 has this version, by a GET of its first byte: a refusal of that has a code.

    Raises:
        ClientError: The answer does not show it.
    """
    try:
        client.get_object(**named, Range="bytes=0-0")
    except ClientError as exc:
        code = error_code(exc)
        if code in _THERE:
            return True
        if code == "InvalidArgument" and "version" in message_of(exc).lower():
            return False  # not the form of a version id
        if is_from_elsewhere(exc) or code == "NoSuchBucket" or status_of(exc) not in _NOT_THERE:
            raise
        return False
    return True


def _expecting(owner: str | None) -> Any:
    """The parameter that makes S3 refuse another account's bucket."""
    return {} if owner is None else {"ExpectedBucketOwner": owner}


def _version_pin(answer: Mapping[str, Any], where: str, pin: Pin) -> Pin:
    """The pin with the facts of this version that an answer to HEAD holds.

    Raises:
        OutageError: E_S3_UNREACHABLE: it is not an answer of S3.
        TransientError: E_S3_SERVER: something is missing, impossible, or of another version.
    """
    if is_foreign_page(headers_of(answer), answer.get("ETag", "")):
        raise s3_unreachable(
            f"{where}: answered without an ETag or request id of S3",
            "something between this machine and S3 answers in its place: check HTTPS_PROXY",
        )
    size, etag = answer.get("ContentLength", -1), etag_of(answer.get("ETag", ""))
    modified = answer.get("LastModified")
    flaws = {
        "Content-Length": not 0 <= size <= SIZE_MAX_BYTES,
        "ETag": not etag,
        "Last-Modified": modified is None,
        "x-amz-version-id": answer.get("VersionId", pin.version_id) != pin.version_id,
    }
    if modified is None or any(flaws.values()):
        wrong = ", ".join(name for name, is_wrong in flaws.items() if is_wrong)
        raise TransientError("E_S3_SERVER", f"{where}: S3 answered without a usable {wrong}")
    try:
        at = modified.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise TransientError("E_S3_SERVER", f"{where}: Last-Modified is out of range") from exc
    return replace(pin, size_bytes=size, etag=etag, last_modified=at)


def _only_to_a_region(request_dict: Any, response: Any, operation: Any, **_: object) -> None:
    """Runs before botocore follows a redirect, and keeps that finite.

    botocore goes wherever the answer points, and sends HeadBucket where it points nowhere. That
    may be redirected in turn, for ever. So a HeadBucket is followed only to a region that it names.
    """
    if response is None:
        return
    parsed = response[1]
    headers, error = headers_of(parsed), parsed.get("Error", {})
    region = usable_region(headers.get("x-amz-bucket-region") or error.get("Region") or "")
    if not region:
        headers.pop("x-amz-bucket-region", None)
        error.pop("Region", None)
        if operation.name == "HeadBucket":
            request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True


def _answer_with_url(request: AWSPreparedRequest, **_: object) -> Any:
    """Stops the GetObject of `endpoint` before it is sent, and answers with its URL.

    Exact for every addressing style, partition and endpoint setting. A presigned URL is not: for
    most regions botocore presigns the global host, which answers new buckets with redirects.
    """
    if "Range" in request.headers:
        return None  # of `_is_there`
    headers: Any = {_URL_HEADER: request.url}  # the stubs want another class of mapping
    return AWSResponse(request.url, 200, headers, BytesIO())

"""S3 for planning: listing and where to read from, through botocore. Implements `core.ObjectStore`.

Bodies are read in the worker processes by `s3_get`, which needs no client.

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

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.errors import (
    FOREIGN,
    Cause,
    CredentialSourceError,
    account_error,
    cause_of,
    common_error,
    error_code,
    has_request_id,
    headers_of,
    is_customer_key,
    is_fault,
    is_foreign_page,
    is_from_elsewhere,
    no_customer_key,
    one_line,
    points_elsewhere,
    source_error,
    status_of,
    told,
    usable_region,
)
from backhaul.adapters.aws.s3_listing import PAGE, NotS3Error, page_of, take_page
from backhaul.core.errors import (
    BackhaulError,
    ConfigurationError,
    NotAllowed,
    OutageError,
    PermanentError,
    TransientError,
)
from backhaul.core.model import Pin
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

    A refused HEAD is never a verdict: it has no code, and a gateway's looks like S3's. Whatever
    hangs on it is judged by a GET.
    """

    def __init__(self, aws: AwsSession) -> None:
        self._aws = aws
        self._lock = threading.Lock()
        self._clients: dict[tuple[AwsSession, str], S3Client] = {}
        self._client_in(aws, aws.s3_region)
        self._endpoints: dict[str, Endpoint] = {}

    def list_page(
        self,
        bucket: str,
        prefix: str,
        *,
        token: str | None = None,
        page_size: int = 1000,
        owner: str | None = None,
    ) -> ListedPage:
        """See `core.ports.ObjectStore.list_page`.

        Any key comes through unchanged, control characters too: S3 is requested to percent-encode
        them, and they are decoded again.
        """
        where = one_line(f"s3://{bucket}/{prefix}")
        chosen: Any = {"ContinuationToken": token} if token is not None else {}
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
        return page_of(answer[PAGE], _server(client), prefix, token)

    def find_version(
        self, bucket: str, key: str, version_id: str, *, owner: str | None = None
    ) -> Pin | None:
        """See `core.ports.ObjectStore.find_version`; one HEAD, and a GET where it is refused.

        A delete marker counts as not there, and so does a version that is none of this bucket's.
        """
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
                raise _head_refused(where, refused) from exc
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
        """S3 says no more than "denied" to a wrong owner: ask again without naming one."""
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
                client.meta.events.register_first("before-parse.*.ListObjectsV2", _take_page)
                self._clients[aws, region] = client
            return client


@contextmanager
def _settings_of(bucket: str) -> Iterator[None]:
    """No configuration ends an agent that runs: it costs this bucket's messages, or they wait.

    Raises:
        PermanentError: E_SRC_SETTINGS: S3A's settings of this bucket cannot be used. Of the
            buckets of routes they were looked at when the agent started.
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
    raise OutageError.of(
        "s3",
        "E_S3_UNREACHABLE",
        f"{where}: {server} answered 200, and {flaw}",
        hint="check HTTPS_PROXY and AWS_ENDPOINT_URL_S3: something before S3 answers itself",
    ) from exc


def _region_of(client: S3Client, bucket: str) -> str | None:
    """S3 names the bucket's region even in a refusal; stand-ins may not: then the client's own.

    None where nothing is known, as no answer of S3 was told from a gateway's: a policy may allow
    listing below a prefix only. The GETs will tell, and the next transfer asks again.
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
    """The region that an answer names; empty where it names none, or none that can be."""
    return usable_region(str(headers.get("x-amz-bucket-region", "")))


def _is_there(client: S3Client, named: Any) -> bool:
    """Whether S3 has this version, by a GET of its first byte: a refusal of that has a code.

    Raises:
        ClientError: S3 does not say.
    """
    try:
        client.get_object(**named, Range="bytes=0-0")
    except ClientError as exc:
        code = error_code(exc)
        if code in _THERE:
            return True
        if code == "InvalidArgument" and "version" in told(exc).lower():
            return False  # no version id at all
        if is_from_elsewhere(exc) or code == "NoSuchBucket" or status_of(exc) not in _NOT_THERE:
            raise
        return False
    return True


def _head_refused(where: str, status: int) -> OutageError:
    return _unreachable(
        f"{where}: HEAD answered {status}, and GET finds it",
        "something between this machine and S3 refuses HEAD: check HTTPS_PROXY",
    )


def _expecting(owner: str | None) -> Any:
    """The parameter that makes S3 refuse another account's bucket."""
    return {} if owner is None else {"ExpectedBucketOwner": owner}


def _version_pin(answer: Mapping[str, Any], where: str, pin: Pin) -> Pin:
    """The pin with what an answer to HEAD says of this version.

    Raises:
        OutageError: E_S3_UNREACHABLE: it is no answer of S3.
        TransientError: E_S3_SERVER: something is missing, impossible, or of another version.
    """
    if is_foreign_page(headers_of(answer), answer.get("ETag", "")):
        raise _unreachable(
            f"{where}: answered without an ETag or request id of S3",
            "something between this machine and S3 answers itself: check HTTPS_PROXY",
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


def _take_page(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    take_page(response_dict, customized_response_dict)


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
    """Stops the GetObject of `endpoint` before it is sent, and tells where it would have gone.

    Exact for every addressing style, partition and endpoint setting. A presigned URL is not: for
    most regions botocore presigns the global host, which answers new buckets with redirects.
    """
    if "Range" in request.headers:
        return None  # of `_is_there`
    headers: Any = {_URL_HEADER: request.url}  # the stubs want another class of mapping
    return AWSResponse(request.url, 200, headers, BytesIO())


def listing_error(exc: Exception, bucket: str, where: str, hint: str = "") -> BackhaulError:
    """What a failed listing means for the request that asked for it.

    Args:
        hint: To whoever is denied; default: how to allow the listing.
    """
    if isinstance(exc, CredentialSourceError):
        return source_error(exc, where)
    said = f"{where}: {told(exc)}"
    if is_from_elsewhere(exc):
        return _unreachable(
            said, "something between this machine and S3 refuses: check HTTPS_PROXY"
        )
    if by_code := _by_code(error_code(exc), where, said):
        return by_code
    if region := _right_region(exc):
        return PermanentError(
            "E_SRC_REGION",
            f"{said}; bucket {bucket} is in {region}",
            hint="set AWS_REGION to the bucket's region",
        )
    match cause_of(exc):
        case Cause.DENIED:
            return PermanentError(
                "E_SRC_DENIED",
                said,
                hint=hint or "allow s3:ListBucket on this bucket for this agent",
            )
        case Cause.ACCOUNT:
            return account_error(said)
        case Cause.PARAMETER | Cause.CONFIGURATION:
            # The client was made, so it is this bucket's name that gives no address.
            return PermanentError("E_SRC_BUCKET", said, hint="check the bucket's name")
        case Cause.THROTTLED:
            # Asked five times by botocore; a 503 may be a proxy's, too.
            return OutageError.of("s3", "E_S3_THROTTLED", said)
        case Cause.UNREACHABLE:
            return _unreachable(said, "check the network, HTTPS_PROXY and AWS_ENDPOINT_URL_S3")
        case _:
            return common_error(exc, where)


def _by_code(code: str, where: str, said: str) -> BackhaulError | None:
    if code == "NoSuchBucket":
        return PermanentError(
            "E_SRC_NO_BUCKET", f"{where}: no such bucket", hint="check the bucket's name"
        )
    if code == "InvalidBucketName":
        return PermanentError("E_SRC_BUCKET", said)
    words = said.removeprefix(where)
    return no_customer_key(said) if is_customer_key(code, words) else None


def _unreachable(said: str, hint: str) -> OutageError:
    return OutageError.of("s3", "E_S3_UNREACHABLE", said, hint=hint)


def _right_region(exc: Exception) -> str:
    """The region that S3 points to; empty where it does not point elsewhere."""
    if not isinstance(exc, ClientError):
        return ""
    error = exc.response.get("Error", {})
    named = headers_of(exc.response).get("x-amz-bucket-region") or error.get("Region")
    region = usable_region(str(named or ""))
    if not points_elsewhere(status_of(exc), error_code(exc), region):
        return ""
    return region or "another region"

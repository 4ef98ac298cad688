"""Clients of SQS and S3, and the settings they are made from: regions, endpoints, certificates.

AWS's own settings have AWS's own names: botocore reads AWS_PROFILE, AWS_ENDPOINT_URL_SQS,
AWS_CA_BUNDLE, ~/.aws/config and the rest. Added here: where AWS's chain has no credentials, the
keys and endpoints of S3A count (`credentials`, `s3a`).

Who tries a failed call again: botocore, for calls of SQS and listings, as often as the client's
`retries` state; the agent, for ReceiveMessage; the engine, for an object (`s3_get`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload
from urllib.parse import urlsplit

import botocore
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.credentials import CredentialResolver
from botocore.loaders import Loader

from backhaul import __version__
from backhaul.adapters.aws.answers import StrictSession
from backhaul.adapters.aws.causes import CREDENTIAL_CAUSES, FOREIGN, Cause, cause_of, one_line
from backhaul.adapters.aws.credentials import AwsCredentials, FixedProvider
from backhaul.adapters.aws.errors import HINT_CONFIG, common_error, opening_error
from backhaul.adapters.aws.s3a import BucketSettings, LoadS3a
from backhaul.adapters.aws.tls import checked_bundle, naming_bundle, refuse_plain_http
from backhaul.core.endpoints import endpoint_fault
from backhaul.core.errors import BackhaulError, ConfigurationError
from backhaul.core.requests.queue_names import PUBLIC_HOST
from backhaul.core.text import redacted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

_SERVICES = ("s3", "sns", "sqs", "sts")


class _Loader(Loader):
    """botocore's own data, without a look into the directories of all 400 services first."""

    def list_available_services(self, type_name: str) -> list[str]:
        del type_name
        return [*_SERVICES]


class AwsSession:
    """Makes clients; one per process of the agent. No call of AWS before they are used.

    Args:
        region: The REGION argument: for SQS, and for S3 where AWS's own settings name none.
        load_s3a: Reads Hadoop's configuration; None: this node has none.
        s3a: S3A's settings of the buckets that this session is for.
        ca_bundle: As another session has checked it; default: found and checked at the first use.
        role: ARN of a role to be assumed first; None: none.
        external_id: What the role's trust policy wants to see; None: nothing.

    Attributes:
        clock_skew_s: How far this machine's clock is ahead of AWS's, by the last answer; to a
            second, and to the time that the answer took.
    """

    def __init__(
        self,
        region: str,
        load_s3a: LoadS3a | None = None,
        *,
        s3a: BucketSettings | None = None,
        ca_bundle: str | None = None,
        role: str | None = None,
        external_id: str | None = None,
    ) -> None:
        self.region = region
        self._load_s3a = load_s3a
        self._s3a = s3a
        self._for_buckets: dict[BucketSettings, AwsSession] = {}
        self.credentials = AwsCredentials(
            load_s3a,
            None if s3a is None else s3a.keys_of,
            role=role,
            external_id=external_id,
            region=region,
        )
        self._session = StrictSession()
        self._session.register_component(
            "credential_provider", CredentialResolver(providers=[FixedProvider(self.credentials)])
        )
        self._lock = threading.Lock()
        self._ca_bundle = ca_bundle
        self._has_ca_bundle = ca_bundle is not None
        self.clock_skew_s = 0.0
        self._looked_at_clock_s = float("-inf")

    @property
    def has_seen_clock(self) -> bool:
        """Whether any call was answered, so that `clock_skew_s` means something."""
        return self._looked_at_clock_s > 0

    def for_bucket(self, bucket: str) -> AwsSession:
        """The session for S3 in this bucket; another one where S3A's settings single it out.

        Raises:
            ConfigurationError: E_CFG_CORE_SITE, E_CFG_HADOOP_VARIABLE, E_CFG_HADOOP_VALUE.
        """
        settings = self.credentials.s3a(bucket)
        if settings is None or (settings.keys_of is None and not settings.is_elsewhere):
            return self
        bundle = self.ca_bundle
        with self._lock:
            found = self._for_buckets.get(settings)
            if found is None:
                found = AwsSession(self.region, self._load_s3a, s3a=settings, ca_bundle=bundle)
                self._for_buckets[settings] = found
            return found

    def check_bucket(self, bucket: str) -> None:
        """Refuse settings of AWS or S3A that cannot be used for a bucket; sends S3 nothing.

        Raises:
            ConfigurationError: E_CFG_HADOOP_VARIABLE, E_CFG_HADOOP_VALUE; what `client` raises;
                E_AWS_NO_CREDENTIALS: the bucket has keys of its own that cannot be read.
        """
        aws = self.for_bucket(bucket)
        if aws is self:
            return
        with aws.errors(lambda exc: opening_error(exc, f"s3://{bucket}")):
            aws.credentials.get_frozen_credentials()
        if (url := aws.s3a_url()) is not None:
            refuse_plain_http(url, f"the endpoint of bucket {bucket}")
        aws.client("s3", Config())

    def uses_s3a(self) -> bool:
        """Whether S3A's endpoint counts: AWS's own settings have neither keys nor an endpoint."""
        if self._s3a is None or not self._s3a.is_elsewhere:
            return False
        with self.errors(lambda exc: common_error(exc, "S3")), self._settings("s3"):
            return self._endpoint("s3") is None and self.credentials.are_hadoops

    def s3a_url(self) -> str | None:
        """S3A's endpoint, where one is set and `uses_s3a`."""
        return self._s3a.url if self._s3a is not None and self.uses_s3a() else None

    def _endpoint(self, service: str) -> str | None:
        """The one of AWS's own settings; None: none is set. Raises what botocore does."""
        if self._session.get_config_variable("ignore_configured_endpoint_urls"):
            return None
        found: str | None = ConfiguredEndpointProvider(
            full_config=self._session.full_config,
            scoped_config=self._session.get_scoped_config(),
            client_name=service,
        ).provide()
        return found

    def _check_endpoint(self, service: str) -> None:
        """Refuse a malformed endpoint, by the name of its setting: botocore accepts some.

        Raises:
            ConfigurationError: E_AWS_CONFIG.
        """
        text = self._endpoint(service)
        fault = endpoint_fault(text) if text is not None else ""
        if fault:
            own = f"AWS_ENDPOINT_URL_{service.upper()}"
            names = [name for name in (own, "AWS_ENDPOINT_URL") if os.environ.get(name)]
            where = names[0] if names else "endpoint_url in ~/.aws/config"
            raise ConfigurationError("E_AWS_CONFIG", f"{where} {fault}", hint=HINT_CONFIG)

    @property
    def s3_region(self) -> str:
        """AWS_REGION, AWS_DEFAULT_REGION or the profile's region, else the REGION argument.

        Where S3A's endpoint counts, its region goes before.
        """
        if self._s3a is not None and self._s3a.region is not None and self.uses_s3a():
            return self._s3a.region
        with self.errors(lambda exc: common_error(exc, "S3")):
            configured = os.environ.get("AWS_REGION") or self._session.get_config_variable("region")
        return str(configured or self.region)

    @property
    def ca_bundle(self) -> str | None:
        """AWS_CA_BUNDLE, the profile's `ca_bundle` or REQUESTS_CA_BUNDLE; None: the built-in one.

        As the AWS library resolves it. SSL_CERT_FILE does not count, there as here. It is found
        and checked once, when the first client is made: at the start. A file that is gone or
        damaged later fails the connections, which hold what needs them.

        Raises:
            ConfigurationError: E_CFG_TLS.
        """
        if not self._has_ca_bundle:
            self._ca_bundle = self._find_ca_bundle()
            self._has_ca_bundle = True
        return self._ca_bundle

    def _find_ca_bundle(self) -> str | None:
        with self.errors(lambda exc: common_error(exc, "TLS")):
            configured = self._session.get_config_variable("ca_bundle")
        if configured is None:
            configured = os.environ.get("REQUESTS_CA_BUNDLE")
        return None if configured is None else checked_bundle(str(configured))

    @overload
    def client(
        self,
        service: Literal["sqs"],
        config: Config,
        *,
        region: str | None = None,
        endpoint: str | None = None,
    ) -> SQSClient: ...
    @overload
    def client(
        self, service: Literal["s3"], config: Config, *, region: str | None = None
    ) -> S3Client: ...
    @overload
    def client(
        self, service: Literal["sns", "sts"], config: Config, *, region: str | None = None
    ) -> Any: ...
    def client(
        self,
        service: Literal["sqs", "s3", "sns", "sts"],
        config: Config,
        *,
        region: str | None = None,
        endpoint: str | None = None,
    ) -> SQSClient | S3Client:
        """A client as boto3 makes it, without what boto3 adds; it may be shared by threads.

        Args:
            region: Default: REGION for SQS, SNS and STS, `s3_region` for S3.
            endpoint: Called instead of AWS's public endpoint; one that is configured goes before.

        Raises:
            ConfigurationError: E_CFG_TLS: a plain `http://` endpoint that is not this machine;
                E_AWS_CONFIG: region, profile or endpoint are not usable.
        """
        # AWS's logs then name the caller. botocore's own long string, put together anew for each
        # call, costs a thirtieth of it.
        agent = f"backhaul/{__version__} Botocore/{botocore.__version__}"
        config = config.merge(Config(user_agent=agent))

        region = region or (self.s3_region if service == "s3" else self.region)
        s3a_url = None
        if service == "s3" and self._s3a is not None and self.uses_s3a():
            s3a_url = self._s3a.url
            config = config.merge(Config(s3={"addressing_style": _addressing(self._s3a)}))
        with (
            self.errors(lambda exc: common_error(exc, service.upper())),
            self._settings(service),
            self._lock,
        ):
            loader = self._session.get_component("data_loader")
            if not isinstance(loader, _Loader):
                ours = _Loader(loader.search_paths, include_default_search_paths=False)
                self._session.register_component("data_loader", ours)
            create = partial(
                self._session.create_client,
                service,
                region_name=region,
                config=config,
                verify=self.ca_bundle or True,
                endpoint_url=s3a_url,
            )
            self._check_endpoint(service)
            client: Any = create()
            if endpoint is not None and is_public(client.meta.endpoint_url):
                client = create(endpoint_url=endpoint)
            if service == "s3":
                _check_address(client)
        client.meta.events.register(f"after-call.{service}", self._look_at_clock)
        refuse_plain_http(client.meta.endpoint_url, f"the {service.upper()} endpoint")
        made: SQSClient | S3Client = client
        return made

    @contextmanager
    def _settings(self, service: str) -> Iterator[None]:
        """Before the first request every failure is of a setting, such as a proxy's URL.

        Raises:
            ConfigurationError: E_AWS_CONFIG.
        """
        try:
            yield
        except (*FOREIGN, BackhaulError):
            raise
        except Exception as exc:
            reason = self._word_for_section() or one_line(redacted(str(exc)))
            raise ConfigurationError(
                "E_AWS_CONFIG", f"{service.upper()}: {reason}", hint=HINT_CONFIG
            ) from exc

    def _word_for_section(self) -> str:
        """Which setting is one word in place of indented lines; botocore does not check."""
        profile = self._session.get_scoped_config()
        services = str(profile.get("services", ""))
        given = self._session.full_config.get("services", {}).get(services, {})
        names = [name for name in ("s3", "api_versions") if isinstance(profile.get(name), str)]
        names += [
            f"{name} of [services {services}]"
            for name, value in given.items()
            if isinstance(value, str)
        ]
        if not names:
            return ""
        file = self._session.get_config_variable("config_file")
        return one_line(f"{names[0]} in {file} is a word, and indented lines have to follow it")

    def _look_at_clock(self, http_response: object, **_: object) -> None:
        """Each answer has a date; one a second is read, the last one counts."""
        now_s = time.monotonic()
        if now_s - self._looked_at_clock_s < 1.0:
            return
        self._looked_at_clock_s = now_s
        date = getattr(http_response, "headers", {}).get("date", "")
        # A proxy may have written it. A zone or a year with too many digits is an OverflowError,
        # and so is a time before the first year.
        with suppress(ValueError, TypeError, OverflowError):
            self.clock_skew_s = time.time() - parsedate_to_datetime(date).timestamp()

    @contextmanager
    def errors(self, translate: Callable[[Exception], BackhaulError]) -> Iterator[None]:
        """Foreign exceptions end here; refused credentials are forgotten."""
        try:
            yield
        except FOREIGN as exc:
            cause = cause_of(exc)
            if cause not in CREDENTIAL_CAUSES:
                error = translate(exc)
                if cause is Cause.UNREACHABLE:
                    error = naming_bundle(error, self._ca_bundle)
                raise error from exc
            self.credentials.forget()
            # AWS's answer to a bad signature quotes the signed headers, the token among them:
            # kept out of tracebacks.
            raise translate(exc) from None


def _unsent(**_: object) -> Any:
    no_headers: Any = {}
    return AWSResponse("", 200, no_headers, None), {}


def _check_address(client: S3Client) -> None:
    """Find the address of a bucket with an undoubtedly valid name; nothing is sent.

    A failure here is the fault of the settings; a later one, of the bucket's name.
    """
    client.meta.events.register("before-call.s3.GetBucketVersioning", _unsent)
    client.get_bucket_versioning(Bucket="amzn-s3-demo-bucket")


def _addressing(s3a: BucketSettings) -> Literal["auto", "path", "virtual"]:
    if s3a.url is None:
        return "path" if s3a.is_path_style else "auto"
    host = urlsplit(s3a.url).hostname or ""
    # A name in front of a number is no host.
    return "path" if s3a.is_path_style or host[-1:].isdigit() else "virtual"


def is_public(endpoint: str) -> bool:
    """True for AWS's own public endpoint of SQS, which is used where none is configured."""
    return PUBLIC_HOST.fullmatch(urlsplit(endpoint).hostname or "") is not None

"""AWS's session as Backhaul uses it: credentials, regions, endpoints. A base for the AWS adapters.

Everything of AWS's own goes by AWS's own names: AWS_PROFILE, AWS_ENDPOINT_URL_SQS, AWS_CA_BUNDLE,
~/.aws/config and the rest are read by botocore. Added here: where AWS's chain finds no credentials
the keys of a Hadoop core-site.xml serve, and refused credentials are looked up again, so that a
held route resumes by itself once someone has renewed them.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload
from urllib.parse import urlsplit

import botocore
import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.credentials import (
    CredentialProvider,
    CredentialResolver,
    Credentials,
    ReadOnlyCredentials,
)
from botocore.exceptions import NoCredentialsError
from botocore.loaders import Loader

from backhaul import __version__
from backhaul.adapters.aws.answers import CheckedParsers, CheckedSession
from backhaul.adapters.aws.errors import (
    CREDENTIAL_CAUSES,
    FOREIGN,
    HINT_CONFIG,
    Cause,
    CredentialSourceError,
    NoReadableKeys,
    cause_of,
    common_error,
    no_credentials,
    one_line,
)
from backhaul.adapters.aws.spec import CredentialsSpec
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.configuration.s3a import BucketSettings, S3aSettings
from backhaul.core.endpoints import endpoint_fault
from backhaul.core.errors import BackhaulError, ConfigurationError, NotAllowed, OutageError
from backhaul.core.requests.queue_names import PUBLIC_HOST
from backhaul.core.text import redacted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

# A refusal makes the chain run again, at most this often: it may ask a metadata service.
_LOOK_AGAIN_S = 10.0
_BUCKETS_KEPT = 1000
_BODY_TIMEOUTS = 2  # a whole body may take so many of a client's read timeouts
_SENDABLE = re.compile("[!-~]+")
_METHOD = "custom-backhaul"
_HADOOP_METHOD = "hadoop-core-site"
_SERVICES = ("s3", "sqs")


def hadoop_credentials(conf_dir: Path, bucket: str | None = None) -> Credentials | None:
    """S3A's keys in the Hadoop configuration, read anew: they may have been renewed.

    Args:
        bucket: Its own keys go before those of all buckets.

    Returns:
        None when one of the two keys is missing.

    Raises:
        ConfigurationError: E_CFG_CORE_SITE: a file cannot be read; E_CFG_HADOOP_VARIABLE: a key
            holds a variable that is not set.
        NoReadableKeys: S3A would find keys where they are not read here.
    """
    settings = S3aSettings(HadoopConfiguration.load(conf_dir))
    keys = settings.keys(bucket)
    if keys is not None:
        return Credentials(keys.access_key, keys.secret_key, keys.token, method=_HADOOP_METHOD)
    if reason := settings.unread(bucket):
        raise NoReadableKeys(reason=reason)
    return None


class AwsCredentials(Credentials):
    """AWS's chain, then Hadoop's keys; found at first use, and again after `forget`.

    Safe to use from several threads. Every client made by `AwsSession` signs with this object.

    Raises (any read):
        NoCredentialsError: nobody has any.
        CredentialSourceError: a provider of the chain failed, or gave what cannot be used.
    """

    def __init__(self, hadoop_conf_dir: Path | None, bucket: str | None = None) -> None:
        # Not Credentials.__init__: the attributes it sets are properties here.
        self._hadoop_conf_dir = hadoop_conf_dir
        self._bucket = bucket
        self._s3a: S3aSettings | None = None
        self._of_buckets: dict[str, AwsCredentials] = {}
        self._lock = threading.Lock()
        self._found: Credentials | None = None
        self._looked_at_s = float("-inf")
        self._failure: Exception | None = None

    @classmethod
    def of(cls, spec: CredentialsSpec) -> AwsCredentials:
        """Credentials for this process; nothing is looked up before the first use."""
        return cls(Path(spec.hadoop_conf_dir) if spec.hadoop_conf_dir else None, spec.bucket)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Key, secret and token that belong together; refreshed by their provider when due."""
        found = self._found or self._look()
        with _as_source_error():
            frozen = found.get_frozen_credentials()
            # A source's answer may have lacked them.
            if not (_is_text(frozen.access_key) and _is_text(frozen.secret_key)):
                raise KeyError("access key")
        if flaw := _flaw(frozen):
            self.forget()
            raise CredentialSourceError(Cause.CONFIGURATION, flaw)
        return frozen

    @property
    def are_hadoops(self) -> bool:
        """Whether AWS's own chain has none, and Hadoop's keys serve. Raises as any read."""
        return (self._found or self._look()).method == _HADOOP_METHOD

    def s3a(self, bucket: str) -> BucketSettings:
        """What Hadoop's configuration says of a bucket, whether or not it counts.

        Raises:
            ConfigurationError: E_CFG_CORE_SITE, E_CFG_HADOOP_VARIABLE, E_CFG_HADOOP_VALUE.
        """
        with self._lock:
            if self._s3a is None:
                configuration = HadoopConfiguration.load(self._hadoop_conf_dir)
                self._s3a = S3aSettings(configuration.without_secrets(keep_names=True))
            return self._s3a.of(bucket)

    def for_bucket(self, bucket: str) -> AwsCredentials:
        """Those that open this bucket: its own keys may go before those of all buckets.

        Raises:
            NoReadableKeys: Hadoop's files cannot be read any more.
        """
        if self._hadoop_conf_dir is None:
            return self
        found = self._of_buckets.get(bucket)
        if found is not None:
            return found
        try:
            has_own = self.s3a(bucket).keys_of is not None
        except ConfigurationError as exc:
            raise NoReadableKeys(reason=exc.message) from exc
        with self._lock:
            if len(self._of_buckets) >= _BUCKETS_KEPT:
                self._of_buckets.clear()
            own = AwsCredentials(self._hadoop_conf_dir, bucket) if has_own else self
            return self._of_buckets.setdefault(bucket, own)

    def forget_for(self, bucket: str) -> None:
        """As `forget`, for what `for_bucket` gave."""
        self._of_buckets.get(bucket, self).forget()

    def forget(self) -> None:
        """AWS refused these: the next use looks again, unless that was less than 10 s ago."""
        with self._lock:
            if time.monotonic() - self._looked_at_s >= _LOOK_AGAIN_S:
                self._found = None

    def _look(self) -> Credentials:
        with self._lock:
            if self._found is not None:
                return self._found
            now_s = time.monotonic()
            if self._failure is None or now_s - self._looked_at_s >= _LOOK_AGAIN_S:
                self._looked_at_s = now_s
                try:
                    # A new session each time: botocore's providers keep what they have read.
                    with _as_source_error():
                        self._found = self._search()
                except FOREIGN as exc:
                    self._failure = exc
                    raise
                self._failure = None
                return self._found
            # The same object may be raised many times; its traceback must not grow with each.
            raise self._failure.with_traceback(None)

    def _search(self) -> Credentials:
        found: Credentials | None = _Session().get_credentials()
        if found is None and self._hadoop_conf_dir is not None:
            try:
                found = hadoop_credentials(self._hadoop_conf_dir, self._bucket)
            except ConfigurationError as exc:
                # The start has read the same files: someone has edited them, and may do so again.
                raise NoReadableKeys(reason=exc.message) from exc
        if found is None:
            raise NoCredentialsError
        return found

    @property
    def access_key(self) -> str:  # type: ignore[override] # read-only here
        return str(self.get_frozen_credentials().access_key)

    @property
    def secret_key(self) -> str:  # type: ignore[override]
        return str(self.get_frozen_credentials().secret_key)

    @property
    def token(self) -> str | None:  # type: ignore[override]
        return self.get_frozen_credentials().token

    @property
    def method(self) -> str:  # type: ignore[override]
        """Asked while a client is made, when nothing is to be looked up yet."""
        return _METHOD

    @property
    def account_id(self) -> str | None:
        return getattr(self.get_frozen_credentials(), "account_id", None)


@contextmanager
def _as_source_error() -> Iterator[None]:
    """Whatever the sources of credentials raise is theirs, not the fault of who needs them.

    They run programs, read files and take fields out of foreign answers, so it may be anything.
    """
    try:
        yield
    except (NoCredentialsError, CredentialSourceError):
        raise
    except Exception as exc:  # noqa: BLE001 - foreign code on foreign answers
        # Not `from exc`: it may quote an answer of STS, with a secret key.
        raise CredentialSourceError.of(exc) from None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _flaw(keys: ReadOnlyCredentials) -> str:
    """What no request can carry, by its name; Python's HTTP client would quote it in its error."""
    secret = str(keys.secret_key)
    for name, is_good in {
        "access key": _SENDABLE.fullmatch(str(keys.access_key)),
        # Only signed with, never sent: other servers than AWS take a sentence, too.
        "secret key": secret.isprintable() and secret == secret.strip(),
        "session token": not keys.token or _SENDABLE.fullmatch(str(keys.token)),
    }.items():
        if not is_good:
            return (
                f"the {name} has a blank, a line break or a special character in it: copy it anew"
            )
    return ""


class _Session(botocore.session.Session):
    """A session whose clients read answers strictly, those that fetch credentials, too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_component("response_parser_factory", CheckedParsers())

    def create_client(self, *args: Any, **named: Any) -> Any:
        client: Any = super().create_client(*args, **named)
        endpoint = client._endpoint  # noqa: SLF001 - botocore has no other place to set it
        limit_s = _BODY_TIMEOUTS * client.meta.config.read_timeout
        endpoint.http_session = CheckedSession(endpoint.http_session, limit_s)
        return client


class _Given(CredentialProvider):
    """A chain of one: hands `AwsCredentials` to every client of a session."""

    METHOD = _METHOD

    def __init__(self, credentials: AwsCredentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Credentials:
        return self._credentials


class _Loader(Loader):
    """botocore's own data, without a look into the directories of all 400 services first."""

    def list_available_services(self, type_name: str) -> list[str]:
        del type_name
        return [*_SERVICES]


class AwsSession:
    """Makes clients; one per process of the agent. Nothing is asked of AWS before they are used.

    Args:
        region: The REGION argument: for SQS, and for S3 where AWS's own settings name none.
        hadoop_conf_dir: Where Hadoop's configuration is, or None.
        s3a: What S3A's settings say of the buckets that this session is for.
        ca_bundle: As another session has checked it; default: found and checked at the first use.

    Attributes:
        clock_skew_s: How far this machine's clock is ahead of AWS's, by the last answer; to a
            second, and to the time that the answer took.
    """

    def __init__(
        self,
        region: str,
        hadoop_conf_dir: Path | None = None,
        *,
        s3a: BucketSettings | None = None,
        ca_bundle: str | None = None,
    ) -> None:
        self.region = region
        self._hadoop_conf_dir = hadoop_conf_dir
        self._s3a = s3a or BucketSettings()
        self._for_buckets: dict[BucketSettings, AwsSession] = {self._s3a: self}
        self.credentials_spec = CredentialsSpec.of(hadoop_conf_dir, self._s3a.keys_of)
        self.credentials = AwsCredentials.of(self.credentials_spec)
        self._session = _Session()
        self._session.register_component(
            "credential_provider", CredentialResolver(providers=[_Given(self.credentials)])
        )
        self._lock = threading.Lock()
        self._ca_bundle = ca_bundle
        self._has_ca_bundle = ca_bundle is not None
        self.clock_skew_s = 0.0
        self._looked_at_clock_s = float("-inf")

    def for_bucket(self, bucket: str) -> AwsSession:
        """The session for S3 in this bucket; another one where S3A's settings single it out.

        Raises:
            ConfigurationError: E_CFG_CORE_SITE, E_CFG_HADOOP_VARIABLE, E_CFG_HADOOP_VALUE.
        """
        if self._hadoop_conf_dir is None:
            return self
        settings = self.credentials.s3a(bucket)
        bundle = self.ca_bundle
        with self._lock:
            found = self._for_buckets.get(settings)
            if found is None:
                found = AwsSession(
                    self.region, self._hadoop_conf_dir, s3a=settings, ca_bundle=bundle
                )
                self._for_buckets[settings] = found
            return found

    def check_bucket(self, bucket: str) -> None:
        """Refuse settings of AWS or S3A that cannot be used for a bucket; asks S3 nothing.

        Raises:
            ConfigurationError: E_CFG_HADOOP_VARIABLE, E_CFG_HADOOP_VALUE; what `client` raises;
                E_AWS_NO_CREDENTIALS: the bucket has keys of its own that cannot be read.
        """
        aws = self.for_bucket(bucket)
        if aws is self:
            return
        with aws.errors(lambda exc: opening_error(exc, f"s3://{bucket}")):
            aws.credentials.get_frozen_credentials()
        settings = self.credentials.s3a(bucket)
        if settings.url is not None and aws.uses_s3a():
            refuse_plain_http(settings.url, f"the endpoint of bucket {bucket}")
        aws.client("s3", Config())

    def uses_s3a(self) -> bool:
        """Whether S3A's endpoint counts: AWS's own settings have neither keys nor an endpoint."""
        if not self._s3a.is_elsewhere:
            return False
        with self.errors(lambda exc: common_error(exc, "S3")), self._settings("s3"):
            return self._endpoint("s3") is None and self.credentials.are_hadoops

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
        """Refuse what is no endpoint, by the name of its setting: botocore takes it for one.

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
        if self._s3a.region is not None and self.uses_s3a():
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
        return None if configured is None else _checked_bundle(str(configured))

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
    def client(
        self,
        service: Literal["sqs", "s3"],
        config: Config,
        *,
        region: str | None = None,
        endpoint: str | None = None,
    ) -> SQSClient | S3Client:
        """A client as boto3 makes it, without what boto3 adds; it may be shared by threads.

        Args:
            region: Default: REGION for SQS, `s3_region` for S3.
            endpoint: Called instead of AWS's public endpoint; one that is configured goes before.

        Raises:
            ConfigurationError: E_CFG_TLS: a plain `http://` endpoint that is not this machine;
                E_AWS_CONFIG: region, profile or endpoint are not usable.
        """
        # AWS's logs then name who asked. botocore's own long string, put together anew for each
        # call, costs a thirtieth of it.
        agent = f"backhaul/{__version__} Botocore/{botocore.__version__}"
        config = config.merge(Config(user_agent=agent))

        region = region or (self.region if service == "sqs" else self.s3_region)
        s3a_url = None
        if service == "s3" and self.uses_s3a():
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
        """Before the first request whatever goes wrong is of a setting, such as a proxy's URL.

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
        """Which setting is one word and has to be lines of its own; botocore does not look."""
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
        """Each answer says when it was made; one a second is looked at, the last one is kept."""
        now_s = time.monotonic()
        if now_s - self._looked_at_clock_s < 1.0:
            return
        self._looked_at_clock_s = now_s
        date = getattr(http_response, "headers", {}).get("date", "")
        # Whatever is between here and AWS may have written it. A zone or a year with too many
        # digits is an OverflowError, and so is a time before the first year.
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


def opening_error(exc: Exception, subject: str) -> BackhaulError:
    """At the start, where credentials could not be got; ends it unless it may pass by itself."""
    cause = cause_of(exc)
    if cause is Cause.NO_CREDENTIALS:
        return no_credentials(subject, exc)
    error = common_error(exc, subject)
    if cause is Cause.CONFIGURATION:
        return ConfigurationError("E_AWS_CONFIG", error.message, hint=HINT_CONFIG)
    if cause in {Cause.DENIED, Cause.REFUSED}:
        return NotAllowed(error.code, error.message, hint=error.hint)
    return error


def _unsent(**_: object) -> Any:
    no_headers: Any = {}
    return AWSResponse("", 200, no_headers, None), {}


def _check_address(client: S3Client) -> None:
    """Find the address of a bucket whose name is beyond doubt; nothing is sent.

    What fails here is of the settings. What a listing fails of later is of its bucket's name.
    """
    client.meta.events.register("before-call.s3.GetBucketVersioning", _unsent)
    client.get_bucket_versioning(Bucket="amzn-s3-demo-bucket")


def _checked_bundle(configured: str) -> str:
    """The bundle's absolute path: every client and worker is handed this one.

    Raises:
        ConfigurationError: E_CFG_TLS: it is empty, with which older releases of the AWS library
            check no certificate at all, or no file of certificates.
    """
    names = "AWS_CA_BUNDLE, ca_bundle, REQUESTS_CA_BUNDLE"
    if not configured.strip():
        raise ConfigurationError(
            "E_CFG_TLS",
            f"the bundle of certificates ({names}) is empty",
            hint="name a file, or unset it for the built-in ones; certificates are always checked",
        )
    path = str(Path(configured).absolute())
    if fault := _bundle_fault(path):
        raise ConfigurationError(
            "E_CFG_TLS",
            f"the bundle of certificates {one_line(path)} ({names}) cannot be used: {fault}",
            hint="name a readable file of PEM certificates, or unset it for the built-in ones",
        )
    return path


def _bundle_fault(path: str) -> str:
    """Why this file cannot be used as a bundle; empty where it can."""
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        return one_line(str(exc))
    return ""


def naming_bundle(error: BackhaulError, ca_bundle: str | None) -> BackhaulError:
    """The outage, with the bundle's file where that is why nothing connects.

    The libraries' own words are "No such file or directory", without a name.
    """
    fault = _bundle_fault(ca_bundle) if ca_bundle is not None else ""
    if not fault or not isinstance(error, OutageError):
        return error
    return OutageError.of(
        error.dependency,
        error.code,
        f"{error.message}; the bundle of certificates {one_line(str(ca_bundle))} cannot be used: "
        f"{fault}",
        hint="put the file back; AWS_CA_BUNDLE, ca_bundle or REQUESTS_CA_BUNDLE named it at start",
    )


def _addressing(s3a: BucketSettings) -> Literal["auto", "path", "virtual"]:
    if s3a.url is None:
        return "path" if s3a.is_path_style else "auto"
    host = urlsplit(s3a.url).hostname or ""
    # A name in front of a number is no host.
    return "path" if s3a.is_path_style or host[-1:].isdigit() else "virtual"


def refuse_plain_http(url: str, what: str) -> None:
    """Let `https://` pass, and `http://` to this machine.

    Raises:
        ConfigurationError: E_CFG_TLS.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return
    raise ConfigurationError(
        "E_CFG_TLS",
        f"{what} {parts.scheme}://{parts.hostname} is not https",
        hint="plain http is for stand-ins on 127.0.0.1, ::1 or localhost only",
    )


def is_public(endpoint: str) -> bool:
    """True for AWS's own public endpoint of SQS, which is used where none is configured."""
    return PUBLIC_HOST.fullmatch(urlsplit(endpoint).hostname or "") is not None


def is_loopback(host: str) -> bool:
    """True for `localhost`, 127.0.0.0/8 and ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

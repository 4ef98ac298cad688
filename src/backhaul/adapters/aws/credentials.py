"""The credentials of a process: AWS's chain first, then the keys of Hadoop's core-site.xml.

Refused credentials are looked up again, so that a held route resumes by itself once someone has
renewed them.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.config import Config
from botocore.credentials import (
    CredentialProvider,
    Credentials,
    DeferredRefreshableCredentials,
    ReadOnlyCredentials,
)
from botocore.exceptions import NoCredentialsError

from backhaul.adapters.aws.answers import StrictSession
from backhaul.adapters.aws.causes import FOREIGN, Cause, CredentialSourceError
from backhaul.adapters.aws.errors import NoReadableKeys
from backhaul.adapters.aws.s3a import BucketSettings, LoadS3a, S3aSettings
from backhaul.core.errors import ConfigurationError

# A refusal makes the chain run again, at most this often: it may call a metadata service.
_LOOK_AGAIN_S = 10.0
_BUCKETS_KEPT = 1000
_SENDABLE = re.compile("[!-~]+")
_METHOD = "custom-backhaul"
_HADOOP_METHOD = "hadoop-core-site"
_STS = Config(
    connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2, "mode": "standard"}
)


def hadoop_credentials(load: LoadS3a, bucket: str | None = None) -> Credentials | None:
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
    settings = load()
    keys = settings.keys(bucket)
    if keys is not None:
        return Credentials(keys.access_key, keys.secret_key, keys.token, method=_HADOOP_METHOD)
    if reason := settings.unread(bucket):
        raise NoReadableKeys(reason=reason)
    return None


class AwsCredentials(Credentials):
    """AWS's chain, then Hadoop's keys; found at first use, and again after `forget`.

    Safe to use from several threads. Every client made by `AwsSession` signs with this object.

    Args:
        load_s3a: Reads Hadoop's configuration; None: this node has none.
        bucket: Whose own keys count in it; None: those of all buckets.
        role: ARN of a role that is assumed with what was found; None: that itself is used.
        external_id: Sent with that; None: nothing is.
        region: Of that STS.

    Raises (any read):
        NoCredentialsError: there are none.
        CredentialSourceError: a provider of the chain failed, or gave an unusable answer.
    """

    def __init__(
        self,
        load_s3a: LoadS3a | None = None,
        bucket: str | None = None,
        *,
        role: str | None = None,
        external_id: str | None = None,
        region: str | None = None,
    ) -> None:
        # Not Credentials.__init__: the attributes it sets are properties here.
        self._load_s3a = load_s3a
        self._bucket = bucket
        self._role = role
        self._external_id = external_id
        self._region = region
        self._s3a: S3aSettings | None = None
        self._of_buckets: dict[str, AwsCredentials] = {}
        self._lock = threading.Lock()
        self._found: Credentials | None = None
        self._looked_at_s = float("-inf")
        self._failure: Exception | None = None

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

    @property
    def source(self) -> str:
        """Where they were found, by botocore's name or ours for Hadoop's. Raises as any read."""
        self.get_frozen_credentials()
        return str((self._found or self._look()).method)

    def s3a(self, bucket: str) -> BucketSettings | None:
        """Hadoop's settings of a bucket, used or not; None: this node has no configuration.

        Raises:
            ConfigurationError: E_CFG_CORE_SITE, E_CFG_HADOOP_VARIABLE, E_CFG_HADOOP_VALUE.
        """
        if self._load_s3a is None:
            return None
        with self._lock:
            if self._s3a is None:
                self._s3a = self._load_s3a().without_keys()
            return self._s3a.of(bucket)

    def for_bucket(self, bucket: str) -> AwsCredentials:
        """The credentials of this bucket: its own keys may go before those of all buckets.

        Raises:
            NoReadableKeys: Hadoop's files cannot be read any more.
        """
        if self._load_s3a is None:
            return self
        found = self._of_buckets.get(bucket)
        if found is not None:
            return found
        try:
            settings = self.s3a(bucket)
        except ConfigurationError as exc:
            raise NoReadableKeys(reason=exc.message) from exc
        has_own = settings is not None and settings.keys_of is not None
        with self._lock:
            if len(self._of_buckets) >= _BUCKETS_KEPT:
                self._of_buckets.clear()
            own = AwsCredentials(self._load_s3a, bucket) if has_own else self
            return self._of_buckets.setdefault(bucket, own)

    def forget_for(self, bucket: str) -> None:
        """As `forget`, for the credentials that `for_bucket` returned."""
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
        # A new session each time: botocore's providers keep what they have read.
        found: Credentials | None = StrictSession().get_credentials()
        if found is None and self._load_s3a is not None:
            try:
                found = hadoop_credentials(self._load_s3a, self._bucket)
            except ConfigurationError as exc:
                # The start has read the same files: someone has edited them, and may do so again.
                raise NoReadableKeys(reason=exc.message) from exc
        if found is None:
            raise NoCredentialsError
        if self._role is None:
            return found
        return _assumed(self._role, found, self._region, self._external_id)

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
        """Read while a client is made, when nothing must be looked up yet."""
        return _METHOD

    @property
    def account_id(self) -> str | None:
        return getattr(self.get_frozen_credentials(), "account_id", None)


def _assumed(
    role: str, source: Credentials, region: str | None, external_id: str | None
) -> Credentials:
    """Credentials of the role, fetched at their first use and renewed before they end."""
    more = {} if external_id is None else {"ExternalId": external_id}

    def fetch() -> dict[str, str]:
        keys = source.get_frozen_credentials()
        client = StrictSession().create_client(
            "sts",
            region_name=region,
            config=_STS,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            aws_session_token=keys.token,
        )
        found = client.assume_role(RoleArn=role, RoleSessionName="backhaul", **more)["Credentials"]
        return {
            "access_key": found["AccessKeyId"],
            "secret_key": found["SecretAccessKey"],
            "token": found["SessionToken"],
            "expiry_time": found["Expiration"].isoformat(),
        }

    return DeferredRefreshableCredentials(refresh_using=fetch, method="assume-role")


@contextmanager
def _as_source_error() -> Iterator[None]:
    """Any exception of a source of credentials as a CredentialSourceError.

    Sources run programs, read files and take fields out of foreign answers.
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
    """Which of the keys no request can carry; Python's HTTP client would quote it in its error."""
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


class FixedProvider(CredentialProvider):
    """A chain of one: gives `AwsCredentials` to every client of a session."""

    METHOD = _METHOD

    def __init__(self, credentials: AwsCredentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Credentials:
        return self._credentials

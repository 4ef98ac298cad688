"""S3A's settings in the node's Hadoop configuration: keys and endpoints, of all buckets or of one.

For the bucket NAME, `fs.s3a.bucket.NAME.X` overrides `fs.s3a.X`, property by property, as in S3A.
They are used where AWS's own chain has no credentials.

Source: Apache Hadoop 3.4, "Hadoop-AWS module: Integration with Amazon Web Services", "Configuring
different S3 buckets with Per-Bucket Configuration"; `S3AUtils.propagateBucketOptions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.core.endpoints import endpoint_fault, is_region
from backhaul.core.errors import ConfigurationError

ACCESS_KEY, SECRET_KEY, SESSION_TOKEN = "access.key", "secret.key", "session.token"
ENDPOINT, ENDPOINT_REGION = "endpoint", "endpoint.region"
PATH_STYLE, SSL = "path.style.access", "connection.ssl.enabled"
FIPS, ACCESS_POINT = "endpoint.fips", "accesspoint.arn"
PROVIDERS = "aws.credentials.provider"
PROVIDER_PATHS = "security.credential.provider.path"
HADOOP_PROVIDER_PATH = "hadoop.security.credential.provider.path"
_BASE = "fs.s3a."
_BUCKET = "fs.s3a.bucket."
_PLACE = (ENDPOINT, ENDPOINT_REGION, PATH_STYLE, SSL, FIPS)
_REGION = r"(?P<region>[a-z]{2,4}(?:-[a-z]+)+-[0-9]+)"
_DOMAIN = r"\.amazonaws\.(?:com(?:\.cn)?|eu)"
# AWS's own public hosts need no endpoint, only their region. Transfer Acceleration is a second host
# name of the same buckets.
_PUBLIC = re.compile(
    rf"s3(?:[.-]{_REGION}|(?P<first>-external-1)|-accelerate(?:\.dualstack)?)?{_DOMAIN}"
)
_FIRST_REGION = "us-east-1"
_FIPS_HOST = "s3-fips"
# Hosts that were chosen for a purpose are called as written; their names hold the region, too.
_SPECIAL = re.compile(
    rf"(?:s3-fips[.-](?:dualstack\.)?|s3\.dualstack\.|(?:.+\.)?vpce-[a-z0-9-]+\.s3\.)"
    rf"{_REGION}(?:\.vpce)?{_DOMAIN}"
)
_OF_PAIR, _OF_SESSION = "SimpleAWSCredentialsProvider", "TemporaryAWSCredentialsProvider"
# Providers whose sources are read here: the two keys, or AWS's own chain.
_KNOWN_PROVIDERS = frozenset(
    {
        *(_OF_PAIR, _OF_SESSION),
        *("EnvironmentVariableCredentialsProvider", "IAMInstanceCredentialsProvider"),
        *("InstanceProfileCredentialsProvider", "ProfileAWSCredentialsProvider"),
        *("EnvironmentVariablesCredentialsProvider", "ContainerCredentialsProvider"),
        *("DefaultCredentialsProvider", "WebIdentityTokenFileCredentialsProvider"),
        *("ProfileCredentialsProvider", "DefaultAWSCredentialsProviderChain"),
    }
)
# A bucket that sets one of these has credentials of its own.
_IDENTITY = (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, PROVIDERS, PROVIDER_PATHS)


@dataclass(frozen=True, kw_only=True)
class S3aKeys:
    """A pair of keys, with the token of a session where there is one."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class S3aBucket:
    """S3A's properties for a bucket; equal for buckets that may share a client.

    Attributes:
        keys_of: The bucket, if it has credentials of its own; None: those of all buckets.
        url: Endpoint without the bucket, such as `https://minio.example.com:9000`; None: AWS's own.
        region: For signing; None: not set.
        is_path_style: Whether the bucket's name is in the path, not in the host.
    """

    keys_of: str | None = None
    url: str | None = None
    region: str | None = None
    is_path_style: bool = False

    @property
    def is_elsewhere(self) -> bool:
        """Whether the bucket has an endpoint, a region or an addressing style of its own."""
        return self.url is not None or self.region is not None or self.is_path_style


class S3aConfiguration:
    """Reads S3A's properties.

    Args:
        configuration: The node's, with its secrets.
    """

    def __init__(self, configuration: HadoopConfiguration) -> None:
        self._configuration = configuration

    @classmethod
    def loader(cls, directory: Path | None) -> Callable[[], Self] | None:
        """Reads this directory anew at each call; None where there is no directory."""
        if directory is None:
            return None
        return lambda: cls(HadoopConfiguration.load(directory))

    def without_keys(self) -> Self:
        """Without secrets, to be kept in memory; which keys are set is still known."""
        return type(self)(self._configuration.without_secrets(keep_names=True))

    def of(self, bucket: str) -> S3aBucket:
        """Endpoint and region of the bucket, and whose keys it uses.

        Raises:
            ConfigurationError: E_CFG_HADOOP_VARIABLE, E_CFG_HADOOP_VALUE.
        """
        own = (f"{_BUCKET}{bucket}.{name}" for name in _IDENTITY)
        keys_of = bucket if any(map(self._configuration.is_set, own)) else None
        if self._get(bucket, ACCESS_POINT):
            hint = "name the bucket behind it in routes and messages, and remove the property"
            why = f"names an access point, so {bucket} is no bucket for S3A"
            raise self._refused(bucket, ACCESS_POINT, why, hint)
        if not any(self._configuration.is_set(self._name(bucket, name)) for name in _PLACE):
            return S3aBucket(keys_of=keys_of)
        url, region = self._endpoint(bucket)
        region = self._region(bucket) or region
        if self._boolean(bucket, FIPS, default=False):
            url = self._fips(bucket, url, region)
        return S3aBucket(
            keys_of=keys_of,
            url=url,
            region=region,
            is_path_style=self._boolean(bucket, PATH_STYLE, default=False),
        )

    def keys(self, bucket: str | None) -> S3aKeys | None:
        """The keys that S3A signs with for a bucket, or for all.

        A session token of another pair is left out. None where one of the two keys is missing, or
        where S3A would use another source first: see `unread`.

        Raises:
            ConfigurationError: E_CFG_HADOOP_VARIABLE.
        """
        return None if self.unread(bucket) else self._pair(bucket)

    def unread(self, bucket: str | None) -> str:
        """A source that S3A reads before the plain keys and Backhaul cannot; empty: there is none.

        Raises:
            ConfigurationError: E_CFG_HADOOP_VARIABLE.
        """
        pair = self._pair(bucket)
        elsewhere = [self._name(bucket, PROVIDER_PATHS)]
        if pair is None:
            # Where plain keys are set, this one holds the passwords of other services.
            elsewhere.append(HADOOP_PROVIDER_PATH)
        for name in elsewhere:
            if self._configuration.get(name):
                return f"{name} names a credential provider, whose files are not read"
        name = self._name(bucket, PROVIDERS)
        for one in self._configuration.get_list(name):
            simple = one.rpartition(".")[2]
            if pair and (simple == _OF_PAIR or (simple == _OF_SESSION and pair.token)):
                return ""
            if simple not in _KNOWN_PROVIDERS:
                return f"{name} names {simple}, which cannot be run here"
        return ""

    def _pair(self, bucket: str | None) -> S3aKeys | None:
        access, secret = self._get(bucket, ACCESS_KEY), self._get(bucket, SECRET_KEY)
        if not access or not secret:
            return None
        is_own = bucket is not None and self._configuration.is_set(
            f"{_BUCKET}{bucket}.{ACCESS_KEY}"
        )
        name = f"{_BUCKET}{bucket}.{SESSION_TOKEN}" if is_own else f"{_BASE}{SESSION_TOKEN}"
        token = self._configuration.get(name)
        return S3aKeys(access_key=access, secret_key=secret, token=token or None)

    # ------------------------------------------------------------ one property

    def _refused(self, bucket: str, option: str, why: str, hint: str) -> ConfigurationError:
        where = self._configuration.located(self._name(bucket, option))
        return ConfigurationError("E_CFG_HADOOP_VALUE", f"{where} {why}", hint=hint)

    def _region(self, bucket: str) -> str | None:
        text = self._get(bucket, ENDPOINT_REGION)
        if text and not is_region(text):
            hint = "write a name such as eu-west-1"
            raise self._refused(bucket, ENDPOINT_REGION, "is no region", hint)
        return text or None

    def _fips(self, bucket: str, url: str | None, region: str | None) -> str:
        """AWS's FIPS 140 endpoint of the region, unless one is set already.

        Source: AWS, "Federal Information Processing Standard (FIPS) 140", Amazon S3.
        """
        host = urlsplit(url or "").hostname or ""
        if url is not None and host.startswith(_FIPS_HOST):
            return url
        if url is not None:
            why, hint = f"is true, and {host} has none", "remove it, or the endpoint"
            raise self._refused(bucket, FIPS, why, hint)
        if region is None:
            hint = f"set {self._name(bucket, ENDPOINT_REGION)}, such as us-gov-west-1"
            raise self._refused(bucket, FIPS, "is true, and needs a region", hint)
        return f"https://{_FIPS_HOST}.{region}.amazonaws.com"

    def _name(self, bucket: str | None, option: str) -> str:
        own = f"{_BUCKET}{bucket}.{option}"
        if bucket is not None and self._configuration.is_set(own):
            return own
        return f"{_BASE}{option}"

    def _get(self, bucket: str | None, option: str) -> str | None:
        return self._configuration.get(self._name(bucket, option))

    def _boolean(self, bucket: str, option: str, *, default: bool) -> bool:
        return self._configuration.get_boolean(self._name(bucket, option), default=default)

    def _endpoint(self, bucket: str) -> tuple[str | None, str | None]:
        """The endpoint, None for AWS's public ones, and the region that is part of its name.

        Source: AWS general reference, "Amazon S3 endpoints and quotas"; Amazon S3 user guide,
        "AWS PrivateLink for Amazon S3".
        """
        text = self._get(bucket, ENDPOINT)
        if not text:
            return None, None
        if "://" not in text:
            is_tls = self._boolean(bucket, SSL, default=True)
            text = f"{'https' if is_tls else 'http'}://{text}"
        if fault := endpoint_fault(text):
            raise self._refused(
                bucket,
                ENDPOINT,
                f"is no endpoint of S3: it {fault}",
                "write a host such as s3.eu-west-1.amazonaws.com, or a URL with https://",
            )
        host = (urlsplit(text).hostname or "").removesuffix(".")
        if special := _SPECIAL.fullmatch(host):
            return text.rstrip("/"), special["region"]
        if public := _PUBLIC.fullmatch(host):
            return None, _FIRST_REGION if public["first"] else public["region"]
        return text.rstrip("/"), None

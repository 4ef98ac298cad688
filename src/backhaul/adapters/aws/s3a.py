"""Hadoop's S3A settings as the AWS clients need them; `app` and the worker bring them along.

They serve where AWS's own chain has no credentials.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self


class Keys(Protocol):
    """A pair of keys, with the token of a session where there is one."""

    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...
    @property
    def token(self) -> str | None: ...


class BucketSettings(Protocol):
    """S3A's properties for one bucket; equal and hashable, so that buckets may share a client.

    Attributes:
        keys_of: The bucket whose own keys count; None: those of all buckets.
        url: Endpoint without the bucket, such as `https://minio.example.com:9000`; None: AWS's own.
        region: For signing; None: not set.
        is_path_style: Whether the bucket's name comes in the path, not in the host.
        is_elsewhere: Whether any of the last three is set.
    """

    @property
    def keys_of(self) -> str | None: ...
    @property
    def url(self) -> str | None: ...
    @property
    def region(self) -> str | None: ...
    @property
    def is_path_style(self) -> bool: ...
    @property
    def is_elsewhere(self) -> bool: ...


class S3aSettings(Protocol):
    """The node's Hadoop configuration, as it was when it was loaded.

    Raises (every method):
        ConfigurationError: E_CFG_HADOOP_VARIABLE, E_CFG_HADOOP_VALUE.
    """

    def of(self, bucket: str) -> BucketSettings:
        """Where the bucket is, and whose keys open it."""

    def keys(self, bucket: str | None) -> Keys | None:
        """The keys of a bucket, or of all; None: none that can be used, see `unread`."""

    def unread(self, bucket: str | None) -> str:
        """Why keys that S3A would find are not read here; empty: it would find no others."""

    def without_keys(self) -> Self:
        """Without secrets, to be kept in memory."""


# Reads Hadoop's files anew. Raises ConfigurationError, E_CFG_CORE_SITE.
LoadS3a = Callable[[], S3aSettings]

"""What a worker is told about AWS's credentials: where to find them. Loads no library of AWS's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class CredentialsSpec:
    """How a process finds the credentials itself; holds no secret, so it may be pickled.

    The worker inherits AWS's variables with its environment.

    Attributes:
        hadoop_conf_dir: Where Hadoop's keys are, for where AWS's chain has none.
        bucket: Whose own keys count there; None: those of all buckets.
    """

    hadoop_conf_dir: str | None
    bucket: str | None = None

    @classmethod
    def of(cls, hadoop_conf_dir: Path | None, bucket: str | None = None) -> CredentialsSpec:
        """With this configuration directory."""
        directory = str(hadoop_conf_dir) if hadoop_conf_dir else None
        return cls(hadoop_conf_dir=directory, bucket=bucket)

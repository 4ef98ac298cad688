"""What a worker is told about AWS's credentials: where to find them. Loads no library of AWS's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backhaul.adapters.aws_common import AwsCredentials


@dataclass(frozen=True, kw_only=True)
class CredentialsSpec:
    """How a worker process finds the credentials itself; holds no secret, so it may be pickled.

    The worker inherits AWS's variables with its environment.
    """

    hadoop_conf_dir: str | None

    @classmethod
    def of(cls, hadoop_conf_dir: Path | None) -> CredentialsSpec:
        """With this HADOOP_CONF_DIR."""
        return cls(hadoop_conf_dir=str(hadoop_conf_dir) if hadoop_conf_dir else None)

    def load(self) -> AwsCredentials:
        """Credentials for this process; nothing is looked up before the first use."""
        # Not before: a worker is started, and told of this, ahead of AWS's library.
        from backhaul.adapters.aws_common import AwsCredentials  # noqa: PLC0415

        return AwsCredentials(Path(self.hadoop_conf_dir) if self.hadoop_conf_dir else None)

"""Who AWS takes this process for, and where its keys come from; for `backhaul doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.config import Config

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.errors import opening_error
from backhaul.core.text import shown

_CONFIG = Config(
    connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 1, "mode": "standard"}
)
_SOURCES = {
    "env": "AWS_ACCESS_KEY_ID in the environment",
    "shared-credentials-file": "~/.aws/credentials",
    "config-file": "~/.aws/config",
    "assume-role": "a role of ~/.aws/config, by STS",
    "assume-role-with-web-identity": "a web identity, by STS",
    "sso": "IAM Identity Center",
    "custom-process": "credential_process of ~/.aws/config",
    "container-role": "the container's role",
    "iam-role": "the machine's role",
    "hadoop-core-site": "fs.s3a.access.key of core-site.xml",
}


@dataclass(frozen=True, kw_only=True)
class Caller:
    """STS's answer to GetCallerIdentity."""

    account: str
    arn: str


def source_of_keys(aws: AwsSession) -> str:
    """In words: `AWS_ACCESS_KEY_ID in the environment`.

    Raises:
        ConfigurationError: E_AWS_NO_CREDENTIALS, E_AWS_CONFIG.
        OutageError: `credentials`: a source failed.
    """
    with aws.errors(lambda exc: opening_error(exc, "AWS")):
        method = aws.credentials.source
    return _SOURCES.get(method, shown(method, 60))


def caller(aws: AwsSession) -> Caller:
    """Needs no permission.

    Raises:
        BackhaulError: STS refuses the keys, or does not answer within seconds.
    """
    client = aws.client("sts", _CONFIG)
    with aws.errors(lambda exc: opening_error(exc, f"STS at {client.meta.endpoint_url}")):
        answer: Any = client.get_caller_identity()
    return Caller(
        account=shown(str(answer.get("Account", "")), 40), arn=shown(str(answer.get("Arn", "")))
    )

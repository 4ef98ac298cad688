"""Lines that fix what is refused: IAM statements, commands, settings of the network, places."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from backhaul.access import is_there, user_name
from backhaul.core.errors import BackhaulError

_TLS = re.compile(r"ssl|certificate", re.IGNORECASE)
_PROXY = re.compile("proxy", re.IGNORECASE)
_NAME = re.compile(
    r"resolve|getaddrinfo|Name or service not known|nodename nor servname", re.IGNORECASE
)
_KEY = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(?:key|alias)/[A-Za-z0-9/_-]+")
_URL = re.compile(r"https?://([A-Za-z0-9._-]+)(?::([0-9]+))?")


def allow(
    actions: Sequence[str],
    resources: Sequence[str],
    condition: Mapping[str, Any] | None = None,
) -> tuple[str, str]:
    """A statement of IAM, with where it belongs."""
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Action": actions[0] if len(actions) == 1 else list(actions),
        "Resource": resources[0] if len(resources) == 1 else list(resources),
    }
    if condition:
        statement["Condition"] = condition
    return "add this statement to the IAM policy of the agent:", json.dumps(statement)


def set_attributes(url: str, attributes: Mapping[str, object]) -> str:
    """The command that changes attributes of a queue."""
    values = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in attributes.items()
    }
    return (
        f"aws sqs set-queue-attributes --queue-url {quote(url)} "
        f"--attributes {quote(json.dumps(values))}"
    )


def key_in(message: str, *, default: str) -> str:
    """The ARN of the KMS key that a refusal names."""
    found = _KEY.search(message)
    return found[0] if found else default


def allow_decrypting(message: str, also: Sequence[str] = ()) -> tuple[str, ...]:
    """For a refusal of KMS: the statement, and the key's own policy, which has to agree.

    Args:
        also: Further actions of KMS.
    """
    key = key_in(message, default="*")
    shown = key_in(message, default="KEY-ID")
    more = () if key != "*" else ("with the ARN of the key as Resource, in place of *",)
    return (
        *allow(["kms:Decrypt", *also], [key]),
        *more,
        "and allow the same in the key's own policy:",
        f"aws kms get-key-policy --policy-name default --key-id {shown}",
    )


def for_network(error: BackhaulError, proxy: str | None) -> tuple[str, ...]:
    """For a dependency that does not answer: by the words of the library's error.

    Args:
        proxy: The value of HTTPS_PROXY, without credentials; None: it is not set.
    """
    found = _URL.search(error.message)
    host = found[1] if found else "HOST"
    port = (found[2] if found else None) or "443"
    if _PROXY.search(error.message):
        return (
            f"correct HTTPS_PROXY, now {proxy or 'not set'}: export HTTPS_PROXY=http://PROXY:PORT",
            f"or, where this machine reaches AWS without it: export NO_PROXY={_unproxied(found)}",
        )
    if _TLS.search(error.message):
        return (
            "a proxy that inspects TLS signs with its own certificate; see who signed this one:",
            f"openssl s_client -connect {host}:{port} -servername {host} -showcerts </dev/null",
            "write its root certificate, with those of the system, to a file, and name it:",
            "export AWS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt",
        )
    if _NAME.search(error.message):
        return (f"getent hosts {host}", "correct DNS, the region, or AWS_ENDPOINT_URL_*")
    through = f"HTTPS_PROXY is {proxy}" if proxy else "HTTPS_PROXY is not set"
    return (
        f"curl -sv --max-time 10 https://{host}:{port}/",
        f"{through}; where this machine reaches AWS through a proxy alone, set it:",
        "export HTTPS_PROXY=http://PROXY:PORT",
    )


def _unproxied(found: re.Match[str] | None) -> str:
    """The host that was to be reached: what the error names may be the proxy itself."""
    is_aws = found is not None and found[1].endswith((".amazonaws.com", ".amazonaws.com.cn"))
    return found[1] if found is not None and is_aws else ".amazonaws.com"


PATH_STYLE = (
    "this server needs the bucket in the path, not in the host's name; in core-site.xml:",
    "<property><name>fs.s3a.path.style.access</name><value>true</value></property>",
    "or, where AWS's own settings name the endpoint, in ~/.aws/config:",
    "s3 =",
    "  addressing_style = path",
)
CLOCK = (
    "timedatectl set-ntp true",
    "chronyc tracking",
)


def place_of_its_own(path: Path, setting: str) -> tuple[str, ...]:
    """A directory of this user for a file that is not there yet.

    Args:
        setting: Names the file, such as `ledger`; it changes where the directory may be others'.
    """
    make = f"sudo install -d -o {user_name()} -m 0750"
    if not is_there(path.parent):
        return (f"{make} {quote(str(path.parent))}",)
    own = path.parent / "backhaul"
    return (
        f"{make} {quote(str(own))}",
        f'and write into the configuration: {setting} = "{own / path.name}"',
    )

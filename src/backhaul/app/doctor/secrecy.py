"""Keeps secrets out of a bundle for support: hides what may be one, refuses what looks like one.

Three nets, one behind the other: names of settings and variables; shapes, by `core.text.redacted`;
and the very values that this process knows, in the forms in which they could travel.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backhaul.core.text import redacted

HIDDEN = "***"
SHORTEST = 8  # characters; a shorter value is in too many other words
_SECRET_NAME = re.compile(
    r"secret|token|passw|passphrase|credential|signature|authorization|cookie|(^|_)(key|pin)s?$"
    r"|(access|api|private)_?key|LINEAGE__URL",
    re.IGNORECASE,
)
# Of a file or of a variable: where a secret is, not what it is.
_WHERE = re.compile(
    r"(_file|_env|_dir|keytab|keys)$|^AWS_(SHARED_CREDENTIALS|WEB_IDENTITY)", re.IGNORECASE
)
# Path and query of a webhook, or of the URL of lineage, are often what lets one in.
_WEBHOOK = re.compile(r"^([a-z]+://[^/?#]*/?).*", re.DOTALL)
_LOOKS_SECRET = re.compile(
    rb"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\b(?:IQoJb3JpZ2lu|FwoGZXIvYXdz)[A-Za-z0-9/+=%]{20,}"
    rb"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.",
)
_SHOWN = ("BACKHAUL_", "AWS_", "HADOOP_", "KRB5", "YARN_", "HDFS_")
_SHOWN_WHOLE = frozenset(
    {
        *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"),
        *("JAVA_HOME", "PATH", "LANG", "LC_ALL", "TZ", "HOME", "USER", "LOGNAME"),
        *("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "STATE_DIRECTORY", "INVOCATION_ID"),
    }
)


def is_secret_name(name: str) -> bool:
    """Whether the value behind this name of a setting or variable is never shown."""
    return _SECRET_NAME.search(name) is not None and _WHERE.search(name) is None


def without_secrets(value: Any, name: str = "") -> Any:
    """A setting, or a table of them, as it may be shown."""
    if isinstance(value, Mapping):
        return {str(key): without_secrets(each, str(key)) for key, each in value.items()}
    if is_secret_name(name) and value not in ("", None):
        return HIDDEN
    if name in {"webhook", "url"} and isinstance(value, str):
        return _WEBHOOK.sub(rf"\1{HIDDEN}", redacted(value))
    if isinstance(value, list | tuple):
        # Arguments of a program are often tokens and URLs that others must not have.
        kept = value[:1] if name == "command" else value
        shown = [without_secrets(each) for each in kept]
        return shown + [HIDDEN] * (len(value) - len(kept))
    return redacted(value) if isinstance(value, str) else value


def environment() -> dict[str, str]:
    """The variables that matter here, without secrets; others are left out with their names."""
    return {
        name: HIDDEN if is_secret_name(name) else redacted(value)
        for name, value in sorted(os.environ.items())
        if name.startswith(_SHOWN) or name in _SHOWN_WHOLE
    }


@dataclass(frozen=True)
class KnownSecrets:
    """The values of this process that no bundle may have."""

    values: frozenset[str]

    @classmethod
    def collected(cls, files: Iterable[Path] = (), more: Iterable[str] = ()) -> KnownSecrets:
        """From the environment, and from files with a secret a line, alone or behind a name.

        Args:
            more: Other values, such as those of Hadoop's configuration.
        """
        found = {value for name, value in os.environ.items() if is_secret_name(name)}
        found |= set(more)
        for path in files:
            try:
                lines = path.expanduser().read_text("utf-8", "replace").splitlines()
            except (OSError, RuntimeError):
                continue  # this user cannot read it
            found |= {secret for line in lines for secret in _secrets_of(line)}
        return cls(frozenset(one.strip() for one in found if len(one.strip()) >= SHORTEST))

    def hidden_in(self, text: str) -> str:
        """The text without them."""
        for value in sorted(self.values, key=len, reverse=True):
            text = text.replace(value, HIDDEN)
        return text

    def remains_in(self, content: bytes) -> str:
        """What kind of secret is in it still; empty where none is."""
        for value in self.values:
            for form, name in _forms(value.encode()):
                if form in content:
                    return f"a secret of this machine, {name}"
        return "what looks like a key or token" if _LOOKS_SECRET.search(content) else ""


def _secrets_of(line: str) -> list[str]:
    """The value behind `aws_secret_access_key =`, or the whole line."""
    name, is_assigned, value = line.partition("=")
    if is_assigned and value.strip("= "):
        return [value] if is_secret_name(name.strip()) else []
    return [] if line.startswith(("[", "#")) else [line]


def _forms(secret: bytes) -> list[tuple[bytes, str]]:
    """In base64 at each of the three places at which it may begin in a longer text."""
    found = [(secret, "as it is"), (secret.hex().encode(), "in hexadecimal")]
    found.append((secret.hex().upper().encode(), "in hexadecimal"))
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + secret)
        # The first and the last group depend on what is around it.
        found.append((coded[4 if offset else 0 :].rstrip(b"=")[:-2], "in base64"))
    return found

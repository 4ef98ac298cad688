"""Keys that sign messages: read from a file or a variable, and never shown."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from backhaul.core.errors import ConfigurationError
from backhaul.core.model import SignatureRule
from backhaul.settings.base import NamedPath, StrictModel

MIN_KEY_BYTES = 32


class SignatureSettings(StrictModel):
    """Messages of the route must be signed."""

    key_file: NamedPath | None = Field(None, description="keys, one a line; the first signs")
    key_env: str | None = Field(
        None, pattern=r"^[A-Z][A-Z0-9_]*$", description="variable that holds the keys"
    )
    max_age_s: int = Field(
        86_400, ge=60, le=1_209_600, description="longest time a signature may be good for, seconds"
    )


def signature_rule(one: SignatureSettings) -> SignatureRule:
    """The core's rule, with the keys read.

    Raises:
        ConfigurationError: E_CFG_ROUTE: not exactly one place for the keys. E_CFG_KEY.
    """
    if (one.key_file is None) == (one.key_env is None):
        raise ConfigurationError(
            "E_CFG_ROUTE",
            "signature needs exactly one of key_file and key_env",
            hint='write signature = { key_file = "/etc/backhaul/signing.key" }',
        )
    return one.into(SignatureRule, keys=read_keys(one.key_file, one.key_env))


def read_keys(key_file: Path | None, key_env: str | None) -> tuple[bytes, ...]:
    """The keys in a file or a variable, one a line; never shown.

    Raises:
        ConfigurationError: E_CFG_KEY: missing, accessible to other users, or too short.
    """
    where = f"variable {key_env}" if key_env else f"{key_file}"
    try:
        if key_file is not None:
            if key_file.stat().st_mode & 0o077:
                raise ConfigurationError(
                    "E_CFG_KEY",
                    f"{where}: others may read or write it",
                    hint=f"chmod 600 {where}; and make a new key if they did",
                )
            text = key_file.read_text(encoding="utf-8")
        else:
            text = os.environ[key_env or ""]
    except (OSError, UnicodeDecodeError, KeyError) as exc:
        raise ConfigurationError(
            "E_CFG_KEY",
            f"{where}: no key: {type(exc).__name__}",
            hint="make one: openssl rand -hex 32",
        ) from exc
    keys = tuple(line.strip().encode() for line in text.splitlines() if line.strip())
    if not keys or min(map(len, keys)) < MIN_KEY_BYTES:
        raise ConfigurationError(
            "E_CFG_KEY",
            f"{where}: a key has less than {MIN_KEY_BYTES} characters, or there is none",
            hint="make one: openssl rand -hex 32",
        )
    return keys

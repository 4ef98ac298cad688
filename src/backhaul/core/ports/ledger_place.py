"""Where a ledger is: a file of SQLite, or a database of PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

from backhaul.core.errors import BadArgument, ConfigurationError

SCHEMES = ("postgresql", "postgres")
_SECRETS = frozenset({"password", "sslpassword", "oauth_client_secret"})


@dataclass(frozen=True)
class PostgresUrl:
    """`postgresql://user@host:port/database?…` as libpq takes it, without a password.

    The password comes from the file that PGPASSFILE names, from a service file or from PGPASSWORD.
    Source: https://www.postgresql.org/docs/15/libpq-connect.html, "Connection URIs".

    Attributes:
        beside: `Settings.ledger_path`, beside which this node remembers the newest primary; None
            where only the address is known.
    """

    text: str
    beside: Path | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """As it was written; it has no secret."""
        return self.text

    @property
    def digest(self) -> str:
        """Of the text, 12 hex digits: names files of this node that belong to the ledger."""
        return sha256(self.text.encode()).hexdigest()[:12]

    def with_memory(self, beside: Path) -> PostgresUrl:
        """The same, of a process that knows where this node's files are."""
        return replace(self, beside=beside)

    @classmethod
    def parse(cls, text: str) -> PostgresUrl | None:
        """None where it is no such URL, but may be the path of a file.

        Raises:
            ConfigurationError: E_LEDGER_PASSWORD, E_LEDGER_ADDRESS.
        """
        scheme, is_url, _ = text.partition("://")
        if not is_url or scheme not in SCHEMES:
            return None
        try:
            parts = urlsplit(text)
        except ValueError:  # its text may quote a password
            raise bad_address() from None
        user, _, _ = parts.netloc.rpartition("@")
        if ":" in user or _SECRETS & {name for name, _ in parse_qsl(parts.query)}:
            raise ConfigurationError(
                "E_LEDGER_PASSWORD",
                "the setting `ledger` has a password in its address",
                hint="take it out, and write it into a file of mode 600 that PGPASSFILE names",
            )
        return cls(text)


def place_of(setting: LedgerPlace | None, path: Path) -> LedgerPlace:
    """The database of the setting, which remembers beside this path; or the file there."""
    return setting.with_memory(path) if isinstance(setting, PostgresUrl) else path


def bad_address() -> ConfigurationError:
    """What to raise for a text that begins like an address and is none; it is not quoted."""
    return ConfigurationError(
        "E_LEDGER_ADDRESS",
        "the setting `ledger` is no address of PostgreSQL",
        hint="write it as postgresql://user@host:5432/database",
    )


def file_of(place: LedgerPlace, command: str, instead: str) -> Path:
    """The file, for a command that is about one.

    Args:
        instead: What does the same for a database.

    Raises:
        BadArgument: E_LEDGER_SERVER.
    """
    if isinstance(place, PostgresUrl):
        raise BadArgument(
            "E_LEDGER_SERVER",
            f"`{command}` is for a ledger in a file, and this one is on PostgreSQL",
            hint=instead,
        )
    return place


LedgerPlace: TypeAlias = Path | PostgresUrl

"""`LEDGER.limit`: the byte-rate limit that `backhaul limit` set."""

from __future__ import annotations

import errno
import json
from datetime import UTC, datetime
from pathlib import Path

from backhaul.access import refusal
from backhaul.adapters.system.shared_file import DAMAGED, SharedFile
from backhaul.core.errors import ConfigurationError
from backhaul.core.rate_limit import HIGHEST_BYTES_PER_S, LOWEST_BYTES_PER_S, ManualLimit


class LimitFile:
    """Reads and replaces it."""

    def __init__(self, ledger: Path) -> None:
        self._file = SharedFile(ledger, "limit")
        self.path = self._file.path

    def read(self) -> ManualLimit | None:
        """None when no limit is set.

        Raises:
            ConfigurationError: E_LIMIT_FILE: it cannot be read. E_CFG_PERMISSIONS: others may
                write it.
        """
        try:
            self._file.check_trusted()
            found = json.loads(self._file.read())
            rate, until = found["bytes_per_s"], found["until"]
            return ManualLimit(
                bytes_per_s=None if rate is None else _limit(rate),
                until=None if until is None else datetime.fromisoformat(until).astimezone(UTC),
            )
        except FileNotFoundError:
            return None
        except PermissionError as exc:
            raise self._denied("read") from exc
        except (OSError, *DAMAGED) as exc:
            raise ConfigurationError(
                "E_LIMIT_FILE",
                f"{self.path}: {type(exc).__name__}: {exc}",
                hint="set the limit again: backhaul limit RATE, or backhaul limit default",
            ) from exc

    def write(self, by_hand: ManualLimit | None) -> None:
        """Replace it; None removes it, and the configuration decides again.

        Raises:
            ConfigurationError: E_LIMIT_FILE: not writable. E_CFG_PERMISSIONS: another user put
                there what is there now.
        """
        try:
            self._file.check_trusted()
            if by_hand is None:
                self.path.unlink(missing_ok=True)
                return
            until = by_hand.until.isoformat() if by_hand.until else None
            content = json.dumps({"bytes_per_s": by_hand.bytes_per_s, "until": until})
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file.replace(content + "\n", for_owner=True)
        except OSError as exc:
            if exc.errno in {errno.EACCES, errno.EROFS}:
                raise self._denied("written") from exc
            raise ConfigurationError(
                "E_LIMIT_FILE",
                f"{self.path}: {type(exc).__name__}: {exc.strerror}",
                hint="the limit is kept beside the ledger: check that disk",
            ) from exc

    def _denied(self, verb: str) -> ConfigurationError:
        message, hint = refusal(self.path, verb)
        return ConfigurationError("E_LIMIT_FILE", message, hint=hint)


def _limit(rate: object) -> int:
    """A limit as `backhaul limit` sets it."""
    found = int(rate)  # type: ignore[call-overload]  # no number raises, and is reported
    if not LOWEST_BYTES_PER_S <= found <= HIGHEST_BYTES_PER_S:
        raise ValueError(f"bytes_per_s must be {LOWEST_BYTES_PER_S:,} or more, and below 2^63")
    return int(found)

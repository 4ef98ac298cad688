"""`LEDGER.notify`: what was reported to whom, and what is still to be; implements the port.

Without it a restart would report again what was reported, keep quiet about a recovery, and forget
deaths that wait for their turn.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backhaul.access import refusal
from backhaul.adapters.system.shared_file import DAMAGED, SharedFile
from backhaul.core.errors import ConfigurationError, TransientError
from backhaul.core.notification import (
    Death,
    DeathGroup,
    Deaths,
    Notice,
    Notices,
    NotifyOn,
    Remembered,
)

VERSION = 1


class NotificationFile:
    """Read by the agent at its start and by `backhaul notify list`; written by the agent alone."""

    def __init__(self, ledger: Path) -> None:
        self._file = SharedFile(ledger, "notify")

    def load(self) -> Mapping[str, Remembered]:
        """See the port; a damaged file is an error once, and replaced by the next `save`."""
        try:
            self._file.check_trusted()
            found = json.loads(self._file.read())
            if found["v"] != VERSION:
                raise ValueError(f"version {found['v']!r}")
            return {str(name): _remembered(one) for name, one in found["names"].items()}
        except FileNotFoundError:
            return {}
        except ConfigurationError as exc:
            raise _failed(exc.message, exc.hint) from exc
        except PermissionError as exc:
            raise _failed(*refusal(self._file.path)) from exc
        except (OSError, *DAMAGED) as exc:
            raise _failed(
                f"{self._file.path}: {type(exc).__name__}: {exc}",
                "it is written anew; deaths that waited in it are in backhaul history --state dead",
            ) from exc

    def save(self, remembered: Mapping[str, Remembered]) -> None:
        """See the port."""
        names = {name: _plain(one) for name, one in remembered.items()}
        content = json.dumps({"v": VERSION, "names": names}, default=_time)
        try:
            self._file.check_trusted()
            self._file.replace(content + "\n", for_owner=True)
        except ConfigurationError as exc:
            raise _failed(exc.message, exc.hint) from exc
        except OSError as exc:
            if exc.errno in {errno.EACCES, errno.EROFS}:
                raise _failed(*refusal(self._file.path, "written")) from exc
            raise _failed(
                f"{self._file.path}: {exc.strerror}", "check the disk of the ledger"
            ) from exc


def _failed(message: str, hint: str) -> TransientError:
    return TransientError("E_NOTIFY_MEMORY", message, hint=hint)


def _plain(one: Remembered) -> dict[str, Any]:
    return {**asdict(one), "troubles": sorted(one.troubles)}


def _time(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _remembered(found: Mapping[str, Any]) -> Remembered:
    sent_at, deaths = found["sent_at"], found["deaths"]
    notices = found.get("notices")  # not in files of earlier versions
    return Remembered(
        sent_at=None if sent_at is None else _moment(sent_at),
        troubles=frozenset(map(str, found["troubles"])),
        deaths=None if deaths is None else _deaths(deaths),
        notices=None if notices is None else _notices(notices),
    )


def _notices(found: Mapping[str, Any]) -> Notices:
    return Notices(
        count=int(found["count"]),
        first=tuple(
            Notice(
                about=NotifyOn(one["about"]),
                at=_moment(one["at"]),
                sentence=str(one["sentence"]),
                code=str(one["code"]),
                hint=str(one["hint"]),
            )
            for one in found["first"]
        ),
    )


def _deaths(found: Mapping[str, Any]) -> Deaths:
    return Deaths(
        count=int(found["count"]),
        first_at=_moment(found["first_at"]),
        last_at=_moment(found["last_at"]),
        groups=tuple(
            DeathGroup(code=str(one["code"]), route=str(one["route"]), count=int(one["count"]))
            for one in found["groups"]
        ),
        examples=tuple(_death(one) for one in found["examples"]),
    )


def _death(found: Mapping[str, Any]) -> Death:
    queue = found["dead_letter_queue"]
    texts = {each.name: str(found[each.name]) for each in fields(Death) if each.type == "str"}
    return Death(
        at=_moment(found["at"]),
        attempts=int(found["attempts"]),
        dead_letter_queue=None if queue is None else str(queue),
        **texts,
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)

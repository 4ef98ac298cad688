"""What notifications need of the outside: someone who delivers, and a memory across restarts."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event
from typing import Protocol

from backhaul.core.notification import Notification, Remembered


class NotificationSender(Protocol):
    """Delivers to one name."""

    def send(self, notification: Notification, abandon: Event) -> str:
        """Deliver it, within `DELIVERY_S`; repeating it may deliver it twice.

        Returns:
            Who of several did not get it, and why; empty: no one was left out.

        Args:
            abandon: Once it is set, the agent ends: return soon, whatever has been reached.

        Raises:
            BackhaulError: E_NOTIFY_…: it is not delivered, or that is not known.
        """


class NotificationMemory(Protocol):
    """What was sent and what is still to be sent, by name."""

    def load(self) -> Mapping[str, Remembered]:
        """Empty before the first `save`.

        Raises:
            BackhaulError: E_NOTIFY_MEMORY: it cannot be read.
        """

    def save(self, remembered: Mapping[str, Remembered]) -> None:
        """Replace all of it at once.

        Raises:
            BackhaulError: E_NOTIFY_MEMORY: it cannot be written.
        """

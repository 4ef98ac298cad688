"""A defect becomes an error like any other, so that the agent goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from backhaul.core.errors import BackhaulError, ConfigurationError
from backhaul.core.ports import Emit
from backhaul.core.transfer.outcome import unexpected

_T = TypeVar("_T")


def result_or_error(work: Callable[[], _T], emit: Emit) -> _T | BackhaulError:
    """What `work` returns, or the error it raises; a defect becomes E_BUG.

    Raises:
        ConfigurationError: No message caused it, and no later one would fare better.
    """
    try:
        return work()
    except ConfigurationError:
        raise
    except BackhaulError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a defect spends an attempt; the agent goes on
        emit(error)
        return unexpected(error)

"""One receiver of facts for several: the log, the agent's own observer, and its metrics."""

from __future__ import annotations

from backhaul.core.ports import Emit


def fan_out(log: Emit, *receivers: Emit) -> Emit:
    """Each fact goes to every receiver, in this order.

    Args:
        log: The first one. It never raises, and gets the defects of the others: no transfer ends
            because somebody could not count it.
    """

    def emit(fact: object) -> None:
        log(fact)
        for receiver in receivers:
            try:
                receiver(fact)
            except Exception as error:  # noqa: BLE001 - a defect: logged, and the work goes on
                log(error)

    return emit

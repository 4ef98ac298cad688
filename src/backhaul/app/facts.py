"""One receiver of facts for several: the log, the agent's own observer, and its metrics."""

from __future__ import annotations

from backhaul.core.ports import Emit


def fan_out(*receivers: Emit) -> Emit:
    """Each fact goes to every receiver, in this order; none of them raises."""

    def emit(fact: object) -> None:
        for receiver in receivers:
            receiver(fact)

    return emit

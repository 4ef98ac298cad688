"""More of everything than `tests.dashboard_ledger` has: states, routes, scripts, secrets."""

from __future__ import annotations

from datetime import timedelta

from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey, Operator, PausedRoute
from backhaul.core.transfer_ids import time_part
from tests.dashboard_ledger import BIDI, HOUR, MINUTE, QUEUE, SCRIPT, Filler

ROUTES = 30
# Wide characters, right to left, letters that combine, beyond the first plane: all are text.
UNICODE = "日本語/данные/ملفات/é́/🚀🚀/part.parquet"
WIDEST = "漢" * 341 + "/"  # 1,024 bytes, the longest key of S3
CANARIES = ("c4n4ryReason", "c4n4ryWord", "AKIAC4N4RYC4N4RYC4N4")


def add(filler: Filler) -> None:
    """Into the filled ledger."""
    for number in range(ROUTES):
        route = f"team-{number:02}-with-rather-a-long-name-of-a-route-{'x' * number}"
        filler.done(f"route-{number}", timedelta(minutes=4 + number), route=route)
    filler.done("unicode", 3 * MINUTE, source=f"raw/{UNICODE}", place=f"click/{UNICODE}")
    filler.dead(
        "widest", 3 * MINUTE, "E_SRC_EMPTY", f"no object below {WIDEST}", source=f"raw/{WIDEST}"
    )
    filler.dead(
        "canaries",
        2 * MINUTE,
        "E_SRC_DENIED",
        f"role refused: {CANARIES[2]} token={CANARIES[0]} password={CANARIES[1]}",
    )
    _each_state(filler)
    filler.ledger.pause_route(
        PausedRoute(
            route="team-00-with-rather-a-long-name-of-a-route-",
            since=filler.now - HOUR,
            until=None,
            operator=BIDI,
            reason=f"{SCRIPT} token={CANARIES[0]}",
        ),
        Operator(name=BIDI),
    )
    while filler.ledger.sum_activity(most=1000):
        pass


def _each_state(filler: Filler) -> None:
    ledger, at = filler.ledger, filler.now - MINUTE
    superseded = filler.transfer("superseded", 2 * MINUTE)
    ledger.finish(superseded, filler.epoch, TransferState.SUPERSEDED, "", at, is_intended=False)
    cancelled = filler.transfer("cancelled", 2 * MINUTE)
    ledger.cancel(cancelled, at, Operator(name="zoë@edge1"))
    publishing = filler.transfer("publishing", 2 * MINUTE)
    assert ledger.intend(publishing, filler.epoch, [], at)
    filler.ids["received"] = f"{time_part(at)}9999999"
    key = MessageKey(
        queue=QUEUE, message_id="99999999-1111-4222-8333-444455556666", body_digest="9" * 64
    )
    ledger.begin(key, filler.ids["received"], "raw/click/day=received/", "/landing/click", at)

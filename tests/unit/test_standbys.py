"""What is said of a PostgreSQL's standbys, by what the ledger's user can see."""

from __future__ import annotations

import pytest

from backhaul.adapters.ledger.postgres.standbys import Standbys


def standbys(
    names: str = "",
    level: str = "on",
    *,
    streaming: int = 0,
    hidden: int = 0,
    synchronous: int = 0,
) -> Standbys:
    return Standbys(
        names=names, level=level, streaming=streaming, hidden=hidden, synchronous=synchronous
    )


@pytest.mark.parametrize(
    ("seen", "code", "says"),
    [
        (standbys(), "", "no standby streams"),
        (standbys(streaming=1, hidden=1), "W_LEDGER_ASYNC", "1 standby streams, and none is"),
        (standbys(streaming=2), "W_LEDGER_ASYNC", "2 standbys stream, and none is"),
        (standbys("b", "local", streaming=1), "W_LEDGER_ASYNC", "may lose commits"),
        (standbys(level="off"), "W_LEDGER_ASYNC", "a crash of PostgreSQL loses"),
        (standbys("b", "off"), "W_LEDGER_ASYNC", "a crash of PostgreSQL loses"),
        (standbys("b"), "E_LEDGER_STANDBY", "it waits without end"),
        (standbys("b", streaming=1), "E_LEDGER_STANDBY", "it waits without end"),
        (standbys("b", streaming=1, synchronous=1), "", "COMMIT waits for a synchronous standby"),
        (standbys("b", streaming=2, hidden=2), "", "this user cannot see"),
    ],
)
def test_what_is_said_of_standbys(seen: Standbys, code: str, says: str) -> None:
    assert seen.code == code
    assert says in seen.sentence
    assert bool(seen.fix) is (bool(code) or "cannot see" in seen.sentence)

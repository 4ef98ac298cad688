"""An installation whose route expects data, and whose last deadline no agent has judged."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from backhaul.adapters.ledger import open_ledger
from backhaul.app.context import load_context
from backhaul.core.outlook.expectation import Arrived
from tests.acceptance.installation import Installation


def expecting(it: Installation, by: datetime, more: str = "") -> Path:
    """The configuration of a route that expects two objects of today by this minute."""
    path = it.home / "backhaul.toml"
    path.write_text(
        f'[[route]]\nname = "landing"\nsource = ["s3://{it.bucket}/"]\n'
        f'destination = ["{it.landing.uri}/"]\n'
        f'expect = {{ by = "{by:%H:%M} UTC", objects = 2, path = "day={{date}}/" }}\n'
        f"{more}",
        "utf-8",
    )
    path.chmod(0o600)
    return path


def ledger_of(it: Installation) -> Path:
    return it.home / ".local/state/backhaul/ledger.db"


def passed_without_an_agent(it: Installation, config: Path) -> datetime:
    """As if an agent had waited for the deadline that passed last, and was stopped before it."""
    (one,) = load_context(config=config, ledger=ledger_of(it)).expectations
    deadline = one.deadline_before(datetime.now(UTC))
    with closing(open_ledger(ledger_of(it), create=True)) as ledger:
        ledger.note_expectation(one.record(deadline, Arrived()))
    return deadline

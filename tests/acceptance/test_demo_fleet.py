"""`backhaul demo --fleet`: two agents, one PostgreSQL, one kill, and everything arrives."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from backhaul.cli import demo_fleet
from backhaul.core.errors import ExitCode
from backhaul.demo import fleet as played
from tests.acceptance.installation import events_in

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(400)]
WAIT_S = 300.0
SHORT_S = 5.0


def ids_of(log: str, event: str) -> set[str]:
    return {line["message_id"] for line in events_in(log) if line["event"] == event}


def test_one_of_two_agents_is_killed_and_the_other_one_brings_the_rest(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backhaul", "demo", "--fleet", "--quick", "--keep", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    (names,) = re.findall(r"agent 1  KILLED \(kill -9\) while it copied (.*)\.", done.stdout)
    taken = dict(re.findall(r"agent 2  TOOK OVER (\S+), (\d+) s after", done.stdout))
    assert set(taken) == set(names.split(" and ")), shown
    assert "48 of 48 files read back: byte-identical" in shown
    assert "6 of 6 transfers are done in the ledger, exactly once each; 48 of 48" in shown
    assert "0 messages left on the queue, 0 in the dead-letter queue" in shown
    # What it says is so.
    first, second = ((tmp_path / f"agent-{n}/agent.log").read_text("utf-8") for n in (1, 2))
    assert not [line for line in events_in(first) if line["event"].startswith("agent stop")]
    begun = ids_of(first, "message received") - ids_of(first, "transfer done")
    assert len(begun & ids_of(second, "transfer done")) >= len(taken) > 0
    files = [path for path in (tmp_path / "landing").rglob("*") if path.is_file()]
    assert len(files) == len({hashlib.sha256(one.read_bytes()).digest() for one in files}) == 48


def test_without_a_takeover_it_fails_and_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other agent is suspended from the kill on."""
    seen: list[played.Fleet] = []
    play = played.play

    def short(fleet: played.Fleet, names: list[str]) -> played.FleetEnd:
        seen.append(fleet)
        return play(fleet, names, within_s=SHORT_S)

    def watch(step: played.FleetStep) -> None:
        if step.kind is played.FleetStepKind.KILLED:
            seen[0].members[1].process.suspend()

    monkeypatch.setattr(played, "play", short)
    monkeypatch.setattr(demo_fleet, "_print_step", watch)
    with patch.dict(os.environ):
        code = demo_fleet.show(tmp_path, is_quick=True, is_kept=True)
    found = capsys.readouterr()
    assert code == ExitCode.BUG
    assert seen[0].taken_over, found
    for name in seen[0].taken_over:
        assert f"NOT TAKEN OVER: {name}" in found.err
        assert f"MISSING OR DIFFERENT: click/{name}/part-00000" in found.err

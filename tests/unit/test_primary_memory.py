"""What a node remembers of its ledger's PostgreSQL servers; how long an answer is waited for."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from backhaul.adapters.ledger.postgres.address import single_hosts
from backhaul.adapters.ledger.postgres.moment import ServerMoment
from backhaul.adapters.ledger.postgres.outcome import is_answer
from backhaul.adapters.ledger.postgres.primary import PrimaryMemory
from backhaul.adapters.ledger.postgres.waits import NoAnswer, _bounded
from backhaul.core.errors import OutageError
from backhaul.core.ports.ledger_place import PostgresUrl


def moment(timeline: int | None, system: int = 77) -> ServerMoment:
    file = None if timeline is None else f"{timeline:08X}0000000000000001"
    return ServerMoment.of_row(1, 2, file, system)


def memory(beside: Path, *, is_agent: bool = True) -> PrimaryMemory:
    return PrimaryMemory("postgresql://db/x", beside, is_agent=is_agent)


def test_a_lower_timeline_is_refused_by_the_next_process_too(tmp_path: Path) -> None:
    at = tmp_path / "new" / "ledger-1"
    memory(at).check(moment(2))
    memory(at).check(moment(2))
    memory(at).check(moment(12))
    for is_agent in (True, False):
        with pytest.raises(OutageError, match=r"E_LEDGER_OLD_PRIMARY.*timeline 2,.*timeline 12"):
            memory(at, is_agent=is_agent).check(moment(2))
    memory(at).check(moment(None))  # a standby, for a reader that asked for one
    assert [one.name for one in at.parent.iterdir()] == ["ledger-1.primary"]


def test_what_another_process_has_seen_counts_for_one_that_runs(tmp_path: Path) -> None:
    at = tmp_path / "ledger-1"
    running = memory(at)
    running.check(moment(1))
    memory(at).check(moment(2))
    with pytest.raises(OutageError, match="E_LEDGER_OLD_PRIMARY"):
        running.check(moment(1))


def test_what_is_known_under_another_address_counts(tmp_path: Path) -> None:
    memory(tmp_path / "ledger-1").check(moment(3))
    with pytest.raises(OutageError, match="E_LEDGER_OLD_PRIMARY"):
        memory(tmp_path / "ledger-2").check(moment(2))
    memory(tmp_path / "ledger-3").check(moment(2, system=78))


def test_another_cluster_is_refused_until_its_file_is_removed(tmp_path: Path) -> None:
    at = tmp_path / "ledger-1"
    memory(at).check(moment(5))
    with pytest.raises(OutageError, match="E_LEDGER_CLUSTER") as refused:
        memory(at).check(moment(9, system=78))
    file = tmp_path / "ledger-1.primary"
    assert f"remove {file}" in refused.value.hint
    file.unlink()
    memory(at).check(moment(1, system=78))


def test_a_command_compares_and_notes_nothing(tmp_path: Path) -> None:
    memory(tmp_path / "ledger-1", is_agent=False).check(moment(3))
    PrimaryMemory("x", None, is_agent=True).check(moment(3))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"system": "x", "timeline": 1}', "3"])
def test_a_file_that_is_none_of_ours_holds_the_agent(tmp_path: Path, content: str) -> None:
    (tmp_path / "ledger-1.primary").write_text(content)
    with pytest.raises(OutageError, match="E_LEDGER_IO"):
        memory(tmp_path / "ledger-1").check(moment(3))
    memory(tmp_path / "ledger-2").check(moment(3))


def test_what_cannot_be_remembered_holds_the_agent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutageError, match=r"E_LEDGER_IO.*cannot be"):
        memory(tmp_path / "file" / "ledger-1").check(moment(3))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_reader_of_another_user_goes_on_without_the_memory(tmp_path: Path) -> None:
    at = tmp_path / "ledger-1"
    memory(at).check(moment(3))
    (tmp_path / "ledger-1.primary").chmod(0)
    memory(at, is_agent=False).check(moment(2))
    with pytest.raises(OutageError, match="E_LEDGER_IO"):
        memory(at).check(moment(2))


def test_least_epoch_is_above_all_of_the_timelines_before() -> None:
    assert moment(1).least_epoch(0) == (1 << 40) + 1
    assert moment(2).least_epoch(0) > moment(1).least_epoch(0) + 10**12
    assert moment(0x7FFFFF).least_epoch(0) < 2**63


def test_each_host_of_an_address_has_its_own_keywords() -> None:
    two = {"host": "a,b", "port": "1,2", "dbname": "x"}
    assert single_hosts(two) == [
        {"host": "a", "port": "1", "dbname": "x"},
        {"host": "b", "port": "2", "dbname": "x"},
    ]
    assert [one["port"] for one in single_hosts({"host": "a,b,c", "port": "5"})] == ["5"] * 3
    assert [one["hostaddr"] for one in single_hosts({"hostaddr": "1,2"})] == ["1", "2"]
    for one in ({"host": "a", "port": "1"}, {"dbname": "x"}):
        assert single_hosts(one) == [one]


class _Refusal(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        self.sqlstate = sqlstate


def test_what_the_server_refused_is_an_answer_and_a_lost_connection_is_none() -> None:
    assert is_answer(_Refusal("40001"))
    assert is_answer(_Refusal("53100"))
    for state in (None, "08006", "08P01", "57P01"):
        assert not is_answer(_Refusal(state))


def test_a_wait_without_an_answer_ends() -> None:
    def waiting() -> Generator[int, int, str]:
        ready = 0
        while not ready:
            ready = yield 1
        return "answer"

    unanswered = _bounded(waiting(), 0.0)
    next(unanswered)
    with pytest.raises(NoAnswer, match="no answer for 0 s"):
        unanswered.send(0)
    answered = _bounded(waiting(), 0.0)
    next(answered)
    with pytest.raises(StopIteration) as end:
        answered.send(1)
    assert end.value.value == "answer"


def test_the_memory_is_no_part_of_an_address(tmp_path: Path) -> None:
    url = PostgresUrl("postgresql://db/x")
    assert url.with_memory(tmp_path) == url
    assert url.with_memory(tmp_path).digest == url.digest

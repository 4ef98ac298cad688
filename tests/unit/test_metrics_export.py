"""`[metrics]` of an agent, put together: pages, file, and what they show from start to end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backhaul.adapters.ledger import SqlLedger, open_ledger
from backhaul.adapters.metrics.textfile import TextFile
from backhaul.app import metrics as module
from backhaul.app.context import Context
from backhaul.app.metrics import LIVE_WITHIN_S, WARNED_EVERY_S, MetricsExport
from backhaul.core import facts
from backhaul.core.agent.observer import Observer
from backhaul.core.agent_report import AgentIdentity, AgentReport
from backhaul.core.errors import ConfigurationError
from backhaul.core.outlook.forecast import forecasts
from backhaul.core.requests.policy import Policy
from backhaul.settings.metrics import MetricsSection
from backhaul.settings.model import BandwidthSection, Settings
from backhaul.testing.fakes import FakeClock
from tests.world import eventually, route


class Bed:
    """An export with its observer, on a ledger of its own."""

    def __init__(self, directory: Path, **section: object) -> None:
        self.clock = FakeClock()
        self.observer = Observer(self.clock, slots=4)
        self.path = directory / "ledger.db"
        self.textfile = directory / "backhaul.prom"
        self.emitted: list[object] = []
        settings = Settings(
            ledger=self.path,
            metrics=MetricsSection(**section),  # type: ignore[arg-type]
            bandwidth=BandwidthSection(limit=100_000),
        )
        context = SimpleNamespace(settings=settings, policy=Policy(routes=(route(),)))
        self.export = MetricsExport(
            cast("Context", context), self.observer, self.clock, threading.Lock()
        )

    def emit(self, fact: object) -> None:
        self.emitted.append(fact)

    def identity(self) -> AgentIdentity:
        return AgentIdentity(
            id="a" * 32,
            host="edge1",
            owner="edge1:boot:1:1",
            version="1",
            queue="work",
            region="us-east-1",
            slots=4,
            started_at=self.clock.now(),
        )

    def ledger(self) -> SqlLedger:
        return open_ledger(self.path, create=True)

    def value(self, series: str, text: str | None = None) -> float | None:
        """Of one series without labels, or the only one of this name that is not 0."""
        text = self.export.metrics().body.decode() if text is None else text
        found = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == f"backhaul_{series}"
        ]
        return found[0] if found else None

    def states(self, text: str | None = None) -> list[str]:
        text = self.export.metrics().body.decode() if text is None else text
        return [
            sample.labels["state"]
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "backhaul_health" and sample.value == 1
        ]

    def warnings(self) -> list[str]:
        return [fact.code for fact in self.emitted if isinstance(fact, facts.InstallationWarned)]


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path, textfile=tmp_path / "backhaul.prom")


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())  # one of an earlier test may end meanwhile
    yield
    assert [one for one in threading.enumerate() if one not in before] == []


@pytest.fixture
def followed(bed: Bed) -> Iterator[Bed]:
    """The agent runs."""
    with closing(bed.ledger()) as ledger:
        bed.export.follow(bed.identity(), ledger)
        yield bed


def test_without_the_section_nothing_is_counted_opened_or_shown(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    threads = threading.active_count()
    with bed.export.opened(bed.emit):
        assert threading.active_count() == threads
    assert bed.export.receivers == ()
    assert list(tmp_path.iterdir()) == []


def test_before_the_first_poll_it_is_alive_and_not_ready(bed: Bed) -> None:
    answer = bed.export.readyz()
    assert answer.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert answer.body.startswith(b"Starting: ")
    assert bed.export.livez().status is HTTPStatus.OK
    assert bed.states() == ["not-polling"]


def test_a_healthy_agent_is_ready(followed: Bed) -> None:
    answer = followed.export.readyz()
    assert (answer.status, answer.body) == (HTTPStatus.OK, b"Running: waiting for messages\n")
    assert followed.value("ready") == 1
    assert followed.value("rate_limit_bytes") == 100_000


def test_a_ledger_that_takes_no_report_is_a_hold(followed: Bed) -> None:
    followed.observer.ledger_failed("E_LEDGER_FULL", "no space", "free some")
    followed.clock.advance(60)
    answer = followed.export.readyz()
    assert answer.status is HTTPStatus.SERVICE_UNAVAILABLE
    sentence, code, hint = answer.body.decode().splitlines()
    assert sentence.startswith("Held by ledger for ")
    assert (code, hint) == ("code: E_LEDGER_FULL", "hint: free some")
    assert followed.states() == ["held"]
    followed.observer.ledger_answered()
    assert followed.export.readyz().status is HTTPStatus.OK


def test_no_page_has_a_secret_or_a_line_that_was_smuggled_in(followed: Bed) -> None:
    reason = "https://user:hunter2@proxy/ said\ncode: E_FORGED\u202e"
    followed.observer.ledger_failed("E_LEDGER_IO", reason, "password=hunter2")
    followed.clock.advance(60)
    body = followed.export.readyz().body.decode()
    assert "hunter2" not in body + followed.export.metrics().body.decode()
    assert [line.split(":", 1)[0] for line in body.splitlines()[1:]] == ["code", "hint"]
    assert "\u202e" not in body


def test_a_stopping_agent_is_not_ready(followed: Bed) -> None:
    followed.observer(facts.AgentStopping(in_flight=0, grace_s=1, poll_wait_s=1))
    answer = followed.export.readyz()
    assert (answer.status, answer.body) == (
        HTTPStatus.SERVICE_UNAVAILABLE,
        b"Stopping: nothing left\n",
    )


def test_it_is_alive_while_the_main_thread_turns(bed: Bed) -> None:
    bed.export.beat()
    bed.clock.advance(LIVE_WITHIN_S)
    assert bed.export.livez().status is HTTPStatus.OK
    bed.clock.advance(1)
    answer = bed.export.livez()
    assert answer.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert answer.body == b"the main thread has not moved for 61 s\n"
    bed.export.beat()
    assert bed.export.livez().status is HTTPStatus.OK


def test_commits_of_the_ledger_are_timed_once_it_is_followed(followed: Bed) -> None:
    before = followed.value("ledger_commit_seconds_count")
    assert before is not None
    with closing(followed.ledger()) as other:  # of another process: not counted
        other.sum_activity(most=1)
    assert followed.value("ledger_commit_seconds_count") == before


def test_facts_go_to_the_counters(bed: Bed) -> None:
    (receiver,) = bed.export.receivers
    receiver(facts.WorkerReplaced(pid=1, why="died"))
    assert bed.value("worker_restarts_total") == 1


# ---------------------------------------------------------------- what the ledger knows


def test_what_the_ledger_knows_is_read_while_it_answers(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIGURES_AGAIN_S", 0.01)
    monkeypatch.setattr(module, "FIGURES_EVERY_S", 0.01)
    with closing(bed.ledger()) as ledger, bed.export.opened(bed.emit):
        assert bed.value("agents_alive") is None
        identity = bed.identity()
        ledger.beat(identity, AgentReport(at=bed.clock.now()))
        bed.export.follow(identity, ledger)
        eventually(lambda: bed.value("agents_alive") is not None)
        bed.path.rename(bed.path.with_name("moved"))
        bed.path.write_bytes(b"no ledger")
        bed.path.chmod(0o600)
        eventually(lambda: bed.value("agents_alive") is None)


# ---------------------------------------------------------------- the file


def test_the_file_is_there_from_the_start_and_shows_the_end(bed: Bed) -> None:
    with bed.export.opened(bed.emit):
        assert bed.states(bed.textfile.read_text()) == ["not-polling"]
    assert bed.states(bed.textfile.read_text()) == ["not-running"]
    assert bed.export.readyz().body == b"Not running: the agent stopped\n"


def test_the_file_is_written_again_and_again(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TEXTFILE_EVERY_S", 0.01)
    with bed.export.opened(bed.emit):
        bed.export.receivers[0](facts.WorkerReplaced(pid=1, why="died"))
        eventually(lambda: bed.value("worker_restarts_total", bed.textfile.read_text()) == 1)


def test_a_disk_that_hangs_keeps_the_agent_from_nothing(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as NFS without its server: no call ends, and no signal ends it."""
    entered, opened = threading.Event(), threading.Event()
    real = TextFile.write

    def hang(file: TextFile) -> None:
        if threading.current_thread() is threading.main_thread() and not entered.is_set():
            real(file)  # the first one, of the start
            return
        entered.set()
        assert opened.wait(30)

    monkeypatch.setattr(module, "JOIN_S", 0.01)
    monkeypatch.setattr(TextFile, "write", hang)
    try:
        with bed.export.opened(bed.emit):
            assert entered.wait(30)
        assert not opened.is_set(), "the end did not wait for it"
    finally:
        opened.set()
        for thread in threading.enumerate():
            if thread.name == "textfile":
                thread.join(30)


def test_a_file_that_cannot_be_written_refuses_the_start(tmp_path: Path) -> None:
    bed = Bed(tmp_path, textfile=tmp_path / "missing" / "backhaul.prom")
    with pytest.raises(ConfigurationError, match="E_METRICS_TEXTFILE"), bed.export.opened(bed.emit):
        raise AssertionError("it began")


def test_later_it_is_warned_of_once_a_minute(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    writes, is_full = 0, False
    real = TextFile.write

    def write(file: TextFile) -> None:
        nonlocal writes
        writes += 1
        if is_full:
            raise ConfigurationError("E_METRICS_TEXTFILE", "no space", "free some")
        real(file)

    monkeypatch.setattr(module, "TEXTFILE_EVERY_S", 0.001)
    monkeypatch.setattr(TextFile, "write", write)
    with bed.export.opened(bed.emit):
        is_full = True
        eventually(lambda: failures(bed) == 1)
        seen = writes
        eventually(lambda: writes > seen + 5)
        assert failures(bed) == 1
        bed.clock.advance(WARNED_EVERY_S)
        eventually(lambda: failures(bed) == 2)


def test_a_defect_is_logged_and_the_figures_come_back(
    followed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, is_broken = 0, False
    real = forecasts

    def broken(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if is_broken:
            raise OverflowError("date value out of range")
        return real(*arguments)

    monkeypatch.setattr(module, "FIGURES_EVERY_S", 0.001)
    monkeypatch.setattr(module, "FIGURES_AGAIN_S", 0.001)
    monkeypatch.setattr(module, "forecasts", broken)
    with followed.export.opened(followed.emit):
        eventually(lambda: followed.value("agents_alive") is not None)
        is_broken = True
        eventually(lambda: followed.value("agents_alive") is None)
        seen = calls
        eventually(lambda: calls > seen + 3)
        assert [str(one) for one in followed.emitted if isinstance(one, Exception)] == [
            "date value out of range"
        ]
        is_broken = False
        eventually(lambda: followed.value("agents_alive") is not None)


def failures(bed: Bed) -> int:
    found = [fact for fact in bed.emitted if isinstance(fact, facts.MetricsNotWritten)]
    assert all(fact.code == "E_METRICS_TEXTFILE" for fact in found)
    return len(found)


@pytest.mark.parametrize(("name", "codes"), [("a.prom", []), ("a.txt", ["W_METRICS_NAME"])])
def test_a_name_that_the_collector_does_not_read_is_warned_of(
    tmp_path: Path, name: str, codes: list[str]
) -> None:
    bed = Bed(tmp_path, textfile=tmp_path / name)
    with bed.export.opened(bed.emit):
        assert bed.warnings() == codes


# ---------------------------------------------------------------- the port


@pytest.mark.parametrize(("host", "codes"), [("127.0.0.1", []), ("0.0.0.0", ["W_METRICS_OPEN"])])  # noqa: S104
def test_an_address_for_others_is_warned_of(
    tmp_path: Path, host: str, codes: list[str], free_port: Callable[[], int]
) -> None:
    bed = Bed(tmp_path, listen=f"{host}:{free_port()}")
    with bed.export.opened(bed.emit):
        assert bed.warnings() == codes


@pytest.fixture
def free_port() -> Callable[[], int]:
    from backhaul.testing.servers.ports import free_ports

    return lambda: free_ports(1)[0]


def test_ages_are_of_the_agents_own_clock(followed: Bed) -> None:
    sent_at = followed.clock.now() - timedelta(seconds=40)
    followed.observer(
        facts.MessageReceived(message_id="m", receive_count=1, body_excerpt="", sent_at=sent_at)
    )
    followed.clock.advance(2)
    assert followed.value("queue_oldest_age_seconds") == 42

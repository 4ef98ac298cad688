"""A COMMIT whose answer is lost: what became of it is learnt, and nothing is done twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import text

from backhaul.adapters.ledger import SqlLedger, open_ledger
from backhaul.adapters.ledger.postgres import outcome
from backhaul.adapters.ledger.postgres.engine import writing_engine
from backhaul.adapters.ledger.postgres.faults import PostgresDatabase
from backhaul.adapters.ledger.postgres.moment import current
from backhaul.adapters.ledger.postgres.waits import BoundedConnection
from backhaul.core.errors import OutageError
from backhaul.core.ports import MessageKey
from backhaul.core.ports.ledger_place import PostgresUrl
from backhaul.core.ports.replies import DueReply
from backhaul.core.replies.reply import ReplyEvent
from testbed import PgBouncer, PostgreSQL
from tests.contract import test_ledger_replies as replying
from tests.contract.test_ledger import KEY, T0, begin, claim, planned, proof
from tests.ledger_places import DATABASE, ledger_place, statement
from tests.lost_commits import CommitProxy, Loss, kill_backend

pytestmark = pytest.mark.integration
PLACES = ("postgres", "before pgbouncer", "behind pgbouncer")
EVERY = [(place, how) for place in PLACES for how in Loss]


@dataclass
class Line:
    """A ledger behind a proxy, and the way past it."""

    proxy: CommitProxy
    ledger: SqlLedger
    direct: PostgresUrl

    def rows(self, sql: str) -> list[Any]:
        return statement(self.direct, sql)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait for as long as an agent does."""
    monkeypatch.setattr(BoundedConnection, "answer_s", 1.0)
    monkeypatch.setattr(outcome, "LOOK_S", 5.0)


@pytest.fixture
def line(
    request: pytest.FixtureRequest, tmp_path: Path, postgresql: PostgreSQL, patience: None
) -> Iterator[Line]:
    where = request.param
    direct = ledger_place("postgres", request, tmp_path)
    assert isinstance(direct, PostgresUrl)
    port = postgresql.ports[0]
    with ExitStack() as opened:
        if where == "before pgbouncer":
            port = request.getfixturevalue("pgbouncer").ports[0]
        proxy = opened.enter_context(CommitProxy(port))
        port = proxy.port
        if where == "behind pgbouncer":
            behind = SimpleNamespace(ports=(port,), password=postgresql.password)
            pooler = opened.enter_context(PgBouncer(cast("PostgreSQL", behind)))
            port = pooler.ports[0]
        url = PostgresUrl(f"postgresql://backhaul@127.0.0.1:{port}/{DATABASE}")
        ledger = opened.enter_context(closing(open_ledger(url, create=True)))
        yield Line(proxy, ledger, direct)


@pytest.mark.parametrize(("line", "how"), EVERY, indirect=["line"])
def test_a_commit_without_an_answer_is_learnt_and_not_repeated(
    line: Line, how: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresDatabase, "claim_directly", lambda *_: None)
    begin(line.ledger, "t1", KEY)
    line.proxy.lose(how)
    if how.is_committed:
        claimed = claim(line.ledger, "t1", first=[planned(0)], is_complete=True)
        assert claimed is not None
    else:
        with pytest.raises(OutageError, match="E_LEDGER_AWAY"):
            claim(line.ledger, "t1", first=[planned(0)], is_complete=True)
        claimed = None
    assert line.proxy.lost == 1
    found = line.rows("SELECT epoch, owner_transfer FROM destinations")
    assert found == ([(claimed.epoch, "t1")] if claimed else [])
    steps = [state for (state,) in line.rows("SELECT state FROM journal ORDER BY number")]
    assert steps == ["received", "staging"][: 1 + how.is_committed]
    # The transfer goes on, and the next claim is the next one.
    again = claim(line.ledger, "t1")
    assert again is not None
    assert again.epoch == line.rows("SELECT epoch FROM destinations")[0][0]
    assert claimed is None or again.epoch == claimed.epoch + 1


@pytest.mark.parametrize(("line", "how"), EVERY, indirect=["line"])
def test_a_claim_in_one_text_without_an_answer_is_made_once(line: Line, how: Loss) -> None:
    begin(line.ledger, "t1", KEY)
    line.proxy.lose(how)
    claimed = claim(line.ledger, "t1", first=[planned(0)], is_complete=True)
    assert claimed is not None
    assert line.proxy.lost == 1
    found = line.rows("SELECT epoch, owner_transfer FROM destinations")
    assert found == [(claimed.epoch, "t1")]
    states = [state for (state,) in line.rows("SELECT state FROM journal ORDER BY number")]
    assert states == ["received", "staging"]
    assert line.ledger.intend("t1", claimed.epoch, [proof(0)], T0)


@pytest.mark.parametrize("how", [Loss.ANSWER_CUT, Loss.REQUEST_CUT])
@pytest.mark.parametrize("line", ["postgres"], indirect=True)
def test_an_attempt_is_counted_once_and_its_message_is_nobodys_after_a_loss(
    line: Line, how: Loss
) -> None:
    line.proxy.lose(how)
    if how.is_committed:
        assert begin(line.ledger, "t1", KEY).attempt == 1
        assert begin(line.ledger, "t2", KEY).is_live
    else:
        with pytest.raises(OutageError, match="E_LEDGER_AWAY"):
            begin(line.ledger, "t1", KEY)
        again = begin(line.ledger, "t2", KEY)
        assert (again.transfer_id, again.attempt, again.is_live) == ("t2", 1, False)


@pytest.mark.parametrize("how", [Loss.ANSWER_CUT, Loss.REQUEST_CUT])
@pytest.mark.parametrize("line", ["postgres"], indirect=True)
def test_all_threads_of_one_commit_learn_the_same(line: Line, how: Loss) -> None:
    ended: list[object] = []

    def work(number: int) -> None:
        key = MessageKey(queue="work", message_id=f"m-{number}")
        try:
            ended.append(begin(line.ledger, f"t{number}", key).attempt)
        except OutageError as error:
            ended.append(error.code)

    line.proxy.lose(how)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    ((kept,),) = line.rows("SELECT count(*) FROM transfers")
    assert ended.count(1) == kept
    assert set(ended) <= {1, "E_LEDGER_AWAY"}
    assert (kept == len(threads)) is how.is_committed


@pytest.mark.parametrize("how", [Loss.ANSWER_CUT, Loss.REQUEST_CUT])
@pytest.mark.parametrize("line", ["postgres"], indirect=True)
def test_a_reply_on_the_next_connection_is_handed_to_who_sends_it(line: Line, how: Loss) -> None:
    offered: list[DueReply] = []
    line.ledger.observe_replies(offered.append)
    replying.begin(line.ledger)
    epoch = replying.claim(line.ledger)
    line.proxy.lose(how)
    with suppress(OutageError):
        begin(line.ledger, "lost", MessageKey(queue="work", message_id="lost"))
    assert line.proxy.lost == 1
    assert replying.finish(line.ledger, epoch)
    assert [one.reply.event for one in offered] == [ReplyEvent.DONE]


@pytest.mark.parametrize("line", ["postgres"], indirect=True)
def test_a_number_of_another_timeline_says_nothing(line: Line) -> None:
    engine = writing_engine(line.direct)
    with engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT 1"))
        here = current(connection)
    assert outcome.was_committed(engine, here, "the ledger")
    assert here.timeline is not None
    there = replace(here, timeline=here.timeline - 1)
    with pytest.raises(OutageError, match="another server answers now"):
        outcome.was_committed(engine, there, "the ledger")
    engine.dispose()


def kill(server: PostgreSQL) -> None:
    server.kill()
    server.start()


def shut_down_at_once(server: PostgreSQL) -> None:
    server.shut_down(immediate=True)
    server.start()


def kill_one_process(server: PostgreSQL) -> None:
    """The server then ends all others, and recovers without having ended itself."""
    with closing(psycopg.connect(server.url())) as connection:
        kill_backend(server, connection.info.backend_pid)


@pytest.mark.parametrize("crash", [kill, shut_down_at_once, kill_one_process])
def test_a_number_that_a_crash_gave_to_another_transaction_says_nothing(
    crash: Callable[[PostgreSQL], None],
    postgresql: PostgreSQL,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del postgresql  # which skips where there is none
    with PostgreSQL(settings={"fsync": "off", "autovacuum": "off"}) as server:
        monkeypatch.setenv("PGPASSFILE", str(server.pass_file))
        engine = writing_engine(PostgresUrl(server.url()))
        with ExitStack() as lost:
            connection = lost.enter_context(engine.connect())
            connection.begin()
            at = current(connection)
            # Its changes would go with its COMMIT: the server has written nothing of it yet.
            crash(server)
            connection.invalidate()
        assert at.number is not None
        with psycopg.connect(server.url(), autocommit=True) as other:
            # Whoever comes first after the crash, as other agents do.
            assert other.execute("SELECT txid_current()").fetchone() == (at.number,)
            seen = other.execute("SELECT txid_status(%s)", (at.number,)).fetchone()
            assert seen == ("committed",)
        with pytest.raises(OutageError, match=r"E_LEDGER_AWAY.*made a checkpoint since"):
            outcome.was_committed(engine, at, "the ledger")
        engine.dispose()

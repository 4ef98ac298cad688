"""What `backhaul replies list` and `resend` print and change; replies in show, check and prune."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner, Result

from backhaul.adapters.ledger import SqlLedger, open_ledger, open_reader
from backhaul.adapters.ledger.outbox import delivering
from backhaul.adapters.ledger.upkeep.pruning import PruneRule
from backhaul.adapters.system.clock import SystemClock
from backhaul.app.context import load_context
from backhaul.app.doctor.finding import State
from backhaul.app.doctor.replies import waiting
from backhaul.app.overview import read_overview
from backhaul.app.replying import Replying
from backhaul.cli import cli
from backhaul.core.agent.replying import sender as sending
from backhaul.core.agent.replying.sender import ReplySender
from backhaul.core.errors import PermanentError
from backhaul.core.facts import InstallationWarned
from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey
from backhaul.core.ports.replies import ReplyState
from backhaul.core.replies.delivery import ReplyDead
from backhaul.core.replies.reply import Reply, ReplyWish
from backhaul.settings.load import load_settings
from testbed.receiver import Receiver, receiving

T0 = datetime(2026, 11, 1, 3, tzinfo=UTC)
ADDRESS = "https://sqs.us-west-2.amazonaws.com/123456789012/replies"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BACKHAUL_CONFIG", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """t1: sent to out, given up for the address. t2: waits for out."""
    path = tmp_path / "ledger.db"
    with closing(open_ledger(path, create=True)) as ledger:
        end(ledger, "t1", "out", ADDRESS)
        end(ledger, "t2", "out")
        ledger.note_replies_sent("out", {"t1-0-dead": T0}, T0)
        ledger.note_reply_failed(ADDRESS, "t1-0-dead", "E_REPLY_REFUSED", "no", T0, due_at=None)
    return path


def end(ledger: SqlLedger, transfer_id: str, *targets: str) -> None:
    key = MessageKey(queue="q", message_id=f"m-{transfer_id}")
    wishes = [ReplyWish(target=one) for one in targets]
    ledger.begin(key, transfer_id, "s3://raw/a", "/landing/a", T0, replies=wishes)
    ledger.fail(transfer_id, TransferState.DEAD, "E_X", "why", T0)


def run(path: Path, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [*arguments, "--ledger", str(path)])
    assert result.exit_code == code, result.output
    return result


def test_what_hive_does_not_have_yet_is_published_and_not_registered(path: Path) -> None:
    assert "not registered" not in run(path, "status").stdout
    with closing(open_ledger(path, create=False)) as ledger:
        end(ledger, "t3", "hive")
        end(ledger, "t4", "hive")
        ledger.note_reply_failed("hive", "t3-0-dead", "E_HIVE_TABLE", "no", T0, due_at=None)
    words = "published, not registered"
    assert f"{words}: 1 waiting, 1 given up" in run(path, "status").stdout
    assert f"to hive: {words} (dead) E_HIVE_TABLE: no" in run(path, "show", "t3").stdout
    assert f"to hive: {words} (waiting)" in run(path, "show", "t4").stdout
    listed = run(path, "history").stdout
    assert "not registered" not in listed  # it is dead: nothing is published
    with closing(open_ledger(path, create=False)) as ledger:
        ledger.note_replies_sent("hive", {"t3-0-dead": T0, "t4-0-dead": T0}, T0)
    assert "not registered" not in run(path, "status").stdout
    assert "to hive: sent" in run(path, "show", "t4").stdout


def test_history_says_what_is_published_and_not_registered(path: Path) -> None:
    with closing(open_ledger(path, create=False)) as ledger:
        end(ledger, "t3", "hive")
        end(ledger, "t4", "hive")
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE replies SET event = 'done' WHERE target = 'hive'")
    text = run(path, "history").stdout
    assert text.count(", not registered") == 2
    with closing(open_ledger(path, create=False)) as ledger:
        ledger.note_replies_sent("hive", {"t3-0-dead": T0}, T0)
        ledger.note_reply_failed("hive", "t4-0-dead", "E_HIVE_TABLE", "no", T0, due_at=None)
    assert run(path, "history").stdout.count(", not registered") == 1


def test_a_trial_of_lineage_is_an_event_and_shows_no_key(path: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("canaryc0ffeeSECRET\n")
    key.chmod(0o600)
    with receiving(Receiver(status=401, body=b"no such key canaryc0ffeeSECRET")) as receiver:
        url = f"http://127.0.0.1:{receiver.port}"
        text = f'[lineage]\nurl = "{url}"\napi_key_file = "{key}"\n'
        place = ("replies", "test", "lineage", "--config", configured(tmp_path, text))
        dry = run(path, *place, "--dry-run").output
        assert receiver.received == []
        refused = CliRunner().invoke(cli, [*place, "--json", "--ledger", str(path)])
        receiver.status = 201
        taken = run(path, *place).output
    assert "Authorization: Bearer ***" in dry
    assert '"eventType": "COMPLETE"' in dry
    found = json.loads(refused.stdout)
    assert (found["kind"], found["code"]) == ("lineage", "E_REPLY_REFUSED")
    assert found["reply"]["job"]["name"] == "test"
    assert "api_key_file" in found["hint"]
    assert "lineage: delivered in" in taken
    assert [one.path for one in receiver.received] == ["/api/v1/lineage"] * 2
    assert "canaryc0ffeeSECRET" not in dry + refused.output + taken


class Slow:
    """A target that takes its time, and counts how many deliver one key at once."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.at_work: list[tuple[str, str]] = []
        self.most = 0

    def deliver(self, reply: Reply) -> None:
        one = (reply.key, reply.target)
        self.at_work.append(one)
        self.most = max(self.most, self.at_work.count(one))
        time.sleep(0.05)
        self.at_work.remove(one)
        self.done.append(one)


def test_resend_beside_a_running_agent_delivers_no_key_twice_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(sending, "GATHER_S", 0.0)
    target = Slow()

    def emit(fact: object) -> None:
        del fact

    with closing(open_ledger(path, create=False)) as ledger:
        sender = ReplySender(
            ledger=ledger,
            find=lambda _name: target,
            clock=SystemClock(),
            emit=emit,
            chance=lambda: 0.0,
        )
        sender.start()
        for _ in range(8):
            run(path, "replies", "resend", "t1-0-dead", "t2-0-dead", "--yes")
            time.sleep(0.03)
        sender.close()
    assert target.most == 1
    assert set(target.done) == {
        ("t1-0-dead", "out"),
        ("t1-0-dead", ADDRESS),
        ("t2-0-dead", "out"),
    }
    assert [one[2] for one in listed(path)] == ["sent"] * 3


def test_a_trial_has_a_key_of_its_own(path: Path, tmp_path: Path) -> None:
    config = configured(tmp_path, '[[reply]]\nname = "out"\ncommand = ["/bin/true"]\n')
    before = listed(path)
    told = [
        json.loads(run(path, "replies", "test", "out", "--json", "--config", config).stdout)
        for _ in range(2)
    ]
    keys = {one["reply"]["key"] for one in told}
    assert len(keys) == 2
    assert all(one.startswith("test-") for one in keys)
    assert listed(path) == before


def listed(path: Path, *arguments: str) -> list[tuple[str, str, str]]:
    lines = run(path, "replies", "list", "--json", *arguments).stdout.splitlines()
    return [(one["key"], one["target"], one["state"]) for one in map(json.loads, lines)]


def test_the_list_has_all_the_newest_transfers_first(path: Path) -> None:
    assert listed(path) == [
        ("t2-0-dead", "out", "waiting"),
        ("t1-0-dead", ADDRESS, "dead"),
        ("t1-0-dead", "out", "sent"),
    ]
    assert listed(path, "--reverse")[0] == ("t1-0-dead", "out", "sent")


@pytest.mark.parametrize("state", [one.value for one in ReplyState])
def test_the_list_by_state(path: Path, state: str) -> None:
    assert [one[2] for one in listed(path, "--state", state)] == [state]


def test_the_list_by_target_and_for_people(path: Path) -> None:
    assert [one[1] for one in listed(path, "--target", ADDRESS)] == [ADDRESS]
    text = run(path, "replies", "list", "--output", "wide").stdout
    assert "E_REPLY_REFUSED" in text
    assert run(path, "replies", "list", "--target", "no").stdout == "no such reply\n"
    cut = run(path, "replies", "list", "--limit", "1")
    assert "there are more" in cut.stderr


def test_a_ledger_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert listed(tmp_path / "none.db") == []


def test_resend_lets_it_be_due_again_with_a_line_in_the_journal(path: Path) -> None:
    run(path, "replies", "resend", "--all-dead", "--yes")
    assert listed(path, "--state", "dead") == []
    with closing(open_ledger(path, create=False)) as ledger:
        (due,) = ledger.due_replies(ADDRESS, datetime.now(UTC), most=9)
    assert due.reply.key == "t1-0-dead"
    assert due.tries == 0
    assert due.tried_since > T0
    (line,) = run(path, "journal", "--json").stdout.splitlines()
    found = json.loads(line)
    assert (found["action"], found["subject"], found["transfers"]) == ("resend", "t1-0-dead", 1)


def test_resend_by_key_takes_what_was_sent_too(path: Path) -> None:
    lines = run(path, "replies", "resend", "t1-0-dead", "--yes", "--json").stdout.splitlines()
    assert {json.loads(line)["target"] for line in lines} == {"out", ADDRESS}
    assert [one[2] for one in listed(path)] == ["waiting"] * 3


def test_resend_by_target_takes_what_was_given_up_alone(path: Path) -> None:
    assert "no reply was given up" in run(path, "replies", "resend", "--target", "out").stdout
    run(path, "replies", "resend", "--target", ADDRESS, "--yes")
    assert [one[2] for one in listed(path)] == ["waiting", "waiting", "sent"]


def test_a_dry_run_changes_nothing(path: Path) -> None:
    done = run(path, "replies", "resend", "--all-dead", "--dry-run", "--json")
    assert json.loads(done.stdout)["outcome"] == "planned"
    assert len(listed(path, "--state", "dead")) == 1


def configured(tmp_path: Path, text: str) -> str:
    file = tmp_path / "backhaul.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


OUT = f'[[reply]]\nname = "{{}}"\nsqs = "{ADDRESS}"\n'


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (OUT.format("out"), 0),
        (OUT.format("renamed"), 1),
        ("", 1),
        ('[[reply]]\nname = "out"\nmarker = "_SUCCESS"\n', 1),
    ],
)
def test_what_waits_for_a_target_that_is_gone_is_named(
    path: Path, tmp_path: Path, text: str, warnings: int
) -> None:
    config = configured(tmp_path, text)
    told = run(path, "replies", "list", "--config", config).stderr
    words = "1 reply waits for out, which is not in the configuration"
    assert told.count(words) == told.count("replies drop --target") == warnings
    assert ADDRESS not in told
    settings = load_settings(Path(config)).model_copy(update={"ledger": path})
    context = Mock(settings=settings)
    found = list(waiting(context))
    wanted = [("replies.waiting", State.WARNING, "out")] * warnings
    assert [(one.check, one.state, one.subject) for one in found] == wanted
    assert all(words in one.text and "replies drop --target out" in one.fix[3] for one in found)


def test_an_agent_without_any_target_gives_up_what_an_earlier_one_left(
    path: Path, tmp_path: Path
) -> None:
    config = Path(configured(tmp_path, ""))
    context = load_context(config=config, ledger=path, is_policy_needed=False)
    emitted: list[object] = []

    def emit(fact: object) -> None:
        emitted.append(fact)

    replying = Replying()
    with closing(open_ledger(path, create=False)) as ledger:
        replying.start(context, ledger, "us-west-2", emit)
        replying.close()
    warned, dead = emitted
    assert isinstance(warned, InstallationWarned)
    assert warned.code == "W_REPLY_TARGET"
    assert "1 reply waits for out, which is not in the configuration" in warned.reason
    assert isinstance(dead, ReplyDead)
    assert (dead.key, dead.code) == ("t2-0-dead", "E_REPLY_TARGET")
    assert listed(path, "--state", "waiting") == []
    assert len(listed(path, "--state", "dead")) == 2


def test_without_a_configuration_no_target_is_missed(path: Path) -> None:
    assert "not in the configuration" not in run(path, "replies", "list").stderr


def test_drop_forgets_what_was_not_sent_with_a_line_in_the_journal(path: Path) -> None:
    done = run(path, "replies", "drop", "--target", "out", "--dry-run", "--json")
    assert json.loads(done.stdout) == {
        **json.loads(done.stdout),
        "key": "t2-0-dead",
        "outcome": "planned",
    }
    assert len(listed(path)) == 3
    assert "1 reply forgotten" in run(path, "replies", "drop", "--target", "out", "--yes").stdout
    assert listed(path) == [("t1-0-dead", ADDRESS, "dead"), ("t1-0-dead", "out", "sent")]
    assert "no reply to forget" in run(path, "replies", "drop", "--target", "out").stdout
    run(path, "replies", "drop", "t1-0-dead", "--yes")
    assert listed(path) == [("t1-0-dead", "out", "sent")]
    lines = run(path, "journal", "--json").stdout.splitlines()
    assert [(one["action"], one["subject"]) for one in map(json.loads, lines)] == [
        ("drop", "t1-0-dead"),
        ("drop", "t2-0-dead"),
    ]


def test_what_was_given_up_for_good_no_longer_alarms_once_it_is_dropped(path: Path) -> None:
    def dead() -> int:
        view = read_overview(path, datetime.now(UTC))
        assert view is not None
        return sum(one.dead for one in view.replies)

    assert dead() == 1
    run(path, "replies", "drop", "--all-dead", "--yes")
    assert dead() == 0


@pytest.mark.parametrize("given", ["", "t1-0-dead --all-dead", "--all-dead"])
def test_one_way_to_choose_and_a_confirmation_are_needed(path: Path, given: str) -> None:
    run(path, "replies", "resend", *given.split(), code=2)  # 64 of the process
    assert len(listed(path, "--state", "dead")) == 1


def test_a_key_that_is_not_there_is_refused(path: Path) -> None:
    found = run(path, "replies", "resend", "no", "--yes", code=1).exception
    assert isinstance(found, PermanentError)
    assert found.code == "E_NO_SUCH_REPLY"


def test_show_has_the_replies_of_its_transfer(path: Path) -> None:
    text = run(path, "show", "t1").stdout
    assert f"dead to {ADDRESS}: dead E_REPLY_REFUSED: no" in text
    found = json.loads(run(path, "show", "t1", "--json").stdout)["replies"]
    assert [one["state"] for one in found] == ["dead", "sent"]


def test_check_warns_while_some_were_given_up(path: Path) -> None:
    found = read_overview(path, T0)
    assert found is not None
    assert [(one.target, one.waiting, one.dead) for one in found.replies] == [
        (ADDRESS, 0, 1),
        ("out", 1, 0),
    ]
    assert "dead_replies=1;1;;0" in CliRunner().invoke(cli, ["check", "--ledger", str(path)]).stdout


def test_prune_drops_what_was_sent_and_keeps_the_rest(path: Path) -> None:
    rule = PruneRule(before=T0 + timedelta(days=1), name="test")
    with closing(open_ledger(path, create=False)) as ledger:
        ledger.prune(PruneRule(before=T0, name="test"), T0, most=100)
        assert len(listed(path)) == 3
        ledger.prune(rule, T0, most=100)
    assert [one[2] for one in listed(path)] == ["waiting", "dead"]


def test_ledger_check_finds_a_reply_whose_transfer_is_gone(path: Path) -> None:
    with closing(open_reader(path)) as reader:
        assert list(reader._without_transfer()) == []


def test_what_waits_is_found_by_its_index_however_many_were_sent(path: Path) -> None:
    with closing(open_ledger(path, create=False)) as ledger, ledger._transaction() as tx:
        for statement in (delivering._NEXT_TARGET, delivering._DUE):
            given = dict.fromkeys(statement.compile(tx).params)
            sql = f"EXPLAIN QUERY PLAN {statement.compile(tx)}"
            plan = str(tx.exec_driver_sql(sql, tuple(given.values())).all())
            assert "ix_replies_waiting" in plan

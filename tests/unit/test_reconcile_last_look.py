"""`reconcile --send` sends what is missing when it is sent, not what was missing once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from backhaul.adapters.ledger import open_ledger, open_reader
from backhaul.app.reconcile.last_look import look_with
from backhaul.app.reconcile.run import Comparison
from backhaul.app.reconcile.sending import Missing, MissingObject, SendRun, SentMissing
from backhaul.app.reconcile.streams import S3Listing
from backhaul.app.send import body_of
from backhaul.cli import cli
from backhaul.core.errors import BadMessage, OutageError
from backhaul.core.model import Options
from backhaul.core.reconciliation.values import ComparedPath
from tests.unit.test_reconcile_run import FS, HOUR, LANDING, World

MINUTE = timedelta(minutes=1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(path, create=True, host="h")
    world = World(ledger, path)
    world.put("in/first")
    world.bring("in/first", "", ["first"])
    yield world
    ledger.close()


class Queue:
    """Takes every message, but none with `refused` in it; the answer to `lost` is lost."""

    arn = "arn:aws:sqs:us-west-2:123456789012:work"

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def send(self, source: str, destination: str, options: Options) -> str:
        body = body_of(source, destination, options)
        if "refused" in source:
            raise BadMessage("E_MSG_REFUSED", "queue work: no")
        if "lost" in source:
            raise OutageError("E_SQS_UNREACHABLE", "queue work: no answer")
        self.bodies.append(body)
        return f"m{len(self.bodies)}"


class Sends:
    """The last part of a `reconcile --send`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.queue = Queue()
        self.sizes: list[int] = []
        self.found = SentMissing()

    def missing(self) -> list[MissingObject]:
        missing = Missing(most=100)
        for one in self.world.reconcile()[1].values():
            missing.add(one, LANDING)
        return missing.objects

    def send(self, missing: Sequence[MissingObject]) -> SentMissing:
        world = self.world
        with closing(open_reader(world.path, turn=threading.Lock())) as reader:
            comparison = Comparison(
                route=world.route,
                options=world.options,
                objects=S3Listing(store=world.store),
                store=world.store,
                reader=reader,
                pool=world.pool(),
                default_fs=FS,
                now=world.clock.now,
            )
            run = SendRun(
                route="r",
                ledger=world.ledger,
                sender=self.queue,
                look_again=look_with(comparison),
                note=self.sizes.append,
                now=world.clock.now,
                found=self.found,
            )
            run.send(missing)
        return self.found

    def pending(self) -> list[str]:
        with closing(open_reader(self.world.path)) as reader:
            return [one.key for one in reader.sent_of("r", self.world.clock.now())]


def message(key: str, directory: str = "/landing") -> str:
    return f"s3://raw/{key}, {FS}{directory}"


def test_what_arrived_or_is_on_its_way_since_is_not_sent(world: World) -> None:
    world.put("in/arrived", "in/begun", "in/died", "in/left", "in/removed", "in/waits")
    world.later()
    sends = Sends(world)
    missing = sends.missing()
    assert len(missing) == 6
    world.later()
    world.bring("in/arrived", "", ["arrived"])
    world.claim("in/begun", "", ["begun"])
    world.die(world.claim("in/died", "", ["died"]))
    world.store.remove("in/removed")
    world.begin("s3://raw/in/waits", "/landing", route="r")
    found = sends.send(missing)
    assert sends.queue.bodies == [message("in/left")]
    assert (found.sent, found.on_its_way, found.changed, found.not_sent) == (1, 2, 3, [])
    assert sends.sizes == [4]
    assert sends.pending() == ["in/left"]


def test_what_another_command_sent_since_is_not_sent(world: World) -> None:
    world.put("in/a")
    world.later()
    sends, other = Sends(world), Sends(world)
    missing = sends.missing()
    assert other.send(other.missing()).sent == 1
    world.later(MINUTE)
    found = sends.send(missing)
    assert (found.sent, found.on_its_way, found.changed) == (0, 1, 0)


def test_what_another_command_sends_at_the_same_time_is_not_sent(world: World) -> None:
    world.put("in/a")
    world.later()
    sends, other = Sends(world), Sends(world)
    missing = sends.missing()

    def look(one: Sequence[MissingObject]) -> Sequence[ComparedPath | None]:
        found = [each.compared for each in one]
        world.later(MINUTE)
        other.send(missing)
        return found

    run = SendRun(
        route="r",
        ledger=world.ledger,
        sender=sends.queue,
        look_again=look,
        note=sends.sizes.append,
        now=world.clock.now,
    )
    run.send(missing)
    assert (run.found.sent, run.found.on_its_way) == (0, 1)
    assert (sends.queue.bodies, other.queue.bodies) == ([], [message("in/a")])


def test_the_state_that_s3_has_now_is_recorded(world: World) -> None:
    world.put("in/a")
    world.later()
    sends = Sends(world)
    missing = sends.missing()
    world.put("in/a", data=b"newer")
    world.later()
    assert sends.send(missing).sent == 1
    assert sends.sizes == [5]
    with closing(open_reader(world.path)) as reader:
        (sent,) = reader.sent_of("r", world.clock.now())
    assert sent.etag == world.pin("in/a").etag


def test_one_object_that_no_message_can_name_does_not_stop_the_others(world: World) -> None:
    world.put("in/a/x", "in/b /x", "in/refused", "in/z")
    world.later()
    sends = Sends(world)
    missing = sends.missing()
    assert len(missing) == 4
    found = sends.send(missing)
    assert sends.queue.bodies == [message("in/a/x", "/landing/a"), message("in/z")]
    assert (found.sent, sends.sizes) == (2, [4, 4])
    assert [(one.source.key, one.error.code) for one in found.not_sent] == [
        ("in/b /x", "E_MSG_FIELD"),
        ("in/refused", "E_MSG_REFUSED"),
    ]
    assert sends.pending() == ["in/a/x", "in/z"]


def test_a_lost_answer_ends_it_and_what_was_not_sent_is_free(world: World) -> None:
    world.put("in/a", "in/lost", "in/z")
    world.later()
    sends = Sends(world)
    missing = sends.missing()
    with pytest.raises(OutageError):
        sends.send(missing)
    assert sends.queue.bodies == [message("in/a")]
    assert sends.pending() == ["in/a", "in/lost"]
    world.later(HOUR)
    assert sends.pending() == ["in/a"]


def test_without_a_terminal_nothing_is_compared_before_yes_is_asked_for(tmp_path: Path) -> None:
    ended = CliRunner().invoke(
        cli, ["reconcile", "r", "--send", "--config", str(tmp_path / "none.toml")]
    )
    assert ended.exit_code != 0
    assert "--yes is needed where standard input is no terminal" in ended.output
    ended = CliRunner().invoke(
        cli, ["reconcile", "r", "--send", "--yes", "--config", str(tmp_path / "none.toml")]
    )
    assert "--yes is needed" not in ended.output

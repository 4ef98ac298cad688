"""`backhaul ledger prune`: what no promise needs goes, a little at a time, and nothing else."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from backhaul.adapters.ledger import LedgerReader, SqlLedger, open_ledger, open_reader
from backhaul.adapters.ledger.reading import evidence
from backhaul.adapters.ledger.reading.locating import FilesNow
from backhaul.adapters.ledger.upkeep import checking, pruning
from backhaul.adapters.ledger.upkeep.pruning import PruneRule
from backhaul.app import verify
from backhaul.app.ledger_check import check_ledger
from backhaul.app.ledger_prune import REST, WALKED, Pruner, StepSize
from backhaul.app.places import parse_place
from backhaul.app.receipt import issue_receipt
from backhaul.app.verify import Selection, VerifyFinding, VerifyTotals
from backhaul.app.where import read_where
from backhaul.app.whereabouts import Whereabouts
from backhaul.cli import main
from backhaul.core.checksums import Checksum
from backhaul.core.errors import PermanentError
from backhaul.core.model import Location, TransferState
from backhaul.core.ports import (
    Act,
    MessageKey,
    Operator,
    OperatorEntry,
    SentAgain,
    StoredChecksum,
    TargetPool,
)
from backhaul.core.transfer.evidence import Manifest, object_line
from backhaul.settings.model import Settings
from backhaul.testing.fakes import FakeClock
from tests.contract.test_ledger import JOB, LANDING, T0, planned, proof
from tests.docs.manual import DOCS
from tests.docs.test_schemas import Checker
from tests.ledgers import MINUTE, QUEUE, bring, bring_dead

DAY = timedelta(days=1)
AT = T0 + 3650 * DAY  # after the ledger was made: what ends must be sealed
NOW = AT + 100 * DAY
OLD = PruneRule(before=AT + 50 * DAY, name="the test")
REPO = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Any:
    with closing(open_ledger(path, create=True)) as ledger:
        yield ledger


def prune(ledger: SqlLedger, *, most: int = 1000, rule: PruneRule = OLD) -> int:
    """All steps; returns how many rows went."""
    dropped, after = 0, ""
    while True:
        step = ledger.prune(rule, NOW, after=after, most=most)
        assert step.objects <= most
        dropped += step.objects
        if step.after is None:
            return dropped
        after = step.after


def left(path: Path) -> dict[str, int]:
    """Object rows by transfer."""
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT transfer_id, count(*) FROM objects GROUP BY 1"))


# ---------------------------------------------------------------- what goes


def test_old_ones_go_and_young_ones_stay(ledger: SqlLedger, path: Path) -> None:
    bring(ledger, "old", AT)
    bring(ledger, "older-and-superseded", AT, state=TransferState.SUPERSEDED)
    bring(ledger, "young", AT + 60 * DAY)
    with closing(open_reader(path)) as reader:
        assert reader.prunable(OLD.before).objects == 6

    assert prune(ledger) == 6

    assert left(path) == {"young": 3}
    with closing(open_reader(path)) as reader:
        assert reader.prunable(OLD.before).objects == 0
        row = reader.show("old").transfer
        assert (row.pruned_at, row.pruned_by) == (NOW, "the test")
        assert (row.objects_planned, row.copied_bytes) == (3, 303)
        assert reader.show("young").transfer.pruned_at is None
    assert prune(ledger) == 0


def _open(ledger: SqlLedger) -> None:
    ledger.begin(None, "it", "raw/it/", "/landing/it", AT)
    claim(ledger, "it")


def claim(ledger: SqlLedger, transfer_id: str) -> None:
    directory = LANDING.join(transfer_id)
    ledger.claim(
        transfer_id,
        JOB,
        directory,
        LANDING,
        directory=directory,
        first=[planned(seq) for seq in range(3)],
        is_complete=True,
        min_epoch=1,
        now=AT,
    )


def _dead(ledger: SqlLedger) -> None:
    _open(ledger)
    ledger.fail("it", TransferState.DEAD, "E_SRC_CHANGED", "it changes", AT + MINUTE)


def _sent_again(ledger: SqlLedger) -> None:
    _dead(ledger)
    edit_row(ledger, "UPDATE transfers SET queue = ?, message_id = 'first' WHERE id = 'it'", QUEUE)
    entry = OperatorEntry(at=AT, by=Operator(name="a@b"), act=Act.RETRY, subject="it")
    sent = SentAgain(transfer_id="it", message_id="again", dead_letter_id="letter")
    ledger.note_act(entry, [sent])


def edit_row(ledger: SqlLedger, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(ledger._database.name)) as connection, connection:
        connection.execute(statement, values)


def _edited(ledger: SqlLedger, statement: str) -> None:
    bring(ledger, "it", AT)
    edit_row(ledger, statement)


# What would have to be true of it, and is not: the rows of `it` are needed.
NEEDED: dict[str, Callable[[SqlLedger], None]] = {
    "it has not ended": _open,
    "it is dead, and nothing settled it": _dead,
    "it is not sealed": lambda it: _edited(it, "DELETE FROM seals"),
    "some of it may be published unnoted": lambda it: _edited(
        it, "UPDATE transfers SET renames_possible = 1"
    ),
    "it owns a directory": lambda it: _edited(it, "UPDATE destinations SET owner_transfer = 'it'"),
    "its application may run": lambda it: _edited(
        it,
        "INSERT INTO jobs (transfer_id, epoch, tag, destination, state, opened_at, updated_at)"
        " VALUES ('it', 1, 't', 'hdfs://nn/x', 'running', 1, 1)",
    ),
}


@pytest.mark.parametrize("reason", NEEDED)
def test_what_is_needed_stays(ledger: SqlLedger, path: Path, reason: str) -> None:
    NEEDED[reason](ledger)
    prune(ledger)
    assert left(path)["it"] == 3
    assert check_rows(path, "it") == (None, None)


def check_rows(path: Path, transfer_id: str) -> tuple[object, object]:
    with closing(open_reader(path)) as reader:
        row = reader.show(transfer_id).transfer
    return row.pruned_at, row.pruned_by


def test_a_dead_one_that_is_settled_goes(ledger: SqlLedger, path: Path) -> None:
    _sent_again(ledger)
    prune(ledger)
    assert "it" not in left(path)


# ---------------------------------------------------------------- steps


@pytest.mark.parametrize("most", [1, 2, 3, 4, 7, 100])
def test_steps_of_any_size_come_to_the_same_end(ledger: SqlLedger, path: Path, most: int) -> None:
    for number, objects in enumerate((5, 1, 3, 12, 2)):
        bring(ledger, f"t{number}", AT, objects=objects)
    bring_dead(ledger, "t9", AT)
    assert prune(ledger, most=most) == 23
    assert left(path) == {}
    assert check_ledger(path).findings == []


def test_an_interrupted_plan_is_marked_and_goes_on_first(ledger: SqlLedger, path: Path) -> None:
    bring(ledger, "long", AT, objects=10)
    bring(ledger, "next", AT, objects=2)
    step = ledger.prune(OLD, NOW, most=4)
    assert (step.transfers, step.objects) == (1, 4)
    assert left(path) == {"long": 6, "next": 2}
    assert check_rows(path, "long") == (NOW, "the test")
    with closing(open_reader(path)) as reader:
        assert reader.prunable(OLD.before).objects == 8
    # From the beginning: whoever prunes now knows nothing of the step before.
    assert prune(ledger) == 8
    assert left(path) == {}


PRUNING = """
import sys
from datetime import datetime
from pathlib import Path
from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.ledger.upkeep.pruning import PruneRule

ledger = open_ledger(Path(sys.argv[1]), create=False)
rule = PruneRule(before=datetime.fromisoformat(sys.argv[2]), name="the test")
after = ""
while after is not None:
    step = ledger.prune(rule, rule.before, after=after, most=7)
    after = step.after
    print(step.objects, flush=True)
"""


def test_killed_at_any_moment_it_loses_nothing_and_goes_on(path: Path) -> None:
    with closing(open_ledger(path, create=True)) as ledger:
        for number in range(6):
            bring(ledger, f"t{number}", AT, objects=25)
        bring(ledger, "young", AT + 60 * DAY)
    chance = random.Random(20261201)
    environment = {**os.environ, "PYTHONPATH": f"{REPO / 'src'}:{REPO}"}
    reported = 0
    for _ in range(3):
        argv = [sys.executable, "-c", PRUNING, str(path), OLD.before.isoformat()]
        with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(chance.randint(1, 4))]
            deadline = time.monotonic() + chance.uniform(0, 0.02)
            while time.monotonic() < deadline:
                pass
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.readlines()
        reported += sum(int(line) for line in lines if line.strip().isdecimal())
        state = check_ledger(path, is_full=True)
        assert state.findings == []
        assert sum(left(path).values()) <= 153 - reported  # what was reported is in the file
        assert left(path)["young"] == 3
    with closing(open_ledger(path, create=False)) as ledger:
        prune(ledger)
    assert left(path) == {"young": 3}
    assert check_ledger(path, is_full=True).findings == []


# ---------------------------------------------------------------- what is still right


def test_the_seal_chain_and_the_published_files_are_as_before(
    ledger: SqlLedger, path: Path
) -> None:
    directory = bring(ledger, "t0", AT)
    bring(ledger, "t1", AT)
    with closing(open_reader(path)) as reader:
        before = list(reader.chain()), reader.publishers([directory.join("part-00001.parquet")])
        files = [one for page in reader.published_by("t0", directory, batch=2) for one in page]
    prune(ledger)
    with closing(open_reader(path)) as reader:
        chain = list(reader.chain())
        assert [one.line for one in chain] == [one.line for one in before[0]]
        assert reader.publishers([directory.join("part-00001.parquet")]) == before[1]
        left_over = [one for page in reader.published_by("t0", directory, batch=2) for one in page]
        assert left_over == files
        assert [one.content.hex for one in files] == ["00000000", "00000001", "00000002"]
    state = check_ledger(path)
    assert (state.findings, state.pruned, state.sealed) == ([], 2, 0)


def test_a_message_that_comes_again_is_known(ledger: SqlLedger) -> None:
    bring(ledger, "t0", AT)
    prune(ledger)
    key = MessageKey(queue=QUEUE, message_id="t0")
    begun = ledger.begin(key, "other", "raw/t0/", "/landing/t0", NOW)
    assert (begun.transfer_id, begun.state) == ("t0", TransferState.DONE)


def test_an_epoch_is_never_given_twice(ledger: SqlLedger) -> None:
    bring(ledger, "t0", AT, place="same")
    prune(ledger)
    bring(ledger, "t1", AT, place="same")
    with closing(open_reader(Path(ledger._database.name))) as reader:
        assert reader.show("t1").transfer.epoch == 2


def test_where_finds_the_transfer_of_a_file_and_what_is_left_of_a_directory(
    ledger: SqlLedger, path: Path
) -> None:
    directory = bring(ledger, "t0", AT, place="shared")
    bring(ledger, "t1", AT, place="shared", objects=1)
    prune(ledger)

    (now,) = where(path, directory.join("part-00001.parquet").uri).now
    assert now.passage is not None
    assert (now.passage.transfer.id, now.passage.presence.value) == ("t0", "now")
    (other,) = where(path, directory.join("part-00000.parquet").uri).now
    assert other.passage is not None
    assert other.passage.transfer.id == "t1"
    passages = {one.transfer.id: one for one in where(path, directory.uri).passages}
    assert passages["t0"].files == FilesNow(checked=3, there=2, replaced=1)
    assert passages["t0"].presence.value == "partly"
    (source,) = where(path, "s3://raw/t0/part-00001").passages
    assert source.relation.value == "unlisted"


def test_where_is_right_while_a_plan_is_half_dropped(ledger: SqlLedger, path: Path) -> None:
    directory = bring(ledger, "t0", AT)
    assert ledger.prune(OLD, NOW, after="", most=1).objects == 1
    assert left(path) == {"t0": 2}
    (now,) = where(path, directory.join("part-00002.parquet").uri).now
    assert now.passage is not None
    assert (now.passage.transfer.id, now.passage.presence.value) == ("t0", "now")
    (whole,) = where(path, directory.uri).passages
    assert whole.files == FilesNow(checked=3, there=3, replaced=0)


def test_a_single_object_is_known_among_however_many_files(
    ledger: SqlLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backhaul.app.where.FILES_CHECKED", 0)
    file = bring_one(ledger, "t0", AT)
    prune(ledger)
    (passage,) = where(path, file.uri).passages
    assert passage.presence.value == "now"
    bring_one(ledger, "t1", AT + 60 * DAY)
    by_id = {one.transfer.id: one for one in where(path, file.uri).passages}
    assert by_id["t0"].presence.value == "replaced"


def bring_one(ledger: SqlLedger, transfer_id: str, at: datetime) -> Location:
    """A transfer of one object into a directory that others use, too; returns the file."""
    file = LANDING.join("one.parquet")
    key = MessageKey(queue=QUEUE, message_id=transfer_id)
    ledger.begin(key, transfer_id, "s3://raw/one.parquet", LANDING.path, at, route="click")
    one = replace(planned(0, key="one.parquet", last_modified=at), relative="one.parquet")
    found = ledger.claim(
        transfer_id,
        JOB,
        file,
        LANDING,
        directory=LANDING,
        first=[one],
        is_complete=True,
        markers=0,
        min_epoch=1,
        now=at,
    )
    assert found is not None
    manifest = Manifest()
    manifest.add(object_line(transfer_id, one, proof(0), file))
    assert ledger.intend(transfer_id, found.epoch, [proof(0)], at)
    assert ledger.finish(
        transfer_id, found.epoch, TransferState.DONE, "file", at + MINUTE, manifest=manifest.sum
    )
    return file


def where(path: Path, place: str) -> Whereabouts:
    return read_where(path, parse_place(place))


def test_a_receipt_of_dropped_lines_is_refused_and_says_why(
    ledger: SqlLedger, path: Path, tmp_path: Path
) -> None:
    bring(ledger, "t0", AT)
    prune(ledger)
    with pytest.raises(PermanentError, match=r"E_RECEIPT_PRUNED.*by the test"):
        list(issue_receipt(Settings(ledger=path), "t0", keys=tmp_path, key_made=lambda _: None))


class _Target:
    """A target that holds these files; as far as `verify` calls it."""

    def __init__(self, files: dict[Location, StoredChecksum]) -> None:
        self.files = files

    @contextmanager
    def session(self, filesystem: str) -> Iterator[_Target]:
        assert filesystem == LANDING.filesystem
        yield self

    def stored_checksums(
        self, locations: Sequence[Location], **_: object
    ) -> list[StoredChecksum | None]:
        return [self.files.get(one) for one in locations]


def verified(path: Path, target: _Target) -> tuple[VerifyTotals, list[VerifyFinding]]:
    found: list[VerifyFinding] = []
    with closing(open_reader(path)) as reader:
        check = verify._Check(
            reader,
            cast("TargetPool", target),
            Selection(),
            is_read=False,
            found=found.append,
        )
        return check.run(), found


def test_verify_reads_in_pieces_and_finds_the_last_sealing_line_taken_out(
    ledger: SqlLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (evidence, checking):
        monkeypatch.setattr(module, "TRANSFERS_AT_ONCE", 2)
    for number in range(5):
        bring(ledger, f"t{number}", AT + number * DAY, objects=0)
    with closing(open_reader(path)) as reader:
        assert reader.ended_with_files() == [f"t{number}" for number in range(5)]
        since = AT + 3 * DAY
        assert reader.ended_with_files(since=since) == ["t3", "t4"]
    edit_row(ledger, "DELETE FROM seals WHERE transfer_id = ?", "t4")
    _, findings = verified(path, _Target({}))
    assert [(one.transfer_id, one.what) for one in findings] == [("t4", "has no sealing line")]


def test_a_large_plan_is_summed_up_as_it_goes(ledger: SqlLedger, path: Path) -> None:
    """No step reads more of it than it drops."""
    bring(ledger, "t0", AT, objects=9)
    bring(ledger, "t1", AT, objects=2)
    edit_row(ledger, "UPDATE transfers SET bytes_copied = NULL WHERE id <> ?", "-")
    with closing(open_reader(path)) as reader:
        before = {row.id: row.copied_bytes for row in reader.history()}
    steps = 0
    after: str | None = ""
    while after is not None:
        step = ledger.prune(OLD, NOW, after=after, most=2)
        assert step.held_s > 0
        steps, after = steps + 1, step.after
    assert steps > 5
    with closing(open_reader(path)) as reader:
        assert {row.id: row.copied_bytes for row in reader.history()} == before
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT name FROM meta WHERE name LIKE 'pruning%'").fetchall()
    assert found == []


def test_verify_compares_what_a_pruned_transfer_published_and_still_owns(
    ledger: SqlLedger, path: Path
) -> None:
    directory = bring(ledger, "t0", AT, place="shared")
    bring(ledger, "t1", AT + 60 * DAY, place="shared", objects=1)
    files = {
        directory.join(f"part-{seq:05}.parquet"): StoredChecksum(
            size_bytes=100 + seq,
            modified_ms=0,
            checksum=Checksum("CRC32C", f"{seq:08x}"),
            checksum_source="datanode",
        )
        for seq in range(3)
    }
    target = _Target(files)
    before, _ = verified(path, target)
    prune(ledger)

    totals, found = verified(path, target)

    assert found == []
    assert (totals.transfers, totals.same, totals.replaced) == (2, 3, 1)
    assert totals == before
    last = directory.join("part-00002.parquet")
    files[last] = replace(files[last], checksum=Checksum("CRC32C", "ffffffff"))
    del files[directory.join("part-00001.parquet")]
    _, found = verified(path, target)
    assert [(one.kind, one.transfer_id) for one in found] == [("missing", "t0"), ("differs", "t0")]


def test_a_prune_under_way_is_no_sign_of_tampering(
    ledger: SqlLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transfer is looked up, and then its lines go before they are read."""
    bring(ledger, "t0", AT)
    read = LedgerReader.objects

    def late(reader: LedgerReader, transfer_id: str) -> Any:
        prune(ledger)
        return read(reader, transfer_id)

    monkeypatch.setattr(LedgerReader, "objects", late)
    _, found = verified(path, _Target({}))
    assert [one for one in found if one.kind == "evidence"] == []


def test_a_check_beside_a_prune_finds_nothing(
    ledger: SqlLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(ledger, "t0", AT)
    read = LedgerReader.objects

    def late(reader: LedgerReader, transfer_id: str) -> Any:
        prune(ledger)
        return read(reader, transfer_id)

    monkeypatch.setattr(LedgerReader, "objects", late)
    state = check_ledger(path)
    assert (state.findings, state.pruned) == ([], 1)


def test_one_object_is_verified_without_a_walk_over_its_directory(
    ledger: SqlLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bring_one(ledger, "t0", AT)
    prune(ledger)
    monkeypatch.setattr(LedgerReader, "published_by", None)
    own = StoredChecksum(
        size_bytes=100,
        modified_ms=0,
        checksum=Checksum("CRC32C", "ffffffff"),
        checksum_source="datanode",
    )
    _, found = verified(path, _Target({file: own}))
    assert [(one.kind, one.transfer_id) for one in found] == [("differs", "t0")]


# ---------------------------------------------------------------- the agent


def test_the_agent_drops_a_little_at_a_time_and_rests_at_the_end(
    ledger: SqlLedger, path: Path
) -> None:
    bring(ledger, "t0", AT, objects=StepSize.FIRST)
    bring(ledger, "t1", AT, objects=StepSize.FIRST)
    clock = FakeClock()
    clock.advance((NOW - clock.now()).total_seconds())
    Pruner(ledger, clock, None).turn()
    assert sum(left(path).values()) == 2 * StepSize.FIRST
    pruner = Pruner(ledger, clock, 50 * DAY)
    pruner.turn()
    assert sum(left(path).values()) == StepSize.FIRST
    for _ in range(3):
        pruner.turn()
    assert left(path) == {}
    assert check_rows(path, "t1") == (clock.now(), "retention.objects = 50d")

    bring(ledger, "t2", AT)
    pruner.turn()
    assert left(path) == {"t2": 3}
    clock.advance(REST.total_seconds())
    pruner.turn()
    assert left(path) == {}


def test_what_the_agent_has_nothing_to_do_with_is_passed_quickly(
    ledger: SqlLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "LOOKED_AT", 1)
    for number in range(WALKED - 1):
        bring_dead(ledger, f"a{number}", AT)
    bring(ledger, "b0", AT)
    bring(ledger, "b1", AT)
    clock = FakeClock()
    clock.advance((NOW - clock.now()).total_seconds())
    pruner = Pruner(ledger, clock, 50 * DAY)
    pruner.turn()
    assert left(path) == {"b1": 3}
    pruner.turn()
    assert left(path) == {}


# ---------------------------------------------------------------- the command


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_the_command(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at: datetime = T0 - 100 * DAY
    with closing(open_ledger(path, create=True)) as ledger:
        bring(ledger, "t0", at)
    files = ("--ledger", str(path))
    arguments = ("ledger", "prune", "--older", "90d")

    code, _, err = run("ledger", "prune", *files, capsys=capsys)
    assert code == 64
    assert "retention.objects is not set" in err
    code, out, _ = run(*arguments, "--dry-run", *files, capsys=capsys)
    assert (code, out) == (0, "would drop 3 object lines of 1 transfer, and pack 3 paths\n")
    code, _, err = run(*arguments, *files, capsys=capsys)
    assert code == 64
    assert "--yes is needed" in err
    assert left(path) == {"t0": 3}

    code, out, _ = run(*arguments, "--yes", *files, capsys=capsys)
    assert (code, out) == (0, "dropped 3 object lines of 1 transfer, and packed 3 paths\n")
    assert left(path) == {}
    code, out, _ = run(*arguments, "--yes", *files, capsys=capsys)
    assert code == 0
    assert out.startswith("nothing to prune")

    code, out, _ = run("show", "t0", *files, capsys=capsys)
    assert "by backhaul ledger prune --older 90d, by " in out
    code, out, _ = run("show", "t0", "--evidence", *files, capsys=capsys)
    dropped, sealing = map(json.loads, out.splitlines())
    schema = json.loads((DOCS / "schema" / "evidence.schema.json").read_text("utf-8"))
    assert Checker(schema).accepts(dropped)
    assert (dropped["kind"], sealing["kind"], sealing["objects"]) == ("pruned", "transfer", 3)
    code, out, _ = run("journal", "--action", "prune", "--json", *files, capsys=capsys)
    (line,) = map(json.loads, out.splitlines())
    assert (line["transfers"], line["outcome"]) == (1, "done")

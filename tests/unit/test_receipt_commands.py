"""`backhaul receipt` on a ledger and a fake S3: what it prints, and with which code it ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, text

from backhaul.adapters.ledger import SqlLedger, open_ledger
from backhaul.adapters.system.receipt_keys import ReceiptKeys
from backhaul.app import receipt_verify
from backhaul.app.receipt import issue_receipt
from backhaul.app.receipt_verify import (
    TRIES,
    StateReader,
    TrustedKeys,
    look,
    tried,
    verify_receipt,
)
from backhaul.cli import cli
from backhaul.core.errors import (
    BackhaulError,
    ExitCode,
    OutageError,
    PermanentError,
    TransientError,
)
from backhaul.core.model import Assignment, Location, Request, Source, TransferState
from backhaul.core.objects import Pin, PlannedObject
from backhaul.core.ports import MessageKey, MessageOrigin
from backhaul.core.receipts.comparing import ObjectState, ReceiptVerdict
from backhaul.core.receipts.reading import LINE_MAX_BYTES
from backhaul.core.transfer.evidence import Manifest, object_line
from backhaul.settings.model import Settings
from tests.docs.manual import REFERENCE, code, tables
from tests.docs.test_schemas import Checker, _schema
from tests.unit.receipts import PIN, SIGNED, STAGED

pytestmark = pytest.mark.slow  # each test signs and reads receipts

LANDING = Location(scheme="hdfs", authority="ns", path="/landing")
QUEUE = "arn:aws:sqs:us-west-2:123456789012:work"
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


def pin_of(seq: int) -> Pin:
    """The second object was read without a version."""
    return replace(PIN, key=f"p/part-{seq}", version_id=None if seq == 1 else f"v{seq}")


def begin(ledger: SqlLedger, transfer_id: str, queue: str = QUEUE) -> None:
    key = MessageKey(queue=queue, message_id=f"m-{transfer_id}", body_digest="0" * 64)
    origin = MessageOrigin(sender="AROA:step", sent_at=NOW - timedelta(seconds=5))
    ledger.begin(key, transfer_id, "s3://raw/p/", "/landing/p", NOW, origin=origin)


def finish(
    ledger: SqlLedger, transfer_id: str, objects: int, state: TransferState = TransferState.DONE
) -> None:
    """Claimed, proven, sealed."""
    directory = LANDING.join(transfer_id)
    planned = [PlannedObject(seq=n, pin=pin_of(n), relative=f"part-{n}") for n in range(objects)]
    claimed = ledger.claim(
        transfer_id,
        Assignment(
            request=Request(source=Source(bucket="raw", key="p/"), destination=directory),
            route="click",
            anchor=LANDING,
        ),
        directory,
        LANDING,
        directory=directory,
        first=planned,
        is_complete=True,
        markers=0,
        min_epoch=1,
        now=NOW,
    )
    assert claimed is not None
    proofs = [replace(STAGED, seq=n, version_id=planned[n].pin.version_id) for n in range(objects)]
    ledger.intend(transfer_id, claimed.epoch, proofs, NOW)
    manifest = Manifest()
    for plan, proof in zip(planned, proofs, strict=True):
        manifest.add(object_line(transfer_id, plan, proof, directory.join(plan.relative)))
    ledger.finish(transfer_id, claimed.epoch, state, "tree", NOW, manifest=manifest.sum)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "ledger.db"
    with closing(open_ledger(path, create=True)) as made:
        begin(made, "done1")
        finish(made, "done1", 3)
        begin(made, "old1")
        finish(made, "old1", 1, TransferState.SUPERSEDED)
        begin(made, "dead1")
        made.fail("dead1", TransferState.DEAD, "E_SRC_EMPTY", "nothing there", NOW)
        begin(made, "open1")
        begin(made, "copied1", queue="copy")
        finish(made, "copied1", 1)
        begin(made, "adopted1", queue="adopt")
        finish(made, "adopted1", 1)
    return path


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME", "BACKHAUL_CONFIG", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / "state"))


def invoke(*arguments: object, stdin: bytes | None = None) -> Result:
    words = [str(each) for each in arguments]
    return CliRunner().invoke(cli, ["receipt", *words], standalone_mode=False, input=stdin)


def well(*arguments: object, stdin: bytes | None = None) -> Result:
    done = invoke(*arguments, stdin=stdin)
    assert done.exception is None, done.exc_info
    return done


def refused(*arguments: object, stdin: bytes | None = None) -> BackhaulError:
    error = invoke(*arguments, stdin=stdin).exception
    assert isinstance(error, BackhaulError), error
    assert error.hint
    return error


@pytest.fixture
def key(ledger: Path) -> str:
    """Its id."""
    return well("key", "create", "--ledger", ledger).stdout.split()[2]


@pytest.fixture
def file(ledger: Path, key: str, tmp_path: Path) -> Path:
    """The receipt of `done1`."""
    path = tmp_path / "receipt.jsonl"
    path.write_bytes(well("done", "--ledger", ledger).stdout_bytes)
    return path


class FakeStates:
    """S3 with what is put there, by key and version."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, str | None], ObjectState | BackhaulError] = {}
        self.opened: list[str] = []
        self.looked: list[tuple[str, str | None]] = []
        self._lock = threading.Lock()
        for seq in range(3):
            pin = pin_of(seq)
            self.put(pin)

    def put(self, pin: Pin, **changes: object) -> None:
        state = ObjectState(
            etag=pin.etag,
            size_bytes=pin.size_bytes,
            last_modified=pin.last_modified,
            version_id=pin.version_id,
        )
        self.states[pin.key, pin.version_id] = replace(state, **changes)  # type: ignore[arg-type]

    def open(self, bucket: str) -> None:
        self.opened.append(bucket)

    def state(self, pin: Pin) -> ObjectState | None:
        with self._lock:
            self.looked.append((pin.key, pin.version_id))
        found = self.states.get((pin.key, pin.version_id))
        if isinstance(found, BackhaulError):
            raise found
        return found


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> FakeStates:
    states = FakeStates()

    @contextmanager
    def opened(region: str) -> Iterator[StateReader]:
        yield states

    monkeypatch.setattr(receipt_verify, "open_s3", opened)
    return states


def verdicts(done: Result) -> dict[str, str]:
    """Key to verdict, of `verify --json`; every line as its schema has it."""
    checker = Checker(_schema("receipt-verify"))
    *objects, total = lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one for one in lines if not checker.accepts(one)] == []
    assert total["kind"] == "sum"
    return {one["key"]: one["verdict"] for one in objects}


# ---------------------------------------------------------------- issue


def test_a_receipt_has_the_lines_of_the_evidence(ledger: Path, file: Path) -> None:
    shown = CliRunner().invoke(cli, ["show", "done1", "--evidence", "--ledger", str(ledger)])
    first, *between, last = file.read_text("utf-8").splitlines(keepends=True)
    assert "".join(between) == shown.stdout
    statement = json.loads(first)
    assert (statement["transfer"], statement["route"]) == ("done1", "click")
    assert (statement["queue"], statement["message"]) == (QUEUE, "m-done1")
    assert (statement["sender"], statement["objects"], statement["size"]) == ("AROA:step", 3, 9)
    assert json.loads(last)["key"] == statement["key"]


def test_the_word_issue_may_be_left_out(ledger: Path, key: str) -> None:
    for words in (("issue", "done1"), ("done1",)):
        assert well(*words, "--ledger", ledger).stdout.count("\n") == 6
        assert well("--ledger", ledger, *words[-1:]).stdout.count("\n") == 6


@pytest.mark.parametrize("transfer", ["copied", "adopted"])
def test_what_no_message_requested_names_none(ledger: Path, key: str, transfer: str) -> None:
    statement = json.loads(well(transfer, "--ledger", ledger).stdout.splitlines()[0])
    assert (statement["queue"], statement["message"]) == (None, None)


@pytest.mark.parametrize(
    ("transfer", "reason"),
    [
        ("dead1", "is dead (E_SRC_EMPTY)"),
        ("open1", "has not ended: it is received"),
        ("old1", "is superseded"),
    ],
)
def test_what_is_not_done_has_none(ledger: Path, key: str, transfer: str, reason: str) -> None:
    done = invoke(transfer, "--ledger", ledger)
    assert isinstance(done.exception, PermanentError)
    assert done.exception.code == "E_RECEIPT_NOT_DONE"
    assert reason in done.exception.message
    assert done.stdout == ""


def test_an_unknown_id_and_a_missing_ledger_have_their_codes(
    ledger: Path, key: str, tmp_path: Path
) -> None:
    assert refused("zzz", "--ledger", ledger).code == "E_NO_SUCH_TRANSFER"
    keys = ledger.parent / "receipt-keys"
    missing = refused("done1", "--ledger", tmp_path / "none.db", "--keys", keys)
    assert missing.code == "E_LEDGER_MISSING"


def test_the_first_receipt_makes_the_key_and_says_so(ledger: Path, s3: FakeStates) -> None:
    first, second = well("done1", "--ledger", ledger), well("done1", "--ledger", ledger)
    (public,) = (ledger.parent / "receipt-keys").glob("*.pem")
    assert first.stderr == f"made the receipt key {public.stem}: give auditors {public}\n"
    assert second.stderr == ""
    receipt = ledger.parent / "receipt.jsonl"
    receipt.write_bytes(first.stdout_bytes)
    assert well("verify", receipt, "--ledger", ledger, "--offline").return_value == 0


def test_what_has_no_receipt_makes_no_key(ledger: Path) -> None:
    assert refused("dead1", "--ledger", ledger).code == "E_RECEIPT_NOT_DONE"
    assert refused("zzz", "--ledger", ledger).code == "E_NO_SUCH_TRANSFER"
    assert not (ledger.parent / "receipt-keys").exists()


def test_without_a_key_the_fix_is_named(ledger: Path) -> None:
    error = refused("key", "show", "--ledger", ledger)
    assert (error.code, error.exit_code) == ("E_RECEIPT_NO_KEY", 78)
    assert "backhaul receipt key create" in error.hint


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("DELETE FROM objects WHERE transfer_id = 'done1'", "has 0 of 3 object lines"),
        ("DELETE FROM objects WHERE transfer_id = 'done1' AND seq = 2", "has 2 of 3"),
        ("UPDATE objects SET etag = 'x' WHERE transfer_id = 'done1'", "one was changed"),
        ("DELETE FROM seals WHERE transfer_id = 'done1'", "has no sealing line"),
        ("UPDATE seals SET line = line || ' '", "its sealing line was changed"),
        (
            "UPDATE transfers SET source = 's3://x/' WHERE id = 'done1'",
            "sealed with another source",
        ),
    ],
)
def test_evidence_that_was_pruned_or_edited_is_not_signed(
    ledger: Path, key: str, statement: str, reason: str
) -> None:
    engine = create_engine(f"sqlite:///{ledger}")
    with engine.begin() as tx:
        tx.execute(text(statement))
    engine.dispose()
    done = invoke("done1", "--ledger", ledger)
    assert isinstance(done.exception, PermanentError)
    assert done.exception.code == "E_RECEIPT_EVIDENCE"
    assert reason in done.exception.message
    assert '"signature"' not in done.stdout


def test_many_objects_are_written_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(open_ledger(path, create=True)) as made:
        begin(made, "big1")
        finish(made, "big1", 1203)
    settings = Settings(ledger=path)
    ReceiptKeys(settings.receipt_keys).create()
    pieces = list(issue_receipt(settings, "big1"))
    assert [piece.count(b"\n") for piece in pieces] == [500, 500, 206]


# ---------------------------------------------------------------- verify


def test_a_true_receipt_ends_with_0(file: Path, ledger: Path, key: str, s3: FakeStates) -> None:
    keys = ledger.parent / "receipt-keys"
    done = well("verify", file, "--public-key", keys / f"{key}.pem")
    assert done.return_value == 0
    assert "transfer done1  s3://raw/p/ → /landing/p" in done.stdout
    assert f"key {key}" in done.stdout
    assert "in S3 3 as signed, 2 of them pinned by version" in done.stdout
    assert set(s3.opened) == {"raw"}
    assert sorted(s3.looked) == sorted((pin_of(n).key, pin_of(n).version_id) for n in range(3))
    assert well("verify", file, "--keys", keys).return_value == 0


def test_without_keys_those_of_this_installation_count(
    file: Path, ledger: Path, s3: FakeStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKHAUL_LEDGER", str(ledger))
    assert well("verify", file).return_value == 0
    monkeypatch.setenv("BACKHAUL_RECEIPT__KEYS", str(ledger.parent / "nowhere"))
    error = refused("verify", file)
    assert (error.code, error.exit_code) == ("E_RECEIPT_KEY_UNKNOWN", 65)


def test_an_unknown_key_is_named_with_how_to_get_it(
    file: Path, tmp_path: Path, key: str, s3: FakeStates
) -> None:
    other = tmp_path / "other"
    well("key", "create", "--keys", other)
    error = refused("verify", file, "--keys", other)
    assert error.code == "E_RECEIPT_KEY_UNKNOWN"
    assert key in error.message
    assert f"backhaul receipt key show {key}" in error.hint
    assert not s3.looked


def test_a_retired_key_still_verifies(file: Path, ledger: Path, key: str, s3: FakeStates) -> None:
    well("key", "rotate", "--ledger", ledger)
    well("key", "retire", "--ledger", ledger)
    keys = ledger.parent / "receipt-keys"
    assert well("verify", file, "--keys", keys).return_value == 0
    assert refused("done1", "--ledger", ledger).code == "E_RECEIPT_NO_KEY"


def test_offline_asks_nothing_of_s3(file: Path, ledger: Path, s3: FakeStates) -> None:
    done = well("verify", file, "--keys", ledger.parent / "receipt-keys", "--offline")
    assert done.return_value == 0
    assert "3 objects (9 B); proof direct 3; S3 was not queried" in done.stdout
    assert not s3.opened


def test_each_finding_is_a_line_and_the_code_is_65(
    file: Path, ledger: Path, s3: FakeStates
) -> None:
    keys = ledger.parent / "receipt-keys"
    del s3.states["p/part-0", "v0"]
    s3.put(pin_of(1), etag="new", size_bytes=9)
    s3.put(pin_of(2), etag="forged")
    done = well("verify", file, "--keys", keys)
    assert done.return_value == 65
    first, second, third = [line for line in done.stdout.splitlines() if "s3://raw/p/part" in line]
    assert first == "gone        s3://raw/p/part-0 version v0: this version was deleted since"
    assert second.startswith("overwritten s3://raw/p/part-1: ETag new, signed ")
    assert third.startswith("differs     s3://raw/p/part-2 version v2: ETag forged, signed ")
    assert "not true any more: 3 findings" in done.stdout
    as_json = well("verify", file, "--keys", keys, "--json")
    assert verdicts(as_json) == {
        "p/part-0": "gone",
        "p/part-1": "overwritten",
        "p/part-2": "differs",
    }
    assert json.loads(as_json.stdout.splitlines()[-1])["findings"] == 3


def test_the_same_content_written_again_ends_with_0(
    file: Path, ledger: Path, s3: FakeStates
) -> None:
    s3.put(pin_of(1), last_modified=PIN.last_modified + timedelta(days=1))
    done = well("verify", file, "--keys", ledger.parent / "receipt-keys", "--json")
    assert done.return_value == 0
    assert verdicts(done) == {"p/part-1": "rewritten"}


def test_an_object_from_before_versions_is_found_as_null(
    file: Path, ledger: Path, s3: FakeStates
) -> None:
    pin = pin_of(1)
    s3.put(pin, etag="new", version_id="v9")
    s3.put(replace(pin, version_id="null"))
    done = well("verify", file, "--keys", ledger.parent / "receipt-keys", "--json")
    assert (done.return_value, verdicts(done)) == (0, {})
    s3.put(replace(pin, version_id="null"), etag="another")
    done = well("verify", file, "--keys", ledger.parent / "receipt-keys", "--json")
    assert verdicts(done) == {"p/part-1": "overwritten"}


def test_what_s3_does_not_show_ends_with_69_unless_something_is_false(
    file: Path, ledger: Path, s3: FakeStates
) -> None:
    keys = ledger.parent / "receipt-keys"
    s3.states["p/part-2", "v2"] = PermanentError("E_SRC_DENIED", "s3://raw/p/part-2: no")
    done = well("verify", file, "--keys", keys)
    assert done.return_value == 69
    assert "unknown     s3://raw/p/part-2 version v2: E_SRC_DENIED: s3://raw/p/p" in done.stdout
    assert "not checked, because S3 did not show them: 1" in done.stdout
    s3.states["p/part-2", "v2"] = OutageError.of("s3", "E_SRC_KMS", "disabled", hint="h")
    assert well("verify", file, "--keys", keys).return_value == 69, "of this object alone"
    del s3.states["p/part-0", "v0"]
    done = well("verify", file, "--keys", keys)
    assert done.return_value == 65
    assert "in S3 1 as signed, 0 of them pinned by version" in done.stdout


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (OutageError.of("s3", "E_S3_UNREACHABLE", "no answer", hint="h"), 69),
        (OutageError.of("credentials", "E_AWS_EXPIRED", "expired", hint="h"), 69),
        (PermanentError("E_SRC_NO_BUCKET", "no such bucket", hint="h"), 65),
    ],
)
def test_what_holds_for_all_objects_ends_it(
    file: Path, ledger: Path, s3: FakeStates, error: BackhaulError, exit_code: int
) -> None:
    s3.states["p/part-0", "v0"] = error
    found = refused("verify", file, "--keys", ledger.parent / "receipt-keys")
    assert found is error
    assert found.exit_code == exit_code


def test_a_receipt_may_come_through_a_pipe(file: Path, ledger: Path, s3: FakeStates) -> None:
    keys = ledger.parent / "receipt-keys"
    assert well("verify", "-", "--keys", keys, stdin=file.read_bytes()).return_value == 0
    assert refused("verify", "-", "--keys", keys, stdin=b"").code == "E_RECEIPT_FORM"


def test_of_a_pipe_that_is_no_receipt_little_is_read(ledger: Path, key: str) -> None:
    pipe = BytesIO(b"x" * (4 * LINE_MAX_BYTES))
    trusted = TrustedKeys(directories=(ledger.parent / "receipt-keys",))
    with pytest.raises(PermanentError, match="E_RECEIPT_FORM"):
        verify_receipt(None, trusted, stdin=pipe, reader=None, signed=print, found=print)
    assert pipe.tell() <= 2 * LINE_MAX_BYTES


def test_a_changed_receipt_is_refused_before_s3_is_queried(
    file: Path, ledger: Path, s3: FakeStates
) -> None:
    keys = ledger.parent / "receipt-keys"
    good = file.read_bytes()
    for changed, wanted in (
        (good.replace(b"part-1", b"part-7"), "E_RECEIPT_DIGEST"),
        (good.replace(b'"route":"click"', b'"route":"clock"'), "E_RECEIPT_SIGNATURE"),
        (good[:-1], "E_RECEIPT_FORM"),
        (good + good, "E_RECEIPT_FORM"),
        (b"\0" * (LINE_MAX_BYTES + 5), "E_RECEIPT_FORM"),
        (good.replace(b'{"v":1,"kind":"receipt"', b'{"v":2,"kind":"receipt"'), "E_RECEIPT_VERSION"),
    ):
        file.write_bytes(changed)
        error = refused("verify", file, "--keys", keys)
        assert (error.code, error.exit_code) == (wanted, 65)
    assert not s3.looked


def test_a_file_that_is_not_there_is_a_wrong_command_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["receipt", "verify", str(tmp_path / "none")])
    assert done.exit_code == 2
    assert "does not exist" in done.output


def test_hostile_names_are_one_printable_line(
    file: Path, ledger: Path, s3: FakeStates, tmp_path: Path
) -> None:
    odd = "p/\u202eodd\x1b[31m\nname"
    finding = look(replace(SIGNED, pin=replace(PIN, key=odd, version_id="v\n1")), s3)
    from backhaul.cli.receipt import _name

    assert _name(finding) == "s3://raw/p/\\u202eodd\\x1b[31m\\nname version v\\n1"


def test_the_sum_is_documented_field_by_field(file: Path, ledger: Path, s3: FakeStates) -> None:
    page = REFERENCE / "receipt.md"
    rows = {one.columns[0]: one.rows for one in tables(page)}
    del s3.states["p/part-0", "v0"]
    done = well("verify", file, "--keys", ledger.parent / "receipt-keys", "--json")
    one, total = map(json.loads, done.stdout.splitlines())
    assert {n for row in rows["field of the sum"] for n in code(row[0])} == set(total)
    assert {n for row in rows["field of an object"] for n in code(row[0])} == set(one)
    assert {n for row in rows["verdict"] for n in code(row[0])} == set(ReceiptVerdict)
    statement = json.loads(file.read_text().splitlines()[0])
    assert {n for row in rows["field"] for n in code(row[0])} == set(statement)


# ---------------------------------------------------------------- tries


def passing() -> TransientError:
    return TransientError("E_S3_THROTTLED", "slow down")


def test_an_error_that_may_pass_is_tried_again_with_growing_pauses() -> None:
    answers: list[ObjectState | BackhaulError | None] = [passing(), passing(), None]
    slept: list[float] = []

    def call() -> ObjectState | None:
        answer = answers.pop(0)
        if isinstance(answer, BackhaulError):
            raise answer
        return answer

    assert tried(call, slept.append) is None
    assert len(slept) == 2
    assert 0.1 <= slept[0] <= 0.3
    assert 0.2 <= slept[1] <= 0.6


def test_tries_end() -> None:
    calls: list[int] = []

    def call() -> ObjectState | None:
        calls.append(1)
        raise passing()

    with pytest.raises(TransientError):
        tried(call, lambda _: None)
    assert len(calls) == TRIES


def test_another_error_is_not_tried_again() -> None:
    calls: list[int] = []

    def call() -> ObjectState | None:
        calls.append(1)
        raise PermanentError("E_SRC_DENIED", "no")

    with pytest.raises(PermanentError):
        tried(call, lambda _: None)
    assert len(calls) == 1


# ---------------------------------------------------------------- keys


def test_keys_are_shown_listed_and_found_by_their_beginning(ledger: Path, key: str) -> None:
    shown = well("key", "show", "--ledger", ledger)
    assert shown.stdout.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert key in shown.stderr
    well("key", "rotate", "--ledger", ledger)
    assert well("key", "show", "--ledger", ledger).stdout != shown.stdout
    assert well("key", "show", key[:6], "--ledger", ledger).stdout == shown.stdout
    listed = json.loads(well("key", "list", "--json", "--ledger", ledger).stdout)
    assert Checker(_schema("receipt-key-list")).accepts(listed)
    assert {one["key"]: one["is_current"] for one in listed["keys"]}[key] is False
    assert [one["is_current"] for one in listed["keys"]] == [True, False]
    lines = well("key", "list", "--ledger", ledger).stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["current", "retired"]


def test_an_unknown_or_ambiguous_key_is_refused(ledger: Path, key: str) -> None:
    well("key", "rotate", "--ledger", ledger)
    for wanted in ("zz", ""):
        error = refused("key", "show", wanted, "--ledger", ledger)
        assert error.code == "E_RECEIPT_KEY_UNKNOWN"
        assert "backhaul receipt key list" in error.hint


def test_no_command_prints_the_private_key(ledger: Path, key: str) -> None:
    private = (ledger.parent / "receipt-keys" / "signing.key").read_text().splitlines()[1]
    for words in (
        ("key", "show"),
        ("key", "list"),
        ("done1",),
        ("key", "create"),
        ("key", "rotate"),
    ):
        done = invoke(*words, "--ledger", ledger)
        assert private not in done.output
        assert private not in str(done.exception)


def journal(ledger: Path) -> list[tuple[str, str]]:
    """What was done to keys, and how it ended; oldest first."""
    words = ["journal", "--action", "key", "--json", "--ledger", str(ledger)]
    done = CliRunner().invoke(cli, words, standalone_mode=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [(one["subject"], one["outcome"].partition(":")[0]) for one in reversed(found)]


def test_each_act_on_a_key_has_a_line_in_the_journal(ledger: Path) -> None:
    first = well("key", "create", "--ledger", ledger).stdout.split()[-1]
    refused("key", "create", "--ledger", ledger)
    second = well("key", "rotate", "--ledger", ledger).stdout.split()[2]
    well("key", "retire", "--ledger", ledger)
    well("key", "list", "--ledger", ledger)
    assert journal(ledger) == [
        (f"create {first}", "done"),
        ("create", "E_RECEIPT_KEY_EXISTS"),
        (f"rotate {first}: {second}", "done"),
        (f"retire {second}", "done"),
    ]


def test_the_key_of_the_first_receipt_has_a_line_in_the_journal(ledger: Path) -> None:
    well("done1", "--ledger", ledger)
    (line,) = journal(ledger)
    assert line == (f"create {well('key', 'list', '--ledger', ledger).stdout.split()[0]}", "done")


def test_keys_elsewhere_need_no_configuration(tmp_path: Path) -> None:
    config = tmp_path / "backhaul.toml"
    config.write_text("no = configuration")
    keys = tmp_path / "keys"
    done = well("key", "create", "--keys", keys, "--config", config)
    assert (keys / "signing.key").exists()
    assert "no line in the operators' journal" in done.stderr


def test_the_list_of_no_keys_names_the_fix(ledger: Path) -> None:
    done = well("key", "list", "--ledger", ledger)
    assert done.stdout == ""
    assert "backhaul receipt key create" in done.stderr
    assert refused("key", "retire", "--ledger", ledger).exit_code == ExitCode.CONFIGURATION


def test_the_configuration_names_the_directory(tmp_path: Path, ledger: Path) -> None:
    config = tmp_path / "backhaul.toml"
    keys = tmp_path / "elsewhere"
    config.write_text(f'ledger = "{ledger}"\n[receipt]\nkeys = "{keys}"\n')
    config.chmod(0o644)
    well("key", "create", "--config", config)
    assert (keys / "signing.key").exists()
    assert well("done1", "--config", config).stdout
    config.chmod(0o666)
    assert refused("done1", "--config", config).code == "E_CFG_PERMISSIONS"

"""Every fact has words; no line shows a secret; logging never raises into a transfer."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.system.log import (
    LogTarget,
    Telemetry,
    describe,
)
from backhaul.app.context import log_target
from backhaul.core import facts as events
from backhaul.core.errors import ConfigurationError
from backhaul.core.units import human_bytes
from backhaul.settings.model import LogSection

FACTS = [
    value
    for value in vars(events).values()
    if isinstance(value, type)
    and dataclasses.is_dataclass(value)
    and value.__module__ == events.__name__  # not what they are made of
]
VALUES: dict[str, Any] = {
    "tuple[tuple[str, int], ...]": (("direct", 2), ("bridged", 1)),
    "tuple[str, ...]": ("clicks",),
    "tuple[BudgetHold, ...]": (),
    "int": 3,
    "float": 1.25,
    "bool": True,
    "str": "text",
    "datetime": datetime(2026, 11, 22, tzinfo=UTC),
}


def sample(kind: type, **given: Any) -> Any:
    """A fact of this kind with something in every field."""
    values = {
        field.name: VALUES[str(field.type).removesuffix(" | None")]
        for field in dataclasses.fields(kind)
    }
    return kind(**values | given)


def logged(*facts: object, is_json: bool = True, **other: Any) -> list[str]:
    stream = io.StringIO()
    telemetry = Telemetry(LogTarget(stream=stream, is_json=is_json, level="debug", **other))
    for fact in facts:
        telemetry(fact)
    return stream.getvalue().splitlines()


def test_there_are_facts() -> None:
    assert len(FACTS) > 15


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
def test_every_fact_has_words_of_its_own(kind: type) -> None:
    level, event, fields = describe(sample(kind))

    assert level in {"debug", "info", "warning", "error"}
    assert event != kind.__name__ or kind is events.TransferProgress
    assert event == event.strip()
    assert fields


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
def test_every_fact_can_be_written_as_text_and_json(kind: type) -> None:
    if kind is events.TransferProgress:
        return
    (line,) = logged(sample(kind))
    found = json.loads(line)
    assert found["event"] == describe(sample(kind))[1]
    assert found["level"] == describe(sample(kind))[0]
    assert found["at"].endswith("Z")
    assert "datetime" not in line, "every value is one that JSON has"
    assert describe(sample(kind))[1] in "\n".join(logged(sample(kind), is_json=False))


def test_a_dead_message_was_moved_or_kept_hidden() -> None:
    moved = describe(sample(events.MessageDead))
    kept = describe(sample(events.MessageDead, dead_letter_queue=None))

    assert moved[1] == "message dead-lettered: text"
    assert moved[1] != kept[1]
    assert (moved[0], kept[0]) == ("error", "error")
    wished = describe(sample(events.MessageDead, code="E_CANCELLED"))
    assert wished[:2] == ("info", "message dead-lettered: E_CANCELLED")


def test_a_cancelled_transfer_is_not_one_that_another_process_took() -> None:
    cancelled = describe(sample(events.TransferTakenOver, is_cancelled=True, owner=None))
    taken = describe(sample(events.TransferTakenOver, is_cancelled=False, owner="edge2:b:4711:9"))
    assert cancelled[:2] == ("info", "transfer cancelled by operator")
    assert taken[:2] == ("warning", "transfer taken over by another process")
    assert taken[2]["owner"] == "edge2:b:4711:9"


def test_done_has_the_rate_and_no_empty_fields() -> None:
    _, _, fields = describe(
        sample(
            events.TransferDone,
            size_bytes=6 << 20,
            copied_bytes=3 << 20,
            duration_s=2.0,
            adopted=0,
            placeholders=0,
            is_superseded=False,
        )
    )

    assert (fields["bytes"], fields["seconds"], fields["rate"]) == (6 << 20, 2.0, "1.5 MiB/s")
    assert fields["copied_bytes"] == 3 << 20
    assert not {"adopted", "markers", "is_superseded"} & fields.keys()


def test_a_transfer_that_moved_nothing_has_no_rate() -> None:
    fact = sample(events.TransferDone, size_bytes=600_000, copied_bytes=0, adopted=4)
    _, _, fields = describe(fact)
    assert (fields["bytes"], fields["copied_bytes"], fields["adopted"]) == (600_000, 0, 4)
    assert "rate" not in fields


def test_a_bug_has_its_traceback() -> None:
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("a bug")
    (line,) = logged(caught.value)
    assert "Traceback" in json.loads(line)["exception"]


@pytest.mark.parametrize("is_json", [False, True])
def test_a_traceback_shows_no_secret(*, is_json: bool) -> None:
    error = RuntimeError("GET https://b/k?X-Amz-Signature=c0ffee")
    error.__cause__ = ValueError("fs.s3a.secret.key=c0ffee")
    error.add_note('{"password": "two c0ffee"}')
    text = "\n".join(logged(error, is_json=is_json))

    assert "X-Amz-Signature=***" in text
    assert "c0ffee" not in text


@pytest.mark.parametrize("is_json", [False, True])
def test_no_line_shows_a_password(*, is_json: bool) -> None:
    body = "s3://AKIAUSER:hunter2@raw/p/?X-Amz-Signature=deadbeef, /d"
    lines = logged(sample(events.MessageReceived, body_excerpt=body), is_json=is_json)

    assert lines
    assert "hunter2" not in "".join(lines)
    assert "deadbeef" not in "".join(lines)


def test_level_leaves_out_what_is_below_it() -> None:
    stream = io.StringIO()
    telemetry = Telemetry(LogTarget(stream=stream, is_json=True, level="warning"))
    telemetry(sample(events.AgentStarted))
    telemetry(sample(events.AttemptFailed))

    assert len(stream.getvalue().splitlines()) == 1


def test_progress_goes_to_the_display_and_not_to_the_log() -> None:
    drawn: list[object] = []
    stream = io.StringIO()
    telemetry = Telemetry(LogTarget(stream=stream, is_json=True, level="info"), drawn.append)
    fact = sample(events.TransferProgress)
    telemetry(fact)

    assert drawn == [fact]
    assert stream.getvalue() == ""


def test_long_transfer_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backhaul.adapters.system.log.PROGRESS_LINE_S", 0.0)
    lines = logged(*[sample(events.TransferProgress, is_planned=False)] * 2)

    assert json.loads(lines[0])["objects"] == "3 of 3+"


def test_file_gets_json_beside_text(tmp_path: Path) -> None:
    path = tmp_path / "log" / "backhaul.log"
    target = LogTarget(stream=io.StringIO(), is_json=False, level="info", file=path)
    telemetry = Telemetry(target)
    telemetry(sample(events.AgentStarted))
    for handler in telemetry._log.bind()._logger.handlers:
        handler.close()

    assert json.loads(path.read_text())["event"] == "agent started"


def test_log_that_cannot_be_written_stops_nothing() -> None:
    def broken(_: object) -> None:
        raise OSError("disk full")

    telemetry = Telemetry(LogTarget(stream=io.StringIO(), is_json=True, level="info"), broken)
    telemetry(sample(events.AgentStarted))


def test_format_auto_is_json_without_a_terminal() -> None:
    for log_format, is_json in (("json", True), ("text", False), ("auto", True)):
        assert log_target(LogSection(format=log_format)).is_json is is_json


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (5 << 40, "5.0 TiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_bytes_are_formatted_for_people(size: int, text: str) -> None:
    assert human_bytes(size) == text


def test_a_log_file_that_is_a_pipe_or_a_socket_is_refused_and_never_waited_for(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name in ("fifo", "socket"):
            with pytest.raises(ConfigurationError, match="E_LOG_FILE") as caught:
                logged(file=tmp_path / name)
            assert str(tmp_path / name) in caught.value.message
            assert "regular file" in caught.value.message
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(ConfigurationError, match="E_LOG_FILE"):
        logged(file=tmp_path / "fifo")
    os.close(reader)
    device = Telemetry(
        LogTarget(stream=io.StringIO(), is_json=True, level="info", file=Path("/dev/null"))
    )
    device.reopen()  # and closes it


def test_a_pipe_in_place_of_the_log_file_is_reported_and_does_not_stop_the_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "log"
    telemetry = Telemetry(LogTarget(stream=io.StringIO(), is_json=True, level="info", file=file))
    telemetry(sample(events.MessageReceived))
    assert file.stat().st_mode & 0o111 == 0
    file.rename(tmp_path / "log.1")
    os.mkfifo(file)
    telemetry.reopen()
    telemetry(sample(events.MessageReceived))
    assert "the log cannot be written" in capsys.readouterr().err


# ---------------------------------------------------------------- the journal


def journal_of(path: Path) -> str:
    found = path.stat()
    return f"{found.st_dev}:{found.st_ino}"


@pytest.mark.parametrize("is_json", [True, False])
def test_in_the_journal_each_line_has_its_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_json: bool
) -> None:
    path = tmp_path / "journal"
    with path.open("w", encoding="utf-8") as stream:
        monkeypatch.setenv("JOURNAL_STREAM", journal_of(path))
        telemetry = Telemetry(LogTarget(stream=stream, is_json=is_json, level="debug"))
        for kind in (events.ThreadHung, events.PollFailed, events.AgentStarted, events.QueuePolled):
            telemetry(sample(kind))
    lines = path.read_text("utf-8").splitlines()
    assert [line[:3] for line in lines] == ["<3>", "<4>", "<6>", "<7>"]
    if is_json:
        assert json.loads(lines[0][3:])["level"] == "error"


def test_elsewhere_lines_have_no_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is inherited by what a service starts, whose output goes somewhere else."""
    other = tmp_path / "other"
    other.touch()
    monkeypatch.setenv("JOURNAL_STREAM", journal_of(other))
    path = tmp_path / "log"
    with path.open("w", encoding="utf-8") as stream:
        Telemetry(LogTarget(stream=stream, is_json=True, level="info"))(sample(events.AgentStarted))
    assert path.read_text("utf-8").startswith("{")
    (line,) = logged(sample(events.AgentStarted))  # a stream that is no file
    assert line.startswith("{")


def test_a_log_file_beside_the_journal_has_no_priorities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    with path.open("w", encoding="utf-8") as stream:
        monkeypatch.setenv("JOURNAL_STREAM", journal_of(path))
        target = LogTarget(stream=stream, is_json=True, level="info", file=tmp_path / "file.log")
        telemetry = Telemetry(target)
        telemetry(sample(events.AgentStarted))
        for handler in telemetry._handlers:
            handler.close()
    assert path.read_text("utf-8").startswith("<6>{")
    assert (tmp_path / "file.log").read_text("utf-8").startswith("{")

"""`LEDGER.notify`: everything comes back, and a damaged or foreign file is one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backhaul.adapters.system.notification_file import NotificationFile
from backhaul.core.errors import TransientError
from backhaul.core.notification import Death, Deaths, Notices, NotifyOn, Remembered
from tests.unit.test_notification_plan import START, death, notice

FULL = {
    "oncall": Remembered(
        sent_at=START,
        troubles=frozenset({"held:E_HDFS_SAFEMODE", "not-polling:E"}),
        deaths=Deaths.of(death(1)).with_more(Deaths.of(death(2, "E_B", ""))),
        notices=Notices.of(notice()).with_more(Notices.of(notice(NotifyOn.FORECAST))),
    ),
    "new": Remembered(),
}


@pytest.fixture
def file(tmp_path: Path) -> NotificationFile:
    (tmp_path / "ledger.db").touch(0o600)
    return NotificationFile(tmp_path / "ledger.db")


def failed(file: NotificationFile) -> TransientError:
    with pytest.raises(TransientError) as caught:
        file.load()
    assert caught.value.code == "E_NOTIFY_MEMORY"
    return caught.value


def test_there_is_nothing_before_the_first_time(file: NotificationFile) -> None:
    assert file.load() == {}


def test_what_is_saved_comes_back(file: NotificationFile, tmp_path: Path) -> None:
    file.save(FULL)
    assert file.load() == FULL
    assert (tmp_path / "ledger.db.notify").stat().st_mode & 0o7777 == 0o640


def test_a_file_of_an_earlier_version_has_no_notices(
    file: NotificationFile, tmp_path: Path
) -> None:
    file.save({"oncall": Remembered(sent_at=START)})
    place = tmp_path / "ledger.db.notify"
    found = json.loads(place.read_text("utf-8"))
    del found["names"]["oncall"]["notices"]
    place.write_text(json.dumps(found), "utf-8")
    assert file.load() == {"oncall": Remembered(sent_at=START)}


@settings(deadline=None)
@given(st.text(max_size=50), st.one_of(st.none(), st.text(max_size=20)))
def test_any_text_comes_back(foreign: str, queue: str | None) -> None:
    import tempfile

    one = Death(
        at=START,
        transfer_id="t",
        message_id=foreign,
        code="E",
        reason=foreign,
        hint=foreign,
        attempts=1,
        dead_letter_queue=queue,
        source=foreign,
    )
    with tempfile.TemporaryDirectory() as directory:
        file = NotificationFile(Path(directory) / "ledger.db")
        saved = {foreign: Remembered(deaths=Deaths.of(one))}
        file.save(saved)
        assert file.load() == saved


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "no json",
        '{"v": 2, "names": {}}',
        '{"v": 1, "names": []}',
        '{"v": 1, "names": {"a": {}}}',
        '{"v": 1, "names": {"a": {"sent_at": "soon", "troubles": [], "deaths": null}}}',
        '{"v": 1, "names": {"a": {"sent_at": null, "troubles": 1, "deaths": null}}}',
        '{"v": 1, "names": {"a": {"sent_at": null, "troubles": [], "deaths": {"count": "x"}}}}',
        "[" * 100_000,
    ],
    ids=lambda content: content[:60],
)
def test_a_damaged_file_is_one_error_and_written_anew(
    file: NotificationFile, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "ledger.db.notify"
    path.write_text(content)
    path.chmod(0o640)
    error = failed(file)
    assert str(path) in error.message
    file.save(FULL)
    assert file.load() == FULL


def test_a_file_that_others_may_write_is_not_believed(
    file: NotificationFile, tmp_path: Path
) -> None:
    file.save(FULL)
    (tmp_path / "ledger.db.notify").chmod(0o666)
    assert "can be written by others" in failed(file).message
    with pytest.raises(TransientError, match="E_NOTIFY_MEMORY"):
        file.save(FULL)


def test_a_link_is_not_followed(file: NotificationFile, tmp_path: Path) -> None:
    (tmp_path / "other").write_text(json.dumps({"v": 1, "names": {}}))
    (tmp_path / "ledger.db.notify").symlink_to(tmp_path / "other")
    failed(file)
    with pytest.raises(TransientError):
        file.save(FULL)
    assert json.loads((tmp_path / "other").read_text()) == {"v": 1, "names": {}}


@pytest.mark.parametrize("number", [13, 28])
def test_a_place_that_cannot_be_written_is_named(
    file: NotificationFile, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "No space left on device")

    monkeypatch.setattr("backhaul.adapters.system.shared_file.SharedFile.replace", refuse)
    with pytest.raises(TransientError, match=r"ledger\.db\.notify") as caught:
        file.save(FULL)
    assert caught.value.code == "E_NOTIFY_MEMORY"


def test_a_file_that_cannot_be_read_is_named(
    file: NotificationFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("backhaul.adapters.system.shared_file.SharedFile.read", refuse)
    assert "cannot be read" in failed(file).message


def test_what_is_no_time_is_no_value(file: NotificationFile) -> None:
    with pytest.raises(TypeError, match="object"):
        file.save({"a": Remembered(sent_at=object())})  # type: ignore[arg-type]

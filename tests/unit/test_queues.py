"""Which queues are meant, what they are called, and which settings contradict one another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backhaul.app.queues import (
    chosen_queue,
    configured_queues,
    queue_of_command,
    queues_to_work,
)
from backhaul.core.errors import BadArgument, ConfigurationError
from backhaul.settings.queue import QueueSettings, check_bindings, check_queues

URL = "https://sqs.us-west-2.amazonaws.com/123456789012/orders"
ROLE = "arn:aws:iam::210987654321:role/reader"


def queue(name: str = "orders", region: str | None = "us-west-2", **more: object) -> QueueSettings:
    return QueueSettings(name=name, region=region, **more)  # type: ignore[arg-type]


def test_without_a_name_all_of_the_file_are_worked() -> None:
    found = queues_to_work([queue(), queue("events", min_slots=2)], None, None)
    assert [(one.text, one.region, one.min_slots) for one in found] == [
        ("orders", "us-west-2", 0),
        ("events", "us-west-2", 2),
    ]


def test_one_that_is_named_is_worked_alone_with_its_own_role() -> None:
    both = [queue(role_arn=ROLE, external_id="x1"), queue("events")]
    (found,) = queues_to_work(both, "orders", "us-west-2")
    assert (found.role_arn, found.external_id) == (ROLE, "x1")
    assert queues_to_work(both, "events", None)[0].region == "us-west-2"


def test_without_any_in_the_file_one_is_named_with_its_region_as_before() -> None:
    (found,) = queues_to_work([], "orders", "eu-west-1")
    assert (found.text, found.region, found.label, found.role_arn) == (
        "orders",
        "eu-west-1",
        "orders",
        None,
    )
    assert queues_to_work([], URL, None)[0].region == "us-west-2"


@pytest.mark.parametrize(
    ("name", "region"),
    [("other", "us-west-2"), ("other", None), ("orders", "eu-west-1"), ("events", "us-west-2")],
)
def test_what_is_not_clear_is_refused(name: str, region: str | None) -> None:
    both = [queue(), queue("events", "eu-west-1")]
    with pytest.raises(BadArgument) as caught:
        chosen_queue(both, name, region)
    assert caught.value.code == "E_QUEUE_WHICH"
    assert "is no [[queue]] of the configuration" in caught.value.message
    assert "by QUEUE REGION: orders us-west-2, events eu-west-1" in caught.value.hint
    for pair in caught.value.hint.partition("REGION: ")[2].partition(";")[0].split(", "):
        one = queues_to_work(both, *pair.split())[0]
        assert f"{one.label} {one.region}" == pair


def test_a_name_that_is_two_queues_wants_its_region() -> None:
    both = [queue(), queue(region="eu-west-1")]
    with pytest.raises(BadArgument) as caught:
        chosen_queue(both, "orders", None)
    assert "orders@us-west-2 us-west-2, orders@eu-west-1 eu-west-1" in caught.value.hint
    assert chosen_queue(both, "orders", "eu-west-1").label == "orders@eu-west-1"
    assert chosen_queue(both, "orders@us-west-2", None).region == "us-west-2"


def test_without_a_queue_in_the_file_a_name_alone_has_no_region() -> None:
    with pytest.raises(BadArgument) as caught:
        chosen_queue([], "orders", None)
    assert "in which region" in caught.value.message
    with pytest.raises(BadArgument) as caught:
        queues_to_work([], None, None)
    assert "has no [[queue]]" in caught.value.message


# ---------------------------------------------------------------- of commands that send and read


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes a configuration that no command finds by itself."""
    monkeypatch.setenv("BACKHAUL_CONFIG", str(tmp_path / "none.toml"))
    (tmp_path / "none.toml").write_text("", "utf-8")

    def write(text: str) -> Path:
        path = tmp_path / "two.toml"
        path.write_text(text, "utf-8")
        path.chmod(0o600)
        return path

    return write


EVENTS = f'''
[[queue]]
name = "events"
region = "eu-west-1"
role_arn = "{ROLE}"
external_id = "x1"

[[queue]]
name = "orders"
region = "us-west-2"
'''


def test_a_command_takes_the_role_from_the_configuration_that_it_is_given(
    written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(EVENTS)
    for name in ("events", "arn:aws:sqs:eu-west-1:210987654321:events"):
        found = queue_of_command(name, "eu-west-1", path)
        assert (found.role_arn, found.external_id, found.owner) == (ROLE, "x1", "210987654321")
        assert queue_of_command(name, "eu-west-1").role_arn is None
    assert queue_of_command("orders", "us-west-2", path).role_arn is None
    assert queue_of_command("other", "us-west-2", path).text == "other"
    monkeypatch.setenv("BACKHAUL_CONFIG", str(path))
    assert queue_of_command("events", "eu-west-1").role_arn == ROLE


def test_a_fault_elsewhere_hides_no_role_and_one_in_the_queues_has_none(
    written: Callable[[str], Path],
) -> None:
    path = written(f"[agent]\nslots = 0\n{EVENTS}")
    assert queue_of_command("events", "eu-west-1", path).role_arn == ROLE
    path = written(EVENTS + EVENTS)
    assert queue_of_command("events", "eu-west-1", path).role_arn is None


def test_a_name_that_is_queues_of_two_accounts_is_none_of_them(
    written: Callable[[str], Path],
) -> None:
    path = written(
        f'{EVENTS}[[queue]]\nname = "events"\nregion = "eu-west-1"\nowner = "{"1" * 12}"\n'
    )
    with pytest.raises(BadArgument) as caught:
        queue_of_command("events", "eu-west-1", path)
    assert caught.value.code == "E_QUEUE_WHICH"
    label = "events@eu-west-1/210987654321"
    assert label in caught.value.hint
    assert queue_of_command(label, "eu-west-1", path).role_arn == ROLE


# ---------------------------------------------------------------- labels, and what contradicts


def test_labels_are_as_short_as_they_may_be() -> None:
    settings = [
        queue(),
        queue(region="eu-west-1"),
        queue("events", owner="111111111111"),
        queue("events", owner="222222222222"),
        queue("clicks"),
    ]
    assert [one.label for one in configured_queues(settings)] == [
        "orders@us-west-2",
        "orders@eu-west-1",
        "events@us-west-2/111111111111",
        "events@us-west-2/222222222222",
        "clicks",
    ]


def test_an_account_that_a_role_names_tells_queues_apart() -> None:
    check_queues([queue(owner="123456789012"), queue(role_arn=ROLE)], 4, None)
    with pytest.raises(ConfigurationError, match="is there twice"):
        check_queues([queue(), queue(role_arn=ROLE)], 4, None)


def test_a_route_may_be_bound_by_name_url_or_arn() -> None:
    arn = "arn:aws:sqs:us-west-2:123456789012:orders"
    check_bindings([("a", ["orders", URL, arn])], [queue()], None)
    check_bindings([("a", ["anything"])], [], None)
    with pytest.raises(ConfigurationError, match="which no"):
        check_bindings([("a", ["orders", "events"])], [queue()], None)

"""Which queues are meant, what they are called, and which settings contradict one another."""

from __future__ import annotations

import pytest

from backhaul.app.queues import chosen_queue, configured_queues, queues_to_work
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
    ("name", "region", "says"),
    [
        (None, None, "the configuration has 2"),
        ("other", "us-west-2", "is no [[queue]] of the configuration"),
        ("orders", "eu-west-1", "is no [[queue]] of the configuration"),
    ],
)
def test_what_is_not_clear_is_refused(name: str | None, region: str | None, says: str) -> None:
    with pytest.raises(BadArgument) as caught:
        chosen_queue([queue(), queue("events")], name, region)
    assert caught.value.code == "E_QUEUE_WHICH"
    assert says in caught.value.message
    assert "orders, events" in caught.value.hint


def test_a_name_that_is_two_queues_wants_its_region() -> None:
    both = [queue(), queue(region="eu-west-1")]
    with pytest.raises(BadArgument) as caught:
        chosen_queue(both, "orders", None)
    assert "orders@us-west-2, orders@eu-west-1" in caught.value.hint
    assert chosen_queue(both, "orders", "eu-west-1").label == "orders@eu-west-1"
    assert chosen_queue(both, "orders@us-west-2", None).region == "us-west-2"


def test_without_a_queue_in_the_file_a_name_alone_has_no_region() -> None:
    with pytest.raises(BadArgument) as caught:
        chosen_queue([], "orders", None)
    assert "in which region" in caught.value.message
    with pytest.raises(BadArgument) as caught:
        queues_to_work([], None, None)
    assert "has no [[queue]]" in caught.value.message


def test_the_only_queue_of_the_file_need_not_be_named() -> None:
    assert chosen_queue([queue()], None, None).text == "orders"


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

"""What options accept."""

from datetime import UTC, datetime

import click
import pytest

from backhaul.cli.options import Moment


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T03:00:00", datetime(2026, 11, 1, 3, tzinfo=UTC)),
        ("2026-11-01 03:00", datetime(2026, 11, 1, 3, tzinfo=UTC)),
        ("2026-11-01T03:00:00Z", datetime(2026, 11, 1, 3, tzinfo=UTC)),
        ("2026-11-01T03:00:00.250000+02:00", datetime(2026, 11, 1, 1, 0, 0, 250000, tzinfo=UTC)),
    ],
)
def test_a_moment_is_as_iso_8601_has_it(text: str, meant: datetime) -> None:
    found = Moment().convert(text, None, None)
    assert (found, found.utcoffset()) == (meant, meant.utcoffset())


@pytest.mark.parametrize("text", ["tomorrow", "", "2026-13-01", "9999-12-31T23:59:59-10:00"])
def test_a_wrong_date_is_answered_with_a_right_one(text: str) -> None:
    with pytest.raises(click.BadParameter, match="2026-11-01T03:00:00Z"):
        Moment().convert(text, None, None)

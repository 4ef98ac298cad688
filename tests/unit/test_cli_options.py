"""What options understand."""

from datetime import UTC, datetime

import click
import pytest

from backhaul.cli.options import Moment


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T03:00:00", datetime(2026, 11, 1, 3, tzinfo=UTC)),
        ("2026-11-01 03:00", datetime(2026, 11, 1, 3, tzinfo=UTC)),
        ("2026-11-01T03:00:00Z", datetime(2026, 11, 1, 3, tzinfo=UTC)),
        ("2026-11-01T03:00:00.250000+02:00", datetime(2026, 11, 1, 1, 0, 0, 250000, tzinfo=UTC)),
    ],
)
def test_a_moment_is_as_iso_8601_has_it(said: str, meant: datetime) -> None:
    found = Moment().convert(said, None, None)
    assert (found, found.utcoffset()) == (meant, meant.utcoffset())


@pytest.mark.parametrize("said", ["yesterday", "", "2026-13-01", "9999-12-31T23:59:59-10:00"])
def test_what_is_no_moment_is_told_with_one_that_is(said: str) -> None:
    with pytest.raises(click.BadParameter, match="2026-11-01T03:00:00Z"):
        Moment().convert(said, None, None)

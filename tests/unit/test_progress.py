"""What a person at a terminal sees of a transfer by DistCp."""

import io

import pytest
from rich.console import Console

from backhaul.cli.progress import Display, summary
from backhaul.core import facts as events

URL = "http://rm:8088/proxy/application_1_0007/"


def test_a_terminal_shows_phase_maps_objects_and_where_to_look() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160, color_system=None)
    with Display(console) as display:
        display(
            events.AttemptStarted(
                transfer_id="t",
                message_id=None,
                attempt=1,
                source="s3://raw/day=1/",
                destination="hdfs://ns1/d",
                route="r",
            )
        )
        display(
            events.ApplicationFollowed(
                transfer_id="t",
                application="application_1_0007",
                tag="bh-t-1",
                state="running",
                tracking_url=URL,
            )
        )
        for phase, detail in (("queued", URL), ("copying", f"maps 1 of 4, {URL}")):
            display(
                events.TransferProgress(
                    transfer_id="t",
                    phase=phase,
                    objects=3,
                    size_bytes=1 << 20,
                    objects_total=12,
                    size_bytes_total=1 << 22,
                    is_planned=True,
                    detail=detail,
                )
            )
            assert display._bars is not None
            display._bars.refresh()
    shown = screen.getvalue()
    assert f"day=1: application_1_0007 {URL}" in shown
    assert "queued" in shown
    assert "copying, maps 1 of 4" in shown
    assert "3/12 objects" in shown
    assert shown.count(URL) == 1


@pytest.mark.parametrize(
    ("levels", "end"),
    [
        ((("direct", 3),), ", proven; id t"),
        ((("stream", 1), ("size", 2)), ", proven, NOT PROVEN, only lengths compared: 2; id t"),
        ((("size", 3),), ", NOT PROVEN, only lengths compared: 3; id t"),
    ],
)
def test_files_of_which_only_the_length_was_compared_are_never_called_proven(
    levels: tuple[tuple[str, int], ...], end: str
) -> None:
    done = events.TransferDone(
        transfer_id="t",
        message_id=None,
        source="s3://raw/day=1/",
        destination="hdfs://ns1/d",
        objects=3,
        size_bytes=9,
        copied_bytes=9,
        placeholders=0,
        adopted=0,
        publish="",
        is_superseded=False,
        duration_s=1,
        proof_levels=levels,
    )
    assert summary(done).endswith(end)


def terminal(*facts: object, width: int = 160) -> str:
    """The last frame that a terminal of that width shows after these, in plain text with styles."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system="standard")
    with Display(console) as display:
        for fact in facts:
            display(fact)
        assert display._bars is not None
        display._bars.refresh()
    return screen.getvalue().rsplit("\r", 1)[-1]


BEGUN = events.AttemptStarted(
    transfer_id="t",
    message_id=None,
    attempt=1,
    source="s3://raw/day=1/",
    destination="hdfs://ns1/d",
    route="r",
)


def moved(size_bytes: int) -> events.TransferProgress:
    return events.TransferProgress(
        transfer_id="t",
        phase="staging",
        objects=0,
        size_bytes=size_bytes,
        objects_total=12,
        size_bytes_total=1 << 22,
        is_planned=True,
    )


def test_a_bar_names_the_phase_and_is_as_wide_as_the_terminal() -> None:
    first = terminal(BEGUN)
    assert "listing" in first
    assert "0 objects" not in first
    assert "left" not in first
    assert "staging" in terminal(BEGUN, moved(1 << 20))
    assert "proving" in terminal(BEGUN, moved(1 << 22)), "all bytes are there, and none is proven"
    assert terminal(BEGUN, width=160).count("━") > terminal(BEGUN, width=120).count("━") + 30
    narrow = terminal(BEGUN, moved(1 << 20), width=80)
    assert "0/12 objects" in narrow
    assert "…" not in narrow


def test_a_dead_transfer_is_no_unfinished_bar() -> None:
    shown = terminal(
        BEGUN,
        events.MessageDead(
            transfer_id="t",
            message_id="m",
            code="E_SRC_EMPTY",
            reason="nothing there",
            hint="",
            attempts=1,
            dead_letter_queue="dead",
        ),
    )
    assert "\x1b[31mdead: E_SRC_EMPTY" in shown
    assert "left" not in shown


def test_nothing_is_red_that_is_no_error() -> None:
    shown = terminal(BEGUN, moved(1 << 20), moved(1 << 21))
    assert "\x1b[31m" not in shown

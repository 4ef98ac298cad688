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
            display._bars.refresh()
    shown = screen.getvalue()
    assert f"day=1: application_1_0007 {URL}" in shown
    assert "day=1: queued" in shown
    assert "day=1: copying, maps 1 of 4" in shown
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

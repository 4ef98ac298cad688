"""The arithmetic of `benchmarks`; no shape is measured here."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.load import watched
from benchmarks.measure import Failed, measured, serving
from benchmarks.plot import svg
from benchmarks.report import SERVERS_CPU, Figure, best, paired, programs, save, table

pytestmark = pytest.mark.slow  # starts processes


def figure(*values: float, at_least: float | None = None, at_most: float | None = None) -> Figure:
    return Figure(
        shape="small", what="ratio", unit="x", values=values, at_least=at_least, at_most=at_most
    )


def test_ratios_pair_values_of_the_same_round() -> None:
    assert paired([4.0, 9.0], [5.0, 10.0]) == (0.8, 0.9)


def test_claims_are_made_in_new_and_in_known_destinations(tmp_path: Path) -> None:
    known, ledger = tmp_path / "known", tmp_path / "ledger.db"
    known.write_text("hdfs://nameservice/landing/one\nhdfs://nameservice/landing/two\n", "utf-8")
    command = ["-m", "benchmarks.claim_once", str(ledger), "6", "2", str(known)]
    done = subprocess.run([sys.executable, *command], check=True, capture_output=True)
    assert set(json.loads(done.stdout)) == {"claims_per_s", "transfers_per_s", "cpu_ms"}
    with closing(sqlite3.connect(ledger)) as connection:
        rows = connection.execute("SELECT uri, owner_transfer FROM destinations").fetchall()
        states = connection.execute("SELECT DISTINCT state FROM transfers").fetchall()
    assert {"hdfs://nameservice/landing/one", "hdfs://nameservice/landing/two"} < dict(rows).keys()
    assert len(rows) == 2 * 4 + 6 + 6, "none twice: to warm up, whole, and to be claimed at once"
    assert not any(dict(rows).values())
    assert states == [("done",)]


def test_rounds_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired([1.0, 2.0], [1.0])


def test_the_best_ceiling_is_the_one_with_the_lowest_median() -> None:
    assert best({"128 threads": [7.0, 7.1, 7.2], "256 threads": [1.0, 8.0, 9.0]}) == "128 threads"


@pytest.mark.parametrize(
    ("one", "is_met"),
    [
        (figure(0.7, 0.8, 0.9, at_least=0.8), True),
        (figure(0.7, 0.79, 0.9, at_least=0.8), False),
        (figure(90, 100, 300, at_most=100), True),
        (figure(90, 101, 300, at_most=100), False),
        (figure(1.0), None),
    ],
)
def test_a_target_is_met_by_the_median(one: Figure, is_met: bool | None) -> None:  # noqa: FBT001
    assert one.is_met is is_met


def test_the_table_has_a_line_for_each_figure() -> None:
    lines = table([figure(0.5, 0.75, at_least=0.8), figure(123.4)]).splitlines()
    assert lines[0].split() == ["shape", "what", "min", "median", "max", "target"]
    assert " ".join(lines[1].split()) == "small ratio 0.50 0.62 0.75 x >= 0.8 MISSED"
    assert " ".join(lines[2].split()) == "small ratio 123 123 123 x"


def test_what_is_saved_can_be_read_again(tmp_path: Path) -> None:
    save(tmp_path / "bench" / "one.json", [figure(1.0, 3.0)], {"rounds": 2})
    found = json.loads((tmp_path / "bench" / "one.json").read_text())
    assert found["rounds"] == 2
    assert found["figures"][0]["median"] == 2.0
    assert "small" in (tmp_path / "bench" / "one.txt").read_text()


# ---------------------------------------------------------------- programs side by side


def of(program: str, unit: str, *values: float, shape: str = "large") -> Figure:
    return Figure(shape=shape, what=program, unit=unit, values=values, program=program)


SIDE_BY_SIDE = [
    *(of("backhaul", "s", 2.0, 4.0), of("backhaul", "s/GiB", 3.0, 5.0)),
    *(of("backhaul", "MB", 100.0, 300.0), of("rclone", "s", 6.0, 8.0)),
    *(of("rclone", "s/GiB", 1.0, 1.0), of("rclone", "MB", 50.0, 70.0)),
    of("rclone", SERVERS_CPU, 2.0, 9.0),
]


def test_programs_stand_side_by_side_with_ratios_of_the_same_round() -> None:
    lines = [" ".join(line.split()) for line in programs([*SIDE_BY_SIDE, figure(1.0)]).splitlines()]
    assert lines[1] == "large backhaul 3.00 4.00 200 1.00"
    assert lines[2] == "large rclone 7.00 1.00 5.50 60.0 2.50"
    assert len(lines) == 3


def test_without_programs_there_is_nothing_to_put_side_by_side() -> None:
    assert programs([figure(1.0)]) == ""


def test_the_plot_is_an_image_with_a_bar_for_each_program() -> None:
    found = ET.fromstring(svg([*SIDE_BY_SIDE, figure(1.0)]))  # noqa: S314 - our own
    bars = found.findall("{http://www.w3.org/2000/svg}rect[@x]")
    widths = [float(bar.attrib["width"]) for bar in bars]
    assert widths[1] / widths[0] == pytest.approx(7 / 3, rel=0.01)
    texts = [one.text for one in found.iter("{http://www.w3.org/2000/svg}text")]
    assert {"large", "backhaul", "rclone", "7.0 s, 2.3 x"} <= set(texts)


def test_a_plot_of_nothing_is_still_an_image() -> None:
    assert ET.fromstring(svg([figure(1.0)])) is not None  # noqa: S314 - our own


# ---------------------------------------------------------------- one run


CHILD = "import subprocess, sys; x = bytearray(40_000_000); subprocess.run([sys.executable, '-c', "
GRANDCHILD = "'import time; y = bytearray(60_000_000); time.sleep(1.5); sum(range(10**6))'])"


def test_a_run_counts_the_memory_of_all_its_processes() -> None:
    run = measured([sys.executable, "-c", CHILD + GRANDCHILD], os.environ)
    assert run.peak_mb > 100
    assert run.cpu_s > 0
    assert run.seconds > 1.5


def test_a_program_that_fails_is_told_with_its_words() -> None:
    with pytest.raises(Failed, match="no such luck"):
        measured([sys.executable, "-c", "raise SystemExit('no such luck')"], os.environ)


def test_a_helper_serves_until_the_block_ends() -> None:
    with serving("benchmarks.listing_server") as port:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/n3")
        assert answer.read().count(b"<Contents>") == 3
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/n3")


# ---------------------------------------------------------------- beside a run


BUSY = "import sys; print(flush=True)\nfor _ in sys.stdin: sum(range(10**7)); print(flush=True)"


def test_work_of_the_servers_counts_and_that_of_others_does_not() -> None:
    with busy() as server, busy() as other:
        with watched(lambda: [server.pid]) as load:
            work(server)
        with watched(lambda: [server.pid]) as quiet:
            work(other)
    assert load.servers_cpu_s > 0.02
    assert quiet.servers_cpu_s < load.servers_cpu_s / 2
    assert 0 <= load.idle <= 1


@contextmanager
def busy() -> Iterator[subprocess.Popen[str]]:
    """A process that works whenever it is told to."""
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.communicate()


def work(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    process.stdout.readline()

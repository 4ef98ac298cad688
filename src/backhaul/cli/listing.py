"""How a list is printed: as a table, wide, as CSV or as JSON lines; the same for every command."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

import click

Row = TypeVar("Row")
PIPE_WIDTH = 100_000  # characters of a line
# A spreadsheet takes a cell that begins with one of these for a formula, and runs it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Output(StrEnum):
    """What `--output` names."""

    TABLE = "table"
    WIDE = "wide"
    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True, kw_only=True)
class Column(Generic[Row]):
    """One column of a list.

    Attributes:
        name: In CSV and, with blanks for underscores, in the header of a table.
        text: The cell for people.
        value: The cell in CSV, where it is another one.
        style: Of the cell on a terminal with colours.
        is_wide: Not in a plain table.
        may_wrap: Over several lines where the terminal is narrow.
    """

    name: str
    text: Callable[[Row], str]
    value: Callable[[Row], Any] | None = None
    style: Callable[[Row], str] = lambda _row: ""
    is_wide: bool = False
    is_right: bool = False
    may_wrap: bool = False
    is_in_csv: bool = True
    is_csv_only: bool = False


def print_rows(
    rows: Sequence[Row],
    columns: Sequence[Column[Row]],
    output: Output,
    as_json: Callable[[Row], dict[str, Any]],
    *,
    has_pipe_header: bool = True,
) -> None:
    """Print all of them; of CSV the header, too, where there are none.

    Args:
        has_pipe_header: A plain table in a pipe has a header, too.
    """
    match output:
        case Output.JSON:
            for row in rows:
                click.echo(json.dumps({"v": 1, **as_json(row)}, ensure_ascii=False))
        case Output.CSV:
            _print_csv(rows, [one for one in columns if one.is_in_csv])
        case _ if rows:
            is_wide = output is Output.WIDE
            shown = [one for one in columns if is_wide or not one.is_wide]
            shown = [one for one in shown if not one.is_csv_only]
            _print_table(rows, shown, has_pipe_header=is_wide or has_pipe_header)


def _print_csv(rows: Sequence[Row], columns: Sequence[Column[Row]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([one.name for one in columns])
    for row in rows:
        writer.writerow([csv_cell((one.value or one.text)(row)) for one in columns])
    click.echo(buffer.getvalue(), nl=False)


def csv_cell(value: Any) -> Any:
    """A text that begins like a formula gets an apostrophe in front; None is empty."""
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _print_table(
    rows: Sequence[Row], columns: Sequence[Column[Row]], *, has_pipe_header: bool
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for one in columns:
        table.add_column(
            one.name.replace("_", " "),
            justify="right" if one.is_right else "left",
            no_wrap=not one.may_wrap,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(one.text(row), style=one.style(row)) for one in columns))
    console = Console(markup=False)
    if console.is_terminal:
        console.print(table)
        return
    # In a pipe each row is one line, as long as it has to be, without blanks at its end.
    table.show_header = has_pipe_header
    console = Console(width=PIPE_WIDTH, markup=False)
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))

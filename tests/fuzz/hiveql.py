"""Hostile paths against the statements that register partitions.

What reads a statement before the server's parser does, and that parser's own words, are stated here
once more, independently of `core.replies.hiveql`: if a path could end a value, begin a second
statement, a command or a variable, or come out as another value, this finds it.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field

from backhaul.core.errors import PermanentError
from backhaul.core.replies.hiveql import HiveDialect, add_partitions, describe_partitions
from backhaul.core.replies.partitions import (
    HivePartition,
    PartitionColumn,
    PartitionedTable,
    partition_of,
)

TABLE = PartitionedTable(
    database="lake",
    name="sales",
    columns=(
        PartitionColumn(name="dt", type="string"),
        PartitionColumn(name="hour", type="int"),
        PartitionColumn(name="kind", type="string"),
    ),
    location="hdfs://nn/lake/sales",
)
TOKENS = (
    *("'", '"', "`", "\\", ";", "!", "--", "#", "/*", "*/", "${hiveconf:x}", "${env:HOME}", "$"),
    *("{", "}", "${system:user.home}", "!sh id", "!quit", "'; DROP TABLE lake.sales; --", "\\'"),
    *("\\u0027", "\\047", "\\0", "\\", "%27", "%3B", "%0A", "%", "%%", "%5C", "%24%7B", "%zz"),
    *(
        " ",
        "\u00a0",
        "\u2028",
        "\u202e",
        "\ufeff",
        "é",
        "漢",
        "😀",
        "\U0010ffff",
        "\uff07",
        "\u02bc",
    ),
    *("dt=", "hour=", "=", ")", "(", ",", "a", "Z", "0", "-", ".", "_", ":", "@", "|", "&", "<"),
    *("SELECT", "LOCATION", "PARTITION", "source x", "use y", "set z=1", "__HIVE_DEFAULT_"),
)
_TOKEN = re.compile(
    r"(?P<space> +)|(?P<name>`[A-Za-z0-9_]+`)|(?P<text>'(?:\\u[0-9a-f]{4}|[^'\\])*')"
    r"|(?P<number>-?[0-9]+)|(?P<word>[A-Z]+)|(?P<mark>[.,=();])"
)
_VARIABLE = re.compile(r"\$")  # of Hive, beeline and impala-shell: ${...}
_UNIT = re.compile(r"\\u([0-9a-f]{4})")


@dataclass
class PathReport:
    """What a run found; `broken` has a path, and which promise it breaks."""

    count: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[str, str]] = field(default_factory=list)


class WrongStatement(Exception):
    """The text is something else than the one statement that it should be."""


def fuzz_paths(*, seed: int, count: int | None = None, seconds: float | None = None) -> PathReport:
    """Until so many paths or seconds are over."""
    report = PathReport()
    source = random.Random(seed)
    deadline_s = None if seconds is None else time.monotonic() + seconds
    while (count is None or report.count < count) and (
        deadline_s is None or report.count % 256 or time.monotonic() < deadline_s
    ):
        report.count += 1
        path = _path(source)
        try:
            report.outcomes[judge(path)] += 1
        except Exception as error:  # noqa: BLE001 - whatever escapes is the finding
            report.broken.append((path, f"{type(error).__name__}: {error}"))
    return report


def judge(directory: str) -> str:
    """The outcome of one directory.

    Raises:
        WrongStatement: A promise is broken.
    """
    try:
        partition = partition_of(directory, TABLE)
    except PermanentError as error:
        return error.code
    if partition is None:
        return "hidden"
    for dialect in HiveDialect:
        try:
            add = add_partitions(TABLE, [partition], dialect)
            look = describe_partitions(TABLE, [partition], dialect)
        except PermanentError as error:
            if dialect is HiveDialect.HIVE:
                raise WrongStatement("refused for Hive") from error
            return f"{error.code} of Impala"
        check_add(add, TABLE, [partition], dialect)
        for each in look:
            read(each)
    return "added"


def check_add(
    text: str, table: PartitionedTable, partitions: list[HivePartition], dialect: HiveDialect
) -> None:
    """Exactly one statement, which adds exactly these, with these values and locations.

    Raises:
        WrongStatement: It does something else.
    """
    found = read(text)
    wanted: list[tuple[str, str]] = [
        *(("word", "ALTER"), ("word", "TABLE"), ("name", table.database), ("mark", ".")),
        *(("name", table.name), ("word", "ADD"), ("word", "IF"), ("word", "NOT")),
        ("word", "EXISTS"),
    ]
    for one in partitions:
        wanted += [("word", "PARTITION"), ("mark", "(")]
        for number, (column, value) in enumerate(zip(table.columns, one.values, strict=True)):
            is_number = dialect is HiveDialect.IMPALA and column.type == "int"
            kind = ("number", str(int(value))) if is_number else ("text", value)
            wanted += [("mark", ",")] * (number > 0)
            wanted += [("name", column.name), ("mark", "="), kind]
        wanted += [("mark", ")"), ("word", "LOCATION"), ("text", one.location)]
    wanted.append(("mark", ";"))
    if found != wanted:
        raise WrongStatement(f"{text!r} reads as {found!r}")


def read(text: str) -> list[tuple[str, str]]:
    """Kind and meaning of each token of one statement on one line.

    Raises:
        WrongStatement: The text is more than one, or could be taken for something else.
    """
    if not (text.isascii() and text.isprintable()):
        raise WrongStatement(f"{text!r} is not printable ASCII")
    for what in ("--", "/*", "!", '"', "#"):
        if what in text:
            raise WrongStatement(f"{text!r} has {what}")
    if _VARIABLE.search(text) or text.index(";") != len(text) - 1:
        raise WrongStatement(f"{text!r} has a variable, or more than one statement")
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise WrongStatement(f"{text!r}: no token at {at}")
        at = match.end()
        if match.lastgroup != "space":
            found.append((match.lastgroup, _meaning(match.lastgroup, match[0])))
    return found


def _meaning(kind: str, text: str) -> str:
    if kind == "name":
        return text[1:-1]
    if kind != "text":
        return text
    units = _UNIT.sub(lambda match: chr(int(match[1], 16)), text[1:-1])
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _path(source: random.Random) -> str:
    """Mostly of the table's form, with anything a path may have for values."""
    names = [f"{key}={_piece(source)}" for key in ("dt", "hour", "kind")]
    if source.random() < 0.8:
        names[1] = f"hour={source.choice(('7', '07', '-1', '+2', '23'))}"
    if source.random() < 0.1:
        names.insert(source.randrange(4), _piece(source) or "x")
    if source.random() < 0.1:
        source.shuffle(names)
    authority = source.choice(("nn", "nn:8020", "127.0.0.1:9"))
    return f"hdfs://{authority}/lake/sales/{'/'.join(names)}"


def _piece(source: random.Random) -> str:
    parts = [
        source.choice(TOKENS) if source.random() < 0.8 else chr(_any_character(source))
        for _ in range(source.randint(1, 6))
    ]
    return "".join(parts).replace("/", "")


def _any_character(source: random.Random) -> int:
    while True:
        found = source.choice((source.randrange(0x100), source.randrange(0x110000)))
        if not 0xD800 <= found <= 0xDFFF:
            return found

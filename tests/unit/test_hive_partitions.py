"""From directories to partitions and to the statements that add them."""

from __future__ import annotations

import pytest

from backhaul.core.errors import PermanentError
from backhaul.core.replies import hiveql
from backhaul.core.replies.hiveql import HiveDialect, add_partitions, identifier, literal
from backhaul.core.replies.partitions import (
    HivePartition,
    PartitionColumn,
    PartitionedTable,
    batches,
    is_same_place,
    named_partition,
    partition_of,
)
from tests.fuzz.hiveql import WrongStatement, check_add, fuzz_paths, read

HOME = "hdfs://nn/lake/sales"
TABLE = PartitionedTable(
    database="lake",
    name="sales",
    columns=(PartitionColumn(name="dt", type="string"), PartitionColumn(name="hour", type="int")),
    location=HOME,
)


def _refused(directory: str) -> str:
    with pytest.raises(PermanentError) as caught:
        partition_of(directory, TABLE)
    assert caught.value.hint
    return caught.value.code


def test_the_directories_below_the_table_are_its_partition() -> None:
    found = partition_of(f"{HOME}/dt=2026-12-01/hour=07", TABLE)
    assert found == HivePartition(
        values=("2026-12-01", "07"), location=f"{HOME}/dt=2026-12-01/hour=07"
    )


def test_files_further_down_belong_to_the_same_partition() -> None:
    found = partition_of(f"{HOME}/DT=a/hour=1/part/two", TABLE)
    assert found == HivePartition(values=("a", "1"), location=f"{HOME}/DT=a/hour=1")


def test_names_are_decoded_as_hive_encodes_them_and_the_location_stays() -> None:
    found = partition_of(f"{HOME}/dt=a%3Ab%2Fc%25%zz 漢/hour=1", TABLE)
    assert found is not None
    assert found.values[0] == "a:b/c%%zz 漢"
    assert found.location == f"{HOME}/dt=a%3Ab%2Fc%25%zz 漢/hour=1"


@pytest.mark.parametrize("name", ["_temporary/dt=a/hour=1", ".hive/dt=a/hour=1", "dt=a/_x/hour=1"])
def test_what_hive_does_not_read_is_no_partition(name: str) -> None:
    assert partition_of(f"{HOME}/{name}", TABLE) is None


@pytest.mark.parametrize(
    ("directory", "code"),
    [
        (HOME, "E_HIVE_PATH"),
        (f"{HOME}/dt=a", "E_HIVE_PATH"),
        (f"{HOME}/hour=1/dt=a", "E_HIVE_PATH"),
        (f"{HOME}/dt/hour=1", "E_HIVE_PATH"),
        (f"{HOME}/x/dt=a/hour=1", "E_HIVE_PATH"),
        ("hdfs://nn/lake/sales2/dt=a/hour=1", "E_HIVE_PATH"),
        (f"{HOME}/dt=/hour=1", "E_HIVE_VALUE"),
        (f"{HOME}/dt=__HIVE_DEFAULT_PARTITION__/hour=1", "E_HIVE_VALUE"),
        (f"{HOME}/dt=a%0Ab/hour=1", "E_HIVE_VALUE"),
        (f"{HOME}/dt=a%7f/hour=1", "E_HIVE_VALUE"),
        (f"{HOME}/dt=a%20/hour=1", "E_HIVE_VALUE"),
        (f"{HOME}/dt=a/hour=seven", "E_HIVE_VALUE"),
        (f"{HOME}/dt=a/hour=\u0667", "E_HIVE_VALUE"),
    ],
)
def test_what_is_no_partition_of_the_table_is_refused(directory: str, code: str) -> None:
    assert _refused(directory) == code


def test_the_warehouse_may_know_the_file_system_by_another_name() -> None:
    found = partition_of("hdfs://10.0.0.1:8020/lake/sales/dt=a/hour=1", TABLE)
    assert found is not None
    assert found.location == "hdfs://10.0.0.1:8020/lake/sales/dt=a/hour=1"


def test_each_partition_once_in_batches() -> None:
    problems: list[PermanentError] = []
    directories = [f"{HOME}/dt={day}/hour={hour}" for day in "ab" for hour in (1, 1, 2, 2, 3)]
    found = list(batches(directories, TABLE, problems, size=4))
    assert [len(each) for each in found] == [4, 2]
    assert len({one for each in found for one in each}) == 6
    assert problems == []


def test_two_directories_that_are_one_partition_are_reported_and_the_rest_goes_on() -> None:
    problems: list[PermanentError] = []
    directories = [f"{HOME}/dt=a/hour={hour}" for hour in ("07", "7", "8", "x")]
    (batch,) = batches(directories, TABLE, problems)
    assert [one.values for one in batch] == [("a", "07"), ("a", "8")]
    assert [error.code for error in problems] == ["E_HIVE_LOCATION"]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("file:/a/b", "file:///a/b/", True),
        ("hdfs://nn/a", "hdfs://nn/a", True),
        ("HDFS://nn/a", "hdfs://nn/a", True),
        ("hdfs://nn/a", "hdfs://nn:8020/a", False),
        ("hdfs://nn/a", "hdfs://nn/A", False),
    ],
)
def test_locations_are_compared_as_places(one: str, other: str, *, is_same: bool) -> None:
    assert is_same_place(one, other) is is_same


def test_what_a_path_shows_without_the_table() -> None:
    path = "/env=prod/lake/dt=2026%3A1/HOUR=07/part-0"
    assert named_partition(path) == (("dt", "2026:1"), ("hour", "07"))
    assert named_partition("/lake/a=/b") == ()


# Statements


def test_the_statement_that_adds() -> None:
    found = partition_of(f"{HOME}/dt=2026-12-01/hour=07", TABLE)
    assert found is not None
    assert add_partitions(TABLE, [found], HiveDialect.HIVE) == (
        "ALTER TABLE `lake`.`sales` ADD IF NOT EXISTS PARTITION (`dt`='2026-12-01', `hour`='07')"
        " LOCATION 'hdfs://nn/lake/sales/dt=2026-12-01/hour=07';"
    )
    assert add_partitions(TABLE, [found], HiveDialect.IMPALA) == (
        "ALTER TABLE `lake`.`sales` ADD IF NOT EXISTS PARTITION (`dt`='2026-12-01', `hour`=7)"
        " LOCATION 'hdfs://nn/lake/sales/dt=2026-12-01/hour=07';"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a'b", r"'a\u0027b'"),
        ("a\\", r"'a\u005c'"),
        ("${env:HOME}", r"'\u0024\u007benv:HOME\u007d'"),
        ("a--b-c", r"'a\u002d\u002db-c'"),
        ("!;`", r"'\u0021\u003b\u0060'"),
        ("😀", r"'\ud83d\ude00'"),
        ("", "''"),
    ],
)
def test_literals(text: str, wanted: str) -> None:
    assert literal(text) == wanted


def test_half_a_character_is_no_text() -> None:
    with pytest.raises(UnicodeEncodeError):
        literal("a\ud800")


@pytest.mark.parametrize("name", ["", "a`b", "a b", "a;b", "é", "a.b", "x" * 129])
def test_names_are_of_letters_digits_and_underscores(name: str) -> None:
    with pytest.raises(ValueError, match="characters than"):
        identifier(name)


@pytest.mark.parametrize("kind", ["decimal(10,0)", "timestamp", "varchar(5)"])
def test_impala_adds_values_of_known_types_alone(kind: str) -> None:
    table = PartitionedTable(
        database="d", name="t", columns=(PartitionColumn(name="a", type=kind),), location=HOME
    )
    with pytest.raises(PermanentError) as caught:
        add_partitions(table, [HivePartition(values=("1",), location=HOME)], HiveDialect.IMPALA)
    assert caught.value.code == "E_HIVE_VALUE"


def test_impala_takes_locations_as_they_are_so_they_are_plain() -> None:
    one = HivePartition(values=("a", "1"), location=f"{HOME}/dt=a'b/hour=1")
    with pytest.raises(PermanentError) as caught:
        add_partitions(TABLE, [one], HiveDialect.IMPALA)
    assert caught.value.code == "E_HIVE_PATH"


def test_no_path_becomes_more_than_a_value() -> None:
    report = fuzz_paths(seed=1, count=3000)
    assert report.broken == []
    assert report.outcomes["added"] > 0
    assert report.outcomes["E_HIVE_PATH of Impala"] > 500


@pytest.mark.parametrize(
    "weaker",
    [
        lambda text: f"'{text}'",
        lambda text: "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'",
        lambda text: literal(text.replace("%", "")),
        lambda text: literal(text).replace(r"\u0024", "$"),
        lambda text: literal(text).replace(r"\u003b", ";"),
        lambda text: literal(text).replace(r"\u0021", "!"),
        lambda text: literal(text).replace(r"\u002d", "-"),
    ],
)
def test_the_fuzzer_sees_a_weaker_escape(weaker: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hiveql, "literal", weaker)
    assert fuzz_paths(seed=1, count=2000).broken


def test_the_fuzzer_sees_a_second_statement() -> None:
    with pytest.raises(WrongStatement):
        read("ALTER TABLE `a`.`b` DROP PARTITION (`x`='1'); DROP TABLE `b`;")
    one = HivePartition(values=("a", "1"), location=HOME)
    with pytest.raises(WrongStatement):
        check_add("SHOW PARTITIONS `lake`.`sales`;", TABLE, [one], HiveDialect.HIVE)

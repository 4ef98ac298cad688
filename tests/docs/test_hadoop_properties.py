"""Every Hadoop property in the code is in the manual's tables."""

from __future__ import annotations

import ast
import re

from backhaul.adapters.hadoop.configuration import s3a as hadoop_s3a
from backhaul.adapters.hadoop.configuration.property_names import DEPRECATED
from tests.docs.manual import REFERENCE, ROOT, code, tables

PAGE = REFERENCE / "hadoop-properties.md"
SRC = ROOT / "src" / "backhaul"
PROPERTY = re.compile(r"(?:fs|dfs|hadoop|yarn|mapreduce)\.[a-z][A-Za-z0-9.-]*[A-Za-z0-9.]")
# A system property of Java, and beginnings of names.
NO_PROPERTIES = {"hadoop.home.dir", "fs.s3a.", "fs.s3a.bucket."}


def in_code() -> set[str]:
    """Texts that are a property's name, or the beginning of one."""
    found = set()
    for path in [*SRC.rglob("adapters/**/*.py"), *SRC.glob("engines/*.py"), *SRC.glob("app/*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            value = node.value if isinstance(node, ast.Constant) else None
            if isinstance(value, str) and PROPERTY.fullmatch(value):
                found.add(value)
    return found - NO_PROPERTIES


def in_manual() -> set[str]:
    found = set()
    for one in tables(PAGE):
        for row in one.rows:
            found |= {*code(row[0])} | ({*code(row[1])} if one.columns == ("old", "new") else set())
    return found


def test_every_property_in_the_code_is_in_the_manual() -> None:
    listed = in_manual()
    missing = {name for name in in_code() if not any(row.startswith(name) for row in listed)}
    assert missing == set()


def test_every_option_of_s3a_is_in_the_manual() -> None:
    options = {
        value
        for name, value in vars(hadoop_s3a).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
    }
    assert len(options) > 5
    names = {one if one.startswith("hadoop.") else f"fs.s3a.{one}" for one in options}
    assert names - in_manual() == set()


def test_old_names_are_those_of_the_code() -> None:
    (table,) = (one for one in tables(PAGE) if one.columns == ("old", "new"))
    assert {code(old)[0]: tuple(code(new)) for old, new in table.rows} == DEPRECATED


def test_a_property_has_one_row() -> None:
    rows = [code(row[0])[0] for one in tables(PAGE) for row in one.rows]
    assert len(rows) == len(set(rows))

"""Every check of `backhaul doctor` has its row in the manual, and every row a check."""

from __future__ import annotations

import re
from pathlib import Path

SOURCES = Path("src/backhaul/app/doctor").glob("*.py")
NAME = r"(?:[a-z0-9_]+\.[a-z0-9_]+|clock)"
AREAS = ("hadoop", "hive", "hdfs", "kerberos", "replies", "yarn", "target")
# Made of the scheme of a destination.
MADE = {"hdfs.write", "hdfs.clock", "target.write", "target.clock"}


def in_manual() -> set[str]:
    rows = re.findall(r"^\| (`[^|]+`) \|", Path("docs/doctor.md").read_text(), re.MULTILINE)
    names = {name for row in rows for name in re.findall(f"`({NAME})`", row)}
    return {name for name in names if name.split(".")[0] in AREAS}


def test_every_check_has_its_row_and_every_row_its_check() -> None:
    texts = "".join(path.read_text() for path in SOURCES)
    of_code = set(re.findall(rf'"((?:{"|".join(AREAS)})\.[a-z_]+)"', texts))
    assert of_code >= {"hdfs.quota", "kerberos.kdc"}, "the pattern still finds them"
    assert in_manual() == of_code | MADE

"""Our reading of odd Hadoop configurations beside that of Hadoop's own classes, in a real JVM."""

from __future__ import annotations

import base64
import os
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest

from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.configuration.property_names import (
    DEPRECATED,
    HDFS_DEFAULTS,
    OTHER_DEFAULTS,
)
from backhaul.core.errors import ConfigurationError
from backhaul.testing.servers.jars import jars, java

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).with_name("ReadConfigurations.java")
ENVIRONMENT = {"HERE": "here", "EMPTY": "", "WITH_BLANK": " x ", "HOME": "/home/x"}
CONFIGURATIONS = 300
NAMES = [
    *("a", "b", "c.d", "e", "fs.defaultFS", "fs.default.name", "dfs.blocksize", "dfs.block.size"),
    *("dfs.replication", "dfs.client.use.datanode.hostname", "g"),
    *("fs.permissions.umask-mode", "dfs.umaskmode", "dfs.nameservices"),
]
VALUES = [
    *("1", "", " ", " x ", "\n x\n y\t", "a,b", "&<>\"'", "é", "${b}", "x${c.d}y", "${${e}}", "$"),
    *("${env.HERE}", "${env.NONE}", "${env.NONE:-d}", "${env.EMPTY:-d}", "${env.EMPTY-d}", "${}"),
    *("${env.WITH_BLANK}", "${env.NONE:-a-b:-c}", "${env.}", "${env.NONE:-}", "${a}", "${ a}"),
    *("${user.name}", "${user.home}", "${java.io.tmpdir}", "${file.separator}", "{b}", "${b", "b}"),
    *(
        "${fs.default.name}",
        "${hadoop.tmp.dir}",
        "${dfs.replication}",
        "${b}${b}${c.d}",
        "$${b}",
        "${b}}",
        "${c.d:-x}",
    ),
]
TYPED = {
    "size": ["1", "1k", "128M", "2g", "3T", "1p", "1e", "-1", "+5k", "5 k", "1.5m", "k", "1kb"],
    "integer": ["1", "-1", "+1", "0x1F", "-0x1f", "0X1F", "1_000", "1.0", "", "2147483648", "1k"],
    "boolean": ["true", "TRUE", " true ", "false", "False", "yes", "1", ""],
    "umask": ["022", "0022", "27", "7", "777", "u=rwx,g=rx,o=", "u=rwx", "a=rx", "g-w", "999",
              "u=rwx,g=rwx, o=rx", "o+w", "=rwx", "rwx", "+022", "1777"],
}  # fmt: skip
READ: dict[str, Callable[[HadoopConfiguration, str], object]] = {
    "text": lambda found, name: found.get(name),
    "size": lambda found, name: found.get_size(name),
    "integer": lambda found, name: found.get_integer(name),
    "boolean": lambda found, name: str(found.get_boolean(name, default=True)).lower(),
    "umask": lambda found, name: found.get_umask(name),
}


@dataclass(frozen=True)
class Question:
    directory: Path
    kind: str
    name: str


def hadoop_s_answers(questions: list[Question]) -> list[str]:
    lines = "".join(f"{one.directory}\t{one.kind}\t{one.name}\n" for one in questions)
    options = ["-cp", f"{jars('hdfs')}/*"]
    done = subprocess.run(
        [str(java()), *options, str(PROGRAM)],
        input=lines,
        env={**ENVIRONMENT, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    answers = done.stdout.splitlines()
    assert len(answers) == len(questions), done.stderr[-3000:]
    return answers


@cache
def our_configuration(directory: Path) -> HadoopConfiguration:
    return HadoopConfiguration.load(directory, environment=ENVIRONMENT)


def our_answer(question: Question) -> str:
    """In the same form; `!` for what is refused."""
    try:
        found = our_configuration(question.directory)
        value = READ[question.kind](found, question.name)
    except ConfigurationError as error:
        return f"!{error.code}"
    return "-" if value is None else f"={base64.b64encode(str(value).encode()).decode()}"


def compared(questions: list[Question]) -> list[tuple[Question, str, str]]:
    """Each question with Hadoop's answer and ours."""
    answers = hadoop_s_answers(questions)
    return list(zip(questions, answers, map(our_answer, questions), strict=True))


def agree(hadoop: str, ours: str) -> bool:
    """Equal; or Hadoop keeps a variable that is not set as text, which is refused here."""
    text = base64.b64decode(hadoop[1:]).decode() if hadoop.startswith("=") else ""
    if hadoop.startswith("!"):
        return ours.startswith("!")
    if ours == "!E_CFG_HADOOP_VARIABLE":
        return "${" in text
    return hadoop == ours or (ours == "-" and not text)


# ---------------------------------------------------------------- any configuration


def a_property(chance: random.Random) -> str:
    name, value = chance.choice(NAMES), chance.choice(VALUES)
    final = chance.choice(["true"] * 3 + ["false", " true ", "TRUE", ""])
    # A final property without a value keeps Hadoop's own default away; here it does not.
    is_free = name not in {*HDFS_DEFAULTS, *DEPRECATED, *OTHER_DEFAULTS}
    has_final = chance.random() < 0.2 and (is_free or value != "")
    match chance.randrange(8):
        case 0:
            more = f" final={quoteattr(final)}" if has_final else ""
            return f"<property name={quoteattr(name)} value={quoteattr(value)}{more}/>"
        case 1:
            return f"<property name={quoteattr(name)}><value>{escape(value)}</value></property>"
        case 2:
            inside = f"<![CDATA[{value}]]>"
        case 3:
            inside = f"{escape(value)}<!-- comment -->"
        case _:
            inside = escape(value)
    parts = [f"<name> {name}\n</name>", f"<value>{inside}</value>"]
    if has_final:
        parts.append(f"<final>{final}</final>")
    if chance.random() < 0.1:
        parts.append("<description>words</description><source>elsewhere</source>")
    chance.shuffle(parts)
    if chance.random() < 0.1 and is_free:
        del parts[chance.randrange(len(parts))]
    return f"<property>{''.join(parts)}</property>"


def a_body(chance: random.Random, includes: list[str]) -> str:
    parts = [a_property(chance) for _ in range(chance.randrange(1, 7))]
    if includes and chance.random() < 0.6:
        tag = chance.choice(["xi:include", "include"])
        fallback = chance.choice(["", "<fallback/>", f"<fallback>{a_property(chance)}</fallback>"])
        # Where there is no fallback, the file is there: else the whole directory is refused.
        missing = ["none.xml"] if fallback or chance.random() < 0.1 else []
        href = chance.choice(includes + missing)
        parts.insert(chance.randrange(len(parts) + 1), f"<{tag} href='{href}'>{fallback}</{tag}>")
    return "\n".join(parts)


def write(path: Path, body: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    space = 'xmlns:xi="http://www.w3.org/2001/XInclude"'
    path.write_bytes(f"{head}<configuration {space}>{body}</configuration>".encode(encoding))


def a_directory(chance: random.Random, directory: Path) -> Path:
    write(directory / "sub" / "leaf.xml", a_body(chance, []))
    write(directory / "one.xml", a_body(chance, ["sub/leaf.xml"]))
    write(directory / "two.xml", a_body(chance, ["one.xml", "sub/leaf.xml"]))
    for name in ("core-site.xml", "hdfs-site.xml"):
        if chance.random() < 0.95:
            includes = ["one.xml", "two.xml", f"{directory}/one.xml", f"file://{directory}/one.xml"]
            encoding = chance.choice(["utf-8", "utf-8", "utf-16", "iso-8859-1"])
            write(directory / name, a_body(chance, includes), encoding)
    return directory


def test_every_property_is_what_hadoop_reads(tmp_path: Path) -> None:
    chance = random.Random(14)
    directories = [a_directory(chance, tmp_path / str(n)) for n in range(CONFIGURATIONS)]
    questions = [Question(one, "text", name) for one in directories for name in NAMES]
    found = list(
        zip(questions, hadoop_s_answers(questions), map(our_answer, questions), strict=True)
    )
    different = [one for one in found if not agree(one[1], one[2])]
    assert different == [], f"{len(different)} of {len(found)} differ, such as {different[:5]}"
    kinds = {hadoop[0] for _, hadoop, _ in found}
    assert kinds == {"=", "-", "!"}, "the configurations are not odd enough"


def test_every_kind_of_value_is_what_hadoop_makes_of_it(tmp_path: Path) -> None:
    questions = []
    for kind, values in TYPED.items():
        name = "fs.permissions.umask-mode" if kind == "umask" else "a"
        for number, value in enumerate(values):
            directory = tmp_path / f"{kind}-{number}"
            body = f"<property><name>{name}</name><value>{escape(value)}</value></property>"
            write(directory / "core-site.xml", body)
            questions.append(Question(directory, kind, name))
    found = list(
        zip(questions, hadoop_s_answers(questions), map(our_answer, questions), strict=True)
    )
    different = []
    for question, hadoop, ours in found:
        is_default = hadoop == f"={base64.b64encode(b'-7').decode()}"
        if not agree(hadoop, ours) and not (is_default and ours in {"-", "=MA=="}):
            text = (question.directory / "core-site.xml").read_text("utf-8")
            different.append((question.kind, text[-60:-30], hadoop, ours))
    assert different == []

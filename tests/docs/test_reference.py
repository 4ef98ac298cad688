"""Every code, setting, option and log line is in the manual, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

import click
import pytest

from backhaul.cli import COMMANDS, cli
from backhaul.core import errors
from backhaul.core.model import NameMap, OnExists, PublishMode, TransferState
from backhaul.core.objects import Proof
from backhaul.settings.model import schema
from tests.docs.manual import DOCS, REFERENCE, ROOT, Table, code, console, pages, table, tables

SRC = ROOT / "src" / "backhaul"
CODE = re.compile(r"(?<![A-Z])E_[A-Z0-9]+(?:_[A-Z0-9]+)*")

# ---------------------------------------------------------------- errors


@cache
def _trees() -> dict[str, ast.Module]:
    return {
        str(path): ast.parse(path.read_text("utf-8"))
        for path in sorted(SRC.rglob("*.py"))
        if "testing" not in path.parts
    }


@cache
def codes_in_source() -> frozenset[str]:
    return frozenset(
        node.value
        for tree in _trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and CODE.fullmatch(node.value)
    )


@cache
def classes_in_source() -> dict[str, set[type[errors.BackhaulError]]]:
    """Code to the classes that are raised with it, where both stand in one call."""
    found: defaultdict[str, set[type[errors.BackhaulError]]] = defaultdict(set)
    for tree in _trees().values():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).removesuffix(".of")
            cls: type[errors.BackhaulError] | None = getattr(errors, name, None)
            if cls is None:
                continue
            for argument in node.args:
                if isinstance(argument, ast.Constant) and CODE.fullmatch(str(argument.value)):
                    found[str(argument.value)].add(cls)
    return found


def error_tables() -> list[Table]:
    return [one for one in tables(REFERENCE / "errors.md") if one.columns[0] == "code"]


def error_rows() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for one in error_tables():
        assert one.columns == ("code", "when", "message", "exit", "fix")
        for row in one.rows:
            (name,) = code(row[0])
            assert name not in found, f"{name} has two rows"
            found[name] = row
    return found


def test_every_error_code_has_a_row_and_every_row_a_code() -> None:
    assert sorted(error_rows()) == sorted(codes_in_source())


def _fate(cls: type[errors.BackhaulError]) -> str:
    if issubclass(cls, errors.PermanentError):
        return "dead"
    if issubclass(cls, errors.OutageError):
        return "hold"
    if issubclass(cls, (errors.ConfigurationError, errors.LedgerLocked)):
        return "start"
    return "none" if issubclass(cls, (errors.VisibilityLost, errors.BadArgument)) else "retry"


# Refused by the start or for `send` and `show`, whatever their class does to a message; the agent's
# wait for a busy destination; and a read that is throttled, which becomes an outage in the worker.
OWN_FATE = {
    "E_AWS_DENIED": "start, hold",
    "E_CFG_RELOAD": "none",
    "E_BACKUP_BUSY": "none",
    "E_BACKUP_DAMAGED": "none",
    "E_BACKUP_EXISTS": "none",
    "E_BACKUP_WRITE": "none",
    "E_BUDGET_USED": "wait",
    "E_BUNDLE_EXISTS": "none",
    "E_BUNDLE_SECRET": "none",
    "E_DASHBOARD_FORM": "none",
    "E_DASHBOARD_PORT": "start",
    "E_DEMO_SERVER": "none",
    "E_DLQ_NOT_FOUND": "none",
    "E_DLQ_SHORTENED": "none",
    "E_DST_BUSY": "wait",
    "E_ENDED": "none",
    "E_INIT_EXISTS": "none",
    "E_INVENTORY_DENIED": "none",
    "E_LEDGER_COPY": "none",
    "E_LEDGER_MISSING": "none",
    "E_LEDGER_OLDER": "start, none",
    "E_MSG_REFUSED": "none",
    "E_NOTIFY_COMMAND": "none",
    "E_HIVE_ANSWER": "none",
    "E_HIVE_CONNECT": "none",
    "E_HIVE_DATABASE": "none",
    "E_HIVE_LOCATION": "none",
    "E_HIVE_LOGIN": "none",
    "E_HIVE_PATH": "none",
    "E_HIVE_PERMISSION": "none",
    "E_HIVE_PROGRAM": "none",
    "E_HIVE_PRUNED": "none",
    "E_HIVE_ROUTE": "none",
    "E_HIVE_STATEMENT": "none",
    "E_HIVE_TABLE": "none",
    "E_HIVE_TIMEOUT": "none",
    "E_HIVE_UNPARTITIONED": "none",
    "E_HIVE_VALUE": "none",
    "E_NOTIFY_MEMORY": "none",
    "E_NOTIFY_NAME": "none",
    "E_NOTIFY_SMTP": "none",
    "E_NOTIFY_TIMEOUT": "none",
    "E_NOT_RETRIED": "none",
    "E_NO_SUCH_TRANSFER": "none",
    "E_PUBLISHING": "none",
    "E_QUEUE_NAME": "none",
    "E_RECONCILE_ORDER": "none",
    "E_RECONCILE_PLACE": "none",
    "E_RECEIPT_DIGEST": "none",
    "E_RECEIPT_EVIDENCE": "none",
    "E_RECEIPT_FORM": "none",
    "E_RECEIPT_KEY_EXISTS": "none",
    "E_RECEIPT_KEY_UNKNOWN": "none",
    "E_RECEIPT_NOT_DONE": "none",
    "E_RECEIPT_PRUNED": "none",
    "E_RECEIPT_SIGNATURE": "none",
    "E_RECEIPT_TIME": "none",
    "E_RECEIPT_VERSION": "none",
    "E_RECONCILE_QUEUE": "none",
    "E_RECONCILE_STATE": "none",
    "E_REPLY_ADDRESS": "none",
    "E_REPLY_COMMAND": "none",
    "E_REPLY_NAME": "none",
    "E_REPLY_REDIRECT": "none",
    "E_REPLY_REFUSED": "none",
    "E_REPLY_TARGET": "none",
    "E_NO_SUCH_REPLY": "none",
    "E_REPLY_SERVER": "none",
    "E_REPLY_TIMEOUT": "none",
    "E_REPLY_TLS": "none",
    "E_REPLY_UNREACHABLE": "none",
    "E_ROUTE_PAUSED": "wait",
    "E_ROUTE_UNKNOWN": "none",
    "E_S3_LIST_ORDER": "none",
    "E_S3_THROTTLED": "hold",
    "E_SEARCH": "none",
    "E_SNS_KMS": "none",
    "E_SNS_THROTTLED": "none",
    "E_SNS_UNREACHABLE": "none",
    "E_SYSTEM": "none",
    "E_TAKEN_OVER": "wait",
    "E_TOPIC_NOT_FOUND": "none",
    "E_WHERE": "none",
    "E_WHERE_NOTHING": "none",
}


def _classified() -> list[str]:
    return sorted(name for name, classes in classes_in_source().items() if classes)


@pytest.mark.parametrize("name", _classified())
def test_an_error_row_says_what_its_class_does(name: str) -> None:
    _, _, disposition, exits, _ = error_rows()[name]
    for cls in classes_in_source()[name]:
        if name == "E_INTERRUPTED":
            continue  # only recorded: the process ends as interrupted
        assert OWN_FATE.get(name, _fate(cls)) in {disposition, *disposition.split(", ")}, cls
        assert str(int(cls.exit_code)) in exits.split(", "), cls


def test_fates_are_from_the_list() -> None:
    words = {
        row[0].strip("*")
        for row in table(
            REFERENCE / "errors.md", heading="What becomes of the message", first="word"
        ).rows
    }
    for name, row in error_rows().items():
        assert set(row[2].split(", ")) <= words, name


def test_codes_named_elsewhere_exist() -> None:
    known = codes_in_source() | {"E_CFG_ROUTE"}
    for page in pages():
        for name in CODE.findall(page.read_text("utf-8")):
            assert name in known, f"{page.name}: {name}"


# ---------------------------------------------------------------- exit codes


def test_exit_codes_are_all_listed() -> None:
    known = {str(int(one)) for one in errors.ExitCode}
    for page, heading in (
        (REFERENCE / "commands.md", "Exit codes"),
        (DOCS / "operate.md", "Exit codes"),
    ):
        listed = {row[0] for row in table(page, heading=heading, first="code").rows}
        assert listed == known, page.name


# ---------------------------------------------------------------- settings


def _flat(
    node: dict[str, Any], root: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Dotted name, its schema, whether it is required; tables are entered, not listed."""
    for name, field in node["properties"].items():
        kinds = [field, field.get("items", {}), *field.get("anyOf", ())]
        reference = next((kind["$ref"] for kind in kinds if "$ref" in kind), None)
        target = root["$defs"][reference.rsplit("/", 1)[1]] if reference else {}
        if "properties" in target:
            yield from _flat(target, root, f"{prefix}{name}.")
        else:
            is_required = name in node.get("required", ())
            yield f"{prefix}{name}", {**target, **field}, is_required


def settings_in_source() -> dict[str, tuple[dict[str, Any], bool]]:
    root = schema()
    return {name: (field, required) for name, field, required in _flat(root, root)}


def setting_rows() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for one in tables(REFERENCE / "settings.md"):
        if one.columns[0] == "setting":
            assert one.columns == ("setting", "type", "default", "range", "means")
            found |= {code(row[0])[0]: row for row in one.rows}
    return found


def test_every_setting_has_a_row_and_every_row_a_setting() -> None:
    assert sorted(setting_rows()) == sorted(settings_in_source())


@pytest.mark.parametrize("name", sorted(settings_in_source()))
def test_a_setting_row_has_the_right_default(name: str) -> None:
    field, is_required = settings_in_source()[name]
    cell = setting_rows()[name][2]
    default = field.get("default")
    if is_required:
        assert cell == "required"
    elif default is None:
        assert cell == "unset"
    else:
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        assert cell == f"`{shown}`"


BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength")


@pytest.mark.parametrize("name", sorted(settings_in_source()))
def test_a_setting_row_has_the_right_range(name: str) -> None:
    field, _ = settings_in_source()[name]
    kinds = [field, *field.get("anyOf", ())]
    bounds = {kind[bound] for kind in kinds for bound in BOUNDS if bound in kind}
    cell = setting_rows()[name][3]
    assert {float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", cell)} == bounds
    words = field.get("enum") or re.findall(r"\^\(([a-z|]+)\)\$", field.get("pattern", ""))
    if words:
        choices = words if "enum" in field else words[0].split("|")
        assert set(code(cell)) == set(choices)


def test_values_with_a_table_of_their_own_are_complete() -> None:
    settings, commands = REFERENCE / "settings.md", REFERENCE / "commands.md"
    for page, heading, first, values in (
        (settings, "on_exists", "value", OnExists),
        (settings, "publish", "value", PublishMode),
        (REFERENCE / "evidence.md", "Proof levels", "proof level", Proof),
        (commands, "history", "state", TransferState),
    ):
        rows = table(page, heading=heading, first=first).rows
        assert [code(row[0])[0] for row in rows] == [str(value) for value in values]
    assert set(code(setting_rows()["route.name_map"][3])) == {str(one) for one in NameMap}


# ---------------------------------------------------------------- commands


def _command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def _options(command: click.Command) -> set[str]:
    """With those of the commands below it."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return {option for one in below for option in _options(one)} | {
        next(spelling for spelling in one.opts if spelling.startswith("--"))
        for one in command.params
        if isinstance(one, click.Option)
    }


def test_every_command_is_listed() -> None:
    rows = table(REFERENCE / "commands.md", heading="Commands", first="command").rows
    assert [code(row[0])[0] for row in rows] == [f"backhaul {name}" for name in COMMANDS]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_manual_and_every_row_an_option(name: str) -> None:
    rows = table(REFERENCE / "commands.md", heading=name, first="option").rows
    listed = {code(row[0])[0].split()[0] for row in rows}
    assert listed == _options(_command(name))


def test_every_command_has_an_example() -> None:
    shown = " ".join(console(REFERENCE / "commands.md"))
    for name in COMMANDS:
        assert f"backhaul {name}" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_help_begins_with_an_example_and_shows_no_marks(name: str) -> None:
    command = _command(name)
    shown = command.get_help(click.Context(command, info_name=name))
    assert "Example:" in shown
    assert "\\b" not in shown


def _invocations() -> list[tuple[str, str, str]]:
    """Page, command and the rest of every `backhaul COMMAND …` that the manual tells to type."""
    typed = re.compile(r"(?:^|[\s/|])backhaul ([a-z]+)( .*)?$")
    return [
        (page.name, match[1], match[2] or "")
        for page in pages()
        for line in console(page)
        if (match := typed.search(line.replace("sudo -u backhaul ", "")))
    ]


@pytest.mark.parametrize(("page", "name", "rest"), _invocations())
def test_what_the_manual_tells_to_type_exists(page: str, name: str, rest: str) -> None:
    assert name in COMMANDS
    options = set(re.findall(r"(?<=\s)--[a-z-]+", rest.split("|", 1)[0]))
    assert options <= _options(_command(name))


# ---------------------------------------------------------------- log


def events_in_source() -> set[str]:
    """Every text that `telemetry` may put into `event`."""
    tree = ast.parse((SRC / "adapters" / "system" / "log.py").read_text("utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in {"describe", "_progress_line"}:
            found |= _texts(node) - {ast.get_docstring(node)}
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_LINES":
            found |= _texts(node)
    return {text for text in found if " " in text and text == text.strip()}


def _texts(node: ast.AST) -> set[str]:
    constants = (one.value for one in ast.walk(node) if isinstance(one, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


def test_every_line_of_the_log_is_in_the_operators_manual() -> None:
    rows = table(DOCS / "operate.md", heading="The log", first="event").rows
    assert {code(row[0])[0] for row in rows} == events_in_source()


def test_every_warning_about_the_queue_is_in_the_operators_manual() -> None:
    text = (SRC / "core" / "agent" / "observing" / "queue_warnings.py").read_text("utf-8")
    rows = table(DOCS / "operate.md", heading="Warnings about the queue", first="code").rows
    assert {code(row[0])[0] for row in rows} == set(re.findall(r'"(W_[A-Z_]+)"', text))


def test_every_attribute_of_a_dead_letter_is_in_the_operators_manual() -> None:
    tree = ast.parse((SRC / "adapters" / "aws" / "dead_letter.py").read_text("utf-8"))
    made = next(
        node for node in ast.walk(tree) if isinstance(node, ast.Dict) and len(node.keys) > 5
    )
    names = {str(key.value) for key in made.keys if isinstance(key, ast.Constant)} | {"attempts"}
    rows = table(DOCS / "operate.md", heading="Dead letters", first="attribute").rows
    assert {code(row[0])[0] for row in rows} == {f"backhaul.{name}" for name in names}

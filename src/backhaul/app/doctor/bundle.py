"""`backhaul doctor --bundle`: one file for support, with what is needed to help and no secret."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backhaul import __version__
from backhaul.adapters.ledger import find_reader
from backhaul.app.cost import costs_of
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding
from backhaul.app.doctor.secrecy import KnownSecrets, environment, without_secrets
from backhaul.app.records import details_as_json
from backhaul.core.errors import BackhaulError, BadArgument, NotAllowed
from backhaul.core.replies.secret_values import SecretValues, password_files
from backhaul.core.text import redacted
from backhaul.settings.model import Settings, in_home

LOG_MOST_BYTES = 1 << 20
JOURNAL_LINES = 2000
WORST_MOST = 20
OPEN_MOST = 200
_WITHIN = timedelta(days=30)
_PACKAGES = ("botocore", "boto3", "urllib3", "hdfs-native", "sqlalchemy", "pydantic", "pyarrow")


@dataclass(frozen=True, kw_only=True)
class Bundled:
    """A bundle that was written.

    Attributes:
        members: Name and bytes of each file in it.
    """

    path: Path
    members: tuple[tuple[str, int], ...]


def refuse_existing(path: Path) -> None:
    """Before the probes begin: nothing is ever written over.

    Raises:
        BadArgument: E_BUNDLE_EXISTS.
    """
    if os.path.lexists(path):
        raise BadArgument(
            "E_BUNDLE_EXISTS", f"{path} exists already", hint="name a file that does not exist yet"
        )


def write_bundle(context: DoctorContext, findings: Iterable[Finding], path: Path) -> Bundled:
    """Collect, hide, check, write with mode 0600.

    Raises:
        BadArgument: E_BUNDLE_EXISTS.
        NotAllowed: E_BUNDLE_SECRET: something in it may still be a secret; nothing was written.
    """
    refuse_existing(path)
    secrets = known_secrets(context)
    members = {
        name: secrets.hidden_in(text).encode("utf-8", "replace")
        for name, text in _texts(context, findings).items()
    }
    for name, content in members.items():
        if kind := secrets.remains_in(content):
            raise NotAllowed(
                "E_BUNDLE_SECRET",
                f"{name} would have {kind} in it: no bundle was written",
                hint="look into that file, the log above all; then move it away and try again",
            )
    top = f"backhaul-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    data = _packed(top, members)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        refuse_existing(path)
        raise
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return Bundled(path=path, members=tuple((n, len(data)) for n, data in members.items()))


def known_secrets(context: DoctorContext) -> KnownSecrets:
    """Of the environment, the files that the configuration names, and Hadoop's properties."""
    signatures = [one.signature for one in context.settings.route if one.signature is not None]
    files = [in_home(one.key_file) for one in signatures if one.key_file is not None]
    mails = [one.email for one in context.settings.notify if one.email is not None]
    files += [in_home(one.password_file) for one in mails if one.password_file is not None]
    hooks = [one.secret_file for one in context.settings.reply if one.secret_file is not None]
    if context.settings.lineage.api_key_file is not None:
        hooks.append(context.settings.lineage.api_key_file)
    files += [in_home(one) for one in hooks]
    files += map(Path, password_files(context.settings.hive.command or ()))
    files.append(Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"))
    variables = [os.environ.get(one.key_env or "", "") for one in signatures]
    hadoop = context.loaded.hadoop if context.loaded is not None else None
    if hadoop is not None:
        variables += [hadoop.values[name] for name in hadoop.secret_names()]
    lines = [line for text in variables for line in text.splitlines()]
    return KnownSecrets.collected(files, [*lines, *_given(context.settings)])


def _given(settings: Settings) -> Iterator[str]:
    """What programs have as arguments, and receivers in their URLs."""
    if settings.hive.command:
        yield from SecretValues.of_program(settings.hive.command, is_warehouse=True).values
    commands = [one.command for one in settings.reply]
    commands += [one.command for one in settings.notify]
    for command in filter(None, commands):
        yield from SecretValues.of_program(command).values
    urls = [settings.lineage.url, *(one.webhook for one in settings.reply)]
    for url in filter(None, urls):
        yield from SecretValues.of_program(["", url]).values


def _packed(top: str, members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mode = len(content), 0o600
            entry.mtime = int(datetime.now(UTC).timestamp())
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


# ---------------------------------------------------------------- what is in it


def _texts(context: DoctorContext, findings: Iterable[Finding]) -> dict[str, str]:
    found = {
        "doctor.json": lambda: _as_json({"v": 1, "findings": [one.as_json for one in findings]}),
        "configuration.json": lambda: _configuration(context),
        "environment.json": lambda: _as_json(environment()),
        "versions.json": lambda: _as_json(_versions()),
        "status.json": lambda: _as_json(_status(context)),
        "worst-transfers.json": lambda: _as_json(_worst(context)),
        "log.txt": lambda: _log(context),
    }
    return {name: _or_why_not(make) for name, make in found.items()}


def _or_why_not(make: Callable[[], str]) -> str:
    """A part that cannot be read is what support has to know."""
    try:
        return make()
    except BackhaulError as error:
        return f"could not be read: {redacted(str(error))}\n"
    except OSError as error:
        return f"could not be read: {error.strerror}\n"


def _as_json(value: object) -> str:
    return json.dumps(_hidden(value), ensure_ascii=False, indent=1, default=str) + "\n"


def _hidden(value: Any) -> Any:
    """Each text by itself: in JSON's escapes a shape would not be recognised."""
    if isinstance(value, dict):
        return {key: _hidden(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_hidden(each) for each in value]
    return redacted(value) if isinstance(value, str) else value


def _configuration(context: DoctorContext) -> str:
    """Of the file, parsed: comments may hold anything, and are left out."""
    path = context.config_path
    if path is None:
        return "there is no configuration file\n"
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except ValueError:
        return f"{path} is no valid TOML, so nothing of it is shown\n"
    return _as_json({"path": str(path), "settings": without_secrets(tables)})


def _versions() -> dict[str, Any]:
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "backhaul": __version__,
        "python": sys.version,
        "platform": platform.platform(),
        "libc": " ".join(platform.libc_ver()),
        "sqlite": sqlite3.sqlite_version,
        "packages": packages,
    }


def _status(context: DoctorContext) -> list[dict[str, Any]]:
    """As `status --json`, the newest first."""
    reader = find_reader(context.settings.ledger_place)
    if reader is None:
        return []
    with closing(reader):
        costs = costs_of(reader, context.settings.cost.price)
        shown = [
            details_as_json(reader.show(one.id, first_objects=0), costs)
            for one in reversed(reader.open_transfers(most=OPEN_MOST))
        ]
    return [{name: one[name] for name in ("transfer", "jobs", "proofs")} for one in shown]


def _worst(context: DoctorContext) -> list[dict[str, Any]]:
    """As `show --json`: the newest dead, then those that wait after a failure."""
    reader = find_reader(context.settings.ledger_place)
    if reader is None:
        return []
    with closing(reader):
        dead = reader.dead_transfers(datetime.now(UTC) - _WITHIN, most=WORST_MOST)
        ids = [one.id for one in dead]
        ids += [one.id for one in reader.open_transfers(most=OPEN_MOST) if one.code]
        costs = costs_of(reader, context.settings.cost.price)
        return [details_as_json(reader.show(one), costs) for one in ids[: 2 * WORST_MOST]]


def _log(context: DoctorContext) -> str:
    """The end of the log file; of systemd's journal, where none is configured."""
    if context.settings.log.file is not None:
        with in_home(context.settings.log.file).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_MOST_BYTES))
            text = file.read(LOG_MOST_BYTES).decode("utf-8", "replace")
        if size > LOG_MOST_BYTES:
            text = text.partition("\n")[2]  # the first line is cut
    else:
        text = _journal()
    return "".join(f"{redacted(line)}\n" for line in text.splitlines())


def _journal() -> str:
    program = shutil.which("journalctl")
    if program is None:
        return "no log file is configured, and there is no journalctl\n"
    argv = [program, "-u", "backhaul", "-n", str(JOURNAL_LINES), "--no-pager", "-o", "short-iso"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return "journalctl did not answer within 20 s\n"
    return done.stdout[-LOG_MOST_BYTES:].decode("utf-8", "replace")

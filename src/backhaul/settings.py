"""Settings: one TOML file, checked by pydantic, every mistake named with its line.

AWS's and Hadoop's own settings are not repeated here: they come by their own names from their own
places. What a request may do is a `[[route]]`; how a route decides is `core.policy`.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from backhaul.core.cluster import ClusterRules
from backhaul.core.errors import BackhaulError, ConfigurationError
from backhaul.core.model import (
    EngineName,
    Limits,
    NameMap,
    OnExists,
    PublishMode,
    QueuedTooLong,
    Route,
    VerifyLevel,
)
from backhaul.core.paths import parse_destination, parse_source
from backhaul.core.text import printable

MIB, TIB = 1024**2, 1024**4
_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{prefix}B": 1000**n for n, prefix in enumerate("kMGTP", 1)}
_UNITS |= {f"{prefix}iB": 1024**n for n, prefix in enumerate("KMGTP", 1)}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]*)")

ENV_PREFIX = "BACKHAUL_"
# Read by other parts of Backhaul, so no setting of the agent.
OTHER_ENV = {"BACKHAUL_CONFIG", "BACKHAUL_TESTBED_CACHE"}


def parse_size(value: object) -> object:
    """`5TiB`, `200MB` or a plain number of bytes, as an int; anything else is left to pydantic."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None or match["unit"] not in _UNITS:
        raise ValueError("write a size such as 500GiB, 5TiB or a number of bytes")
    return int(float(match["number"]) * _UNITS[match["unit"]])


_Size = BeforeValidator(parse_size)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitSettings(_Strict):
    """What one transfer of a route may bring."""

    objects: int | None = Field(None, ge=1, description="most objects in one transfer")
    bytes: Annotated[int | None, _Size] = Field(
        None, ge=1, description="most bytes in one transfer; a number, or such as 5TiB"
    )
    in_flight: int | None = Field(None, ge=1, description="most transfers of this route at once")


class RouteSettings(_Strict):
    """Which source may go to which destination, and how."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    source: list[str] = Field(min_length=1, description="S3 prefixes, ending in /")
    destination: list[str] = Field(min_length=1, description="directories, ending in /")
    senders: list[str] | None = Field(None, min_length=1, description="SQS SenderIds; all if unset")
    on_exists: OnExists = OnExists.REPLACE
    publish: PublishMode = PublishMode.AUTO
    engine: EngineName = EngineName.AUTO
    verify: VerifyLevel = VerifyLevel.STORED
    name_map: NameMap = NameMap.STRICT
    limits: LimitSettings = LimitSettings()
    when_queued: QueuedTooLong = Field(
        QueuedTooLong.NATIVE, description="when YARN gives no container in distcp.queue_timeout_s"
    )


class DistcpSection(_Strict):
    """When large transfers go to the cluster's own engine, and how it is run."""

    hadoop: Path | None = Field(
        None, description="the hadoop command; else HADOOP_HOME/bin/hadoop, else the PATH's"
    )
    queue: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="YARN queue; the user's default if unset",
    )
    queue_timeout_s: float = Field(
        900, ge=10, description="an application without a container for this long is killed, s"
    )
    auto_min_bytes: Annotated[int, _Size] = Field(
        2 * TIB, ge=0, description="engine = auto leaves less than this to this node"
    )
    auto_min_mean_bytes: Annotated[int, _Size] = Field(
        64 * MIB, ge=0, description="and transfers whose objects are smaller on average"
    )
    max_maps: int = Field(20, ge=1, le=10_000, description="mappers of one job at most")
    bytes_per_map: Annotated[int, _Size] = Field(
        256 * MIB, ge=1, description="one more mapper for each so many bytes"
    )
    bandwidth: Annotated[int | None, _Size] = Field(
        None, ge=MIB, description="bytes per second of one job, shared by its mappers"
    )
    poll_s: float = Field(2, gt=0, le=300, description="between two looks at YARN, seconds")


class AgentSection(_Strict):
    """How the agent works."""

    slots: int = Field(4, ge=1, le=64, description="messages worked on at once; a process each")
    poll_wait_s: int = Field(20, ge=0, le=20, description="SQS long poll, seconds")
    visibility_timeout_s: int = Field(
        120, ge=60, le=43_200, description="initial and renewed visibility timeout, seconds"
    )
    stop_grace_s: float = Field(60, ge=0, description="what running transfers get after SIGTERM, s")
    stall_timeout_s: float = Field(
        120, ge=1, description="a worker without progress for this long is killed, seconds"
    )
    max_attempts: int = Field(5, ge=1, le=1000, description="failed attempts until dead")
    backoff_base_s: float = Field(5, gt=0, description="delay after the first failure, seconds")
    backoff_cap_s: float = Field(900, gt=0, le=43_200, description="longest delay, seconds")
    drain_patience_s: float = Field(
        60, ge=0, description="in a drain, wait this long for a dependency that is down, seconds"
    )


class LogSection(_Strict):
    """Where the log goes besides standard output."""

    format: str = Field(
        "auto", pattern="^(auto|text|json)$", description="auto: text on a terminal"
    )
    level: str = Field("info", pattern="^(debug|info|warning|error)$")
    file: Path | None = Field(None, description="a rotating file beside standard output")
    file_bytes: Annotated[int, _Size] = Field(
        50_000_000, ge=10_000, description="rotate at this size"
    )
    file_count: int = Field(5, ge=1, le=1000, description="rotated files kept")


class Settings(BaseSettings):
    """Everything Backhaul is configured with."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__"
    )

    ledger: Path | None = Field(None, description="the SQLite file that remembers every transfer")
    agent: AgentSection = AgentSection()
    distcp: DistcpSection = DistcpSection()
    log: LogSection = LogSection()
    route: list[RouteSettings] = Field(default_factory=list)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """BACKHAUL_AGENT__SLOTS and the like win over the file."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @property
    def ledger_path(self) -> Path:
        """The setting, else systemd's state directory, else the user's."""
        if self.ledger is not None:
            return self.ledger.expanduser()
        if state := os.environ.get("STATE_DIRECTORY"):
            return Path(state.split(":", 1)[0]) / "ledger.db"
        home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        return Path(home).expanduser() / "backhaul" / "ledger.db"


def find_config(given: Path | None) -> Path | None:
    """`--config`, else BACKHAUL_CONFIG, else the system's file, else the user's; None if none.

    Raises:
        ConfigurationError: E_CFG_FILE: a file was named and is not there, or may not be looked for.
    """
    named = given or (Path(value) if (value := os.environ.get("BACKHAUL_CONFIG")) else None)
    if named is not None:
        if not _is_file(named):
            origin = "--config" if given else "BACKHAUL_CONFIG"
            raise ConfigurationError(
                "E_CFG_FILE", f"{origin} names {named}, which is no file", hint="check the path"
            )
        return named
    user = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    candidates = (Path("/etc/backhaul/backhaul.toml"), user / "backhaul" / "backhaul.toml")
    return next((path for path in candidates if _is_file(path)), None)


def _is_file(path: Path) -> bool:
    """A directory that may not be entered could hold the policy: never pass it over."""
    try:
        return path.is_file()
    except PermissionError as exc:
        raise ConfigurationError(
            "E_CFG_FILE",
            f"{path}: may not be looked for: {exc.strerror}",
            hint="let this user enter the directory, or name another file with --config",
        ) from exc


def load_settings(path: Path | None) -> Settings:
    """Read and check one file; defaults where there is none.

    Raises:
        ConfigurationError: E_CFG_FILE, E_CFG_TOML, E_CFG_UNKNOWN, E_CFG_VALUE, E_CFG_ENV.
    """
    _refuse_unknown_environment()
    text = ""
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigurationError(
                "E_CFG_FILE", f"{path}: {exc}", hint="make it a readable UTF-8 file"
            ) from exc
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(
            "E_CFG_TOML", f"{path}: {exc}", hint="the file is not valid TOML at that place"
        ) from exc
    try:
        return Settings(**values)
    except ValidationError as exc:
        raise _explain(exc, path, text) from exc


def _refuse_unknown_environment() -> None:
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields}
    for name in os.environ:
        if not name.startswith(ENV_PREFIX) or name in OTHER_ENV:
            continue
        head = name.split("__", 1)[0]
        if head not in known:
            raise ConfigurationError(
                "E_CFG_ENV",
                f"environment variable {name} is no setting of Backhaul",
                hint="unset it, or see the settings reference for the right name",
            )


def _explain(error: ValidationError, path: Path | None, text: str) -> ConfigurationError:
    """The first mistake, with its line."""
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"] if part != "function-before[parse_size(), int]"]
    line = _line_of(first["loc"], text)
    where = f"{path or 'environment'}{f', line {line}' if line else ''}"
    name = ".".join(location)
    if first["type"] == "extra_forbidden":
        return ConfigurationError(
            "E_CFG_UNKNOWN",
            f"{where}: unknown setting {printable(name)}",
            hint="remove it or correct its spelling; the settings reference lists all",
        )
    return ConfigurationError(
        "E_CFG_VALUE",
        f"{where}: {printable(name)}: {first['msg']} (found {printable(repr(first['input']), 60)})",
        hint="see the settings reference for what it takes",
    )


def _line_of(location: tuple[int | str, ...], text: str) -> int | None:
    """The line of a setting: tomllib keeps none, so the tables are walked again by eye."""
    in_table = len([part for part in location if isinstance(part, str)]) > 1
    table = location[0] if in_table else None
    turn = location[1] if in_table and isinstance(location[1], int) else 0
    key = next((part for part in location[in_table:] if isinstance(part, str)), None)
    current: str | None = None
    turns = -1
    header_line = None
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[?\s*([\w-]+)", line):
            current = header[1]
            turns += current == table
            if current == (table or key):
                header_line = number if turns in {turn, -1} else header_line
        elif current == table and (table is None or turns == turn):
            found = re.match(r"\s*[\"']?([\w-]+)", line)
            if found and found[1] == key:
                return number
    return header_line


def make_routes(settings: Settings, path: Path | None, default_fs: str | None) -> tuple[Route, ...]:
    """The file's routes as policy.

    Raises:
        ConfigurationError: E_CFG_ROUTE: a prefix without its slash, a destination that cannot be
            one, a duplicate name, an engine that this version does not have.
    """
    routes = []
    names: set[str] = set()
    for one in settings.route:
        try:
            routes.append(_make_route(one, default_fs))
        except BackhaulError as error:
            raise ConfigurationError(
                "E_CFG_ROUTE",
                f"{path}: route {one.name}: {error.message}",
                hint=error.hint or "see the settings reference",
            ) from error
        if one.name in names:
            raise ConfigurationError(
                "E_CFG_ROUTE",
                f"{path}: two routes are named {one.name}",
                hint="the ledger names routes, so each needs a name of its own",
            )
        names.add(one.name)
    return tuple(routes)


def _make_route(one: RouteSettings, default_fs: str | None) -> Route:
    for text in (*one.source, *one.destination):
        if not text.endswith("/"):
            raise ConfigurationError(
                "E_CFG_ROUTE",
                f"{printable(text)} does not end in '/'",
                hint=f"write {printable(text)}/ : a prefix is compared as bytes, so without its "
                "slash it would also match its siblings",
            )
    sources = [parse_source(text) for text in one.source]
    return Route(
        name=one.name,
        sources=tuple((source.bucket, source.key) for source in sources),
        destinations=tuple(
            parse_destination(text, default_fs=default_fs) for text in one.destination
        ),
        senders=frozenset(one.senders) if one.senders is not None else None,
        on_exists=one.on_exists,
        publish=one.publish,
        engine=one.engine,
        verify=one.verify,
        name_map=one.name_map,
        limits=Limits(
            objects=one.limits.objects,
            size_bytes=one.limits.bytes,
            in_flight=one.limits.in_flight,
        ),
        when_queued=one.when_queued,
    )


def cluster_rules(section: DistcpSection) -> ClusterRules:
    """The `[distcp]` section as the core's rules."""
    return ClusterRules(
        auto_min_bytes=section.auto_min_bytes,
        auto_min_mean_bytes=section.auto_min_mean_bytes,
        max_maps=section.max_maps,
        bytes_per_map=section.bytes_per_map,
        bandwidth_bytes=section.bandwidth,
        queue=section.queue,
        queue_timeout_s=section.queue_timeout_s,
        poll_s=section.poll_s,
    )


def schema() -> dict[str, Any]:
    """JSON Schema of the configuration file, for the docs and for editors."""
    return Settings.model_json_schema()

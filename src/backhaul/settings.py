"""Settings: one TOML file, checked by pydantic, every mistake named with its line.

AWS's and Hadoop's own settings are not repeated here: they come by their own names from their own
places. What a request may do is a `[[route]]`; how a route decides is `core.policy`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from backhaul.core.cluster import ClusterRules
from backhaul.core.errors import BackhaulError, ConfigurationError
from backhaul.core.event_policy import check_template
from backhaul.core.model import (
    EngineName,
    EventOther,
    EvidencePlace,
    Limits,
    NameMap,
    OnExists,
    PublishMode,
    QueuedTooLong,
    Route,
    SignatureRule,
    StepRule,
    VerifyLevel,
)
from backhaul.core.overlap import refuse_overlaps
from backhaul.core.paths import parse_destination, parse_source
from backhaul.core.policy import covering_prefix
from backhaul.core.text import printable

MIB, TIB = 1024**2, 1024**4
_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{prefix}B": 1000**n for n, prefix in enumerate("kMGTP", 1)}
_UNITS |= {f"{prefix}iB": 1024**n for n, prefix in enumerate("KMGTP", 1)}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]*)")

MIN_KEY_BYTES = 32
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
    per_minute: int | None = Field(
        None, ge=1, description="most transfers of this route that begin within a minute"
    )


class EmrSettings(_Strict):
    """What the completion of an EMR step means."""

    step: str = Field(min_length=1, max_length=256, description="the step's name, exactly")
    cluster: str | None = Field(None, min_length=1, description="only on this cluster, j-...")
    source: str = Field(description="what it wrote: an S3 prefix, ending in /")
    destination: str = Field(description="the directory it goes to")


class SignatureSettings(_Strict):
    """Messages of the route must be signed."""

    key_file: Path | None = Field(None, description="keys, one a line; the first signs")
    key_env: str | None = Field(
        None, pattern=r"^[A-Z][A-Z0-9_]*$", description="variable that holds the keys"
    )
    max_age_s: int = Field(
        86_400, ge=60, le=1_209_600, description="longest time a signature may be good for, seconds"
    )


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
    evidence: EvidencePlace = EvidencePlace.LEDGER
    limits: LimitSettings = LimitSettings()
    when_queued: QueuedTooLong = Field(
        QueuedTooLong.NATIVE, description="when YARN gives no container in distcp.queue_timeout_s"
    )
    queues: list[str] | None = Field(
        None, min_length=1, description="queues it serves, by name or ARN; all if unset"
    )
    source_owner: str | None = Field(
        None, pattern=r"^[0-9]{12}$", description="account that must own the buckets"
    )
    event_destination: str | None = Field(
        None, description="directory of events; {bucket}, {key_dir} and {rel_dir} are filled in"
    )
    event_other: EventOther = EventOther.DEAD
    marker: str | None = Field(
        None, min_length=1, max_length=255, description="its event brings its whole directory"
    )
    emr: list[EmrSettings] = Field(default_factory=list)
    signature: SignatureSettings | None = None
    run_as: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9._-]{0,63}$",
        description="the HDFS user for whom the agent acts, through Hadoop's proxy user",
    )


class KerberosSection(_Strict):
    """Who the agent is on a cluster with Kerberos; whether there is one says core-site.xml."""

    principal: str | None = Field(
        None, min_length=1, description="such as backhaul/edge1.example.com@EXAMPLE.COM"
    )
    keytab: Path | None = Field(None, description="the agent takes tickets from it by itself")
    cache: str | None = Field(
        None, min_length=1, description="a ticket cache instead, such as FILE:/run/backhaul/krb5cc"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.keytab or self.cache) and self.principal is None:
            raise ValueError("keytab and cache need a principal")
        if self.keytab and self.cache:
            raise ValueError("keytab or cache, not both")
        return self


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
    kerberos: KerberosSection = KerberosSection()
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
            one, a duplicate name, an engine that this version does not have, a rule for events
            that leads out of the route. E_CFG_OVERLAP: two routes for one request. E_CFG_KEY: no
            usable key for signatures.
    """
    routes = []
    names: set[str] = set()
    for one in settings.route:
        try:
            routes.append(_make_route(one, default_fs))
        except ConfigurationError as error:
            if error.code == "E_CFG_ROUTE":
                raise _in_file(error, path, one.name) from error
            raise
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
    refuse_overlaps(routes)
    _refuse_two_users(routes, path)
    return tuple(routes)


def _in_file(error: ConfigurationError, path: Path | None, name: str) -> ConfigurationError:
    return ConfigurationError(error.code, f"{path}: route {name}: {error.message}", hint=error.hint)


def _refuse_two_users(routes: Sequence[Route], path: Path | None) -> None:
    """A directory belongs to one user: another one could neither fence nor replace what is there.

    Raises:
        ConfigurationError: E_CFG_ROUTE.
    """
    for number, one in enumerate(routes):
        for other in routes[:number]:
            if one.run_as == other.run_as:
                continue
            for here in one.destinations or ():
                for there in other.destinations or ():
                    if here.is_within(there) or there.is_within(here):
                        raise ConfigurationError(
                            "E_CFG_ROUTE",
                            f"{path}: routes {other.name} ({other.run_as or 'the agent'}) and "
                            f"{one.name} ({one.run_as or 'the agent'}) act for two users in "
                            f"{printable(here.uri)} and {printable(there.uri)}",
                            hint="give each user directories that do not overlap",
                        )


def _make_route(one: RouteSettings, default_fs: str | None) -> Route:
    for text in (*one.source, *one.destination):
        if not text.endswith("/"):
            raise ConfigurationError(
                "E_CFG_ROUTE",
                f"{printable(text)} does not end in '/'",
                hint=f"write {printable(text)}/ : a prefix is compared as bytes, so without its "
                "slash it would also match its siblings",
            )
    for name, texts in (("senders", one.senders), ("queues", one.queues)):
        if any(text.strip() == "" or "*" in text for text in texts or ()):
            raise ConfigurationError(
                "E_CFG_ROUTE",
                f"{name} has an empty text or a '*', which is no name",
                hint=f"list them one by one, or leave {name} out to accept all",
            )
    sources = [parse_source(text) for text in one.source]
    destinations = tuple(parse_destination(text, default_fs=default_fs) for text in one.destination)
    if one.run_as is not None and any(place.scheme != "hdfs" for place in destinations):
        raise ConfigurationError(
            "E_CFG_ROUTE",
            "run_as is for HDFS: a mounted file system knows no proxy user",
            hint="remove run_as, or give the mounted directory a route of its own",
        )
    route = Route(
        name=one.name,
        sources=tuple((source.bucket, source.key) for source in sources),
        destinations=destinations,
        senders=frozenset(one.senders) if one.senders is not None else None,
        on_exists=one.on_exists,
        publish=one.publish,
        engine=one.engine,
        verify=one.verify,
        name_map=one.name_map,
        evidence=one.evidence,
        limits=Limits(
            objects=one.limits.objects,
            size_bytes=one.limits.bytes,
            in_flight=one.limits.in_flight,
            per_minute=one.limits.per_minute,
        ),
        when_queued=one.when_queued,
        queues=frozenset(one.queues) if one.queues is not None else None,
        source_owner=one.source_owner,
        event_destination=one.event_destination,
        event_other=one.event_other,
        marker=one.marker,
        steps=tuple(_step_rule(step, default_fs) for step in one.emr),
        signature=_signature_rule(one.signature) if one.signature is not None else None,
        run_as=one.run_as,
    )
    _check_events(route, default_fs)
    return route


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


def _step_rule(step: EmrSettings, default_fs: str | None) -> StepRule:
    return StepRule(
        step=step.step,
        cluster=step.cluster,
        source=parse_source(step.source),
        destination=parse_destination(step.destination, default_fs=default_fs),
    )


def _check_events(route: Route, default_fs: str | None) -> None:
    """What events may bring stays inside the route, whatever they say."""
    places = route.destinations or ()
    if route.event_destination is not None:
        check_template(route.event_destination, places, default_fs=default_fs)
    elif route.marker is not None:
        raise ConfigurationError(
            "E_CFG_ROUTE",
            "marker is set and event_destination is not",
            hint='set event_destination, such as "/landing/{rel_dir}/"',
        )
    if route.marker is not None and "/" in route.marker:
        raise ConfigurationError(
            "E_CFG_ROUTE", "marker has a '/'", hint='write the name alone, such as "_SUCCESS"'
        )
    for rule in route.steps:
        is_inside = any(rule.destination.is_within(place) for place in places)
        if covering_prefix(route, rule.source) is None or not is_inside:
            raise ConfigurationError(
                "E_CFG_ROUTE",
                f"emr step {printable(rule.step, 80)}: {printable(rule.source.uri)} to"
                f" {printable(rule.destination.uri)} leads out of the route",
                hint="name a source and a destination inside the route's own",
            )


def _signature_rule(one: SignatureSettings) -> SignatureRule:
    if (one.key_file is None) == (one.key_env is None):
        raise ConfigurationError(
            "E_CFG_ROUTE",
            "signature needs exactly one of key_file and key_env",
            hint='write signature = { key_file = "/etc/backhaul/signing.key" }',
        )
    keys = read_keys(one.key_file, one.key_env)
    return SignatureRule(keys=keys, max_age_s=one.max_age_s)


def read_keys(key_file: Path | None, key_env: str | None) -> tuple[bytes, ...]:
    """Keys for signatures, one a line; never shown.

    Raises:
        ConfigurationError: E_CFG_KEY: not there, open to others, or too short to be a secret.
    """
    where = f"variable {key_env}" if key_env else f"{key_file}"
    try:
        if key_file is not None:
            if key_file.stat().st_mode & 0o077:
                raise ConfigurationError(
                    "E_CFG_KEY",
                    f"{where}: others may read or write it",
                    hint=f"chmod 600 {where}; and make a new key if they did",
                )
            text = key_file.read_text(encoding="utf-8")
        else:
            text = os.environ[key_env or ""]
    except (OSError, UnicodeDecodeError, KeyError) as exc:
        raise ConfigurationError(
            "E_CFG_KEY",
            f"{where}: no key: {type(exc).__name__}",
            hint="make one: openssl rand -hex 32",
        ) from exc
    keys = tuple(line.strip().encode() for line in text.splitlines() if line.strip())
    if not keys or min(map(len, keys)) < MIN_KEY_BYTES:
        raise ConfigurationError(
            "E_CFG_KEY",
            f"{where}: a key has less than {MIN_KEY_BYTES} characters, or there is none",
            hint="make one: openssl rand -hex 32",
        )
    return keys


def schema() -> dict[str, Any]:
    """JSON Schema of the configuration file, for the docs and for editors."""
    return Settings.model_json_schema()

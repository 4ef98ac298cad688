"""What may be set: the tables and keys of the configuration file, checked by pydantic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, get_args

from pydantic import BeforeValidator, Field, create_model, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from backhaul.access import user_name
from backhaul.core.agent.settings import AgentSettings
from backhaul.core.backoff import RetryPolicy
from backhaul.core.cost.budget import EVERY_ROUTE, EgressBudget
from backhaul.core.errors import ConfigurationError
from backhaul.core.model import (
    EngineName,
    EventOther,
    EvidencePlace,
    NameMap,
    OnExists,
    PublishMode,
    QueuedTooLong,
    Route,
    VerifyLevel,
)
from backhaul.core.ports.cluster import ClusterRules
from backhaul.core.ports.ledger_place import LedgerPlace, place_of
from backhaul.core.rate_limit import LOWEST_BYTES_PER_S, Schedule
from backhaul.settings.base import LedgerSetting, NamedPath, StrictModel, state_file
from backhaul.settings.budget import BudgetSettings
from backhaul.settings.cost import CostSection
from backhaul.settings.expect import ExpectSettings, one_or_more
from backhaul.settings.hive import HiveRouteSettings, HiveSection
from backhaul.settings.lineage import LineageSection
from backhaul.settings.metrics import MetricsSection
from backhaul.settings.notify import NotifySettings
from backhaul.settings.queue import QueueSettings
from backhaul.settings.receipt import ReceiptSection
from backhaul.settings.reply import ReplySettings
from backhaul.settings.retention import RetentionSection
from backhaul.settings.signing_keys import SignatureSettings
from backhaul.settings.sizes import parse_rate, parse_size, parse_window

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

MIB = 1024**2
ENV_PREFIX = "BACKHAUL_"

_Size = BeforeValidator(parse_size)
_Rate = BeforeValidator(parse_rate)


class LimitSettings(StrictModel):
    """What one transfer of a route may bring."""

    objects: int | None = Field(None, ge=1, description="most objects in one transfer")
    bytes: Annotated[int | None, _Size] = Field(
        None, ge=1, description="most bytes in one transfer; a number, or such as 5TiB"
    )
    in_flight: int | None = Field(None, ge=1, description="most transfers of this route at once")
    per_minute: int | None = Field(None, ge=1, description="most of them that begin in a minute")


class EmrSettings(StrictModel):
    """What the completion of an EMR step means."""

    step: str = Field(min_length=1, max_length=256, description="the step's name, exactly")
    cluster: str | None = Field(None, min_length=1, description="only on this cluster, j-...")
    source: str = Field(description="what it wrote: an S3 prefix, ending in /")
    destination: str = Field(description="the directory it goes to")


class RouteSettings(StrictModel):
    """Which source may go to which destination, and how."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    source: list[str] = Field(min_length=1, description="S3 prefixes, ending in /")
    destination: list[str] = Field(min_length=1, description="directories, ending in /")
    senders: list[str] | None = Field(None, min_length=1, description="SQS SenderIds; all if unset")
    on_exists: OnExists = Route.on_exists
    publish: PublishMode = Route.publish
    engine: EngineName = Route.engine
    verify: VerifyLevel = Route.verify
    name_map: NameMap = Route.name_map
    evidence: EvidencePlace = Route.evidence
    limits: LimitSettings = LimitSettings()
    when_queued: QueuedTooLong = Field(
        Route.when_queued, description="when YARN gives no container in distcp.queue_timeout_s"
    )
    queues: list[str] | None = Field(
        None, min_length=1, description="queues it serves, by name, URL or ARN; all if unset"
    )
    min_slots: int | None = Field(None, ge=1, le=63, description="slots kept for it in each agent")
    source_owner: str | None = Field(
        None, pattern=r"^[0-9]{12}$", description="account that must own the buckets"
    )
    event_destination: str | None = Field(
        None, description="directory of events; {bucket}, {key_dir} and {rel_dir} are filled in"
    )
    event_other: EventOther = Route.event_other
    marker: str | None = Field(
        None, min_length=1, max_length=255, description="its event brings its whole directory"
    )
    emr: list[EmrSettings] = Field(default_factory=list)
    expect: Annotated[list[ExpectSettings], BeforeValidator(one_or_more)] = Field(
        default_factory=list, description="data that should have come by a time of day"
    )
    signature: SignatureSettings | None = None
    replies: list[str] = Field(default_factory=list, description="names of [[reply]]")
    reply_to: list[str] = Field(
        default_factory=list,
        description="URLs of queues and ARNs of topics that messages may name; * at the end",
    )
    hive: HiveRouteSettings | None = None
    budget: BudgetSettings | None = Field(None, description="how much of it may leave S3")
    pause_after: int | None = Field(
        None, ge=1, le=1000, description="pauses itself after so many deaths in a row of one cause"
    )
    run_as: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9._-]{0,63}$",
        description="the HDFS user for whom the agent acts, through Hadoop's proxy user",
    )


class KerberosSection(StrictModel):
    """Who the agent is where core-site.xml turns Kerberos on."""

    principal: str | None = Field(
        None, min_length=1, description="such as backhaul/edge1.example.com@EXAMPLE.COM"
    )
    keytab: NamedPath | None = Field(None, description="the agent takes tickets from it by itself")
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


class DistcpSection(StrictModel):
    """When large transfers go to the cluster's own engine, and how it is run."""

    hadoop: NamedPath | None = Field(
        None, description="the hadoop command; else HADOOP_HOME/bin/hadoop, else the PATH's"
    )
    queue: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="YARN queue; the user's default if unset",
    )
    queue_timeout_s: float = Field(
        ClusterRules.queue_timeout_s,
        ge=10,
        description="an application without a container for this long is killed, s",
    )
    auto_min_bytes: Annotated[int, _Size] = Field(
        ClusterRules.auto_min_bytes,
        ge=0,
        description="engine = auto leaves less than this to this node",
    )
    auto_min_mean_bytes: Annotated[int, _Size] = Field(
        ClusterRules.auto_min_mean_bytes,
        ge=0,
        description="and transfers whose objects are smaller on average",
    )
    max_maps: int = Field(
        ClusterRules.max_maps, ge=1, le=10_000, description="mappers of one job at most"
    )
    bytes_per_map: Annotated[int, _Size] = Field(
        ClusterRules.bytes_per_map, ge=1, description="one more mapper for each so many bytes"
    )
    bandwidth: Annotated[int | None, _Rate] = Field(
        None, ge=MIB, description="bytes per second of one job, shared by its mappers"
    )
    poll_s: float = Field(
        ClusterRules.poll_s, gt=0, le=300, description="between two looks at YARN, seconds"
    )

    @property
    def rules(self) -> ClusterRules:
        """As the core decides by them."""
        return self.into(ClusterRules, bandwidth_bytes=self.bandwidth)


class BandwidthSection(StrictModel):
    """How many bytes a second may come from S3; `backhaul limit` changes it while running."""

    limit: Annotated[int | None, _Rate] = Field(
        None,
        ge=LOWEST_BYTES_PER_S,
        description="bytes per second, such as 50MB/s, over all agents of the ledger",
    )
    windows: list[str] = Field(
        default_factory=list,
        description="hours with another limit: mon-fri 08:00-18:00 = 50MB/s; the first wins",
    )

    @field_validator("windows")
    @classmethod
    def _reads(cls, windows: list[str]) -> list[str]:
        for text in windows:
            parse_window(text)
        return windows

    @property
    def schedule(self) -> Schedule:
        """As the core decides by it."""
        windows = tuple(parse_window(text) for text in self.windows)
        return Schedule(bytes_per_s=self.limit, windows=windows)


class AgentSection(StrictModel):
    """How the agent works."""

    slots: int = Field(
        AgentSettings.slots, ge=1, le=64, description="messages worked on at once; a process each"
    )
    poll_wait_s: int = Field(
        AgentSettings.poll_wait_s, ge=0, le=20, description="SQS long poll, seconds"
    )
    visibility_timeout_s: int = Field(
        AgentSettings.visibility_timeout_s,
        ge=60,
        le=43_200,
        description="initial and renewed visibility timeout, seconds",
    )
    stop_grace_s: float = Field(
        AgentSettings.stop_grace_s, ge=0, description="what running transfers get after SIGTERM, s"
    )
    stall_timeout_s: float = Field(
        120, ge=1, description="a worker without progress for this long is killed, seconds"
    )
    worker_idle_s: float = Field(
        300, ge=1, description="a worker with nothing to do for this long ends, seconds"
    )
    max_attempts: int = Field(
        RetryPolicy.max_attempts, ge=1, le=1000, description="failed attempts until dead"
    )
    backoff_base_s: float = Field(
        RetryPolicy.base_s, gt=0, description="delay after the first failure, seconds"
    )
    backoff_cap_s: float = Field(
        RetryPolicy.cap_s, gt=0, le=43_200, description="longest delay, seconds"
    )
    drain_patience_s: float = Field(
        AgentSettings.drain_patience_s,
        ge=0,
        description="in a drain, wait this long for a dependency that is down, seconds",
    )
    watchdog_s: float = Field(
        AgentSettings.watchdog_s,
        ge=5,
        description="a thread of the agent silent for this long ends the process, seconds",
    )

    @property
    def retry(self) -> RetryPolicy:
        """As the core decides by it."""
        return self.into(RetryPolicy, base_s=self.backoff_base_s, cap_s=self.backoff_cap_s)


class LogSection(StrictModel):
    """Where the log goes besides standard output."""

    format: str = Field(
        "auto", pattern="^(auto|text|json)$", description="auto: text on a terminal"
    )
    level: str = Field("info", pattern="^(debug|info|warning|error)$")
    file: NamedPath | None = Field(None, description="a rotating file beside standard output")
    file_bytes: Annotated[int, _Size] = Field(
        50_000_000, ge=10_000, description="rotate at this size"
    )
    file_count: int = Field(5, ge=1, le=1000, description="rotated files kept")


class _Environment(EnvSettingsSource):
    """Variables, of which a value that cannot be read is an error that names its field."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """JSON."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except RecursionError:
            raise ValueError("nested too deeply") from None


class _Sources(BaseSettings):
    """Where settings come from, for all of them and for a part."""

    model_config = SettingsConfigDict(
        frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="ignore"
    )

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
        del env_settings, dotenv_settings, file_secret_settings
        return _Environment(settings_cls), init_settings


class Settings(_Sources):
    """Everything Backhaul is configured with."""

    model_config = SettingsConfigDict(extra="forbid")

    ledger: LedgerSetting | None = Field(
        None, description="remembers every transfer: an SQLite file, or `postgresql://USER@HOST/DB`"
    )
    agent: AgentSection = AgentSection()
    bandwidth: BandwidthSection = BandwidthSection()
    cost: CostSection = CostSection()
    distcp: DistcpSection = DistcpSection()
    log: LogSection = LogSection()
    metrics: MetricsSection = MetricsSection()
    hive: HiveSection = HiveSection()
    kerberos: KerberosSection = KerberosSection()
    receipt: ReceiptSection = ReceiptSection()
    retention: RetentionSection = RetentionSection()
    lineage: LineageSection = LineageSection()
    budget: BudgetSettings | None = Field(None, description="of all routes together")
    notify: list[NotifySettings] = Field(default_factory=list)
    reply: list[ReplySettings] = Field(default_factory=list)
    queue: list[QueueSettings] = Field(default_factory=list)
    route: list[RouteSettings] = Field(default_factory=list)

    @property
    def ledger_place(self) -> LedgerPlace:
        """Where the ledger is: `ledger_path`, which raises E_CFG_HOME, or a database."""
        return place_of(self.ledger, self.ledger_path)

    @property
    def ledger_path(self) -> Path:
        """The setting, else systemd's state directory, else the user's, with this node's files.

        Raises:
            ConfigurationError: E_CFG_HOME.
        """
        if isinstance(self.ledger, Path):
            return in_home(self.ledger)
        return in_home(state_file(self.ledger))

    @property
    def budgets(self) -> tuple[EgressBudget, ...]:
        """That over all routes, if there is one, then those of routes."""
        found = [(EVERY_ROUTE, self.budget), *((one.name, one.budget) for one in self.route)]
        return tuple(one.budget(route) for route, one in found if one is not None)

    @property
    def receipt_keys(self) -> Path:
        """The setting, else a directory beside the ledger.

        Raises:
            ConfigurationError: E_CFG_HOME.
        """
        keys = self.receipt.keys
        return self.ledger_path.parent / "receipt-keys" if keys is None else in_home(keys)


def in_home(path: Path) -> Path:
    """`~` replaced by the user's home directory.

    Raises:
        ConfigurationError: E_CFG_HOME: HOME is not set and the user has no entry in passwd.
    """
    try:
        return path.expanduser()
    except RuntimeError as exc:
        raise ConfigurationError(
            "E_CFG_HOME",
            f"{path}: user {user_name()} has no home directory",
            hint="set HOME, or write paths that begin with / (ledger, kerberos.keytab)",
        ) from exc


def bounds_of(location: Sequence[int | str]) -> str | None:
    """`a whole number from 1 to 64` for the number at this place; None where none is known.

    Args:
        location: Of an error, as pydantic has it: tables, places in lists, name.
    """
    model: Any = Settings
    field: FieldInfo | None = None
    for part in location:
        fields = getattr(model, "model_fields", {})
        if part in fields:
            field = fields[part]
            model = next(
                (each for each in _types_in(field.annotation) if hasattr(each, "model_fields")),
                None,
            )
    if field is None:
        return None
    kinds = set(_types_in(field.annotation))
    if not kinds & {int, float}:
        return None
    noun = "a number" if float in kinds else "a whole number"
    limits = {
        name: getattr(one, name)
        for one in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if hasattr(one, name)
    }
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if low is None:
        return noun if high is None else f"{noun} up to {high:,}"
    if high is None:
        return f"{noun} above {low:,}" if "gt" in limits else f"{noun}, {low:,} or more"
    join = "above {} and up to {}" if "gt" in limits else "from {} to {}"
    return f"{noun} {join.format(f'{low:,}', f'{high:,}')}"


def _types_in(annotation: Any) -> list[Any]:
    """The annotation itself and all that is in it: of `list[X] | None` also X and None."""
    return [annotation, *(one for part in get_args(annotation) for one in _types_in(part))]


def part_of_settings(names: Sequence[str]) -> type[BaseSettings]:
    """A model of these settings alone, which ignores all others."""
    fields: dict[str, Any] = {
        name: (Settings.model_fields[name].annotation, Settings.model_fields[name])
        for name in names
    }
    return create_model("PartOfSettings", __base__=_Sources, **fields)


def schema() -> dict[str, Any]:
    """JSON Schema of the configuration file, for the docs and for editors."""
    return Settings.model_json_schema()

"""What every command starts from: settings, policy, Hadoop's configuration and the log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backhaul.adapters.hadoop.configuration.directory import hadoop_conf_dir
from backhaul.adapters.hadoop.configuration.filesystems import file_systems
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.system.log import LogTarget, Telemetry
from backhaul.adapters.system.trusted_files import check_trusted
from backhaul.core.errors import ConfigurationError
from backhaul.core.file_systems import FileSystems
from backhaul.core.outlook.expectation import Expectation
from backhaul.core.ports import Emit
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.requests.policy import Policy, allow_any_route, parse_allow
from backhaul.settings.expect import make_expectations
from backhaul.settings.load import find_config, load_part, load_settings
from backhaul.settings.model import LogSection, Settings, in_home
from backhaul.settings.routes import make_routes

# The settings that `verify` and `cancel` need, to reach the ledger, HDFS and YARN.
WITHOUT_POLICY = ("ledger", "agent", "bandwidth", "distcp", "kerberos")


@dataclass(frozen=True, kw_only=True)
class Context:
    """Settings, policy and Hadoop's configuration.

    Attributes:
        config_path: The file that was read; None when there is none.
        default_fs: The default file system, and the nameservices that the node has names for.
        expectations: What the routes of the configuration expect.
    """

    settings: Settings
    config_path: Path | None
    policy: Policy
    hadoop: HadoopConfiguration
    default_fs: FileSystems
    expectations: tuple[Expectation, ...] = ()

    @property
    def conf_dir(self) -> Path | None:
        """The directory of Hadoop's configuration."""
        return self.hadoop.directory


def load_context(
    *,
    config: Path | None,
    allow: tuple[str, ...] = (),
    allow_any: bool = False,
    ledger: LedgerPlace | None = None,
    is_policy_needed: bool = True,
) -> Context:
    """Read configuration and environment.

    Args:
        is_policy_needed: False for a command that judges no message: routes are not read.

    Raises:
        ConfigurationError: The first fault in either.
    """
    path = find_config(config)
    if path is not None:
        check_trusted(path, "the configuration")
    settings = load_settings(path) if is_policy_needed else load_part(path, WITHOUT_POLICY)[0]
    if settings.kerberos.keytab is not None:
        check_trusted(in_home(settings.kerberos.keytab), "the keytab", is_secret=True)
    if ledger is not None:
        settings = settings.model_copy(update={"ledger": ledger})
    hadoop = HadoopConfiguration.load(hadoop_conf_dir())
    default_fs = file_systems(hadoop)
    routes = make_routes(settings, path, default_fs) if is_policy_needed else ()
    expected = [one.expect for one in settings.route] if routes else []
    expectations = make_expectations(routes, expected, path)
    routes += tuple(parse_allow(text, default_fs=default_fs) for text in allow)
    if allow_any:
        routes += (allow_any_route(),)
    return Context(
        settings=settings,
        config_path=path,
        policy=Policy(routes=routes),
        hadoop=hadoop,
        default_fs=default_fs,
        expectations=expectations,
    )


def require_routes(context: Context) -> None:
    """Refuse a policy that allows nothing: every message would be dead.

    Raises:
        ConfigurationError: E_CFG_NO_ROUTE.
    """
    if context.policy.routes:
        return
    path = context.config_path
    where = f"{path} has no [[route]]" if path else "there is no configuration file"
    raise ConfigurationError(
        "E_CFG_NO_ROUTE",
        f"nothing is allowed: {where}, and no --allow was given",
        hint="add --allow 's3://BUCKET/PREFIX/ -> /HDFS/DIR/', or write a route to "
        "~/.config/backhaul/backhaul.toml (or /etc/backhaul/backhaul.toml):\n"
        '      [[route]]\n      name = "landing"\n      source = ["s3://BUCKET/PREFIX/"]\n'
        '      destination = ["/HDFS/DIR/"]',
    )


def log_target(log: LogSection) -> LogTarget:
    """Standard output and the file, as configured; `auto` is JSON unless it is a terminal."""
    is_json = log.format == "json" or (log.format == "auto" and not sys.stdout.isatty())
    return log.into(LogTarget, stream=sys.stdout, is_json=is_json)


def quiet_telemetry(progress: Callable[[object], None] | None = None) -> Emit:
    """Warnings and errors alone, on standard error."""
    target = LogTarget(stream=sys.stderr, is_json=False, level="warning")
    return Telemetry(target, progress)

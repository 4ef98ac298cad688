"""`backhaul config check`: what a start or a reload would make of the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from backhaul.adapters.hadoop.hdfs.creation import creation_rules
from backhaul.app.context import Context
from backhaul.app.start import default_fs_warnings
from backhaul.core.facts import InstallationWarned, RouteWarned
from backhaul.core.requests.policy import warnings as route_warnings


@dataclass(frozen=True, kw_only=True)
class ConfigurationSummary:
    """What is in force once an agent has it.

    Attributes:
        routes: Name, sources and destinations of each, in order of precedence.
        warnings: Code, sentence and hint of what is risky.
    """

    file: str | None
    ledger: str
    hadoop: str | None
    routes: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]
    warnings: tuple[tuple[str, str, str], ...]


def summarise(context: Context) -> ConfigurationSummary:
    """Contacts nothing.

    Raises:
        ConfigurationError: E_CFG_HADOOP_VALUE; the other faults were found by `load_context`.
    """
    creation_rules(context.hadoop)
    found: list[InstallationWarned | RouteWarned] = [
        *default_fs_warnings(context.default_fs),
        *route_warnings(context.policy),
    ]
    return ConfigurationSummary(
        file=str(context.config_path) if context.config_path else None,
        ledger=str(context.settings.ledger_path),
        hadoop=str(context.conf_dir) if context.conf_dir else None,
        routes=tuple(
            (
                route.name,
                tuple(f"s3://{bucket}/{prefix}" for bucket, prefix in route.sources or ()),
                tuple(place.uri for place in route.destinations or ()),
            )
            for route in context.policy.routes
        ),
        warnings=tuple(
            (
                one.code,
                f"route {one.route}: {one.reason}" if isinstance(one, RouteWarned) else one.reason,
                one.hint,
            )
            for one in found
        ),
    )

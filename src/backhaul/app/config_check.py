"""`backhaul config check`: what a start or a reload would make of the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from backhaul.adapters.hadoop.hdfs.creation import creation_rules
from backhaul.app.context import Context
from backhaul.app.lineage import lineage_target
from backhaul.app.reply_targets import AwsSessions, reply_targets
from backhaul.app.start import default_fs_warnings
from backhaul.core.facts import InstallationWarned, RouteWarned
from backhaul.core.requests.policy import warnings as route_warnings


@dataclass(frozen=True, kw_only=True)
class RouteSummary:
    """What may go where; empty lists: anything."""

    name: str
    sources: tuple[str, ...]
    destinations: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WarningSummary:
    """What is risky, in one sentence, and what to do."""

    code: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class ConfigurationSummary:
    """What is in force once an agent has it.

    Attributes:
        routes: In order of precedence.
        warnings: What is risky.
    """

    file: str | None
    ledger: str
    hadoop: str | None
    routes: tuple[RouteSummary, ...]
    warnings: tuple[WarningSummary, ...]


def summarise(context: Context) -> ConfigurationSummary:
    """Contacts nothing.

    Raises:
        ConfigurationError: E_CFG_HADOOP_VALUE; what `reply_targets` and `lineage_target` raise;
            the other faults were found by `load_context`.
    """
    creation_rules(context.hadoop)
    reply_targets(context.settings.reply, context.config_path, AwsSessions(context.conf_dir))
    lineage_target(context.settings)
    found: list[InstallationWarned | RouteWarned] = [
        *default_fs_warnings(context.default_fs),
        *route_warnings(context.policy),
    ]
    return ConfigurationSummary(
        file=str(context.config_path) if context.config_path else None,
        ledger=str(context.settings.ledger_place),
        hadoop=str(context.conf_dir) if context.conf_dir else None,
        routes=tuple(
            RouteSummary(
                name=route.name,
                sources=tuple(f"s3://{bucket}/{prefix}" for bucket, prefix in route.sources or ()),
                destinations=tuple(place.uri for place in route.destinations or ()),
            )
            for route in context.policy.routes
        ),
        warnings=tuple(
            WarningSummary(code=one.code, reason=_sentence(one), hint=one.hint) for one in found
        ),
    )


def _sentence(one: InstallationWarned | RouteWarned) -> str:
    return f"route {one.route}: {one.reason}" if isinstance(one, RouteWarned) else one.reason

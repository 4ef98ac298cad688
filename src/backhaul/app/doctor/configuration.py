"""Probes of the configuration: whether it can be read, who may change it, and what routes do."""

from __future__ import annotations

from collections.abc import Iterator

from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State, from_error
from backhaul.app.start import default_fs_warnings
from backhaul.core.errors import ExitCode
from backhaul.core.requests.policy import warnings

_ROUTE = (
    "[[route]]",
    'name = "landing"',
    'source = ["s3://BUCKET/PREFIX/"]',
    'destination = ["/HDFS/DIR/"]',
)


def is_readable(context: DoctorContext) -> Iterator[Finding]:
    """The file, the environment and Hadoop's configuration, as the agent reads them."""
    subject = str(context.config_path or "defaults and environment")
    if context.fault is not None:
        yield from_error("config.load", subject, context.fault)
        return
    yield Finding("config.load", subject, State.OK, "the configuration is valid")


def routes(context: DoctorContext) -> Iterator[Finding]:
    """That there are any, and what they do that one should know."""
    if context.loaded is None:
        return
    policy = context.loaded.policy
    if not policy.routes:
        yield Finding(
            "config.routes",
            "",
            State.FAILED,
            "there is no route, so every message is refused",
            code="E_CFG_NO_ROUTE",
            fix=(
                f"write one into {context.config_path or '/etc/backhaul/backhaul.toml'}:",
                *_ROUTE,
            ),
            exit_code=ExitCode.CONFIGURATION,
        )
        return
    names = ", ".join(one.name for one in context.routes)
    yield Finding("config.routes", names, State.OK, "the routes do not overlap")
    for warned in warnings(policy):
        if context.route in {None, warned.route}:
            yield Finding(
                "config.verify",
                "",
                State.WARNING,
                warned.reason,
                code=warned.code,
                fix=(warned.hint,),
                route=warned.route,
            )
    for one in context.routes:
        if one.sources is None:
            yield Finding(
                "config.allow_any",
                "",
                State.WARNING,
                "--allow-any accepts every source and every destination: anyone who can send a "
                "message can write anywhere this user can",
                fix=("leave --allow-any out, and write routes:", *_ROUTE),
                route=one.name,
            )
    for installed in default_fs_warnings(context.loaded.default_fs):
        yield Finding(
            "config.default_fs",
            "",
            State.WARNING,
            installed.reason,
            code=installed.code,
            fix=(installed.hint,),
        )


PROBES = (is_readable, routes)

"""Probes of the configuration: whether it can be read, who may change it, and what routes do."""

from __future__ import annotations

from collections.abc import Iterator

from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State, from_error


def is_readable(context: DoctorContext) -> Iterator[Finding]:
    """The file, the environment and Hadoop's configuration, as the agent reads them."""
    subject = str(context.config_path or "defaults and environment")
    if context.fault is not None:
        yield from_error("config.load", subject, context.fault)
        return
    yield Finding("config.load", subject, State.OK, "the configuration is valid")


PROBES = (is_readable,)

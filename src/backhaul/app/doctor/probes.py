"""All probes of `backhaul doctor`, in the order in which their findings are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from backhaul.app.doctor import (
    aws,
    configuration,
    generated,
    hadoop,
    hadoop_targets,
    hadoop_yarn,
    hive,
    ledger,
    machine,
    replies,
    s3,
    sqs,
)
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding

Probe = Callable[[DoctorContext], Iterable[Finding]]


@dataclass(frozen=True)
class Section:
    """Probes under one heading.

    Attributes:
        name: The heading, and the check of a probe that breaks.
        probes: Called one after the other; what one raises is its last finding.
        needs_network: Not called with `--offline`.
    """

    name: str
    probes: tuple[Probe, ...]
    needs_network: bool = False


SECTIONS = (
    Section("configuration", configuration.PROBES),
    Section("machine", machine.PROBES),
    Section("ledger", ledger.PROBES),
    Section("aws", aws.PROBES, needs_network=True),
    Section("sqs", sqs.PROBES, needs_network=True),
    Section("s3", s3.PROBES, needs_network=True),
    Section("replies", replies.PROBES),
    Section("as generated", generated.PROBES, needs_network=True),
    Section("hadoop", hadoop.PROBES),
    Section("hdfs", hadoop_targets.HDFS_PROBES, needs_network=True),
    Section("yarn", hadoop_yarn.PROBES, needs_network=True),
    Section("hive", hive.PROBES, needs_network=True),
    Section("mounted targets", hadoop_targets.FILE_PROBES),
    Section("clock", aws.AT_THE_END, needs_network=True),
)

"""Probes of Hadoop's configuration on this node: found, readable, complete."""

from __future__ import annotations

from collections.abc import Iterator

from backhaul.adapters.hadoop.configuration.directory import SYSTEM_DIRECTORY, hadoop_conf_dir
from backhaul.adapters.hadoop.configuration.filesystems import demands_kerberos
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs.creation import creation_rules
from backhaul.app.context import Context
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State, from_error
from backhaul.app.doctor.hadoop_kerberos import krb5_conf_fault
from backhaul.app.start import default_fs_warnings
from backhaul.core.errors import BackhaulError, ExitCode
from backhaul.core.text import printable

CHECK = "hadoop.configuration"
_NO_DIRECTORY = (
    "export HADOOP_CONF_DIR=/etc/hadoop/conf    # the directory with core-site.xml",
    "for the service: Environment=HADOOP_CONF_DIR=... by `systemctl edit backhaul`",
)


def is_usable(context: DoctorContext) -> Iterator[Finding]:
    """The site files as the HDFS client gets them."""
    try:
        directory = hadoop_conf_dir()
    except BackhaulError as error:
        yield from_error(CHECK, "HADOOP_CONF_DIR", error, fix=_NO_DIRECTORY)
        return
    if directory is None:
        if _needs_hdfs(context):
            yield _none_found()
        return
    try:
        configuration = HadoopConfiguration.load(directory)
        creation_rules(configuration)
        is_secure = demands_kerberos(configuration)
    except BackhaulError as error:
        fix = [error.hint]
        if error.code == "E_CFG_CORE_SITE":
            fix.append(f"xmllint --noout {directory}/*-site.xml    # which line is no XML")
        yield from_error(CHECK, str(directory), error, fix=fix)
        return
    if not (directory / "core-site.xml").is_file():
        yield _no_core_site(str(directory))
        return
    if context.loaded is not None:
        yield from _default_fs(context.loaded)
    how = "Kerberos" if is_secure else "no Kerberos"
    yield Finding(CHECK, str(directory), State.OK, f"read, {how}")
    if is_secure and (fault := krb5_conf_fault()) is not None:
        yield Finding(
            fault.check,
            "Kerberos",
            State.FAILED,
            fault.text,
            "E_HDFS_KERBEROS",
            fault.fix,
            exit_code=ExitCode.CONFIGURATION,
        )


def _needs_hdfs(context: DoctorContext) -> bool:
    if context.fault is not None:
        return "HADOOP_CONF_DIR" in f"{context.fault.message} {context.fault.hint}"
    return any(
        place.scheme == "hdfs" for route in context.routes for place in route.destinations or ()
    )


def _none_found() -> Finding:
    return Finding(
        CHECK,
        str(SYSTEM_DIRECTORY),
        State.WARNING,
        "no Hadoop configuration on this node: only hdfs://host:port/dir without Kerberos works",
        fix=(
            "export HADOOP_CONF_DIR=DIRECTORY    # with core-site.xml and hdfs-site.xml",
            f"scp CLUSTER_NODE:{SYSTEM_DIRECTORY}/*-site.xml {SYSTEM_DIRECTORY}/    # or this",
        ),
    )


def _no_core_site(directory: str) -> Finding:
    return Finding(
        CHECK,
        directory,
        State.FAILED,
        f"{directory} has no core-site.xml",
        "E_CFG_HADOOP",
        (
            f"scp CLUSTER_NODE:{SYSTEM_DIRECTORY}/*-site.xml {directory}/",
            "or point HADOOP_CONF_DIR at the directory that has it",
        ),
        exit_code=ExitCode.CONFIGURATION,
    )


def _default_fs(loaded: Context) -> Iterator[Finding]:
    name = "fs.defaultFS"
    for warned in default_fs_warnings(loaded.default_fs):
        lines = tuple(warned.hint.splitlines())
        yield Finding("hadoop.default_fs", name, State.WARNING, warned.reason, warned.code, lines)
    if loaded.default_fs.default is None and loaded.conf_dir is not None:
        where = printable(str(loaded.conf_dir))
        yield Finding(
            "hadoop.default_fs",
            name,
            State.WARNING,
            f"{where}/core-site.xml does not set it: messages with a destination such as /dir are "
            "dead",
            fix=(
                "core-site.xml, as it is on a node of the cluster:",
                "<property><name>fs.defaultFS</name><value>hdfs://NAMESERVICE</value></property>",
                "hdfs getconf -confKey fs.defaultFS    # there, for the value",
            ),
        )
    for service, why in loaded.default_fs.faults:
        line = "copy hdfs-site.xml, with the files it includes, from a node of the cluster"
        code = "E_CFG_HADOOP_VALUE"
        yield Finding(CHECK, f"hdfs://{service}", State.WARNING, why, code, (line,))
    for place, why in loaded.default_fs.mount_faults:
        text = f"{why}: destinations in it are refused"
        line = "give the link one hdfs://NAMESERVICE/dir target, or name that in routes instead"
        yield Finding(CHECK, printable(place), State.WARNING, text, "E_DST_AUTHORITY", (line,))


PROBES = (is_usable,)

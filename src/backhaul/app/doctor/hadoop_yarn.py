"""Probes of what DistCp needs: a ResourceManager, its queue, and Hadoop's own commands."""

from __future__ import annotations

from collections.abc import Iterator

from backhaul.adapters.hadoop.command import Command
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.yarn import manager_addresses
from backhaul.adapters.hadoop.yarn_queues import leaf_queues
from backhaul.app.context import Context
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State, from_error
from backhaul.app.ports import hadoop_command, make_cluster
from backhaul.core.errors import BackhaulError
from backhaul.core.model import EngineName, Route
from backhaul.core.text import printable, redacted
from backhaul.core.transfer.cluster.engine_choice import no_cluster, refused_login

SHOWN_QUEUES = 12
_NO_CLASS = ("Could not find or load main class", "ClassNotFoundException")


def distcp(context: DoctorContext) -> Iterator[Finding]:
    """Whether routes that may use it can."""
    loaded = context.loaded
    routes = [route for route in context.routes if _may_use(route)]
    if loaded is None or not routes:
        return
    wanted = next((one for one in routes if one.engine is EngineName.DISTCP), None)
    name = wanted.name if wanted else ""
    try:
        cluster = make_cluster(loaded)
    except BackhaulError as error:
        yield from_error("yarn.manager", "YARN", error, route=name)
        return
    if cluster is None:
        if wanted is not None:
            yield from_error("yarn.manager", "YARN", no_cluster(), route=name)
        else:
            text = "no ResourceManager is configured: this node copies everything itself"
            yield Finding("yarn.manager", "YARN", State.OK, text)
        return
    configuration = HadoopConfiguration.load_for_jobs(loaded.conf_dir)
    yield from _command(hadoop_command(loaded, configuration), name)
    addresses = manager_addresses(configuration)
    try:
        cluster.check_reachable()
    except BackhaulError as error:
        fix = (
            "yarn rmadmin -getAllServiceState    # of a pair, which one is active",
            f"curl -s {addresses[0]}/ws/v1/cluster/info    # from this machine",
            "yarn.resourcemanager.webapp.address in yarn-site.xml: is it the cluster's?",
        )
        yield from_error("yarn.manager", ", ".join(addresses), error, fix=fix, route=name)
        return
    yield Finding("yarn.manager", ", ".join(addresses), State.OK, "a ResourceManager answers")
    yield from _queue(loaded, addresses)


def _may_use(route: Route) -> bool:
    """As `engine_choice.always_native`, of what is known without a message."""
    places = route.destinations or ()
    is_hdfs = any(place.scheme == "hdfs" for place in places)
    return is_hdfs and route.engine is not EngineName.NATIVE and route.run_as is None


def _command(command: Command, route: str) -> Iterator[Finding]:
    """`hadoop distcp` itself, which shows its options."""
    missing = command.missing()
    if missing is not None:
        fix = (
            "install the Hadoop client of the cluster, or set HADOOP_HOME",
            '[distcp] hadoop = "/opt/hadoop/bin/hadoop" in backhaul.toml',
        )
        if route:
            yield from_error("yarn.command", "hadoop", missing, fix=fix, route=route)
        else:
            text = f"{missing.message}: large transfers stay on this node"
            yield Finding("yarn.command", "hadoop", State.WARNING, text, missing.code, fix)
        return
    path = command.path or "hadoop"
    _, output = command.run(("distcp",), lambda: None)
    if "distcp OPTIONS" in output or "usage: distcp" in output:
        yield Finding("yarn.command", path, State.OK, "`hadoop distcp` is there")
    elif (refused := refused_login(output)) is not None:
        yield from_error("yarn.command", path, refused, route=route)
    else:
        last = printable(redacted((output.strip().splitlines() or ["no output"])[-1]), 300)
        is_no_class = any(one in output for one in _NO_CLASS)
        why = "it has no DistCp" if is_no_class else f"`hadoop distcp` fails: {last}"
        lines = (
            "hadoop classpath | tr : '\\n' | grep -i distcp    # hadoop-distcp-*.jar",
            "install the package with it: hadoop-mapreduce, or a release with tools/lib",
            'or engine = "native" on the route',
        )
        yield Finding("yarn.command", path, State.FAILED, why, "E_HADOOP_COMMAND", lines, route)


def _queue(loaded: Context, addresses: list[str]) -> Iterator[Finding]:
    name = loaded.settings.distcp.queue
    found = leaf_queues(addresses)
    if found is None:
        if name is not None:
            text = "the ResourceManager does not list its queues, so it is not known to be there"
            yield Finding("yarn.queue", name, State.SKIPPED, text)
        return
    chosen = name or "default"
    matching = [one for one in found if one.is_named(chosen)]
    listed = ", ".join(one.path for one in found[:SHOWN_QUEUES])
    if not matching:
        how = f"[distcp] queue = {name}" if name else "no [distcp] queue is set, and the default"
        text = f"{how} is no queue of this cluster, which has {printable(listed, 500)}"
        best = next((one.path for one in found if one.is_running), "QUEUE")
        fix = (
            f'[distcp] queue = "{best}" in backhaul.toml    # one of: {printable(listed, 500)}',
            "yarn queue -status QUEUE; yarn rmadmin -refreshQueues    # after it was added",
        )
        yield Finding("yarn.queue", chosen, State.FAILED, text, "E_YARN_REFUSED", fix)
    elif not any(one.is_running for one in matching):
        prefix = f"yarn.scheduler.capacity.{matching[0].path}.state"
        fix = (
            f"capacity-scheduler.xml: {prefix} = RUNNING, then yarn rmadmin -refreshQueues",
            "or another [distcp] queue in backhaul.toml",
        )
        text = "the queue is stopped and takes no application"
        yield Finding("yarn.queue", chosen, State.FAILED, text, "E_YARN_REFUSED", fix)
    elif not any(one.has_capacity for one in matching):
        name = f"yarn.scheduler.capacity.{matching[0].path}"
        lines = (
            f"capacity-scheduler.xml: {name}.capacity = 10, {name}.maximum-capacity = 100",
            "its siblings get as much less; then yarn rmadmin -refreshQueues",
            "or another [distcp] queue in backhaul.toml",
        )
        text = "the queue has no capacity: YARN takes no application into it"
        yield Finding("yarn.queue", chosen, State.FAILED, text, "E_YARN_REFUSED", lines)
    else:
        yield Finding("yarn.queue", matching[0].path, State.OK, "the queue takes applications")


PROBES = (distcp,)

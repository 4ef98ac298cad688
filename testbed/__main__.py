"""``python -m testbed up|down|status|prepare``, with ``--no-hdfs``, ``--yarn``, ``--hive``, ….

What is to be typed into a shell goes to stdout, so ``eval "$(./dev testbed up)"`` works; all else
to stderr. Exit status: 0 done; 69 something is not running or cannot be started.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

from backhaul.testing.servers.errors import ServerFailed, ServerUnavailable
from backhaul.testing.servers.jars import PROFILES, cache_root, prepare
from backhaul.testing.servers.postgres.programs import postgres_programs
from testbed import lifecycle, netns, seed
from testbed.detached import State
from testbed.hive import prepare_hive
from testbed.kerberos_tools import kerberos
from testbed.postgres.pgbouncer_programs import pgbouncer_programs
from testbed.prometheus import program

_HADOOP = {"hdfs", "yarn"}
_UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h
# Left in the shell these would go before, or along with, what `up` exports.
_UNSET = "unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL HADOOP_USER_NAME"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="./dev testbed", description="Real SQS, S3 and HDFS servers on 127.0.0.1."
    )
    parser.add_argument("command", choices=["up", "down", "status", "prepare"])
    parser.add_argument("--no-hdfs", action="store_true", help="only SQS and S3 (up, prepare)")
    parser.add_argument("--prometheus", action="store_true", help="Prometheus alone (prepare)")
    parser.add_argument("--hive", action="store_true", help="Hive, too (up); alone (prepare)")
    parser.add_argument(
        "--postgres",
        action="store_true",
        help="PostgreSQL, too (up); alone (prepare)",
    )
    parser.add_argument("--yarn", action="store_true", help="YARN and DistCp, too; needs root (up)")
    chosen = parser.parse_args(arguments)
    if chosen.yarn and chosen.no_hdfs:
        parser.error("YARN needs HDFS")
    try:
        match chosen.command:
            case "up":
                if chosen.yarn:
                    _into_a_namespace(list(arguments or sys.argv[1:]))
                return _up(_wanted(chosen))
            case "down":
                _print(f"{lifecycle.down()} processes ended")
                return 0
            case "status":
                return _status()
            case _ if chosen.prometheus:
                _print(f"promtool is {program('promtool')}")
                return 0
            case _ if chosen.postgres:
                _print(f"PostgreSQL is {postgres_programs().program('postgres')}")
                _print(f"PgBouncer is {pgbouncer_programs().program('pgbouncer')}")
                return 0
            case _ if chosen.hive:
                prepare_hive()
                _print(f"jars are in {cache_root()}")
                return 0
            case _:
                prepare([p for p in PROFILES if p not in _HADOOP or not chosen.no_hdfs])
                if not chosen.no_hdfs:
                    kerberos()
                _print(f"jars and KDC are in {cache_root()}")
                return 0
    except (ServerFailed, ServerUnavailable) as exc:
        _print(f"testbed: {exc}")
        return _UNAVAILABLE


def _into_a_namespace(arguments: list[str]) -> None:
    """Go on in the bed's network namespace, or in a new one; return when we are there."""
    if netns.is_inside():
        return
    if not netns.is_possible():
        raise ServerUnavailable("YARN needs a network namespace of its own, and so root")
    state, _ = lifecycle.status(with_conditions=False)
    program = [sys.executable, "-m", "testbed", *arguments]
    argv = netns.command(program, of=lifecycle.inside(state))
    os.execv(argv[0], argv)


def _wanted(chosen: argparse.Namespace) -> set[str]:
    """Which of `lifecycle.CHOICES`."""
    choices = {
        "hdfs": not chosen.no_hdfs,
        "yarn": chosen.yarn,
        "hive": chosen.hive,
        "postgresql": chosen.postgres,
    }
    return {name for name, is_wanted in choices.items() if is_wanted}


def _up(wanted: set[str]) -> int:
    state = lifecycle.up(wanted)
    for server in state.servers:
        _print(f"{server.name} works at {server.endpoint}, log {server.log_path}")
    print(_UNSET)
    print("\n".join(_exports(state)))
    if (pid := lifecycle.inside(state)) is not None:
        shell = " ".join(netns.command(["bash"], of=pid))
        print(f"# it is in a network namespace of its own; first of all:\n#   {shell}")
    print("# then, for example:")
    for example in seed.examples(with_hdfs="hdfs" in wanted):
        print(f"#   {example}")
    return 0


def _status() -> int:
    found, _ = lifecycle.status(with_conditions=False)
    if lifecycle.inside(found) is not None:
        _into_a_namespace(["status"])
    state, conditions = lifecycle.status()
    if state is None:
        _print("not up; start it with: ./dev testbed up")
        return _UNAVAILABLE
    for server in state.servers:
        pids = ", ".join(f"{each.name} {each.pid}" for each in server.processes)
        print(f"{server.name}: {conditions[server.name]} ({server.endpoint}; process {pids})")
        print(f"  log: {server.log_path}")
    print("\n".join(_exports(state)))
    has_all = state.is_complete and all(each == "works" for each in conditions.values())
    return 0 if has_all else _UNAVAILABLE


def _exports(state: State) -> list[str]:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in state.settings.items()]
    if state.path:
        lines.append(f'export PATH={shlex.quote(":".join(state.path))}:"$PATH"')
    return lines


def _print(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

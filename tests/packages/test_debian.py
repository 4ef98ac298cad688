"""The deb on a small Debian: installed, used, upgraded under a running agent, removed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backhaul.testing.servers import clients
from testbed import ElasticMQ, S3Proxy
from tests.packages import built, machine
from tests.packages.built import Packages
from tests.packages.machine import InMachine, Machine

pytestmark = [pytest.mark.long, pytest.mark.integration, pytest.mark.timeout(600)]
NEXT = "99.1.0"
LEDGER = "/var/lib/backhaul/ledger.db"
AGENT_ENV = "/etc/backhaul/agent.env"


@pytest.fixture
def installed(fresh: Machine, packages: Packages) -> Machine:
    fresh.run("dpkg", "-i", fresh.take(packages.deb))
    return fresh


@pytest.fixture(scope="module")
def later(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """The same source as another version."""
    work = tmp_path_factory.mktemp("later")
    return built.build(built.wheel_of_version(NEXT, work), work / "packages")


Agent = Callable[[Machine], InMachine]


@pytest.fixture
def agent(elasticmq: ElasticMQ, s3proxy: S3Proxy, tmp_path: Path) -> Iterator[Agent]:
    made = []

    def make(where: Machine) -> InMachine:
        (tmp_path / "home").mkdir()
        one = InMachine(
            name=f"packages-{os.getpid()}-{tmp_path.name[:40].replace('_', '-')}",
            home=tmp_path / "home",
            sqs=clients.sqs_client(elasticmq),
            s3=clients.s3_client(s3proxy),
            environment=clients.environment(sqs=elasticmq, s3=s3proxy),
            machine=where,
        )
        made.append(one)
        return one

    yield make
    for one in made:
        one.clean_up()


def test_it_installs_without_network_and_does_the_main_job_as_its_own_user(
    fresh: Machine, packages: Packages, agent: Agent
) -> None:
    deb = fresh.take(packages.deb)
    # No network at all: `--net` leaves a loopback interface that is down.
    built.run(
        "unshare", "--net", *fresh.argv("dpkg", "-i", deb), environment={"PATH": machine.PATH}
    )
    assert fresh.run("dpkg", "-V", "backhaul") == ""
    state = fresh.path("/var/lib/backhaul").stat()
    passwd = fresh.path("/etc/passwd").read_text("utf-8")
    assert f":{state.st_uid}:{state.st_gid}:Backhaul agent:/var/lib/backhaul:" in passwd
    assert stat.S_IMODE(state.st_mode) == 0o750
    assert stat.S_IMODE(fresh.path(AGENT_ENV).stat().st_mode) == 0o600

    it = agent(fresh)
    it.put("day=1/a.csv", b"a" * 100_000)
    it.put("day=1/b/c.csv", b"c")
    it.ask_for("day=1/", "day=1")
    it.drained()
    assert it.landing.files() == {"day=1/a.csv": b"a" * 100_000, "day=1/b/c.csv": b"c"}
    (done,) = it.history()
    assert done["state"] == "done"
    assert fresh.path(LEDGER).stat().st_uid == state.st_uid
    assert not list(fresh.path("/opt/backhaul/package").rglob("__pycache__"))


def test_an_upgrade_keeps_configuration_and_ledger_and_leaves_a_running_agent_alone(
    installed: Machine, later: Packages, agent: Agent
) -> None:
    fresh = installed
    with fresh.path(AGENT_ENV).open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    it = agent(fresh)
    it.put("a.csv", b"a")
    it.put("b.csv", b"b")
    running = it.start()
    running.logged("agent started")
    (first,) = list(fresh.path("/opt/backhaul/releases").iterdir())

    said = fresh.run("dpkg", "--force-confold", "-i", fresh.take(later.deb))
    assert f"backhaul: {NEXT} is installed. What runs now goes on" in said
    assert "systemctl restart backhaul" in said
    assert running.is_alive
    assert fresh.run("backhaul", "--version") == f"backhaul, version {NEXT}\n"
    assert fresh.path(AGENT_ENV).read_text("utf-8").endswith("# edited\n")

    # Its first worker starts only now, and is of its own release.
    it.ask_for("a.csv")
    running.logged("transfer done")
    (worker, *_) = running.workers()
    assert f"/releases/{first.name}/bin/python" in worker.cmdline()[0]
    running.terminate()
    assert running.wait().code == 0

    it.ask_for("b.csv")
    it.drained()
    assert it.landing.files() == {"a.csv": b"a", "b.csv": b"b"}
    assert [one["state"] for one in it.history()] == ["done", "done"], "one ledger"
    fresh.run("dpkg-reconfigure", "backhaul")
    (second,) = list(fresh.path("/opt/backhaul/releases").iterdir())
    assert second.name.startswith(NEXT), "what no process runs is removed"


def test_removal_and_purge_keep_the_ledger_and_say_so(installed: Machine) -> None:
    fresh = installed
    fresh.path(LEDGER).write_bytes(b"ledger")
    fresh.path("/etc/backhaul/backhaul.toml").write_text("# mine\n", "utf-8")
    with fresh.path(AGENT_ENV).open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    said = fresh.run("dpkg", "-r", "backhaul")
    assert "backhaul: kept /etc/backhaul /var/lib/backhaul." in said
    assert fresh.path(AGENT_ENV).read_text("utf-8").endswith("# edited\n")
    assert not fresh.path("/opt/backhaul").exists()
    assert not fresh.path("/usr/bin/backhaul").is_symlink()

    said = fresh.run("dpkg", "-P", "backhaul")
    assert "To delete this, the ledger included: rm -r /etc/backhaul /var/lib/backhaul" in said
    assert fresh.path(LEDGER).read_bytes() == b"ledger"
    assert fresh.path("/etc/backhaul/backhaul.toml").exists()
    assert "backhaul:" in fresh.path("/etc/passwd").read_text("utf-8"), "it owns the ledger"


@pytest.mark.parametrize(
    "hand_made", ["/opt/backhaul/bin/backhaul", "/etc/systemd/system/backhaul.service"]
)
def test_it_refuses_over_an_installation_that_was_made_by_hand(
    fresh: Machine, packages: Packages, hand_made: str
) -> None:
    place = fresh.path(hand_made)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("by hand", "utf-8")
    before = sorted(fresh.path("/opt").rglob("*")), fresh.path("/etc/passwd").read_bytes()
    said = fresh.run("dpkg", "-i", fresh.take(packages.deb), status=1)
    assert "Nothing was changed. fix: " in said
    assert place.read_text("utf-8") == "by hand"
    assert (sorted(fresh.path("/opt").rglob("*")), fresh.path("/etc/passwd").read_bytes()) == before
    assert not fresh.path("/etc/backhaul").exists()
    # As the text says.
    fresh.sh(f"mv {hand_made.replace('/bin/backhaul', '')} /srv/old")
    fresh.run("dpkg", "-i", fresh.take(packages.deb))


def test_without_a_python_it_says_which_and_goes_on_when_there_is_one(
    fresh: Machine, packages: Packages
) -> None:
    (python,) = (
        path for path in fresh.path("/usr/bin").glob("python3.*") if path.suffix[1:].isdecimal()
    )
    python.rename(fresh.path("/srv/python"))
    said = fresh.run("dpkg", "-i", fresh.take(packages.deb), status=1)
    assert "backhaul: Python 3.11, 3.12 or 3.13 is needed" in said
    assert "fix: apt-get install python3.11" in said
    fresh.path("/srv/python").rename(python)
    fresh.run("dpkg", "--configure", "-a")
    assert "version" in fresh.run("backhaul", "--version")


def test_another_python_is_used_after_the_distribution_has_changed_it(installed: Machine) -> None:
    """As far as that can be shown here: the launcher finds the newest, and its own libraries."""
    fresh = installed
    fresh.path("/usr/bin/python3.13").write_text('#!/bin/sh\necho "13: $0 $*"\n', "utf-8")
    fresh.path("/usr/bin/python3.13").chmod(0o755)
    assert fresh.run("backhaul", "--version").startswith("backhaul, version"), (
        "3.13 is not complete"
    )
    library = fresh.path("/usr/lib/python3.13/sqlite3")
    library.mkdir(parents=True)
    (library / "__init__.py").touch()
    (release,) = list(fresh.path("/opt/backhaul/releases").iterdir())
    assert fresh.run("backhaul", "--version") == (
        f"13: /opt/backhaul/releases/{release.name}/bin/python3.13 -P -m backhaul --version\n"
    )

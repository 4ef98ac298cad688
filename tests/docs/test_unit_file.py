"""The systemd unit: consistent with the program, and good in systemd's own eyes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from backhaul.cli.ledger import backup
from backhaul.cli.reconcile import command as reconcile
from backhaul.core.errors import ExitCode
from backhaul.settings.load import OTHER_ENV
from backhaul.settings.model import Settings
from tests.docs.manual import ROOT

PACKAGING = ROOT / "packaging" / "systemd"
UNIT = PACKAGING / "backhaul.service"
NAMED = PACKAGING / "backhaul@.service"
DASHBOARD = PACKAGING / "backhaul-dashboard.service"
RECONCILE = PACKAGING / "backhaul-reconcile@.service"
TIMER = PACKAGING / "backhaul-reconcile@.timer"
BACKUP = PACKAGING / "backhaul-ledger-backup.service"
BACKUP_TIMER = PACKAGING / "backhaul-ledger-backup.timer"
SERVICES = (UNIT, NAMED, DASHBOARD)  # which go on until they are stopped
UNITS = (*SERVICES, RECONCILE, BACKUP)
EXPOSURE_MAX = 16  # tenths; 0 is a service that may do nothing
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def _settings(unit: Path = UNIT) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text("utf-8").splitlines():
        if match := re.fullmatch(r"([A-Za-z]+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


def test_the_unit_runs_the_command_as_the_manual_says() -> None:
    (start,) = _settings()["ExecStart"]
    assert start == "/opt/backhaul/bin/backhaul run $QUEUE $REGION"


def test_each_agent_of_several_has_a_configuration_and_a_directory_of_its_own() -> None:
    mine, agents = _settings(NAMED), _settings()
    assert mine["Environment"] == ["BACKHAUL_CONFIG=/etc/backhaul/%i.toml"]
    assert mine["EnvironmentFile"] == [*agents["EnvironmentFile"], "-/etc/backhaul/%i.env"]
    assert mine["StateDirectory"] == [f"{agents['StateDirectory'][0]}/%i"]
    assert mine["RuntimeDirectoryPreserve"] == ["yes"], "one that stops leaves the others' tickets"
    own = {"Description", "Environment", "EnvironmentFile", "StateDirectory"}
    own |= {"RuntimeDirectoryPreserve", "RemoveIPC"}  # as others run as the same user
    assert "RemoveIPC" not in mine
    for name in (set(agents) | set(mine)) - own:
        assert mine.get(name) == agents.get(name), name


def test_a_reload_is_the_signal_and_then_an_answer_to_who_reloads() -> None:
    """The log is opened anew, for logrotate, whatever the configuration is worth."""
    reload, check = _settings()["ExecReload"]
    assert reload == "/bin/kill -HUP $MAINPID"
    assert check == "/opt/backhaul/bin/backhaul config check"
    assert _settings()["KillMode"] == ["mixed"]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_what_a_restart_cannot_mend_is_not_restarted(unit: Path) -> None:
    (codes,) = _settings(unit)["RestartPreventExitStatus"]
    assert {int(code) for code in codes.split()} == {ExitCode.USAGE, ExitCode.CONFIGURATION}


def test_systemd_waits_longer_than_the_agent_does() -> None:
    (stop_s,) = map(int, _settings()["TimeoutStopSec"])
    agent = Settings().agent
    assert stop_s >= agent.stop_grace_s + agent.poll_wait_s


def test_the_environment_file_has_what_the_unit_asks_for_and_no_unknown_setting() -> None:
    text = (PACKAGING / "agent.env").read_text("utf-8")
    names = set(re.findall(r"^#?([A-Z_0-9]+)=", text, re.MULTILINE))
    assert {"QUEUE", "REGION", "HADOOP_CONF_DIR"} <= names
    for name in names - OTHER_ENV:
        assert not name.startswith("BACKHAUL_"), "the agent refuses it"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_unit_hides_nothing_that_the_ledger_reads_of_processes(unit: Path) -> None:
    """`adapters.ledger.owner` needs /proc/PID/stat and /proc/sys/kernel/random/boot_id."""
    assert not {"ProcSubset", "ProtectProc", "PrivatePIDs"} & set(_settings(unit))


def test_the_dashboard_reads_the_agents_ledger_as_its_user_and_may_do_no_more_than_it() -> None:
    mine, agents = _settings(DASHBOARD), _settings()
    for name in ("User", "Group", "StateDirectory", "StateDirectoryMode"):
        assert mine[name] == agents[name]
    assert mine["ExecStart"] == ["/opt/backhaul/bin/backhaul dashboard"]
    assert "After" not in set(agents) or DASHBOARD.name not in str(agents["After"])
    # Directories of the agent's own, and System V objects of the user's other processes.
    not_mine = {"LogsDirectory", "LogsDirectoryMode", "RemoveIPC"}
    not_mine |= {name for name in agents if name.startswith("RuntimeDirectory")}
    start = list(agents).index("NoNewPrivileges")
    for name in list(agents)[start:]:
        if name not in not_mine and name != "WantedBy":
            assert mine.get(name) == agents[name], name


def test_the_scheduled_reconcile_is_the_agents_user_and_may_do_no_more_than_it() -> None:
    mine, agents = _settings(RECONCILE), _settings()
    for name in ("User", "Group", "StateDirectory", "StateDirectoryMode", "EnvironmentFile"):
        assert mine[name] == agents[name]
    start = list(agents).index("NoNewPrivileges")
    for name in list(agents)[start:]:
        if name not in {"RemoveIPC", "WantedBy"}:
            assert mine.get(name) == agents[name], name


def test_the_scheduled_reconcile_goes_on_where_it_was_and_findings_are_no_failure() -> None:
    mine = _settings(RECONCILE)
    assert mine["SuccessExitStatus"] == [str(int(ExitCode.BAD_INPUT))]
    (start,) = mine["ExecStart"]
    program, command, route, option, directory = start.split()
    assert (program, command, route) == (
        "/opt/backhaul/bin/backhaul",
        "reconcile",
        "%i",  # as it is: %I would make a slash of each dash
    )
    assert (option, directory) == ("--state", "/var/lib/backhaul/reconcile-%i")
    assert {option} <= {name for one in reconcile.params for name in one.opts}


def test_the_scheduled_backup_is_the_agents_user_and_may_do_no_more_than_it() -> None:
    mine, agents = _settings(BACKUP), _settings()
    for name in ("User", "Group", "StateDirectoryMode", "EnvironmentFile"):
        assert mine[name] == agents[name]
    start = list(agents).index("NoNewPrivileges")
    for name in list(agents)[start:]:
        # It calls nobody on the network.
        if name not in {"RemoveIPC", "WantedBy", "RestrictAddressFamilies"}:
            assert mine.get(name) == agents[name], name
    assert mine["RestrictAddressFamilies"] == ["AF_UNIX"]


def test_the_scheduled_backup_replaces_the_last_one_in_a_directory_that_systemd_makes() -> None:
    mine = _settings(BACKUP)
    (start,) = mine["ExecStart"]
    program, *words, file, option = start.split()
    assert (program, words) == ("/opt/backhaul/bin/backhaul", ["ledger", "backup"])
    made = [f"/var/lib/{name}" for name in mine["StateDirectory"][0].split()]
    assert str(Path(file).parent) == made[-1]
    assert {option} <= {name for one in backup.params for name in one.opts}


@needs_systemd
@pytest.mark.parametrize(
    ("unit", "timer"), [(RECONCILE, TIMER), (BACKUP, BACKUP_TIMER)], ids=["reconcile", "backup"]
)
def test_the_timer_starts_it_every_night(unit: Path, timer: Path, tmp_path: Path) -> None:
    program = shutil.which("true") or "/bin/true"
    text = unit.read_text("utf-8").replace("/opt/backhaul/bin/backhaul", program)
    (tmp_path / unit.name).write_text(text, "utf-8")
    shutil.copy(timer, tmp_path)
    (when,) = _settings(timer)["OnCalendar"]
    for command in (
        ["calendar", when],
        ["verify", "--man=no", str(tmp_path / timer.name.replace("@", "@click-stream"))],
    ):
        found = subprocess.run(
            ["systemd-analyze", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        )
        assert found.returncode == 0, found.stderr
        assert unit.stem.rstrip("@") not in found.stderr


def test_the_agents_user_is_the_one_that_is_made() -> None:
    user = (PACKAGING / "sysusers.d" / "backhaul.conf").read_text("utf-8")
    assert re.search(rf"^u {_settings()['User'][0]} ", user, re.MULTILINE)
    assert f"/var/lib/{_settings()['StateDirectory'][0]} " in user


@pytest.fixture(params=UNITS, ids=lambda unit: unit.stem)
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit as it would be where the program is installed."""
    unit = request.param
    path: Path = tmp_path / unit.name
    program = shutil.which("true") or "/bin/true"
    path.write_text(unit.read_text("utf-8").replace("/opt/backhaul/bin/backhaul", program), "utf-8")
    return path


@needs_systemd
def test_systemd_finds_no_fault(installed: Path) -> None:
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(installed)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    ours = [line for line in found.stderr.splitlines() if installed.name in line]
    assert ours == []
    assert found.returncode == 0, found.stderr


@needs_systemd
def test_systemd_finds_little_exposed(installed: Path) -> None:
    found = subprocess.run(
        [
            *("systemd-analyze", "security", "--offline=true", "--no-pager"),
            *(f"--threshold={EXPOSURE_MAX}", str(installed)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "unrecognized option" in found.stderr or "Unknown operation" in found.stderr:
        pytest.skip("this systemd-analyze cannot judge a file")
    assert found.returncode == 0, found.stdout[-500:] + found.stderr


needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("systemd-tmpfiles") is None,
    reason="needs root, systemd-sysusers and systemd-tmpfiles",
)


@needs_root
def test_systemd_makes_the_user_and_sets_owners_and_modes(tmp_path: Path) -> None:
    """By systemd's own programs, below a root of the test's own."""
    etc = tmp_path / "etc"
    etc.mkdir()
    configuration = etc / "backhaul"
    configuration.mkdir(mode=0o777)
    for name in ("backhaul.toml", "one.toml", "agent.env", "one.env", "backhaul.keytab"):
        (configuration / name).touch(0o666)
        (configuration / name).chmod(0o666)
    for program, file in (
        (["systemd-sysusers"], PACKAGING / "sysusers.d" / "backhaul.conf"),
        (["systemd-tmpfiles", "--create"], PACKAGING / "tmpfiles.d" / "backhaul.conf"),
    ):
        done = subprocess.run(
            [*program, f"--root={tmp_path}", str(file)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    line = re.search(r"^backhaul:.*", (etc / "passwd").read_text("utf-8"), re.MULTILINE)
    assert line is not None
    _, _, uid, gid, _, home, shell = line[0].split(":")
    assert (home, shell) == ("/var/lib/backhaul", "/usr/sbin/nologin")

    def found(path: Path) -> tuple[int, int, int]:
        seen = path.stat()
        return seen.st_mode & 0o777, seen.st_uid, seen.st_gid

    assert found(configuration) == (0o755, 0, 0)
    assert found(configuration / "backhaul.toml") == (0o644, 0, 0)
    assert found(configuration / "one.toml") == (0o644, 0, 0)
    for name in ("agent.env", "one.env"):
        assert found(configuration / name) == (0o600, 0, 0)
    assert found(configuration / "backhaul.keytab") == (0o400, int(uid), int(gid))

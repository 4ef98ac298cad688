"""`backhaul doctor` on HDFS and mounts: planted faults, and what is shown of each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs.errors import of_open_file, proxy_refused, translate
from backhaul.adapters.hadoop.rpc import RemoteError
from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.system.clock import SystemClock, host_name
from backhaul.app.context import Context
from backhaul.app.doctor import hadoop_network, mounted
from backhaul.app.doctor.finding import Finding, State
from backhaul.app.doctor.hadoop_network import Looked, Reach
from backhaul.app.doctor.hadoop_targets import Places, ledger_notes
from backhaul.app.doctor.hadoop_trial import root_name
from backhaul.core.agent.sweeping import sweep_abandoned
from backhaul.core.errors import BackhaulError, CannotWrite, OutageError, TargetMissing
from backhaul.core.file_systems import FileSystems
from backhaul.core.model import Location, Route
from backhaul.core.ports import WriteRefusal
from backhaul.core.requests.policy import Policy
from backhaul.engines.tuning import Tuning
from backhaul.settings.model import Settings
from backhaul.testing.fakes import (
    FakeClock,
    FakeContent,
    FakeStore,
    FakeTarget,
    Fault,
    Faults,
    InlinePool,
    Killed,
)

FS = "hdfs://nn:8020"
LANDING = Location(scheme="hdfs", authority="nn:8020", path="/landing")
DENIAL = 'Permission denied: user=bob, access=WRITE, inode="/landing":hdfs:hdfs:drwxr-xr-x'


class Bed:
    """Routes, and a target that behaves until it is told otherwise."""

    def __init__(
        self, ledger: Path, *places: Location, run_as: str | None = None, **settings: object
    ) -> None:
        self.places = places or (LANDING,)
        self.clock, self.ahead_s = FakeClock(), 0.0
        self.faults = Faults()
        self.content = FakeContent(new_digest=new_digest)
        self.target = FakeTarget(self.clock, faults=self.faults, content=self.content)
        for place in self.places:
            self.target.own(place.path)
        self.route = Route(name="r", sources=None, destinations=self.places, run_as=run_as)
        self.loaded = Context(
            settings=Settings.model_validate({"ledger": str(ledger), **settings}),
            config_path=None,
            policy=Policy(routes=(self.route,)),
            hadoop=HadoopConfiguration(),
            default_fs=FileSystems(),
        )
        self.pool = InlinePool(
            targets={place.filesystem: self.target for place in self.places},
            reader=FakeStore(self.clock, new_digest=new_digest),
            new_digest=new_digest,
            faults=self.faults,
            tuning=Tuning(),
            parallel=1,
        )

    def now_s(self) -> float:
        return self.clock.now().timestamp() - self.ahead_s

    def findings(self) -> list[Finding]:
        with ledger_notes(self.loaded) as noted:
            places = [(self.route, place) for place in self.places]
            return list(Places(self.loaded, self.pool, noted, self.now_s).probe(places))


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path / "ledger.db")


@pytest.fixture(autouse=True)
def _all_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_at(address: tuple[str, int]) -> Looked:
        host, port = address
        return Looked(host, port, Reach.ANSWERS, "")

    monkeypatch.setattr(hadoop_network, "look_at", look_at)


# ---------------------------------------------------------------- nothing is wrong


def test_a_healthy_directory_is_one_green_line_and_keeps_nothing(bed: Bed) -> None:
    before = bed.target.paths()
    (found,) = bed.findings()
    assert (found.check, found.state, found.subject) == ("hdfs.write", State.OK, LANDING.uri)
    assert bed.target.paths() == before
    done = [name for name, _ in bed.faults.log]
    for step in ("mkdirs", "create", "write", "close", "stored_checksums", "rename", "remove"):
        assert f"target.{step}" in done


def test_a_directory_that_is_not_there_yet_is_tried_above(bed: Bed) -> None:
    bed.target.remove("/landing")
    (found,) = bed.findings()
    assert (found.state, bed.target.paths()) == (State.OK, ["/"])
    assert "will be made in /" in found.text


def test_two_routes_into_one_directory_are_one_trial(bed: Bed) -> None:
    bed.places = (LANDING, LANDING)
    assert len(bed.findings()) == 1


def test_erasure_coding_is_named(bed: Bed) -> None:
    bed.target.own("/landing", policy="RS-6-3-1024k")
    _written, coded = bed.findings()
    assert (coded.check, coded.state) == ("hdfs.erasure_coding", State.OK)
    assert "RS-6-3-1024k" in coded.text


# ---------------------------------------------------------------- planted faults


def java(name: str, text: str) -> Callable[[str], BackhaulError]:
    return lambda where: translate(RemoteError(f"org.apache.hadoop.{name}", text), where)


def client(text: str) -> Callable[[str], BackhaulError]:
    return lambda where: translate(RuntimeError(text), where)


def refused_by_datanode(where: str) -> BackhaulError:
    return of_open_file(OSError("Connection refused (os error 111)"), where)


def down(code: str, text: str) -> Callable[[str], BackhaulError]:
    return lambda where: OutageError.of("hdfs", code, f"{where}: {text}")


class Planted(NamedTuple):
    """A fault of the target.

    Attributes:
        call: Which call fails.
        check: The check that has to fail.
        words: Of text or fix.
    """

    call: str
    error: Callable[[str], BackhaulError]
    check: str
    words: tuple[str, ...]


PLANTED = {
    "write denied": Planted(
        "mkdirs",
        java("AccessControlException", DENIAL),
        "hdfs.permission",
        ("hdfs dfs -chown bob /landing", "hdfs dfs -setfacl -m user:bob:rwx /landing", "run_as"),
    ),
    "name quota": Planted(
        "mkdirs",
        java(
            "NSQuotaExceededException",
            "The NameSpace quota (directories and files) of directory /q is exceeded: quota=1 "
            "file count=2",
        ),
        "hdfs.quota",
        ("hdfs dfs -count -q -h -v /q", "hdfs dfsadmin -setQuota 1000000 /q", "-clrQuota /q"),
    ),
    "space quota": Planted(
        "create",
        java(
            "DSQuotaExceededException",
            "The DiskSpace quota of /s is exceeded: quota = 1000 B = 1000 B but diskspace consumed "
            "= 134217728 B = 128 MB",
        ),
        "hdfs.quota",
        ("hdfs dfsadmin -setSpaceQuota 1099511627776 /s", "-clrSpaceQuota /s"),
    ),
    "quota of a storage type": Planted(
        "create",
        java(
            "QuotaByStorageTypeExceededException",
            "Quota by storage type : SSD on path : /t is exceeded. quota = 1 GB but space consumed "
            "= 2 GB",
        ),
        "hdfs.quota",
        ("-storageType SSD",),
    ),
    "safe mode": Planted(
        "mkdirs",
        java("SafeModeException", "Cannot create directory /landing. Name node is in safe mode."),
        "hdfs.safe_mode",
        ("hdfs dfsadmin -safemode get", "hdfs dfsadmin -safemode leave"),
    ),
    "standby everywhere": Planted(
        "check_reachable",
        java("StandbyException", "Operation category READ is not supported in state standby"),
        "hdfs.standby",
        ("hdfs haadmin -getAllServiceState", "hdfs://NAMESERVICE/dir"),
    ),
    "still starting": Planted(
        "check_reachable",
        java("RetriableException", "NameNode still not started"),
        "hdfs.namenode",
        ("hdfs dfsadmin -safemode wait",),
    ),
    "no such nameservice": Planted(
        "check_reachable",
        client("No NameNode hosts found"),
        "hdfs.namenode",
        ("HADOOP_CONF_DIR", "hdfs getconf -confKey dfs.nameservices"),
    ),
    "Kerberos on one side alone": Planted(
        "check_reachable",
        down("E_HDFS_AUTH", "demands Kerberos"),
        "hdfs.authentication",
        ("demands Kerberos",),
    ),
    "encryption zone, no key server configured": Planted(
        "create",
        client("no KMS provider is configured"),
        "hdfs.encryption",
        ("hadoop.security.key.provider.path", "kms://http@"),
    ),
    "encryption zone, key denied": Planted(
        "create",
        client("KMS request failed (403 Forbidden)"),
        "hdfs.encryption",
        ("key.acl.KEY.DECRYPT_EEK", "hdfs crypto -listZones"),
    ),
    "encryption zone, key server down": Planted(
        "create",
        client("KMS request failed: connection refused"),
        "hdfs.encryption",
        ("hadoop key list",),
    ),
    "erasure coding that the client cannot write": Planted(
        "create",
        down("E_DST_EC", "erasure-coded by XOR-2-1-1024k"),
        "hdfs.erasure_coding",
        ("XOR",),
    ),
    "no DataNode takes a block": Planted(
        "close", refused_by_datanode, "hdfs.datanode", ("hdfs dfsadmin -report", "9866")
    ),
    "a setting that the NameNode refuses": Planted(
        "create",
        java("IOException", "Specified block size 1 is less than configured minimum value"),
        "hadoop.configuration",
        ("dfs.blocksize",),
    ),
    "a file is in the way": Planted(
        "mkdirs",
        java("ParentNotDirectoryException", "/landing (is not a directory)"),
        "hdfs.permission",
        ("remove it or choose another path",),
    ),
    "a hanging NameNode": Planted(
        "mkdirs",
        down("E_TARGET_STALLED", "no answer to fence for 20 s"),
        "hdfs.namenode",
        ("20 s",),
    ),
}


def shown(found: Finding) -> str:
    return "\n".join([found.text, *found.fix])


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_fault_is_found_with_its_fix(bed: Bed, planted: Planted) -> None:
    before = bed.target.paths()
    bed.faults.always(f"target.{planted.call}", planted.error(LANDING.uri))
    (found,) = bed.findings()
    assert (found.check, found.state) == (planted.check, State.FAILED), found
    for word in planted.words:
        assert word in shown(found)
    assert found.code
    assert found.fix or planted.check in {"hdfs.write", "hdfs.namenode", "hdfs.authentication"} | {
        "hdfs.erasure_coding"
    }
    assert bed.target.paths() == before, "nothing is left"


def test_a_rename_that_is_refused(bed: Bed) -> None:
    error = java("IOException", "something new")(LANDING.uri)
    bed.faults.at("target.rename", 2, Fault.FAIL, error)  # the first one is of the file's own name
    (found,) = bed.findings()
    assert (found.check, found.state, found.code) == ("hdfs.write", State.FAILED, "E_HDFS_RPC")
    assert "could not rename it" in found.text
    assert "something new" in found.text


def test_who_may_not_write_is_known_before_anything_is_made(bed: Bed) -> None:
    bed.target.closed["/landing"] = WriteRefusal(user="bob", why=DENIAL)
    (found,) = bed.findings()
    assert (found.check, found.code) == ("hdfs.permission", "E_DST_DENIED")
    assert "hdfs dfs -chown bob /landing    # as the superuser" in found.fix
    assert bed.faults.count("target.mkdirs") == 0


def test_a_directory_that_cannot_be_made_names_the_commands_that_make_it(bed: Bed) -> None:
    bed.target.remove("/landing")
    denial = DENIAL.replace("/landing", "/")
    bed.target.closed["/"] = WriteRefusal(user="bob", why=denial)
    (found,) = bed.findings()
    made = "hdfs dfs -mkdir -p /landing && hdfs dfs -chown bob /landing    # as the superuser"
    assert found.fix == (made,)


def test_a_refusal_above_never_gives_the_root_away(bed: Bed) -> None:
    """With Kerberos the first refusal is that of the write itself."""
    bed.target.remove("/landing")
    denial = java("AccessControlException", DENIAL.replace("/landing", "/"))
    bed.faults.always("target.mkdirs", denial(LANDING.uri))
    (found,) = bed.findings()
    assert [line.partition(" && ")[0] for line in found.fix] == ["hdfs dfs -mkdir -p /landing"]


def test_a_directory_above_that_may_not_be_passed(bed: Bed) -> None:
    text = 'Permission denied: user=bob, access=EXECUTE, inode="/":hdfs:hdfs:drwx------'
    bed.faults.always("target.status", java("AccessControlException", text)(LANDING.uri))
    (found,) = bed.findings()
    assert found.check == "hdfs.permission"
    assert found.fix == (
        "hdfs dfs -setfacl -m user:bob:--x /    # as the superuser: to pass through",
    )


def test_a_proxy_that_is_refused_gets_both_properties(tmp_path: Path) -> None:
    kerberos = {"principal": "backhaul/edge1@REALM"}
    bed = Bed(tmp_path / "ledger.db", run_as="alice", kerberos=kerberos)
    refused = proxy_refused(FS, "alice", OSError("closed"))
    bed.faults.always("target.check_reachable", refused)
    (found,) = bed.findings()
    assert (found.check, found.route) == ("hdfs.proxy_user", "r")
    users = "<name>hadoop.proxyuser.backhaul.users</name><value>alice</value>"
    assert users in shown(found)
    assert "hadoop.proxyuser.backhaul.hosts" in shown(found)
    assert "-refreshSuperUserGroupsConfiguration" in shown(found)


def test_a_file_system_that_does_not_answer_is_tried_once(tmp_path: Path) -> None:
    bed = Bed(tmp_path / "ledger.db", LANDING, LANDING.parent.join("other"))
    error = java("SafeModeException", "Name node is in safe mode.")(LANDING.uri)
    bed.faults.always("target.mkdirs", error)
    first, second = bed.findings()
    assert (first.state, second.state) == (State.FAILED, State.SKIPPED)
    assert second.text == "not tried: see hdfs.safe_mode above"


@pytest.mark.parametrize(("ahead_s", "way"), [(400.0, "ahead of"), (-400.0, "behind")])
def test_a_clock_that_differs_is_a_warning(bed: Bed, ahead_s: float, way: str) -> None:
    bed.ahead_s = ahead_s
    written, clock = bed.findings()
    assert (written.state, clock.check, clock.state) == (State.OK, "hdfs.clock", State.WARNING)
    assert f"400 s {way} this machine's" in clock.text
    assert any("chronyc makestep" in line for line in clock.fix)


def test_a_checksum_that_is_wrong_is_a_failure(tmp_path: Path) -> None:
    bed = Bed(tmp_path / "ledger.db")
    bed.content.wrong.add("written")
    (found,) = bed.findings()
    assert (found.check, found.state) == ("hdfs.write", State.FAILED)
    assert "checksum" in found.text


# ---------------------------------------------------------------- killed in the middle


@pytest.mark.parametrize("call", ["target.create", "target.close", "target.rename"])
def test_a_doctor_that_is_killed_leaves_what_the_sweep_removes(bed: Bed, call: str) -> None:
    with closing(open_ledger(bed.loaded.settings.ledger_path, create=True)):
        pass
    before = bed.target.paths()
    bed.faults.at(call, 1, Fault.KILL)
    with pytest.raises(Killed):
        bed.findings()
    bed.faults.revive()
    assert bed.target.paths() != before
    bed.clock.advance(3600)
    facts: list[object] = []
    with closing(open_ledger(bed.loaded.settings.ledger_path, create=False)) as ledger:
        ports = SimpleNamespace(
            ledger=ledger,
            standing=ledger.standing,
            pool=bed.pool,
            clock=SystemLater(),
            emit=facts.append,
        )
        sweep_abandoned(ports, bed.loaded.policy)  # type: ignore[arg-type]
        assert ledger.abandoned_staging(SystemLater().now(), age=timedelta(0), most=9) == []
    assert bed.target.paths() == before
    assert len(facts) == 1


class SystemLater:
    """An hour after now: the doctor's own entries are made by the machine's clock."""

    def now(self) -> datetime:
        return SystemClock().now() + timedelta(hours=1)


def test_what_a_killed_one_left_the_next_one_removes(bed: Bed) -> None:
    """Without a ledger too: on a new machine there is none yet."""
    before = bed.target.paths()
    bed.faults.at("target.close", 1, Fault.KILL)
    with pytest.raises(Killed):
        bed.findings()
    bed.faults.revive()
    (found,) = bed.findings()
    assert (found.state, bed.target.paths()) == (State.OK, before)


def test_a_file_that_one_left_after_its_rename_is_not_in_the_way(bed: Bed) -> None:
    name = root_name(host_name(), str(bed.loaded.settings.ledger_path), "r")
    bed.target.put(f"/landing/.backhaul/{name}/1/renamed", b"x")
    (found,) = bed.findings()
    assert (found.state, bed.target.files()) == (State.OK, {})


def test_a_healthy_run_leaves_nothing_in_the_ledger(bed: Bed) -> None:
    with closing(open_ledger(bed.loaded.settings.ledger_path, create=True)):
        pass
    assert bed.findings()[0].state is State.OK
    with closing(open_ledger(bed.loaded.settings.ledger_path, create=False)) as ledger:
        assert ledger.abandoned_staging(SystemLater().now(), age=timedelta(0), most=9) == []


def test_a_root_that_a_sweep_took_meanwhile_is_tried_once_more(bed: Bed) -> None:
    gone = TargetMissing("E_DST_MISSING", "fenced")
    bed.faults.at("target.create", 1, Fault.FAIL, gone)
    (found,) = bed.findings()
    assert found.state is State.OK


# ---------------------------------------------------------------- beside the trial


def test_one_of_a_pair_that_is_down_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Location(scheme="hdfs", authority="prod", path="/landing")
    values = {"dfs.ha.namenodes.prod": "nn1,nn2"}
    values |= {f"dfs.namenode.rpc-address.prod.{one}": f"{one}:8020" for one in ("nn1", "nn2")}
    bed = Bed(tmp_path / "ledger.db", place)
    bed.loaded = replace(bed.loaded, hadoop=HadoopConfiguration(values=values))

    def look_at(address: tuple[str, int]) -> Looked:
        host, port = address
        return Looked(host, port, Reach.REFUSED if host == "nn2" else Reach.ANSWERS, "refused")

    monkeypatch.setattr(hadoop_network, "look_at", look_at)
    written, warned = bed.findings()
    assert (written.state, warned.check, warned.state) == (
        State.OK,
        "hdfs.namenode",
        State.WARNING,
    )
    assert "NameNode nn2:8020" in warned.text
    assert any("dfs.namenode.rpc-address.*" in line for line in warned.fix)


def test_a_mounted_destination_is_looked_at_from_this_machine_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed = Bed(tmp_path / "ledger.db", Location(scheme="file", authority="", path="/landing"))
    for name in ("missing_mount", "not_there", "room"):
        made = Finding(f"target.{name}", "", State.WARNING, "")
        monkeypatch.setattr(mounted, name, lambda *_, made=made: [made])
    found = [one.check for one in bed.findings()]
    assert found == ["target.missing_mount", "target.write", "target.room", "target.not_there"]


def test_a_full_mount_names_what_is_used_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed = Bed(tmp_path / "ledger.db", Location(scheme="file", authority="", path="/landing"))
    monkeypatch.setattr(mounted, "missing_mount", lambda *_: [])
    monkeypatch.setattr(mounted, "full", lambda _place: ("target.inodes", ("df -i",)))
    full = OutageError.of("target", "E_DST_FULL", "No space left on device")
    bed.faults.always("target.create", full)
    (found,) = bed.findings()
    assert (found.check, found.fix) == ("target.inodes", ("df -i",))


MOUNTED = {
    "denied": (CannotWrite("E_DST_DENIED", "no", "chown bob"), "target.permission", "chown bob"),
    "read-only": (CannotWrite("E_DST_READONLY", "no", "mount -o rw"), "target.readonly", "rw"),
    "server gone": (OutageError.of("target", "E_DST_AWAY", "stale"), "target.mount", "findmnt"),
    "a hanging mount": (
        OutageError.of("target", "E_TARGET_STALLED", "hangs"),
        "target.mount",
        "umount -l",
    ),
    "a link": (CannotWrite("E_DST_MOUNT", "link", "name it"), "target.mount", "name it"),
}


@pytest.mark.parametrize(("error", "check", "fix"), MOUNTED.values(), ids=MOUNTED.keys())
def test_a_planted_fault_of_a_mount(
    tmp_path: Path, error: BackhaulError, check: str, fix: str
) -> None:
    bed = Bed(tmp_path / "ledger.db", Location(scheme="file", authority="", path="/landing"))
    bed.faults.always("target.mkdirs", error)
    (found,) = bed.findings()
    assert (found.check, found.state) == (check, State.FAILED)
    assert fix in shown(found)

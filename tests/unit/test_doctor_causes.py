"""Why `backhaul doctor` calls something wrong: configuration, NameNodes, Kerberos, mounts, YARN."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from backhaul.adapters.hadoop.configuration.filesystems import file_systems
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.kerberos import Login
from backhaul.app.context import Context
from backhaul.app.doctor import hadoop, hadoop_kerberos, hadoop_network, hadoop_yarn, mounted
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State
from backhaul.app.doctor.hadoop_network import BlockHolder, Reach
from backhaul.core.model import EngineName, Location, Route
from backhaul.core.requests.policy import Policy
from backhaul.settings.model import Settings

LANDING = Location(scheme="hdfs", authority="nn:8020", path="/landing")
CORE = "<configuration>{}</configuration>"
PROPERTY = "<property><name>{}</name><value>{}</value></property>"


def context(
    directory: Path | None = None,
    *,
    engine: EngineName = EngineName.AUTO,
    run_as: str | None = None,
    **settings: object,
) -> DoctorContext:
    configuration = HadoopConfiguration.load(directory)
    route = Route(name="r", sources=None, destinations=(LANDING,), engine=engine, run_as=run_as)
    made = Settings.model_validate(settings)
    loaded = Context(
        settings=made,
        config_path=None,
        policy=Policy(routes=(route,)),
        hadoop=configuration,
        default_fs=file_systems(configuration),
    )
    return DoctorContext(loaded=loaded, fault=None, settings=made, config_path=None)


def site(directory: Path, name: str = "core", **values: str) -> Path:
    rows = [
        PROPERTY.format(key.replace("__", "-").replace("_", "."), value)
        for key, value in values.items()
    ]
    (directory / f"{name}-site.xml").write_text(CORE.format("".join(rows)))
    return directory


def shown(found: Finding) -> str:
    return "\n".join([found.text, *found.fix])


# ---------------------------------------------------------------- configuration


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "conf"
    directory.mkdir()
    monkeypatch.setenv("HADOOP_CONF_DIR", str(directory))
    return directory


def only(found: Iterator[Finding]) -> Finding:
    (one,) = found
    return one


def test_a_configuration_that_is_fine(conf: Path) -> None:
    site(conf, fs_defaultFS="hdfs://nn:8020")
    found = only(hadoop.is_usable(context(conf)))
    assert (found.check, found.state) == ("hadoop.configuration", State.OK)


def test_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hadoop, "hadoop_conf_dir", lambda: None)
    found = only(hadoop.is_usable(context()))
    assert (found.check, found.state) == ("hadoop.configuration", State.WARNING)
    assert "export HADOOP_CONF_DIR=" in shown(found)


def test_a_directory_that_is_not_there(conf: Path) -> None:
    conf.rmdir()
    found = only(hadoop.is_usable(context()))
    assert (found.state, found.code) == (State.FAILED, "E_CFG_HADOOP")
    assert "export HADOOP_CONF_DIR=/etc/hadoop/conf" in shown(found)


def test_no_core_site(conf: Path) -> None:
    found = only(hadoop.is_usable(context(conf)))
    assert (found.check, found.state) == ("hadoop.configuration", State.FAILED)
    assert f"{conf} has no core-site.xml" in found.text
    assert "scp CLUSTER_NODE:" in shown(found)


def test_xml_that_is_none(conf: Path) -> None:
    (conf / "core-site.xml").write_text("<configuration>\n<property>\n")
    found = only(hadoop.is_usable(context()))
    assert (found.state, found.code) == (State.FAILED, "E_CFG_CORE_SITE")
    assert f"xmllint --noout {conf}/*-site.xml" in shown(found)


def test_a_block_size_that_no_client_takes(conf: Path) -> None:
    site(conf, fs_defaultFS="hdfs://nn:8020")
    site(conf, "hdfs", dfs_blocksize="1000")
    found = only(hadoop.is_usable(context(conf)))
    assert (found.state, found.code) == (State.FAILED, "E_CFG_HADOOP_VALUE")
    assert "dfs.blocksize" in found.text


def test_no_default_file_system(conf: Path) -> None:
    site(conf)
    warned, fine = hadoop.is_usable(context(conf))
    assert (warned.check, warned.state) == ("hadoop.default_fs", State.WARNING)
    assert "<name>fs.defaultFS</name>" in shown(warned)
    assert fine.state is State.OK


def test_a_mount_of_viewfs_that_cannot_be_used(conf: Path) -> None:
    link = "fs.viewfs.mounttable.bed.link./"
    values = {f"{link}data": "hdfs://nn/d", f"{link}far": "s3a://bucket/x"}
    site(conf, fs_defaultFS="viewfs://bed", **values)
    warned, fine = hadoop.is_usable(context(conf))
    assert (warned.subject, warned.state) == ("viewfs://bed/far", State.WARNING)
    assert f"{link}far: the target is no hdfs:// or file:///" in warned.text
    assert fine.state is State.OK


def test_a_default_file_system_of_another_kind(conf: Path) -> None:
    site(conf, fs_defaultFS="s3a://bucket")
    warned, _fine = hadoop.is_usable(context(conf))
    assert (warned.check, warned.code) == ("hadoop.default_fs", "W_DEFAULT_FS")


def test_a_nameservice_without_addresses(conf: Path) -> None:
    site(conf, fs_defaultFS="hdfs://nn:8020")
    site(conf, "hdfs", dfs_ha_namenodes_prod="nn1,nn2")
    warned, _fine = hadoop.is_usable(context(conf))
    assert (warned.check, warned.subject) == ("hadoop.configuration", "hdfs://prod")
    assert "dfs.namenode.rpc-address.prod.nn1" in warned.text


def test_kerberos_without_krb5_conf(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site(conf, fs_defaultFS="hdfs://nn:8020", hadoop_security_authentication="kerberos")
    monkeypatch.setenv("KRB5_CONFIG", str(conf / "none.conf"))
    _fine, found = hadoop.is_usable(context(conf))
    assert (found.check, found.state) == ("kerberos.configuration", State.FAILED)
    assert "copy /etc/krb5.conf from a node of the cluster" in shown(found)


# ---------------------------------------------------------------- NameNodes and DataNodes


@contextmanager
def listener(answer: bytes | None = b"") -> Iterator[int]:
    """Takes connections, and answers each with these bytes; None: never."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                if answer is not None:
                    with connection:
                        connection.recv(1000)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in held:
                one.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def fixes(looked: hadoop_network.Looked) -> str:
    return "\n".join(
        hadoop_network.namenode_fixes(HadoopConfiguration(), "hdfs://nn:8020", [looked])
    )


def test_a_port_where_nothing_listens() -> None:
    looked = hadoop_network.look_at(("127.0.0.1", closed_port()))
    assert looked.reach is Reach.REFUSED
    assert "hdfs getconf -nnRpcAddresses" in fixes(looked)
    assert "jps | grep NameNode" in fixes(looked)


def test_a_port_of_a_web_server() -> None:
    with listener(b"HTTP/1.1 404 Not Found\r\n\r\n") as port:
        looked = hadoop_network.look_at(("127.0.0.1", port))
    assert looked.reach is Reach.OTHER
    assert "a web server answers there" in looked.why
    assert "usually 8020 or 9000" in fixes(looked)


def test_a_name_that_is_not_known() -> None:
    looked = hadoop_network.look_at(("namenode.invalid", 8020))
    assert looked.reach is Reach.NO_NAME
    assert "getent hosts namenode.invalid" in fixes(looked)


def test_a_port_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hadoop_network, "TIMEOUT_S", 0.05)
    with listener(None) as port:
        looked = hadoop_network.look_at(("127.0.0.1", port))
    assert looked.reach is Reach.SILENT
    assert "nc -vz" in fixes(looked)


def test_a_blocked_datanode_is_named() -> None:
    port = closed_port()
    words, lines = hadoop_network.datanode_fixes(
        [BlockHolder("127.0.0.1", "", port)], is_by_name=False
    )
    assert words == f"DataNode 127.0.0.1:{port} does not answer"
    assert lines[0].startswith(f"nc -vz -w 5 127.0.0.1 {port}")


def test_a_datanode_that_only_its_name_reaches_gets_the_property() -> None:
    with listener() as port:
        one = BlockHolder("127.0.0.99.invalid", "127.0.0.1", port)
        words, lines = hadoop_network.datanode_fixes([one], is_by_name=False)
        swapped, back = hadoop_network.datanode_fixes(
            [BlockHolder("127.0.0.1", "dn.invalid", port)], is_by_name=True
        )
    assert "it answers by its name" in words
    assert lines[0] == "hdfs-site.xml of this node: dfs.client.use.datanode.hostname = true"
    assert "it answers by its address" in swapped
    assert back[0] == "hdfs-site.xml of this node: dfs.client.use.datanode.hostname = false"


def test_a_datanode_that_hangs_is_named() -> None:
    with listener() as port:
        one = BlockHolder("127.0.0.1", "", port)
        words, lines = hadoop_network.datanode_fixes([one], is_by_name=False)
    assert words == f"DataNode 127.0.0.1:{port} takes a connection, and no block"
    assert any("its log on that node" in line for line in lines)


def test_unknown_datanodes_get_the_general_lines() -> None:
    words, lines = hadoop_network.datanode_fixes([], is_by_name=False)
    assert words == ""
    assert any("dfs.client.use.datanode.hostname = true" in line for line in lines)


# ---------------------------------------------------------------- Kerberos

GSS = "Unspecified GSS failure.  Minor code may provide more information: "
LISTED = "KVNO Principal\n---- ---\n   4 backhaul@BED.TEST\n   3 backhaul@BED.TEST\n"
BY_WORDS = {
    "clock skew": (f"{GSS}Clock skew too great", "kerberos.clock", "chronyc makestep"),
    "no KDC": (
        f"{GSS}Cannot contact any KDC for realm 'BED.TEST'",
        "kerberos.kdc",
        "[realms] BED.TEST = { kdc = KDC_HOST:88 }",
    ),
    "realm unknown": (
        f'{GSS}Cannot find KDC for realm "OTHER.TEST"',
        "kerberos.realm",
        "[realms] OTHER.TEST = {",
    ),
    "no default realm": (
        "Configuration file does not specify default realm",
        "kerberos.configuration",
        "default_realm = REALM",
    ),
    "expired": (f"{GSS}Ticket expired", "kerberos.ticket", "kinit"),
    "key of the keytab is old": (
        "unavailable or inaccessible: Decrypt integrity check failed",
        "kerberos.keytab",
        "klist -kte",
    ),
    "principal unknown": (
        f"{GSS}Client 'backhaul@BED.TEST' not found in Kerberos database",
        "kerberos.principal",
        "addprinc -randkey backhaul@BED.TEST",
    ),
    "another realm's ticket": (
        f"{GSS}Server krbtgt/BED.TEST@OTHER.TEST not found in Kerberos database",
        "kerberos.realm",
        "kinit PRINCIPAL@BED.TEST",
    ),
    "DNS": (
        f"{GSS}Server nn/10.0.0.1@BED.TEST not found in Kerberos database",
        "kerberos.host_name",
        "dns_canonicalize_hostname = false",
    ),
    "encryption types": (
        f"{GSS}KDC has no support for encryption type",
        "kerberos.encryption",
        "permitted_enctypes",
    ),
    "no ticket": (
        "inaccessible: No Kerberos credentials available",
        "kerberos.ticket",
        "[kerberos] principal and keytab",
    ),
}


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Login:
    """With a keytab that can be read, on a node with a krb5.conf."""
    krb5, keytab = tmp_path / "krb5.conf", tmp_path / "keytab"
    krb5.touch()
    keytab.touch()
    monkeypatch.setenv("KRB5_CONFIG", str(krb5))
    return Login(principal="backhaul", keytab=str(keytab))


def answering(**outputs: str) -> hadoop_kerberos.Run:
    return lambda argv: outputs.get(argv[0])


@pytest.mark.parametrize(("words", "check", "fix"), BY_WORDS.values(), ids=BY_WORDS.keys())
def test_the_clients_words_name_the_cause(login: Login, words: str, check: str, fix: str) -> None:
    own = Login(principal="backhaul") if "ticket" in check else login
    found = hadoop_kerberos.diagnose(own, words, answering())
    assert found.check == check
    assert any(fix in line for line in found.fix), found


NO_CACHE = "inaccessible: No credentials cache found"


def test_a_keytab_of_somebody_else(login: Login) -> None:
    said = answering(
        kinit="kinit: Keytab contains no suitable keys for backhaul@BED.TEST while getting",
        klist=LISTED.replace("backhaul", "other"),
    )
    found = hadoop_kerberos.diagnose(login, NO_CACHE, said)
    assert found.check == "kerberos.keytab"
    assert "it has other@BED.TEST" in found.text
    assert any('principal = "other@BED.TEST"' in line for line in found.fix)


def test_a_principal_of_another_realm(login: Login) -> None:
    said = answering(kinit="kinit: Keytab contains no suitable keys for ...", klist=LISTED)
    own = Login(principal="backhaul@OTHER.TEST", keytab=login.keytab)
    found = hadoop_kerberos.diagnose(own, NO_CACHE, said)
    assert found.check == "kerberos.realm"
    assert any('principal = "backhaul@BED.TEST"' in line for line in found.fix)


def test_a_keytab_that_is_none(login: Login) -> None:
    said = answering(kinit="kinit: Unsupported key table format version number while ...")
    found = hadoop_kerberos.diagnose(login, NO_CACHE, said)
    assert (found.check, found.text) == ("kerberos.keytab", "the keytab cannot be used")


def test_a_keytab_that_is_gone(login: Login) -> None:
    Path(login.keytab or "").unlink()
    found = hadoop_kerberos.diagnose(login, NO_CACHE, answering())
    assert (found.check, found.text) == (
        "kerberos.keytab",
        f"the keytab {login.keytab} is not there",
    )
    assert any(line.startswith("install -o ") for line in found.fix)


def test_without_the_tools_their_package_is_named(login: Login) -> None:
    found = hadoop_kerberos.diagnose(login, NO_CACHE, answering())
    assert any("krb5-user" in line for line in found.fix)


def test_a_ticket_that_is_there_and_of_no_use_is_not_called_missing(login: Login) -> None:
    own = Login(principal="backhaul", cache="FILE:/x")
    said = answering(klist="Ticket cache: FILE:/x\nDefault principal: backhaul@BED.TEST\n")
    found = hadoop_kerberos.diagnose(own, f"{GSS}something new", said)
    assert found.text == "the ticket is of no use: something new"
    assert any("kinit -c FILE:/x backhaul" in line for line in found.fix)


def test_a_tool_that_is_missing_has_no_output(tmp_path: Path) -> None:
    assert hadoop_kerberos.run_tool([str(tmp_path / "none")]) is None
    assert hadoop_kerberos.run_tool(["sh", "-c", "echo $LC_ALL"]) == "C\n"


# ---------------------------------------------------------------- mounts

MOUNTED = Location(scheme="file", authority="", path="/mnt/nas/landing")


def test_a_mount_of_fstab_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text(
        "# comment\nfiler:/x /mnt/nas nfs rw 0 0\nfiler:/y /mnt/other nfs noauto 0 0\n"
        "UUID=1 none swap sw 0 0\nUUID=2 / ext4 rw 0 1\n"
    )
    monkeypatch.setattr(mounted, "FSTAB", fstab)
    found = only(mounted.missing_mount(MOUNTED, "r"))
    assert (found.check, found.state) == ("target.mount", State.FAILED)
    assert "mount /mnt/nas" in found.fix
    other = Location(scheme="file", authority="", path="/mnt/other/landing")
    assert list(mounted.missing_mount(other, "r")) == []
    monkeypatch.setattr(mounted, "_mounted", lambda: {"/mnt/nas"})
    assert list(mounted.missing_mount(MOUNTED, "r")) == []


def statvfs(**changed: int) -> Callable[[str], SimpleNamespace]:
    plenty = {"f_bavail": 1 << 30, "f_frsize": 4096, "f_blocks": 1 << 30}
    plenty |= {"f_files": 1000, "f_favail": 1000}
    return lambda _path: SimpleNamespace(**plenty | changed)


@pytest.mark.parametrize(
    ("changed", "check", "fix"),
    [
        ({"f_bavail": 1000}, "target.space", "df -h /mnt/nas/landing"),
        ({"f_favail": 10}, "target.inodes", "du --inodes -xs /mnt/nas/landing/*"),
    ],
)
def test_little_room_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, int], check: str, fix: str
) -> None:
    monkeypatch.setattr(os, "statvfs", statvfs(**changed))
    found = only(mounted.room(MOUNTED, "r"))
    assert (found.check, found.state) == (check, State.WARNING)
    assert fix in shown(found)
    monkeypatch.setattr(os, "statvfs", statvfs())
    assert list(mounted.room(MOUNTED, "r")) == []


@pytest.mark.parametrize(("favail", "check"), [(0, "target.inodes"), (5, "target.space")])
def test_a_write_without_room_names_what_is_used_up(
    monkeypatch: pytest.MonkeyPatch, favail: int, check: str
) -> None:
    monkeypatch.setattr(os, "statvfs", statvfs(f_favail=favail))
    assert mounted.full(MOUNTED)[0] == check


# ---------------------------------------------------------------- YARN

QUEUES = {
    "scheduler": {
        "schedulerInfo": {
            "type": "capacityScheduler",
            "queueName": "root",
            "queuePath": "root",
            "queues": {
                "queue": [
                    {"queueName": "default", "queuePath": "root.default", "state": "RUNNING"},
                    {"queueName": "closed", "queuePath": "root.closed", "state": "STOPPED"},
                    {"queueName": "none", "queuePath": "root.none", "maxApplications": 0},
                ]
            },
        }
    }
}


@contextmanager
def manager(answers: dict[str, object]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers.get(self.path, {})).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


HEALTHY: dict[str, object] = {
    "/ws/v1/cluster/info": {"clusterInfo": {"state": "STARTED"}},
    "/ws/v1/cluster/scheduler": QUEUES,
}


def of_yarn(
    conf: Path,
    address: str | None,
    *,
    hadoop_prints: str | None = "usage: distcp OPTIONS",
    engine: EngineName = EngineName.DISTCP,
    queue: str | None = None,
) -> list[Finding]:
    site(conf, fs_defaultFS="hdfs://nn:8020")
    if address is not None:
        site(conf, "yarn", yarn_resourcemanager_webapp_address=address)
    program = conf / "hadoop"
    if hadoop_prints is not None:
        program.write_text(f"#!/bin/sh\necho '{hadoop_prints}'\nexit 255\n")
        program.chmod(0o755)
    distcp = {"hadoop": str(program), **({"queue": queue} if queue else {})}
    given = context(conf, engine=engine, distcp=distcp, ledger=str(conf / "ledger.db"))
    return list(hadoop_yarn.distcp(given))


def test_a_yarn_that_is_fine(conf: Path) -> None:
    with manager(HEALTHY) as address:
        found = of_yarn(conf, address)
    assert [one.check for one in found] == ["yarn.command", "yarn.manager", "yarn.queue"]
    assert {one.state for one in found} == {State.OK}


def test_native_routes_and_routes_of_other_users_need_none(conf: Path) -> None:
    assert list(hadoop_yarn.distcp(context(engine=EngineName.NATIVE))) == []
    assert list(hadoop_yarn.distcp(context(run_as="alice"))) == []


def test_no_manager_configured(conf: Path) -> None:
    (found,) = of_yarn(conf, None)
    assert (found.check, found.state, found.code) == ("yarn.manager", State.FAILED, "E_YARN_NONE")
    (found,) = of_yarn(conf, None, engine=EngineName.AUTO)
    assert found.state is State.OK


def test_a_manager_that_does_not_answer(conf: Path) -> None:
    _command, found = of_yarn(conf, f"127.0.0.1:{closed_port()}")
    assert (found.check, found.state) == ("yarn.manager", State.FAILED)
    assert "yarn.resourcemanager.webapp.address" in shown(found)


def test_a_queue_that_is_not_there(conf: Path) -> None:
    with manager(HEALTHY) as address:
        *_, found = of_yarn(conf, address, queue="night")
    assert (found.check, found.state) == ("yarn.queue", State.FAILED)
    assert '[distcp] queue = "root.default"' in shown(found)


def test_a_queue_that_is_stopped(conf: Path) -> None:
    with manager(HEALTHY) as address:
        *_, found = of_yarn(conf, address, queue="closed")
    assert (found.check, found.state) == ("yarn.queue", State.FAILED)
    assert "yarn.scheduler.capacity.root.closed.state = RUNNING" in shown(found)


def test_a_queue_without_capacity(conf: Path) -> None:
    with manager(HEALTHY) as address:
        *_, found = of_yarn(conf, address, queue="none")
    assert (found.check, found.state) == ("yarn.queue", State.FAILED)
    assert "yarn.scheduler.capacity.root.none.maximum-capacity = 100" in shown(found)


def test_queues_that_are_not_listed_are_not_called_missing(conf: Path) -> None:
    known = {"/ws/v1/cluster/info": HEALTHY["/ws/v1/cluster/info"]}
    with manager(known) as address:
        *_, found = of_yarn(conf, address, queue="night")
        assert (found.check, found.state) == ("yarn.queue", State.SKIPPED)
        assert [one.check for one in of_yarn(conf, address)] == ["yarn.command", "yarn.manager"]


@pytest.mark.parametrize(
    ("engine", "state"), [(EngineName.DISTCP, State.FAILED), (EngineName.AUTO, State.WARNING)]
)
def test_no_hadoop_command(conf: Path, engine: EngineName, state: State) -> None:
    with manager(HEALTHY) as address:
        found, *_ = of_yarn(conf, address, hadoop_prints=None, engine=engine)
    assert (found.check, found.state, found.code) == ("yarn.command", state, "E_HADOOP_MISSING")
    assert "[distcp] hadoop = " in shown(found)


def test_no_distcp_jar(conf: Path) -> None:
    prints = "Error: Could not find or load main class org.apache.hadoop.tools.DistCp"
    with manager(HEALTHY) as address:
        found, *_ = of_yarn(conf, address, hadoop_prints=prints)
    assert (found.check, found.state, found.text) == (
        "yarn.command",
        State.FAILED,
        "it has no DistCp",
    )
    assert "hadoop-distcp-*.jar" in shown(found)

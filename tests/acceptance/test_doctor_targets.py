"""`backhaul doctor` on real HDFS, Kerberos and key servers: nothing false, and planted faults."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import hdfs_native
import pytest

from backhaul.app.doctor.finding import State
from backhaul.testing.servers import Hdfs
from testbed import Kdc, Kms
from tests.acceptance.doctoring import Doctor, assert_red
from tests.acceptance.installation import eventually
from tests.acceptance.landing import HdfsLanding

pytestmark = [pytest.mark.integration, pytest.mark.hdfs]


def test_healthy_targets_are_green_and_nothing_is_left(
    doctor: Doctor, hdfs: Hdfs, tmp_path: Path
) -> None:
    doctor.set(HADOOP_CONF_DIR=str(hdfs.conf_dir))
    landing = HdfsLanding(hdfs.uri, f"/doctor-{uuid.uuid4().hex[:8]}")
    landing.make_directory("")
    (tmp_path / "out").mkdir()
    found = doctor.findings(
        {
            "hdfs": f"{landing.uri}/",
            "new": f"{landing.uri}/day/new/",
            "mounted": f"file://{tmp_path}/out/",
        }
    )
    assert {one.state for one in found.values()} == {State.OK}, found
    assert "its checksum came from the DataNode" in found["hdfs"].text
    assert "will be made in" in found["new"].text
    assert landing.everything() == []
    assert list((tmp_path / "out").iterdir()) == []


def test_planted_faults_of_a_plain_cluster(doctor: Doctor, hdfs: Hdfs) -> None:
    doctor.set(HADOOP_CONF_DIR=str(hdfs.conf_dir))
    base = f"/doctor-{uuid.uuid4().hex[:8]}"
    client = hdfs_native.Client(hdfs.uri)
    for name in ("names", "space", "closed"):
        client.mkdirs(f"{base}/{name}", create_parent=True)
    client.set_permission(f"{base}/closed", 0o755)
    hdfs.command("dfsadmin", "-setQuota", "1", f"{base}/names")
    hdfs.command("dfsadmin", "-setSpaceQuota", "1000", f"{base}/space")
    web = hdfs.endpoint.removeprefix("http://")
    found = doctor.findings(
        {
            "names": f"{hdfs.uri}{base}/names/",
            "space": f"{hdfs.uri}{base}/space/",
            "web": f"hdfs://{web}/x/",
            "nowhere": "hdfs://namenode.invalid/x/",
        }
    )
    assert_red(found["names"], "hdfs.quota", f"hdfs dfsadmin -setQuota 1000000 {base}/names")
    assert_red(found["space"], "hdfs.quota", "hdfs dfsadmin -setSpaceQuota", f"{base}/space")
    assert_red(found["web"], "hdfs.namenode", "a web server answers there", "8020 or 9000")
    assert_red(found["nowhere"], "hdfs.namenode", "getent hosts namenode.invalid")
    other = doctor.findings({"closed": f"{hdfs.uri}{base}/closed/"}, run_as="bob")
    assert_red(other["closed"], "hdfs.permission", f"hdfs dfs -chown bob {base}/closed")
    assert HdfsLanding(hdfs.uri, base).staging() == []


def test_planted_faults_of_encryption_and_erasure_coding(
    doctor: Doctor, wide_hdfs: Hdfs, tmp_path: Path
) -> None:
    doctor.set(HADOOP_CONF_DIR=str(wide_hdfs.conf_dir))
    places = {name: f"{wide_hdfs.uri}/{name}/" for name in ("zone", "ec", "xor", "plain")}
    found = doctor.findings(places)
    assert (found["zone"].state, found["plain"].state) == (State.OK, State.OK), found
    assert "RS-3-2-1024k" in found["ec"].text
    assert_red(found["xor"], "hdfs.erasure_coding", 'engine = "distcp"')
    conf = Path(shutil.copytree(wide_hdfs.conf_dir, tmp_path / "conf"))
    core = (conf / "core-site.xml").read_text()
    name = "hadoop.security.key.provider.path"
    (conf / "core-site.xml").write_text(core.replace(name, "unknown.to.all"))
    doctor.set(HADOOP_CONF_DIR=str(conf))
    found = doctor.findings({"zone": places["zone"]})
    assert_red(found["zone"], "hdfs.encryption", f"<name>{name}</name>")


def test_a_key_that_is_denied(doctor: Doctor, wide_hdfs: Hdfs, kms: Kms) -> None:
    assert kms.provider
    doctor.set(HADOOP_CONF_DIR=str(wide_hdfs.conf_dir))
    directory = f"/zone/doctor-{uuid.uuid4().hex[:8]}"
    client = hdfs_native.Client(wide_hdfs.uri)
    client.mkdirs(directory)
    client.set_permission(directory, 0o777)
    found = doctor.findings({"zone": f"{wide_hdfs.uri}{directory}/"}, run_as="mallory")
    assert_red(found["zone"], "hdfs.encryption", "key.acl.KEY.DECRYPT_EEK")


# ---------------------------------------------------------------- Kerberos


class Realm:
    """A landing directory on HDFS with Kerberos, and keytabs of its users."""

    def __init__(self, kdc: Kdc, place: str, home: Path) -> None:
        self.kdc, self.home, self.place = kdc, home, {"r": place}
        self.keytab = kdc.keytab(home / "backhaul.keytab", "backhaul")


@pytest.fixture(scope="module")
def open_place(secure_hdfs: Hdfs) -> str:
    """A directory for every user: each command costs the start of a JVM."""
    landing = f"/doctor-{uuid.uuid4().hex[:8]}"
    secure_hdfs.command("dfs", "-mkdir", landing)
    secure_hdfs.command("dfs", "-chmod", "1777", landing)
    return f"{secure_hdfs.uri}{landing}/"


@pytest.fixture
def realm(
    kdc: Kdc,
    secure_hdfs: Hdfs,
    open_place: str,
    tmp_path: Path,
    doctor: Doctor,
    monkeypatch: pytest.MonkeyPatch,
) -> Realm:
    doctor.set(
        HADOOP_CONF_DIR=str(secure_hdfs.conf_dir),
        KRB5_CONFIG=str(kdc.krb5_conf),
        KRB5CCNAME=f"FILE:{tmp_path}/none",
    )
    # `kinit` and `klist` of the realm, wherever this machine has them.
    tools = tmp_path / "tools"
    tools.mkdir()
    libraries = "".join(f'{name}="{value}" ' for name, value in kdc.tool_environment.items())
    for name in ("kinit", "klist"):
        script = tools / name
        script.write_text(f'#!/bin/sh\n{libraries}exec {kdc.tool(name)} "$@"\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    return Realm(kdc, open_place, tmp_path)


def with_keytab(keytab: Path, principal: str = "backhaul") -> str:
    return f'[kerberos]\nprincipal = "{principal}"\nkeytab = "{keytab}"'


def test_kerberos_that_is_fine(doctor: Doctor, realm: Realm) -> None:
    found = doctor.findings(realm.place, more=with_keytab(realm.keytab))
    assert {one.state for one in found.values()} == {State.OK}, found
    as_alice = doctor.findings(realm.place, more=with_keytab(realm.keytab), run_as="alice")
    assert (as_alice["r"].state, "as alice" in as_alice["r"].text) == (State.OK, True), as_alice
    as_bob = doctor.findings(realm.place, more=with_keytab(realm.keytab), run_as="bob")
    users = "<name>hadoop.proxyuser.backhaul.users</name><value>bob</value>"
    assert_red(as_bob["r"], "hdfs.proxy_user", users)


def test_tickets_that_are_missing_or_expired(doctor: Doctor, realm: Realm) -> None:
    found = doctor.findings(realm.place)
    assert_red(found["r"], "kerberos.ticket", "there is no ticket", "kinit")
    cache = realm.kdc.kinit("backhaul", realm.keytab, realm.home / "brief", life_s=1)
    eventually(lambda: not realm.kdc.is_valid(cache))
    more = f'[kerberos]\nprincipal = "backhaul"\ncache = "FILE:{cache}"'
    found = doctor.findings(realm.place, more=more)
    assert_red(found["r"], "kerberos.ticket", "expired", f"kinit -c FILE:{cache} backhaul")


def test_keytabs_of_others_and_of_yesterday(doctor: Doctor, realm: Realm) -> None:
    other = realm.kdc.keytab(realm.home / "other.keytab", "somebody")
    found = doctor.findings(realm.place, more=with_keytab(other))
    assert_red(found["r"], "kerberos.keytab", 'principal = "somebody@BED.TEST"')
    found = doctor.findings(realm.place, more=with_keytab(realm.keytab, "backhaul@OTHER.TEST"))
    assert_red(found["r"], "kerberos.realm", 'principal = "backhaul@BED.TEST"')
    realm.kdc.keytab(realm.home / "new.keytab", "backhaul")  # the KDC has a new key now
    found = doctor.findings(realm.place, more=with_keytab(realm.keytab))
    assert_red(found["r"], "kerberos.keytab", "ktadd -k", "klist -kte")


def test_a_kdc_that_does_not_answer(doctor: Doctor, realm: Realm) -> None:
    text = realm.kdc.krb5_conf.read_text()
    elsewhere = realm.home / "krb5.conf"
    elsewhere.write_text(text.replace(realm.kdc.endpoint, "127.0.0.1:1"))
    doctor.set(KRB5_CONFIG=str(elsewhere))
    found = doctor.findings(realm.place, more=with_keytab(realm.keytab))
    assert_red(found["r"], "kerberos.kdc", "nc -vz -w 5 KDC_HOST 88", "BED.TEST = {")

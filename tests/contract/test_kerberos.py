"""HDFS with Kerberos, really: a KDC, daemons that demand it, refusals within seconds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from backhaul.adapters.hadoop.hdfs.stored_checksums import content_checker
from backhaul.adapters.hadoop.hdfs.target import HdfsTarget
from backhaul.adapters.hadoop.kerberos import Login
from backhaul.adapters.hadoop.rpc import KERBEROS, SIMPLE, authentication_methods
from backhaul.core.checksums import Checksum
from backhaul.core.errors import OutageError
from backhaul.testing.servers import Hdfs
from testbed import Kdc
from testbed.kerberos_tools import kerberos
from tests.acceptance.installation import eventually

DIRECTORY = "/contract"
pytestmark = [pytest.mark.integration, pytest.mark.hdfs]


@pytest.fixture
def keytab(kdc: Kdc, tmp_path: Path) -> Path:
    return kdc.keytab(tmp_path / "backhaul.keytab", "backhaul")


@pytest.fixture(autouse=True)
def realm(kdc: Kdc, secure_hdfs: Hdfs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this process: the realm, and no ticket."""
    monkeypatch.setenv("KRB5_CONFIG", str(kdc.krb5_conf))
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{kdc.directory}/none")
    if secure_hdfs.command("dfs", "-test", "-d", DIRECTORY, check=False).returncode:
        secure_hdfs.command("dfs", "-mkdir", DIRECTORY)
        secure_hdfs.command("dfs", "-chmod", "1777", DIRECTORY)


def writes(target: HdfsTarget, name: str) -> None:
    """A file written, renamed and read back."""
    target.check_reachable()
    writer = target.create(f"{DIRECTORY}/{name}.tmp", 5)
    writer.write(b"bytes")
    writer.close()
    target.rename(f"{DIRECTORY}/{name}.tmp", f"{DIRECTORY}/{name}", replace=False)
    assert b"".join(target.read(f"{DIRECTORY}/{name}")) == b"bytes"
    target.remove(f"{DIRECTORY}/{name}")


def refused(make: Callable[[], object]) -> OutageError:
    with pytest.raises(OutageError) as caught:
        make()
    assert caught.value.hint
    return caught.value


def test_a_keytab_opens_it(secure_hdfs: Hdfs, keytab: Path) -> None:
    login = Login(principal="backhaul", keytab=str(keytab))
    writes(HdfsTarget(secure_hdfs.uri, str(secure_hdfs.conf_dir), login), "by-keytab")


def test_a_ticket_cache_opens_it(
    kdc: Kdc, secure_hdfs: Hdfs, keytab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = kdc.kinit("backhaul", keytab, tmp_path / "cache")
    login = Login(principal="backhaul", cache=f"FILE:{cache}")
    writes(HdfsTarget(secure_hdfs.uri, str(secure_hdfs.conf_dir), login), "by-cache")

    monkeypatch.setenv("KRB5CCNAME", f"FILE:{cache}")
    writes(HdfsTarget(secure_hdfs.uri, str(secure_hdfs.conf_dir)), "by-environment")


def test_without_a_ticket_it_is_a_hold(secure_hdfs: Hdfs) -> None:
    error = refused(
        lambda: HdfsTarget(secure_hdfs.uri, str(secure_hdfs.conf_dir)).check_reachable()
    )
    assert (error.code, error.dependency) == ("E_HDFS_KERBEROS", "credentials")


def test_a_keytab_that_is_not_there_is_named(secure_hdfs: Hdfs, tmp_path: Path) -> None:
    login = Login(principal="backhaul", keytab=str(tmp_path / "none.keytab"))
    error = refused(lambda: HdfsTarget(secure_hdfs.uri, str(secure_hdfs.conf_dir), login))
    assert (error.code, error.dependency) == ("E_HDFS_KERBEROS", "credentials")
    assert "none.keytab: no such file" in error.message


def test_a_principal_that_is_not_in_the_keytab_is_a_hold(secure_hdfs: Hdfs, keytab: Path) -> None:
    login = Login(principal="somebody", keytab=str(keytab))
    target = HdfsTarget(secure_hdfs.uri, str(secure_hdfs.conf_dir), login)
    assert refused(target.check_reachable).code == "E_HDFS_KERBEROS"


def test_without_krb5_conf_it_is_a_hold(
    secure_hdfs: Hdfs, keytab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRB5_CONFIG", "/nowhere/krb5.conf")
    login = Login(principal="backhaul@BED.TEST", keytab=str(keytab))
    target = HdfsTarget(secure_hdfs.uri, str(secure_hdfs.conf_dir), login)
    assert refused(target.check_reachable).code == "E_HDFS_KERBEROS"


def test_an_expired_ticket_is_a_hold_until_it_is_renewed(
    kdc: Kdc, secure_hdfs: Hdfs, keytab: Path, tmp_path: Path
) -> None:
    cache = kdc.kinit("backhaul", keytab, tmp_path / "cache", life_s=2)
    eventually(lambda: not kdc.is_valid(cache), what="the ticket's end")
    login = Login(principal="backhaul", cache=f"FILE:{cache}")
    target = HdfsTarget(secure_hdfs.uri, str(secure_hdfs.conf_dir), login)

    def is_refused() -> bool:
        error = refused(target.check_reachable)
        assert error.code == "E_HDFS_KERBEROS", error
        return True

    eventually(is_refused)
    kdc.kinit("backhaul", keytab, cache)
    writes(target, "renewed")


def test_kerberos_here_and_not_there_is_refused_although_a_ticket_is_at_hand(
    kdc: Kdc, hdfs: Hdfs, secure_hdfs: Hdfs, keytab: Path, tmp_path: Path
) -> None:
    """The HDFS client would go on as SIMPLE and say nothing."""
    login = Login(principal="backhaul", keytab=str(keytab))
    error = refused(lambda: HdfsTarget(hdfs.uri, str(secure_hdfs.conf_dir), login))
    assert (error.code, error.dependency) == ("E_HDFS_AUTH", "credentials")
    assert "accepts anyone" in error.message


def test_kerberos_there_and_not_here_is_told_at_once(secure_hdfs: Hdfs, tmp_path: Path) -> None:
    """The HDFS client would hang for three minutes."""
    for name in ("core-site.xml", "hdfs-site.xml"):
        text = (secure_hdfs.conf_dir / name).read_text("utf-8")
        (tmp_path / name).write_text(text.replace(">kerberos<", ">simple<"), "utf-8")
    error = refused(lambda: HdfsTarget(secure_hdfs.uri, str(tmp_path)))
    assert (error.code, error.dependency) == ("E_HDFS_AUTH", "credentials")
    assert "demands Kerberos" in error.message


def test_a_pair_is_refused_when_one_of_it_takes_anybody(
    hdfs: Hdfs, secure_hdfs: Hdfs, keytab: Path, tmp_path: Path
) -> None:
    shutil.copy(secure_hdfs.conf_dir / "core-site.xml", tmp_path)
    properties = {
        "dfs.nameservices": "pair",
        "dfs.ha.namenodes.pair": "a, b",
        "dfs.namenode.rpc-address.pair.a": secure_hdfs.uri.removeprefix("hdfs://"),
        "dfs.namenode.rpc-address.pair.b": hdfs.uri.removeprefix("hdfs://"),
    }
    lines = [
        f"<property><name>{k}</name><value>{v}</value></property>" for k, v in properties.items()
    ]
    (tmp_path / "hdfs-site.xml").write_text(f"<configuration>{''.join(lines)}</configuration>")
    login = Login(principal="backhaul", keytab=str(keytab))
    error = refused(lambda: HdfsTarget("hdfs://pair", str(tmp_path), login))
    assert error.code == "E_HDFS_AUTH"
    assert hdfs.uri.removeprefix("hdfs://") in error.message


def test_namenodes_say_what_they_accept(hdfs: Hdfs, secure_hdfs: Hdfs) -> None:
    def methods(one: Hdfs) -> frozenset[str]:
        host, _, port = one.uri.removeprefix("hdfs://").rpartition(":")
        return authentication_methods(host, int(port), timeout_s=10)

    assert SIMPLE in methods(hdfs)
    assert KERBEROS in methods(secure_hdfs)
    assert SIMPLE not in methods(secure_hdfs)


def test_a_user_whom_the_namenode_does_not_grant_is_told(
    secure_hdfs: Hdfs, keytab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user, is_granted in (("alice", True), ("bob", False)):
        monkeypatch.setenv("HADOOP_PROXY_USER", user)
        login = Login(principal="backhaul", keytab=str(keytab), run_as=user)
        target = HdfsTarget(secure_hdfs.uri, str(secure_hdfs.conf_dir), login)
        if is_granted:
            writes(target, "as-alice")
        else:
            error = refused(target.check_reachable)
            assert (error.code, error.dependency) == ("E_HDFS_PROXY", "credentials")
            assert "bob" in error.message


@pytest.mark.parametrize("how", ["cache", "keytab"])
def test_the_command_tells_what_it_holds(
    kdc: Kdc,
    secure_hdfs: Hdfs,
    keytab: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """The DataNodes are not asked directly here; the node's `hdfs` has to be."""
    login = Login(principal="backhaul", keytab=str(keytab))
    if how == "cache":
        cache = kdc.kinit("backhaul", keytab, tmp_path / "cache")
        login = Login(principal="backhaul", cache=f"FILE:{cache}")
    # The test bed's own kinit, with the libraries that it wants, under the name that is looked for.
    tools = kerberos()
    libraries = "".join(f"{name}={value} " for name, value in tools.environment.items())
    program = tmp_path / "bin" / "kinit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n{libraries}exec {tools.program("kinit")} "$@"\n', "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{secure_hdfs.bin_dir}:{program.parent}", prepend=":")
    monkeypatch.delenv("HADOOP_HOME", raising=False)

    conf_dir = str(secure_hdfs.conf_dir)
    target = HdfsTarget(secure_hdfs.uri, conf_dir, login)
    writer = target.create(f"{DIRECTORY}/held-{how}", 9)
    writer.write(b"123456789")
    writer.close()
    checker = content_checker(target.cluster, target.status, target.is_encrypted)
    assert checker is not None
    (held,) = checker.stored_checksums([f"{DIRECTORY}/held-{how}"])
    target.remove(f"{DIRECTORY}/held-{how}")
    assert held is not None
    assert (held.checksum_source, held.checksum) == (
        "command",
        Checksum("CRC32C", "e3069283"),
    ), held.why

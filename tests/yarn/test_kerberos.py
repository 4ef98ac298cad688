"""YARN with Kerberos: Hadoop's commands log in, and tell what the REST API keeps to itself.

Containers run as the NodeManager's user: see `testbed.yarn_kerberos`.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backhaul.testing.servers import Hdfs, Moto
from backhaul.testing.servers.base import fetch
from testbed import ElasticMQ, Kdc, yarn_kerberos
from testbed.kerberos_tools import kerberos
from testbed.yarn import Yarn
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation

pytestmark = [pytest.mark.integration, pytest.mark.hdfs, pytest.mark.yarn]

FILES = {f"part-{n}": random.Random(n).randbytes(5000 + n) for n in range(4)}


@pytest.fixture(scope="module")
def secure_yarn(kdc: Kdc, secure_hdfs: Hdfs, moto_server: Moto) -> Iterator[Yarn]:
    secure_hdfs.command("dfs", "-mkdir", "-p", "/stage", "/landing")
    secure_hdfs.command("dfs", "-chmod", "1777", "/stage", "/landing")
    with Yarn(hdfs=secure_hdfs, s3=moto_server, kdc=kdc) as running:
        yield running


@dataclass(kw_only=True)
class Secured:
    """An agent beside a YARN with Kerberos, with a landing directory of its own."""

    it: Installation
    hdfs: Hdfs
    yarn: Yarn
    cache: str
    keytab: Path
    kinit: Path
    config: Path

    @property
    def landing(self) -> str:
        return f"/landing/{self.it.name}"

    def configure(self, kerberos: str = "", distcp: str = "") -> None:
        self.config.write_text(
            f"[kerberos]\n{kerberos}\n[distcp]\npoll_s = 3\n{distcp}\n[[route]]\n"
            f'name = "r"\nsource = ["s3://{self.it.bucket}/"]\n'
            f'destination = ["{self.landing}/"]\nengine = "distcp"\n'
        )

    def files(self, below: str) -> dict[str, int]:
        """Length by name, asked as the superuser; what a killed mapper leaves is the sweep's."""
        listed = self.hdfs.command("dfs", "-ls", "-R", f"{self.landing}/", check=False).stdout
        rows = re.findall(r"^-\S+\s+\d+ backhaul \S+\s+(\d+) .* (/\S+)$", listed, re.MULTILINE)
        start = f"{self.landing}/{below}/"
        return {
            path.removeprefix(start): int(size) for size, path in rows if path.startswith(start)
        }

    def told(self, application: str) -> str:
        """What `yarn` says of it to somebody with a ticket."""
        done = subprocess.run(
            [str(self.yarn.bin_dir / "yarn"), "application", "-status", application],
            env={**self.it.environment, "KRB5CCNAME": self.cache},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


@pytest.fixture
def secured(
    install: Install,
    elasticmq: ElasticMQ,
    moto_server: Moto,
    kdc: Kdc,
    secure_hdfs: Hdfs,
    secure_yarn: Yarn,
    tmp_path: Path,
) -> Secured:
    it = install(elasticmq, moto_server, secure_hdfs)
    keytab = kdc.keytab(tmp_path / "keytab", "backhaul")
    cache = f"FILE:{kdc.kinit('backhaul', keytab, tmp_path / 'cache')}"
    # The test bed's own kinit, with the libraries that it wants, under the name that is looked for.
    tools = kerberos()
    program = tmp_path / "bin" / "kinit"
    program.parent.mkdir()
    libraries = "".join(f"{name}={value} " for name, value in tools.environment.items())
    program.write_text(f'#!/bin/sh\n{libraries}exec {tools.program("kinit")} "$@"\n', "utf-8")
    program.chmod(0o755)
    it.environment |= {
        "HADOOP_CONF_DIR": str(secure_yarn.conf_dir),
        "KRB5_CONFIG": str(kdc.krb5_conf),
        "KRB5CCNAME": f"FILE:{tmp_path}/none",
        "PATH": f"{secure_yarn.bin_dir}:{program.parent}:{it.environment['PATH']}",
    }
    return Secured(
        it=it,
        hdfs=secure_hdfs,
        yarn=secure_yarn,
        cache=cache,
        keytab=keytab,
        kinit=program,
        config=tmp_path / "backhaul.toml",
    )


@pytest.mark.timeout(500)
def test_a_keytab_serves_the_commands_where_the_api_wants_a_login(secured: Secured) -> None:
    answer = fetch(f"{secured.yarn.endpoint}/ws/v1/cluster/apps")
    assert answer is not None
    assert answer[0] == 401, "or this tests nothing"
    for name, data in FILES.items():
        secured.it.put(f"p/{name}", data, ChecksumAlgorithm="CRC32C")
    secured.configure(f'principal = "backhaul"\nkeytab = "{secured.keytab}"')
    secured.it.leave(f"{secured.it.bucket}/p/, {secured.landing}/d")

    ended = secured.it.drained("--config", str(secured.config), timeout_s=300)

    assert secured.files("d") == {name: len(data) for name, data in FILES.items()}
    (followed,) = ended.of("transfer runs as a YARN application")
    assert "Final-State : SUCCEEDED" in secured.told(followed["application"])
    assert not ended.of("repaired staging"), ended
    (row,) = secured.it.history()
    assert row["engine"] == "distcp"
    proofs = {line["proof"] for line in secured.it.evidence(row["id"])}
    assert proofs == {"direct"}


@pytest.mark.timeout(500)
def test_a_ticket_of_its_users_cache_serves_to_cancel(secured: Secured) -> None:
    secured.it.environment["KRB5CCNAME"] = secured.cache
    secured.it.put("p/slow", random.Random(0).randbytes(15 << 20), ChecksumAlgorithm="CRC32C")
    secured.configure('principal = "backhaul"', 'bandwidth = "1MiB"')
    secured.it.leave(f"{secured.it.bucket}/p/, {secured.landing}/d")
    agent = secured.it.start("--config", str(secured.config))
    (followed,) = agent.logged("transfer runs as a YARN application", within_s=150)
    (row,) = secured.it.history()

    ended = secured.it.backhaul("cancel", row["id"], "--config", str(secured.config), timeout_s=150)

    assert ended.code == 0, ended
    assert "State : KILLED" in secured.told(followed["application"])
    (dead,) = agent.logged("message dead-lettered", within_s=90)
    assert dead["code"] == "E_CANCELLED"
    agent.terminate()
    assert agent.wait().code == 0
    assert secured.files("d") == {}


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_without_a_ticket_it_is_held_and_told(secured: Secured) -> None:
    """The HDFS client takes a ticket from the keytab by itself; the command needs `kinit`."""
    secured.kinit.unlink()
    assert shutil.which("kinit", path=secured.it.environment["PATH"]) is None
    secured.it.put("p/a", b"a", ChecksumAlgorithm="CRC32C")
    secured.configure(f'principal = "backhaul"\nkeytab = "{secured.keytab}"')
    ended = secured.it.backhaul(
        *("copy", "--config", str(secured.config), secured.it.uri("p/"), f"{secured.landing}/d"),
        timeout_s=180,
    )
    assert (ended.code, "E_HADOOP_KERBEROS" in ended.err) == (69, True), ended


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_api_that_takes_anybody_and_shows_him_nothing_is_not_believed(secured: Secured) -> None:
    """Hadoop's default for web pages, with access control: to a stranger nothing runs here."""
    secured.yarn.kill_manager()
    secured.yarn.start_manager(
        {
            yarn_kerberos.FILTER: yarn_kerberos.ANYBODY,
            "hadoop.http.authentication.type": "simple",
            "yarn.acl.enable": "true",
            "yarn.admin.acl": "rm",
            "yarn.scheduler.capacity.root.acl_administer_queue": " ",
            "yarn.webapp.filter-entity-list-by-user": "true",
        }
    )
    secured.it.environment["KRB5CCNAME"] = secured.cache
    for name, data in FILES.items():
        secured.it.put(f"p/{name}", data, ChecksumAlgorithm="CRC32C")
    secured.configure('principal = "backhaul"')
    secured.it.leave(f"{secured.it.bucket}/p/, {secured.landing}/d")
    agent = secured.it.start("--config", str(secured.config))
    agent.logged("transfer done", within_s=240)
    agent.terminate()
    assert agent.wait().code == 0
    applications = {one["application"] for one in agent.of("transfer runs as a YARN application")}
    assert len(applications) == 1
    assert secured.yarn.applications() == [], "or this tests nothing"
    assert secured.files("d") == {name: len(data) for name, data in FILES.items()}

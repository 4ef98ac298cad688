"""Hadoop's key management server: holds the keys of HDFS encryption zones.

Anybody may make and see any key, and use it unless refused by name.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from backhaul.testing.servers import hdfs_files
from backhaul.testing.servers.base import HttpServer, fetch
from backhaul.testing.servers.hdfs_files import HADOOP_JVM_OPTIONS
from backhaul.testing.servers.jars import jars, java
from backhaul.testing.servers.process import ServerProcess

START_TIMEOUT_S = 120.0
_SERVER = "org.apache.hadoop.crypto.key.kms.server.KMSWebServer"
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Kms(HttpServer):
    """Keys survive `kill`, and `stop` too when a directory was given.

    For a cluster with encryption zones: ``Hdfs(core={"hadoop.security.key.provider.path":
    kms.provider})``, then ``hdfs.command("crypto", "-createZone", ...)`` on an empty directory.
    """

    name = "kms"

    def __init__(
        self, directory: Path | None = None, *, refused: str = "", detached: bool = False
    ) -> None:
        """Describe the server.

        Args:
            refused: A user who may use no key.
        """
        super().__init__(directory, detached=detached)
        self._refused = refused

    @property
    def provider(self) -> str:
        """For `hadoop.security.key.provider.path`: ``kms://http@127.0.0.1:24680/kms``."""
        return f"kms://http@{self.endpoint.removeprefix('http://')}/kms"

    def create_key(self, name: str) -> None:
        """Make a key of 128 bits."""
        body = {"name": name, "cipher": "AES/CTR/NoPadding", "length": 128}
        request = urllib.request.Request(  # noqa: S310 - our own endpoint
            f"{self.endpoint}/kms/v1/keys?user.name=test",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        _direct.open(request, timeout=START_TIMEOUT_S).close()

    def _prepare(self) -> None:
        java()
        jars("hdfs")

    def _start(self) -> None:
        (port,) = self._ports
        conf = self.directory / "conf"
        conf.mkdir(exist_ok=True)
        settings = {
            "hadoop.kms.key.provider.uri": f"jceks://file@{self.directory}/keys",
            "hadoop.kms.http.host": "127.0.0.1",
            "hadoop.kms.http.port": str(port),
            "hadoop.kms.key.authorization.enable": "false",
        }
        refused = {"hadoop.kms.blacklist.DECRYPT_EEK": self._refused} if self._refused else {}
        (conf / "kms-site.xml").write_text(hdfs_files.site_xml(settings), encoding="utf-8")
        (conf / "core-site.xml").write_text(hdfs_files.site_xml({}), encoding="utf-8")
        (conf / "kms-acls.xml").write_text(hdfs_files.site_xml(refused), encoding="utf-8")
        (conf / "log4j.properties").write_text(hdfs_files.LOG4J, encoding="utf-8")
        self._process = ServerProcess(self.name, self.log_path, detached=self._detached)
        self._process.start(
            [
                *(str(java()), *HADOOP_JVM_OPTIONS, "-Xmx128m"),
                *(f"-Dkms.config.dir={conf}", f"-Dkms.log.dir={self.directory}"),
                f"-Dlog4j.configuration=file:{conf}/log4j.properties",
                f"-Djava.io.tmpdir={self.directory}",
                *("-cp", f"{conf}:{jars('hdfs')}/*", _SERVER),
            ]
        )
        self._process.wait_until(self._answers, port=port, timeout_s=START_TIMEOUT_S)

    def _answers(self) -> bool:
        answer = fetch(f"{self.endpoint}/kms/v1/keys/names?user.name=test")
        return answer is not None and answer[0] == 200  # noqa: PLR2004 - OK

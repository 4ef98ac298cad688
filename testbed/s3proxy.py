"""S3Proxy: S3 on a directory. Its FULL_OBJECT checksums are right, and it checks them on upload.

It normalises keys and has no versions, so it is not the place to test odd keys or VersionId. Of a
multipart object it keeps a checksum only when the completing call carries the parts' checksums;
S3 needs only their ETags.
"""

from __future__ import annotations

from pathlib import Path

from backhaul.testing.servers.base import HttpServer, fetch
from backhaul.testing.servers.jars import JVM_OPTIONS, jars, java
from backhaul.testing.servers.process import ServerProcess

START_TIMEOUT_S = 60.0
ACCESS_KEY = "local-identity"
SECRET_KEY = "local-credential"

_PROPERTIES = """\
s3proxy.endpoint=http://127.0.0.1:{port}
s3proxy.authorization={authorization}
s3proxy.identity={access_key}
s3proxy.credential={secret_key}
jclouds.provider=filesystem-nio2
jclouds.identity={access_key}
jclouds.credential={secret_key}
jclouds.filesystem.basedir={data}
"""


def answers(endpoint: str) -> bool:
    """Whether S3Proxy at this URL answers; without a signature it may answer 403."""
    answer = fetch(f"{endpoint}/")
    return answer is not None and answer[0] in (200, 403)


class S3Proxy(HttpServer):
    """S3Proxy 4.1.0 on the local disk (filesystem-nio2). Path-style addresses only.

    Its objects are files under ``directory/data/BUCKET/KEY``; they survive `kill` and `start`.
    """

    name = "s3proxy"
    access_key = ACCESS_KEY
    secret_key = SECRET_KEY

    def __init__(
        self, directory: Path | None = None, *, anonymous: bool = False, detached: bool = False
    ) -> None:
        """Describe the server; nothing is started or written.

        Args:
            directory: See `Server`.
            anonymous: Accept requests without a signature (and then no key is looked at).
            detached: See `Server`.
        """
        super().__init__(directory, detached=detached)
        self._anonymous = anonymous

    def _prepare(self) -> None:
        java()
        jars("s3proxy")

    def _start(self) -> None:
        (port,) = self._ports
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        properties = self.directory / "s3proxy.properties"
        properties.write_text(
            _PROPERTIES.format(
                port=port,
                authorization="none" if self._anonymous else "aws-v2-or-v4",
                access_key=ACCESS_KEY,
                secret_key=SECRET_KEY,
                data=data,
            ),
            encoding="utf-8",
        )
        self._process = ServerProcess(self.name, self.log_path, detached=self._detached)
        self._process.start(
            [
                str(java()),
                *(*JVM_OPTIONS, "-Xmx512m", f"-Djava.io.tmpdir={self.directory}"),
                *("-cp", f"{jars('s3proxy')}/*", "org.gaul.s3proxy.Main"),
                *("--properties", str(properties)),
            ]
        )
        self._process.wait_until(
            lambda: answers(self.endpoint), port=port, timeout_s=START_TIMEOUT_S
        )

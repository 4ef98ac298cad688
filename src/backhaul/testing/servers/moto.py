"""moto: S3 and SQS on one port, in memory, fast to start; in a child process.

Know its limits: it deletes on a stale receipt handle, has no redrive task, and stores plain CRC32
under the names CRC32C and CRC64NVME for FULL_OBJECT multipart uploads. It takes any key.
"""

from __future__ import annotations

import importlib.util
import sys

from backhaul.testing.servers.base import HttpServer, fetch
from backhaul.testing.servers.errors import ServerUnavailable
from backhaul.testing.servers.process import ServerProcess

START_TIMEOUT_S = 60.0


def answers(endpoint: str) -> bool:
    """Whether moto's own page at this URL answers."""
    answer = fetch(f"{endpoint}/moto-api/")
    return answer is not None and answer[0] == 200  # noqa: PLR2004 - HTTP OK


class Moto(HttpServer):
    """moto's server. Any access key is accepted; everything is gone when it ends."""

    name = "moto"

    def _prepare(self) -> None:
        for module in ("moto", "flask", "flask_cors"):
            if importlib.util.find_spec(module) is None:
                raise ServerUnavailable(
                    f"{module} not found; install: pip install 'backhaul[demo]'"
                )

    def _start(self) -> None:
        (port,) = self._ports
        self._process = ServerProcess(self.name, self.log_path, detached=self._detached)
        self._process.start(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        )
        self._process.wait_until(
            lambda: answers(self.endpoint), port=port, timeout_s=START_TIMEOUT_S
        )

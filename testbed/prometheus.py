"""Prometheus: its server, and `promtool`, which checks rules and runs their tests.

The machine's own, else unpacked from Debian's package.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from backhaul.testing.servers.base import HttpServer, fetch
from backhaul.testing.servers.debian import unpacked
from backhaul.testing.servers.errors import ServerUnavailable
from backhaul.testing.servers.process import ServerProcess

START_TIMEOUT_S = 60.0
_INSTALL = "install: apt-get install prometheus"
_OK = 200
_CONFIGURATION = """\
global:
  scrape_interval: {interval}
  evaluation_interval: {interval}
rule_files: {rules}
scrape_configs:
  - job_name: backhaul
    static_configs:
      - targets: ["{target}"]
"""


def program(name: str) -> str:
    """Path of `prometheus` or `promtool`.

    Raises:
        ServerUnavailable: Neither there nor to be fetched.
    """
    own = shutil.which(name)
    if own is not None:
        return own
    root = unpacked("prometheus", lambda _: ["prometheus"], _check, _INSTALL)
    return str(root / "usr/bin" / name)


def _check(root: Path) -> None:
    for name in ("prometheus", "promtool"):
        if not (root / "usr/bin" / name).is_file():
            raise ServerUnavailable(f"Debian's package prometheus has no {name}; {_INSTALL}")


def promtool(*arguments: str, at: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run it to its end; status 0 when all is well.

    Raises:
        ServerUnavailable: As `program`.
    """
    return subprocess.run(
        [program("promtool"), *arguments],
        cwd=at,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


class Prometheus(HttpServer):
    """A server that scrapes one agent and evaluates one file of rules.

    Args:
        target: `HOST:PORT` of the agent.
        interval: Between two scrapes, and between two evaluations.
    """

    name = "prometheus"

    def __init__(
        self,
        target: str,
        *,
        rules: Path | None = None,
        interval: str = "1s",
        directory: Path | None = None,
    ) -> None:
        """See `Server`."""
        super().__init__(directory)
        self._target = target
        self._rules = rules
        self._interval = interval

    def _prepare(self) -> None:
        program("prometheus")

    def _start(self) -> None:
        (port,) = self._ports
        configuration = self.directory / "prometheus.yml"
        configuration.write_text(
            _CONFIGURATION.format(
                interval=self._interval,
                target=self._target,
                rules=[str(self._rules)] if self._rules else [],
            ),
            "utf-8",
        )
        self._process = ServerProcess(self.name, self.log_path, detached=self._detached)
        self._process.start(
            [
                program("prometheus"),
                f"--web.listen-address=127.0.0.1:{port}",
                f"--storage.tsdb.path={self.directory / 'data'}",
                f"--config.file={configuration}",
                "--log.level=warn",
            ]
        )
        self._process.wait_until(self._is_ready, port=port, timeout_s=START_TIMEOUT_S)

    def _is_ready(self) -> bool:
        answer = fetch(f"{self.endpoint}/-/ready")
        return answer is not None and answer[0] == _OK

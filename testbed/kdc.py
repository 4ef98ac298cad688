"""A Kerberos realm of its own: MIT's KDC, its database, keytabs and ticket caches."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from backhaul.testing.servers.base import Server
from backhaul.testing.servers.errors import ServerFailed
from backhaul.testing.servers.process import ServerProcess, server_environment
from testbed.kerberos_tools import Kerberos, kerberos

REALM = "BED.TEST"
START_TIMEOUT_S = 60.0
# Both ends are this machine: a ticket is over when it is over, and not five minutes later.
CLOCK_SKEW_S = 1
_TIMEOUT_S = 60
_MASTER = "not-a-secret"

_KRB5_CONF = """\
[libdefaults]
  default_realm = {realm}
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
  clockskew = {skew}
  default_ccache_name = FILE:{directory}/no-default-cache
{plugins}
[realms]
  {realm} = {{
    kdc = 127.0.0.1:{port}
  }}
[domain_realm]
  localhost = {realm}
"""
_KDC_CONF = """\
[kdcdefaults]
  kdc_listen = 127.0.0.1:{port}
  kdc_tcp_listen = 127.0.0.1:{port}
[realms]
  {realm} = {{
    database_name = {directory}/principal
    key_stash_file = {directory}/stash
    acl_file = {directory}/kadm5.acl
    max_life = 10h
    supported_enctypes = aes256-cts-hmac-sha1-96:normal
    master_key_type = aes256-cts-hmac-sha1-96
  }}
{modules}
"""


class Kdc(Server):
    """The realm `BED.TEST`; up within a second."""

    name = "kdc"

    def __init__(self, directory: Path | None = None, *, detached: bool = False) -> None:
        """See `Server`."""
        super().__init__(directory, detached=detached)
        self._process: ServerProcess | None = None
        self._tools = Kerberos(None)

    @property
    def krb5_conf(self) -> Path:
        """For KRB5_CONFIG and `-Djava.security.krb5.conf`."""
        return self.directory / "krb5.conf"

    @property
    def endpoint(self) -> str:
        """Not HTTP: where Kerberos is spoken, such as ``127.0.0.1:24680``."""
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def log_path(self) -> Path:
        """Where the KDC's stdout and stderr are."""
        return self.directory / "kdc.log"

    @property
    def is_alive(self) -> bool:
        """Whether it is running; a suspended one counts."""
        return self._process is not None and self._process.is_alive

    @property
    def pids(self) -> dict[str, int]:
        """Process id by name."""
        if self._process is None:
            raise ServerFailed("kdc was not started")
        return {self.name: self._process.pid}

    def keytab(self, path: Path, *principals: str, life_s: int | None = None) -> Path:
        """A keytab with new keys for these principals, which are made where they are missing.

        Args:
            path: Where to; one that is there is added to.
            principals: Without realm, such as ``nn/localhost``.
            life_s: Longest life of their tickets, seconds; None: 10 h.
        """
        for principal in principals:
            if not self._admin(f"getprinc {principal}", check=False).startswith("Principal:"):
                self._admin(f"addprinc -randkey {principal}")
            if life_s is not None:
                self._admin(f'modprinc -maxlife "{life_s} seconds" {principal}')
            self._admin(f"ktadd -k {path} {principal}")
        return path

    def kinit(self, principal: str, keytab: Path, cache: Path, *, life_s: int = 3600) -> Path:
        """A ticket for the principal, in a cache file."""
        self._run(
            "kinit", "-l", f"{life_s}s", "-k", "-t", str(keytab), "-c", f"FILE:{cache}", principal
        )
        return cache

    def is_valid(self, cache: Path) -> bool:
        """Whether the cache holds a ticket that has not expired."""
        return not self._run("klist", "-s", "-c", f"FILE:{cache}", check=False, status_only=True)

    def tool(self, name: str) -> str:
        """Path of a client's program, such as `kinit`; it may need `tool_environment`."""
        return self._tools.program(name)

    @property
    def tool_environment(self) -> Mapping[str, str]:
        """What the programs need to find their libraries."""
        return self._tools.environment

    # How

    def _prepare(self) -> None:
        self._tools = kerberos()

    def _start(self) -> None:
        (port,) = self._ports
        where = {"realm": REALM, "port": port, "directory": self.directory, "skew": CLOCK_SKEW_S}
        plugins = self._tools.plugins
        self.krb5_conf.write_text(
            _KRB5_CONF.format(
                **where, plugins=f"  plugin_base_dir = {plugins}\n" if plugins else ""
            ),
            encoding="utf-8",
        )
        modules = f"[dbmodules]\n  db_module_dir = {plugins}/kdb\n" if plugins else ""
        (self.directory / "kdc.conf").write_text(
            _KDC_CONF.format(**where, modules=modules), encoding="utf-8"
        )
        (self.directory / "kadm5.acl").touch()
        if not (self.directory / "principal").exists():
            self._run("kdb5_util", "create", "-s", "-P", _MASTER, "-r", REALM)
        self._process = ServerProcess(self.name, self.log_path, detached=self._detached)
        self._process.start([self._tools.program("krb5kdc"), "-n"], self._environment)
        self._process.wait_until(lambda: True, port=port, timeout_s=START_TIMEOUT_S)

    def _end(self) -> None:
        if self._process is not None:
            self._process.stop()

    def _admin(self, query: str, *, check: bool = True) -> str:
        return self._run("kadmin.local", "-r", REALM, "-q", query, check=check)

    def _run(
        self, name: str, *arguments: str, check: bool = True, status_only: bool = False
    ) -> str:
        done = subprocess.run(
            [self._tools.program(name), *arguments],
            env={**server_environment(), **self._environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if check and done.returncode != 0:
            raise ServerFailed(f"{name} {' '.join(arguments)}: {done.stdout}{done.stderr}")
        if status_only:
            return str(done.returncode or "")
        lines = done.stdout.splitlines()
        return "\n".join(line for line in lines if not line.startswith("Authenticating as"))

    @property
    def _environment(self) -> dict[str, str]:
        return {
            **self._tools.environment,
            "KRB5_CONFIG": str(self.krb5_conf),
            "KRB5_KDC_PROFILE": str(self.directory / "kdc.conf"),
        }

"""Settings by which a small HDFS demands Kerberos of everybody."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from testbed.kdc import REALM, Kdc

SUPERUSER = "hdfs"
_NAMENODE, _DATANODE, _WEB = (f"{service}/localhost" for service in ("nn", "dn", "HTTP"))
SERVICES = (_NAMENODE, _DATANODE, _WEB)


def core() -> dict[str, str]:
    """For core-site.xml of daemons and clients."""
    return {
        "hadoop.security.authentication": "kerberos",
        "hadoop.security.authorization": "true",
        "hadoop.rpc.protection": "authentication",
        # The daemons are the superuser, as on any cluster.
        "hadoop.security.auth_to_local": (
            f"RULE:[2:$1@$0]([nd]n@{REALM.replace('.', '[.]')})s/.*/{SUPERUSER}/\nDEFAULT"
        ),
        "hadoop.security.token.service.use_ip": "false",
    }


def site(keytab: Path) -> dict[str, str]:
    """For hdfs-site.xml.

    Args:
        keytab: With the keys of `SERVICES`.
    """
    return {
        "dfs.block.access.token.enable": "true",
        "dfs.namenode.kerberos.principal": f"{_NAMENODE}@{REALM}",
        "dfs.namenode.keytab.file": str(keytab),
        "dfs.datanode.kerberos.principal": f"{_DATANODE}@{REALM}",
        "dfs.datanode.keytab.file": str(keytab),
        "dfs.web.authentication.kerberos.principal": f"{_WEB}@{REALM}",
        "dfs.web.authentication.kerberos.keytab": str(keytab),
        "dfs.permissions.superusergroup": SUPERUSER,
        "dfs.data.transfer.protection": "authentication",
        # Without it the DataNode wants a port below 1024, which only root may open, or TLS.
        "ignore.secure.ports.for.testing": "true",
        "dfs.http.policy": "HTTP_ONLY",
    }


class HdfsKerberos:
    """Implements `HdfsSecurity` by a running KDC; the superuser is `hdfs@BED.TEST`."""

    def __init__(self, kdc: Kdc) -> None:
        self._kdc = kdc

    @property
    def krb5_conf(self) -> Path:
        return self._kdc.krb5_conf

    def settings(self, directory: Path) -> tuple[Mapping[str, str], Mapping[str, str]]:
        services = self._kdc.keytab(directory / "services.keytab", *SERVICES)
        self._kdc.keytab(_superusers_keytab(directory), SUPERUSER)
        return core(), site(services)

    def ticket(self, directory: Path) -> Path:
        cache = directory / "superuser.ccache"
        return self._kdc.kinit(SUPERUSER, _superusers_keytab(directory), cache)


def _superusers_keytab(directory: Path) -> Path:
    return directory / "superuser.keytab"

"""Settings by which a small HDFS demands Kerberos of everybody."""

from __future__ import annotations

from pathlib import Path

from backhaul.testing.servers.kdc import REALM

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

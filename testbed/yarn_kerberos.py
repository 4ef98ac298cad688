"""Settings by which a small YARN demands Kerberos of everybody, over RPC and over HTTP.

Containers run as the user of the NodeManager (`DefaultContainerExecutor`): the executor that
changes to the job's user is a native program, set-uid root, which Maven's jars do not have.
"""

from __future__ import annotations

from pathlib import Path

from testbed.kdc import REALM

_MANAGER, _NODE, _WEB = (f"{service}/localhost" for service in ("rm", "nm", "HTTP"))
SERVICES = (_MANAGER, _NODE, _WEB)
# Their names in HDFS and in YARN are `rm` and `nm`: the default rule takes the first word.

FILTER = "hadoop.http.filter.initializers"
SPNEGO = "org.apache.hadoop.security.AuthenticationFilterInitializer"
# Hadoop's own default: every caller is `dr.who`.
ANYBODY = "org.apache.hadoop.http.lib.StaticUserWebFilter"


def site(keytab: Path) -> dict[str, str]:
    """For yarn-site.xml.

    Args:
        keytab: With the keys of `SERVICES`.
    """
    return {
        "yarn.resourcemanager.principal": f"{_MANAGER}@{REALM}",
        "yarn.resourcemanager.keytab": str(keytab),
        "yarn.nodemanager.principal": f"{_NODE}@{REALM}",
        "yarn.nodemanager.keytab": str(keytab),
        "yarn.resourcemanager.webapp.spnego-principal": f"{_WEB}@{REALM}",
        "yarn.resourcemanager.webapp.spnego-keytab-file": str(keytab),
        "yarn.nodemanager.webapp.spnego-principal": f"{_WEB}@{REALM}",
        "yarn.nodemanager.webapp.spnego-keytab-file": str(keytab),
    }


def web(keytab: Path, secret: Path) -> dict[str, str]:
    """For core-site.xml: web pages and REST APIs demand a ticket, too.

    Args:
        keytab: With the keys of `SERVICES`.
        secret: A file that this writes; cookies are signed with it.
    """
    secret.write_text("not-a-secret", encoding="utf-8")
    return {
        FILTER: SPNEGO,
        "hadoop.http.authentication.type": "kerberos",
        "hadoop.http.authentication.kerberos.principal": f"{_WEB}@{REALM}",
        "hadoop.http.authentication.kerberos.keytab": str(keytab),
        "hadoop.http.authentication.signature.secret.file": str(secret),
    }

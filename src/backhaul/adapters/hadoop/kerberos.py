"""Who the agent is on a cluster with Kerberos, and the ticket for Hadoop's commands."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

KINIT_TIMEOUT_S = 30


@dataclass(frozen=True, kw_only=True)
class Login:
    """How the agent proves who it is; names files and holds no secret, so it may be pickled.

    Attributes:
        principal: Needed with a keytab or a cache; None: the first of the default cache.
        keytab: The client takes new tickets from it whenever it needs one.
        cache: A ticket cache such as `FILE:/run/backhaul/krb5cc`; None: KRB5CCNAME, or Kerberos'
            own default.
        run_as: The user for whom the agent is a proxy.
    """

    principal: str | None = None
    keytab: str | None = None
    cache: str | None = None
    run_as: str | None = None


@contextmanager
def ticket(login: Login) -> Iterator[dict[str, str]]:
    """KRB5CCNAME for the block, where the agent has a cache or a keytab; else empty.

    For Hadoop's commands, which take no ticket from a keytab and find that of their user's cache
    alone.
    """
    kinit = shutil.which("kinit")
    if login.cache is not None:
        yield {"KRB5CCNAME": login.cache}
    elif login.keytab is None or login.principal is None or kinit is None:
        yield {}
    else:
        with tempfile.TemporaryDirectory(prefix="backhaul-ticket-") as directory:
            cache = f"FILE:{directory}/cache"
            done = subprocess.run(
                [kinit, "-k", "-t", login.keytab, "-c", cache, login.principal],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=KINIT_TIMEOUT_S,
                check=False,
            )
            # Without a ticket the command itself reports it.
            yield {"KRB5CCNAME": cache} if done.returncode == 0 else {}
